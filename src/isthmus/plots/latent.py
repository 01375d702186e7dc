"""Figures of the latent space: maps of codes, decoded grids and traversals."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from sklearn.decomposition import PCA

from isthmus.plots.cells import as_units, cell_height, draw_cells
from isthmus.plots.groups import Colours
from isthmus.plots.style import INK, MUTED, WIDTH, figure, signed, tidy, title

__all__ = ["has_standard_prior", "latent_grid", "latent_map", "traversal_steps", "traversals"]

Array = NDArray[Any]

POINTS = 10_000  # more would overlap
EDGE = 0.01  # share of the codes outside either end of a range derived from codes
PRIOR_EDGE = 0.025  # prior mass outside either end of the grid
REACH = 3.0  # of traversals from the centre of the prior, in its standard deviations


def latent_map(codes: ArrayLike, labels: ArrayLike | None = None) -> Figure:
    """Draw a map of codes, coloured by label.

    Parameters
    ----------
    codes : array-like (n, n_components)
        With more than two columns, the first two principal components are drawn; with one, a
        histogram; of more than 10,000 rows, a fixed random sample.
    labels : array-like (n,), optional
        Up to 20 distinct labels get colours, a legend and their name at their median. More
        numbers get a colour bar; of more names, the nine most frequent get colours.

    Returns
    -------
    Figure
    """
    codes = _checked(codes)
    labels = None if labels is None else np.asarray(labels)
    if labels is not None and len(labels) != len(codes):
        raise ValueError(f"expected {len(codes)} labels, one per code, got {len(labels)}.")
    # Shuffled, so that no label covers the others.
    kept = np.random.default_rng(0).permutation(len(codes))[:POINTS]
    colours = Colours.of(None if labels is None else labels[kept])
    points, names = _plane(codes[kept])
    sheet = figure(5.2)
    axes = tidy(sheet.subplots(), xlabel=names[0], ylabel=names[1])
    if points.shape[1] == 1:
        colours.histogram(axes, points[:, 0])
    else:
        colours.scatter(axes, points)
        axes.set_aspect("equal", adjustable="datalim")
    colouring = "" if labels is None else ", coloured by label"
    title(sheet, f"Codes of {len(kept):,} examples{colouring}")
    return sheet


def _plane(codes: Array) -> tuple[Array, list[str]]:
    """Return points with at most two columns, and the axis labels."""
    if codes.shape[1] == 1:
        return codes, ["z1", "examples"]
    if codes.shape[1] == 2:
        return codes, ["z1", "z2"]
    pca = PCA(min(2, len(codes)), random_state=0)
    with np.errstate(all="ignore"):  # identical codes have no variance
        points = pca.fit_transform(codes)
    shares = np.nan_to_num(pca.explained_variance_ratio_)
    names = [f"principal component {i} ({s:.0%} of variance)" for i, s in enumerate(shares, 1)]
    return points, [*names, "examples"][:2]


def latent_grid(
    estimator: Any, n: int = 15, codes: ArrayLike | None = None, *, condition: Any = None
) -> Figure:
    """Draw a decoded grid over a two-dimensional latent space.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted, with two components.
    n : int
        Points along each axis: even quantiles of the standard normal prior from 2.5 to 97.5 %,
        or even steps over the middle 98 % of the codes.
    codes : array-like (m, 2), optional
        Codes that set the range; required for models without a standard normal prior.
    condition : label, optional
        For conditional models.

    Returns
    -------
    Figure
    """
    if estimator.n_components_ != 2:
        raise ValueError(
            f"latent_grid needs n_components=2, got a model with {estimator.n_components_}; use "
            "traversals instead."
        )
    across, down = _ranges(estimator, n, codes)
    z = np.stack(np.meshgrid(across, down[::-1]), axis=-1).reshape(-1, 2)  # z2 upwards
    decoded = as_units(estimator.decode(z, condition=condition), "decoded examples")
    sheet = figure(0.5 + (WIDTH - 0.6) * min(1.3, cell_height(decoded.shape[1:])))
    axes = sheet.subplots()
    draw_cells(axes, decoded, n)
    ticks = np.unique(np.linspace(0, n - 1, min(n, 7)).round().astype(int))
    axes.set_xticks(ticks + 0.5, [signed(across[i], ".2g") for i in ticks])
    axes.set_yticks(n - ticks - 0.5, [signed(down[i], ".2g") for i in ticks])
    axes.set_xlabel("z1", color=MUTED)
    axes.set_ylabel("z2", color=MUTED)
    title(sheet, "Decoded latent plane")
    return sheet


def has_standard_prior(estimator: Any) -> bool:
    """Return whether the prior is a standard normal."""
    return estimator.prior == "standard"


def _ranges(estimator: Any, n: int, codes: ArrayLike | None) -> list[Array]:
    if codes is not None:
        ends = np.quantile(_checked(codes), [EDGE, 1 - EDGE], axis=0).T
        return [np.linspace(low, high, n) for low, high in ends]
    if not has_standard_prior(estimator):
        name = type(estimator).__name__
        raise ValueError(f"{name} has no standard normal prior to set the range; pass codes.")
    return [ndtri(np.linspace(PRIOR_EDGE, 1 - PRIOR_EDGE, n))] * 2


def traversals(
    estimator: Any, codes: ArrayLike, n_dims: int = 10, n_steps: int = 9, *, condition: Any = None
) -> Figure:
    """Draw how decoded examples change as one latent at a time varies.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    codes : array-like (n, n_components)
        Codes of data. The latents with the largest variance come first.
    n_dims : int
        Maximum number of latents to show.
    n_steps : int
        Steps along each latent: from -3 to 3 with the others at 0 for a standard normal prior,
        else over the middle 98 % of the codes with the others at their medians.
    condition : label, optional
        For conditional models.

    Returns
    -------
    Figure
    """
    codes = _checked(codes)
    dims, z, steps = traversal_steps(estimator, codes, n_dims, n_steps)
    decoded = estimator.decode(z.reshape(-1, z.shape[-1]), condition=condition)
    activity = codes.var(0)
    ticks = [signed(v) for v in steps[0]]
    if not has_standard_prior(estimator):
        ticks = ["lowest", *[""] * (n_steps - 2), "highest"]
    rows = [f"z{d + 1}  ({activity[d]:.2f})" for d in dims]
    images = as_units(decoded, "decoded examples")
    cell = (WIDTH - 1) / n_steps * cell_height(images.shape[1:])
    sheet = figure(0.6 + cell * len(rows))
    axes = sheet.subplots()
    draw_cells(axes, images, n_steps)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.set_xticks(np.arange(n_steps) + 0.5, ticks)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.tick_params(axis="y", labelcolor=INK)
    title(sheet, "One latent per row (variance of its mean over the data), from low to high")
    return sheet


def traversal_steps(
    estimator: Any, codes: ArrayLike, n_dims: int, n_steps: int
) -> tuple[Array, Array, Array]:
    """Return the most active latents and the codes along each; see `traversals`.

    Returns
    -------
    dims : ndarray of int (m,)
        The latents, most active first.
    z : ndarray (m, n_steps, n_components)
        The codes.
    steps : ndarray (n_components, n_steps)
        The values of each latent.
    """
    codes = _checked(codes)
    if codes.shape[1] != estimator.n_components_:
        raise ValueError(
            f"expected codes with {estimator.n_components_} columns, got {codes.shape[1]}."
        )
    dims = np.argsort(-codes.var(0), kind="stable")[:n_dims]
    if has_standard_prior(estimator):
        centre = np.zeros(codes.shape[1])
        steps = np.tile(np.linspace(-REACH, REACH, n_steps), (codes.shape[1], 1))
    else:
        low, high = np.quantile(codes, [EDGE, 1 - EDGE], axis=0)
        centre, steps = np.median(codes, axis=0), np.linspace(low, high, n_steps).T
    z = np.tile(centre, (len(dims), n_steps, 1))
    z[np.arange(len(dims)), :, dims] = steps[dims]
    return dims, z, steps


def _checked(codes: ArrayLike) -> Array:
    codes = np.asarray(codes, dtype=np.float64)
    if codes.ndim != 2 or codes.size == 0:
        raise ValueError(f"codes must have shape (n, n_components), got {codes.shape}.")
    if not np.isfinite(codes).all():
        raise ValueError("codes contain NaN or infinity; drop those rows first.")
    return codes
