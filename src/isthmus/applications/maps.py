"""Two-dimensional maps of the latent space, with the posterior distributions of the codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from sklearn.base import TransformerMixin
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_is_fitted

from isthmus._optional import import_optional
from isthmus.applications.meta_estimator import (
    LatentMetaEstimator,
    check_choice,
    encode_in_chunks,
    estimator_name,
    has_distribution,
)
from isthmus.estimators.sample_weight import WeightedRows
from isthmus.estimators.validation import as_array
from isthmus.plots import latent_map
from isthmus.plots.groups import Colours
from isthmus.plots.style import INK, MUTED, PALE, PALETTE, figure, tidy, title

__all__ = ["LatentMap", "compare_latent_maps", "fit_loss_ablation", "latent_distributions"]

Array = NDArray[Any]

METHODS = ("auto", "codes", "pca", "umap")
KL_ONLY = 1e4  # beta at which the reconstruction term is negligible
MAX_ELLIPSES = 400
MAX_POINTS = 5_000  # per panel
PANEL = 3.4  # inches
CROWDED = 0.2  # spread of the labels, relative to that of the points, below which they overlap


@dataclass(eq=False, repr=False)
class LatentMap(TransformerMixin, LatentMetaEstimator):
    """Map the codes of any estimator to two dimensions.

    Parameters
    ----------
    estimator : LatentEstimator
        A fitted estimator is used as it is; of an unfitted one `fit` trains a clone.
    method : {"auto", "codes", "pca", "umap"}
        "auto" uses codes with one or two components directly and otherwise their first two
        principal components. "umap" preserves neighbourhoods but not distances and requires
        ``pip install 'isthmus[maps]'``.
    random_state : int, optional
        Seed of UMAP.

    Attributes
    ----------
    method_ : str
        "codes", "pca" or "umap".
    axes_ : list of str
        Axis labels.

    References
    ----------
    UMAP: uniform manifold approximation and projection (McInnes, Healy, Saul, Großberger, 2018).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import VAE
    >>> digits = load_digits()
    >>> X = digits.images / 16
    >>> latent = LatentMap(VAE(n_components=6, epochs=2, random_state=0)).fit(X)
    >>> latent.transform(X).shape
    (1797, 2)
    >>> figure = latent.figure(X, digits.target)
    """

    estimator: Any
    _: KW_ONLY
    method: str = "auto"
    random_state: int | None = 0

    def _check_parameters(self) -> None:
        check_choice("method", self.method, METHODS)
        if self.method == "umap":
            _umap()

    def _fit_codes(self, rows: WeightedRows) -> None:
        codes = rows.repeated(encode_in_chunks(self.estimator_, rows.X))
        method, few = self.method, codes.shape[1] <= 2
        if method == "auto":
            method = "codes" if few else "pca"
        if method == "codes" and not few:
            raise ValueError(
                f"method='codes' needs at most 2 components, got {codes.shape[1]}: use 'pca'."
            )
        projection, axes = None, ["z1", "z2"]
        if method == "pca":
            projection = PCA(2, random_state=0).fit(codes)
            shares = projection.explained_variance_ratio_
            axes = [f"principal component {i} ({s:.0%})" for i, s in enumerate(shares, 1)]
        elif method == "umap":
            projection = _umap().UMAP(n_jobs=1, random_state=self.random_state).fit(codes)
            axes = ["UMAP 1", "UMAP 2"]
        self.method_, self.axes_, self._projection = method, axes, projection

    def transform(self, X: Any) -> Array:
        """Return the map coordinates of each row, (n, 2); (n, 1) for one-component models."""
        check_is_fitted(self)
        return self.project(encode_in_chunks(self.estimator_, X))

    def project(self, codes: ArrayLike) -> Array:
        """Return the map coordinates of codes (n, n_components)."""
        check_is_fitted(self)
        codes = np.asarray(codes)
        return codes if self._projection is None else self._projection.transform(codes)

    def figure(self, X: Any, y: ArrayLike | None = None) -> Figure:
        """Plot the map of X, coloured by label; a histogram for one-component models."""
        points = self.transform(X)
        sheet = latent_map(points, y)
        if points.shape[1] == 2:
            sheet.axes[0].set(xlabel=self.axes_[0], ylabel=self.axes_[1])
        return sheet

    def posterior_figure(self, X: Any, y: ArrayLike | None = None) -> Figure:
        """Plot q(z|x) of each row as an ellipse of one standard deviation.

        The ellipse is that of a normal distribution with the marginal variances of q, after the
        linear projection. At most 400 rows, chosen at random, are drawn.

        Raises
        ------
        ValueError
            If the codes are points or have one component, or the map is not linear (UMAP).
        """
        check_is_fitted(self)
        _require_distribution(self.estimator_)
        if self.method_ == "umap" or self.estimator_.n_components_ < 2:
            raise ValueError("ellipses need a linear map of two or more components: use 'pca'.")
        X = as_array(self.estimator_, X)
        kept = np.random.default_rng(0).permutation(len(X))[:MAX_ELLIPSES]
        q = self.estimator_.posterior(X[kept])
        sheet = figure(5.2)
        axes = tidy(sheet.subplots(), xlabel=self.axes_[0], ylabel=self.axes_[1])
        colours = Colours.of(None if y is None else np.asarray(y)[kept])
        points = self.project(q.mean)
        colours.scatter(axes, points)
        directions = np.eye(2) if self._projection is None else self._projection.components_
        _ellipses(axes, points, q.std, directions, colours)
        axes.set_aspect("equal", adjustable="datalim")
        title(sheet, f"q(z|x) of {len(kept):,} examples: one standard deviation about the mean")
        return sheet


def latent_distributions(
    estimator: Any, X: Any, names: Sequence[str] | None = None, *, condition: Any = None
) -> Figure:
    """Plot q(z|x) of a few rows, per latent: the mean and two standard deviations each way.

    Latents are ordered by the variance of their means over these rows. The grey band is the
    standard normal prior, if the model has one; an unused latent matches it in every row.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted; its codes must be distributions, as those of a VAE.
    X : array-like (n, *features)
        At most 12 rows.
    names : sequence of str (n,), optional
        Name of each row.
    condition : label or array-like (n,), optional
        For conditional models.

    Raises
    ------
    ValueError
        If the codes are points, there are more than 12 rows, or the names do not match.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import VAE
    >>> X = load_digits().images / 16
    >>> figure = latent_distributions(VAE(n_components=4, epochs=2).fit(X), X[:3])
    """
    _require_distribution(estimator)
    q = estimator.posterior(X, condition=condition)
    n, d = q.mean.shape
    if n > 12 or (names is not None and len(names) != n):
        raise ValueError(f"X must have at most 12 rows, and names one entry per row; got {n} rows.")
    order = np.argsort(-q.mean.var(0), kind="stable")
    sheet = figure(0.8 + 0.8 * n)
    panels = sheet.subplots(n, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for i, axes in enumerate(panels):
        tidy(axes, ylabel="" if names is None else names[i])
        if estimator.prior == "standard":
            axes.axhspan(-2, 2, color=PALE, alpha=0.5, linewidth=0)
        axes.axhline(0, color=PALE, linewidth=0.8)
        style: dict[str, Any] = {"fmt": "o", "markersize": 4, "color": PALETTE[0], "linewidth": 1.6}
        axes.errorbar(np.arange(d), q.mean[i, order], 2 * q.std[i, order], **style)
    panels[-1].set_xticks(np.arange(d), [f"z{k + 1}" for k in order], fontsize=8)
    panels[-1].tick_params(axis="x", rotation=90 if d > 16 else 0)
    title(sheet, "q(z|x) per latent: mean ± 2 standard deviations; grey: prior")
    return sheet


def fit_loss_ablation(X: Any, **settings: Any) -> dict[str, Any]:
    """Fit the same network with the reconstruction term only, the KL term only, and both.

    Parameters
    ----------
    X : array-like (n, *features)
    settings
        Parameters of all three models: n_components, hidden, epochs, random_state, ...

    Returns
    -------
    dict of str to LatentEstimator
        An Autoencoder, a BetaVAE with β = 10,000, at which the reconstruction term is negligible,
        and a VAE. `compare_latent_maps` plots them.
    """
    from isthmus.estimators import VAE, Autoencoder, BetaVAE

    models = {
        "reconstruction only": Autoencoder(**settings),
        "KL only": BetaVAE(beta=KL_ONLY, **settings),
        "both": VAE(**settings),
    }
    return {name: model.fit(X) for name, model in models.items()}


def compare_latent_maps(
    models: Mapping[str, Any], X: Any, y: ArrayLike | None = None, random_state: int | None = 0
) -> Figure:
    """Plot the maps of several models of the same rows side by side, coloured by label.

    A point is one draw from q(z|x), which for a plain autoencoder is the code.

    Parameters
    ----------
    models : mapping of str to LatentEstimator
        At most four fitted models by name, each with at least two components.
    X : array-like (n, *features)
        At most 5,000 rows, chosen at random, are drawn.
    y : array-like (n,), optional
    random_state : int, optional
        Seed of the draws.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> X = digits.images / 16
    >>> models = fit_loss_ablation(X, n_components=2, epochs=2, hidden=(16,), random_state=0)
    >>> figure = compare_latent_maps(models, X, digits.target)
    """
    if not 1 <= len(models) <= 4:
        raise ValueError(f"models must hold one to four models, got {len(models)}.")
    rng = np.random.default_rng(random_state)
    rows = as_array(next(iter(models.values())), X)
    kept = rng.permutation(len(rows))[:MAX_POINTS]
    rows = rows[kept]
    labels = None if y is None else np.asarray(y)[kept]
    sheet = figure(PANEL, PANEL * len(models) + 0.6)
    panels = sheet.subplots(1, len(models), squeeze=False)[0]
    for axes, (name, model) in zip(panels, models.items(), strict=True):
        points, names = _sampled_points(name, model, rows, rng)
        tidy(axes, xlabel=names[0], ylabel=names[1])
        Colours.of(labels).scatter(axes, points)
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_title(name, loc="left", fontsize=9.5, color=INK)
        if axes.get_legend() and axes is not panels[-1]:
            axes.get_legend().remove()
        places = np.array([text.get_position() for text in axes.texts])
        if len(places) > 1 and places.std(0).max() < CROWDED * points.std(0).max():
            for text in list(axes.texts):
                text.remove()
    title(sheet, f"One draw from q(z|x) for each of {len(rows):,} examples")
    return sheet


def _sampled_points(name: str, model: Any, rows: Array, rng: Any) -> tuple[Array, list[str]]:
    """Return map coordinates (n, 2) of draws from q(z|x), and the axis labels."""
    if model.n_components_ < 2:
        raise ValueError(f"{name} has one component; a map needs at least two.")
    q = model.posterior(rows)
    draws = q.mean + q.std * rng.standard_normal(q.mean.shape)
    if draws.shape[1] == 2:
        return draws, ["z1", "z2"]
    pca = PCA(2, random_state=0)
    points = pca.fit_transform(draws)
    shares = pca.explained_variance_ratio_
    return points, [f"component {i} ({s:.0%})" for i, s in enumerate(shares, 1)]


def _ellipses(axes: Any, points: Array, std: Array, directions: Array, colours: Colours) -> None:
    """Draw the one-standard-deviation ellipses of projected normals with variances std²."""
    covariance = np.einsum("ad,nd,bd->nab", directions, std.astype(np.float64) ** 2, directions)
    values, vectors = np.linalg.eigh(covariance)
    axis = 2 * np.sqrt(values.clip(min=0))  # full lengths of the axes
    angle = np.degrees(np.arctan2(vectors[:, 1, 1], vectors[:, 0, 1]))
    which = np.zeros(len(points), int) if colours.index is None else colours.index
    edges = [PALETTE[k % len(PALETTE)] for k in which] if colours.numbers is None else MUTED
    style: dict[str, Any] = {"units": "xy", "facecolors": "none", "linewidths": 0.7, "alpha": 0.8}
    style |= {"offsets": points, "offset_transform": axes.transData, "edgecolors": edges}
    axes.add_collection(EllipseCollection(axis[:, 1], axis[:, 0], angle, **style))
    reach = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))  # half extents along x and y
    axes.update_datalim(np.concatenate([points - reach, points + reach]))
    axes.autoscale_view()


def _require_distribution(estimator: Any) -> None:
    if not has_distribution(estimator):
        name = estimator_name(estimator)
        raise ValueError(f"the codes of {name} are points, not distributions: use a VAE.")


def _umap() -> Any:
    return import_optional("umap", extra="maps", what="a UMAP map", instead="use method='pca'")
