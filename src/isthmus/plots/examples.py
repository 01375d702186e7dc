"""Figures of examples: images, reconstructions and samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from isthmus.plots.cells import GAP, as_units, cell_height, draw_cells, value_range
from isthmus.plots.groups import shortened
from isthmus.plots.style import INK, MUTED, WIDTH, colour_bar, figure, set_text, tidy, title

__all__ = ["pictures", "reconstructions", "samples_by_epoch"]

Array = NDArray[Any]

PAIRS = 6  # pairs per row of reconstructions
TABLE_ROWS = 24
NAMES = 40  # columns that can be labelled
SLANTED = 12  # more names are drawn vertically
GRIDS = 6  # epochs with samples
SAMPLES = (3, 6)  # rows and columns of the samples of one epoch


def pictures(
    images: ArrayLike, columns: int | None = None, labels: Sequence[Any] | None = None
) -> Figure:
    """Draw a grid of images (a contact sheet).

    Parameters
    ----------
    images : array-like (n, height, width), (n, channels, height, width), or any (n, *shape)
        Pixels in [0, 1], or bytes; other values are scaled from black (lowest) to white (highest).
        Rows (n, features) and signals (n, channels, time) are drawn as lines.
    columns : int, optional
        Images per row; by default the grid is about square.
    labels : sequence (n,), optional
        Text above each image.

    Returns
    -------
    Figure

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> figure = pictures(load_digits().images[:10] / 16, columns=5)
    """
    images = as_units(images)
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"expected {len(images)} labels, one per image, got {len(labels)}.")
    columns = columns or int(np.ceil(np.sqrt(len(images) * cell_height(images.shape[1:]))))
    rows = -(-len(images) // columns)
    sheet = figure(0.3 + WIDTH * rows / columns * cell_height(images.shape[1:]))
    axes = sheet.subplots()
    gap = GAP if labels is None else max(GAP, 0.22 * columns / WIDTH)  # space for a line of text
    draw_cells(axes, images, columns, gap=gap)
    for i, label in enumerate([] if labels is None else labels):
        _note(axes, i % columns, i // columns, label, va="center")
    return sheet


def reconstructions(
    originals: ArrayLike, reconstructed: ArrayLike, names: Sequence[Any] | None = None
) -> Figure:
    """Draw originals above their reconstructions, with the error of each pair.

    Rows of a table (n, features) are drawn as heat maps: originals, reconstructions and
    differences of the first 24 rows, in standard deviations of each column over all originals.
    Missing values (NaN) stay blank.

    Parameters
    ----------
    originals, reconstructed : array-like (n, *shape)
        In the units of the data; bytes count as values in [0, 1].
    names : sequence (n_features,), optional
        Names of the features; drawn if there are at most 40.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the shapes differ, or there is not one name per feature.
    """
    x, r = as_units(originals, "originals"), as_units(reconstructed, "reconstructed")
    if x.shape != r.shape:
        raise ValueError(f"originals have shape {x.shape}, reconstructions {r.shape}.")
    if x.ndim != 2:
        return _pairs(x, r)
    if names is not None and len(names) != x.shape[1]:
        raise ValueError(f"expected {x.shape[1]} names, one per feature, got {len(names)}.")
    return _table(x, r, names)


def _pairs(x: Array, r: Array) -> Figure:
    columns = min(PAIRS, len(x))
    blocks = -(-len(x) // columns)
    sheet = figure(0.4 + blocks * (0.3 + 2 * WIDTH / columns * cell_height(x.shape[1:])))
    limits, error = value_range(x), np.sqrt(((x - r) ** 2).reshape(len(x), -1).mean(1))
    for k, axes in enumerate(sheet.subplots(blocks, squeeze=False)[:, 0]):
        part = slice(k * columns, (k + 1) * columns)
        pairs = np.full((2, columns, *x.shape[1:]), np.nan)
        pairs[:, : len(x[part])] = x[part], r[part]
        draw_cells(axes, pairs.reshape(-1, *x.shape[1:]), columns, limits)
        for i, value in enumerate(error[part]):
            text = f"{value:.3f}" if 0.01 <= value < 100 else f"{value:.3g}"
            _note(axes, i, 2.04, text, va="top")
    unit = "pixels in [0, 1]" if limits == (0, 1) else "units of the data"
    title(sheet, f"Original above, reconstruction below; root-mean-square error, {unit}")
    return sheet


def _note(axes: Axes, column: float, row: float, text: Any, va: str) -> None:
    """Write text centred on a column of cells."""
    place = column + 0.5, row
    set_text(axes.text(*place, "", ha="center", va=va, fontsize=9, color=MUTED), text)


def _table(x: Array, r: Array, names: Sequence[Any] | None) -> Figure:
    known = np.ma.masked_invalid(x)  # missing values stay blank
    mean, scale = known.mean(0).filled(0.0), known.std(0).filled(1.0)
    scale[scale <= 1e-12 * np.abs(known).max(0).filled(1.0)] = 1  # constant columns are not scaled
    x, r = (x - mean) / scale, (r - mean) / scale
    error = np.sqrt(np.nanmean((x - r) ** 2))
    shown = min(TABLE_ROWS, len(x))
    sheet = figure(1.1 + 3 * (0.35 + 0.07 * shown))
    panels = {"original": x, "reconstruction": r, "difference: original − reconstruction": x - r}
    for axes, (name, values) in zip(sheet.subplots(3, sharex=True), panels.items(), strict=True):
        image = axes.imshow(values[:shown], cmap="RdBu_r", vmin=-3, vmax=3, aspect="auto")
        axes.set_title(name, loc="left", fontsize=9.5, color=INK)
        tidy(axes, ylabel="row")
    if names is None or len(names) > NAMES:
        axes.set_xlabel("feature")
    else:
        _name_columns(axes, names)
    colour_bar(image, sheet.axes, "standard deviations of the feature", extend="both")
    title(sheet, f"{shown} rows; root-mean-square error {error:.2f} standard deviations")
    return sheet


def _name_columns(axes: Axes, names: Sequence[Any]) -> None:
    """Write a name below each column (tick labels cannot have a font each)."""
    axes.set_xticks(range(len(names)))
    axes.tick_params(labelbottom=False)
    few = len(names) <= SLANTED
    turned = {"rotation": 40, "va": "top"} if few else {"rotation": 90, "va": "center"}
    below: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "color": MUTED, **turned}
    below |= {"ha": "right", "rotation_mode": "anchor", "fontsize": min(9, 280 / len(names))}
    for i, name in enumerate(names):
        set_text(axes.text(i + 0.2 * few, -0.08, "", **below), shortened(name))


def samples_by_epoch(samples: Sequence[tuple[int, ArrayLike]]) -> Figure:
    """Draw a grid of three by six samples for each of at most six epochs.

    Parameters
    ----------
    samples : sequence of (epoch, array (18, *shape))
        In the units of the data. Of more than six epochs the first and the last are shown,
        and four between them.

    Returns
    -------
    Figure
    """
    if not samples:
        raise ValueError("there are no samples to draw; models without a prior have none.")
    spread = np.linspace(0, len(samples) - 1, min(len(samples), GRIDS)).round()
    chosen = [samples[int(i)] for i in spread]
    rows, columns = SAMPLES
    drawn = [as_units(x, "samples")[: rows * columns] for _, x in chosen]
    limits = value_range(np.concatenate(drawn))
    across = min(2, len(chosen))
    down = -(-len(chosen) // across)
    height = WIDTH / across / columns * rows * cell_height(drawn[0].shape[1:])
    sheet = figure(0.25 + down * (height + 0.25))
    panels = sheet.subplots(down, across, squeeze=False).flat
    for axes in panels:
        axes.set_axis_off()
    for axes, (epoch, _), x in zip(sheet.axes, chosen, drawn, strict=False):
        draw_cells(axes, x, columns, limits)
        axes.set_title(f"epoch {epoch}", loc="left", fontsize=9.5, color=INK)
    title(sheet, "Samples from the prior, as training went on")
    return sheet
