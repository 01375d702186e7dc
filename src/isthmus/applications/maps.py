"""Maps: where examples lie in the latent space, and how sure the model is of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from sklearn.base import TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_is_fitted

from isthmus._optional import import_optional
from isthmus.applications.meta_estimator import LatentMetaEstimator, encode_in_chunks
from isthmus.estimators.validation import as_array
from isthmus.plots import latent_map
from isthmus.plots.groups import Colours
from isthmus.plots.style import INK, MUTED, PALE, PALETTE, figure, tidy, title

__all__ = ["LatentMap", "compare_latent_maps", "fit_loss_ablation", "latent_distributions"]

Array = NDArray[Any]

METHODS = ("auto", "codes", "pca", "umap")
KL_ONLY = 1e4  # weight of the KL term beside which the reconstruction counts for nothing
ELLIPSES = 400  # more hide each other
POINTS = 5_000  # of one panel
PANEL = 3.4  # inches
CROWDED = 0.2  # spread of the labels' medians, in that of the points, below which they collide


class LatentMap(TransformerMixin, LatentMetaEstimator):
    """A map in two dimensions of the codes of any estimator.

    `fit` trains a copy of the estimator; one that is fitted already goes in by `from_fitted`
    (or as ``sklearn.frozen.FrozenEstimator``) and is not trained again.

    Parameters
    ----------
    estimator : LatentEstimator
    method : {"auto", "codes", "pca", "umap"}
        "auto" takes codes as they are where they have one or two numbers, else their first two
        principal components. UMAP keeps neighbours together, but neither distances nor the
        spread of q(z|x); it is an extra: ``pip install 'isthmus[maps]'``.
    random_state : int, optional
        Seed of UMAP.

    Attributes
    ----------
    estimator_ : LatentEstimator
        The fitted model.
    method_ : str
        "codes", "pca" or "umap".
    axes_ : list of str
        What to write at the axes.

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

    estimator_: Any
    method_: str
    axes_: list[str]

    def __init__(
        self, estimator: Any, *, method: str = "auto", random_state: int | None = 0
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train the estimator (unless frozen) and learn the projection of its codes.

        Parameters
        ----------
        X : array-like (n, *features)
        y : array-like (n,), optional
            Labels, for estimators that learn from them; the map does not.

        Returns
        -------
        self
            Unchanged where an error is raised.
        """
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {self.method!r}.")
        umap = _umap() if self.method == "umap" else None
        estimator = clone(self.estimator).fit(X, y)
        codes = encode_in_chunks(estimator, X)
        method = self.method
        if method == "auto":
            method = "codes" if codes.shape[1] <= 2 else "pca"
        if method == "codes" and codes.shape[1] > 2:
            raise ValueError(
                f"codes of {codes.shape[1]} numbers are no map by themselves; use method='pca'."
            )
        projection, axes = None, ["z1", "z2"]
        if method == "pca":
            projection = PCA(2, random_state=0).fit(codes)
            shares = projection.explained_variance_ratio_
            axes = [f"principal component {i} ({s:.0%})" for i, s in enumerate(shares, 1)]
        elif umap is not None:
            projection = umap.UMAP(n_jobs=1, random_state=self.random_state).fit(codes)
            axes = ["UMAP 1", "UMAP 2"]
        self.estimator_, self.method_, self.axes_ = estimator, method, axes
        self._projection = projection
        return self

    def transform(self, X: Any) -> Array:
        """Return the place of each row, (n, 2); of models of one latent (n, 1)."""
        check_is_fitted(self)
        return self.project(encode_in_chunks(self.estimator_, X))

    def project(self, codes: ArrayLike) -> Array:
        """Return the places of codes (n, n_components)."""
        check_is_fitted(self)
        codes = np.asarray(codes)
        return codes if self._projection is None else self._projection.transform(codes)

    def figure(self, X: Any, y: ArrayLike | None = None) -> Figure:
        """Draw where rows lie, coloured by label; of one latent a histogram."""
        points = self.transform(X)
        sheet = latent_map(points, y)
        if points.shape[1] == 2:
            sheet.axes[0].set(xlabel=self.axes_[0], ylabel=self.axes_[1])
        return sheet

    def posterior_figure(self, X: Any, y: ArrayLike | None = None) -> Figure:
        """Draw q(z|x) of each row as an ellipse of one standard deviation.

        A projection to principal components is linear, so the ellipse is that of the projected
        normal with the marginal variances of q. Of more than 400 rows a random part is drawn.

        Raises
        ------
        ValueError
            For models whose codes are points, models of one latent, and maps by UMAP.
        """
        check_is_fitted(self)
        _check_spread(self.estimator_)
        if self.method_ == "umap" or self.estimator_.n_components_ < 2:
            raise ValueError("ellipses need a linear map of two latents or more: method='pca'.")
        kept = np.random.default_rng(0).permutation(len(X))[:ELLIPSES]
        q = self.estimator_.posterior(as_array(self.estimator_, X)[kept])
        sheet = figure(5.2)
        axes = tidy(sheet.subplots(), xlabel=self.axes_[0], ylabel=self.axes_[1])
        colours = Colours.of(None if y is None else np.asarray(y)[kept])
        points = self.project(q.mean)
        colours.scatter(axes, points)
        _ellipses(axes, points, q.std, self._directions(), colours)
        axes.set_aspect("equal", adjustable="datalim")
        title(sheet, f"q(z|x) of {len(kept):,} examples: one standard deviation about the mean")
        return sheet

    def _directions(self) -> Array:
        """Return the linear map (2, n_components) of the projection."""
        return np.eye(2) if self._projection is None else self._projection.components_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "method_")


def latent_distributions(
    estimator: Any, X: Any, names: Sequence[str] | None = None, *, condition: Any = None
) -> Figure:
    """Draw q(z|x) of a few rows latent by latent: mean and two standard deviations each way.

    Latents stand in the order of how far their means vary over these rows; behind them the
    standard normal prior, where the model has that. A latent that carries nothing has the
    prior's mean and width in every row.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted, with a posterior that is no point.
    X : array-like (n, *features)
        At most 12 rows.
    names : sequence of str (n,), optional
        What to call each.
    condition : label or array-like (n,), optional
        For conditional models.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        For models whose codes are points, or too many rows.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import VAE
    >>> X = load_digits().images / 16
    >>> figure = latent_distributions(VAE(n_components=4, epochs=2).fit(X), X[:3])
    """
    _check_spread(estimator)
    q = estimator.posterior(X, **({} if condition is None else {"condition": condition}))
    n, d = q.mean.shape
    if n > 12 or (names is not None and len(names) != n):
        raise ValueError(f"expected at most 12 rows and a name for each, got {n} rows.")
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
    title(sheet, "q(z|x) by latent: mean ± 2 standard deviations; grey, the prior's")
    return sheet


def fit_loss_ablation(X: Any, **settings: Any) -> dict[str, Any]:
    """Fit one shape of network by the reconstruction alone, by the KL alone, and by both.

    Parameters
    ----------
    X : array-like (n, *features)
    settings
        Of all three: n_components, hidden, epochs, random_state, ...

    Returns
    -------
    dict of str to LatentEstimator
        An Autoencoder, a BetaVAE whose β of 10,000 leaves nothing but the KL, and a VAE; for
        `compare_latent_maps`.
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
    """Draw the maps of several models of the same rows, coloured by label.

    A point is one draw from q(z|x), which of a plain autoencoder is the code: so the KL alone
    shows as the prior, in which nothing tells the labels apart; the reconstruction alone as
    islands with gaps between them; both as a whole in which labels have their places.

    Parameters
    ----------
    models : mapping of str to LatentEstimator
        Fitted, by name, at most four; of two latents or more.
    X : array-like (n, *features)
        Of more than 5,000 rows a random part is drawn.
    y : array-like (n,), optional
    random_state : int, optional
        Seed of the draws.

    Returns
    -------
    Figure

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> X = digits.images / 16
    >>> models = fit_loss_ablation(X, n_components=2, epochs=2, hidden=(16,), random_state=0)
    >>> figure = compare_latent_maps(models, X, digits.target)
    """
    if not 1 <= len(models) <= 4:
        raise ValueError(f"expected one to four models side by side, got {len(models)}.")
    rng = np.random.default_rng(random_state)
    kept = rng.permutation(len(X))[:POINTS]
    rows = as_array(next(iter(models.values())), X)[kept]
    labels = None if y is None else np.asarray(y)[kept]
    sheet = figure(PANEL, PANEL * len(models) + 0.6)
    panels = sheet.subplots(1, len(models), squeeze=False)[0]
    for axes, (name, model) in zip(panels, models.items(), strict=True):
        points, names = _drawn(name, model, rows, rng)
        tidy(axes, xlabel=names[0], ylabel=names[1])
        Colours.of(labels).scatter(axes, points)
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_title(name, loc="left", fontsize=9.5, color=INK)
        _tidy_labels(axes, points, axes is panels[-1])
    title(sheet, f"One draw from q(z|x) of each of {len(rows):,} examples")
    return sheet


def _tidy_labels(axes: Any, points: Array, is_last: bool) -> None:
    """Keep one legend for all panels, and names only where they do not lie on each other."""
    if axes.get_legend() and not is_last:
        axes.get_legend().remove()
    places = np.array([text.get_position() for text in axes.texts])
    if len(places) > 1 and places.std(0).max() < CROWDED * points.std(0).max():
        for text in list(axes.texts):
            text.remove()


def _drawn(name: str, model: Any, rows: Array, rng: Any) -> tuple[Array, list[str]]:
    """Return places (n, 2) of draws from q(z|x), and the names of the axes."""
    if model.n_components_ < 2:
        raise ValueError(f"{name} has one latent; a map needs two.")
    q = model.posterior(rows)
    draws = q.mean + q.std * rng.standard_normal(q.mean.shape)
    if draws.shape[1] == 2:
        return draws, ["z1", "z2"]
    pca = PCA(2, random_state=0)
    points = pca.fit_transform(draws)
    shares = pca.explained_variance_ratio_
    return points, [f"component {i} ({s:.0%})" for i, s in enumerate(shares, 1)]


def _ellipses(axes: Any, points: Array, std: Array, directions: Array, colours: Colours) -> None:
    """Draw the standard-deviation ellipses of normals with variances std² after a linear map."""
    covariance = np.einsum("ad,nd,bd->nab", directions, std.astype(np.float64) ** 2, directions)
    values, vectors = np.linalg.eigh(covariance)
    axis = 2 * np.sqrt(values.clip(min=0))  # whole axes of one standard deviation each way
    angle = np.degrees(np.arctan2(vectors[:, 1, 1], vectors[:, 0, 1]))
    which = np.zeros(len(points), int) if colours.index is None else colours.index
    edges = [PALETTE[k % len(PALETTE)] for k in which] if colours.numbers is None else MUTED
    style: dict[str, Any] = {"units": "xy", "facecolors": "none", "linewidths": 0.7, "alpha": 0.8}
    ellipses = EllipseCollection(
        axis[:, 1],
        axis[:, 0],
        angle,
        offsets=points,
        offset_transform=axes.transData,
        edgecolors=edges,
        **style,
    )
    axes.add_collection(ellipses)
    reach = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))  # of each ellipse along x and y
    axes.update_datalim(np.concatenate([points - reach, points + reach]))
    axes.autoscale_view()


def _check_spread(estimator: Any) -> None:
    if estimator.model_.prior is None:
        inner = getattr(estimator, "estimator", estimator)
        raise ValueError(
            f"the codes of {type(inner).__name__} are points, without a distribution; those of a "
            "VAE have one."
        )


def _umap() -> Any:
    return import_optional("umap", extra="maps", what="a map by UMAP", instead="use method='pca'")
