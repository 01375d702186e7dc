"""A grid of examples of any shape: images are tiled, everything else is drawn as lines.

Cell i is in column ``i % columns`` and row ``i // columns``, counted downwards, and is one unit
wide and high in axes coordinates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import ArrayLike, NDArray

from isthmus.data.image_grid import ValueRange, is_image, rescale, tile, to_rgba, value_range
from isthmus.data.layout import to_channels_first
from isthmus.plots.style import PALE, PALETTE, bare

__all__ = ["GAP", "as_units", "cell_height", "draw_cells", "is_image", "value_range"]

Array = NDArray[Any]

LINE_CELL = 0.6  # height of a cell of lines, in widths
GAP = 0.06  # space between images, in image widths
POINTS = 5_000  # of lines; more are rasterised in vector graphics
MARGIN = 0.08  # around the lines of a cell


def as_units(examples: ArrayLike, name: str = "images") -> Array:
    """Return floats (n, *shape), images with channels first; bytes count as values in [0, 1].

    Raises
    ------
    ValueError
        If there are no examples, or they are not numbers.
    """
    array = np.asarray(examples)
    if array.dtype.kind not in "buif":
        raise ValueError(f"{name} must contain numbers, got an array of {array.dtype}.")
    if array.ndim < 2 or array.size == 0:
        raise ValueError(f"{name} must have shape (n, *features), got {array.shape}.")
    unit = 255 if array.dtype == np.uint8 else 1
    return to_channels_first(array.astype(np.float64) / unit)


def cell_height(shape: tuple[int, ...]) -> float:
    """Return the height of a cell, in widths."""
    if not is_image(shape):
        return LINE_CELL
    wide = shape[-1] * (1 if len(shape) == 2 or shape[0] in (1, 3) else shape[0])
    return float(np.clip(shape[-2] / wide, 0.2, 5))


def draw_cells(
    axes: Axes, examples: Array, columns: int, limits: ValueRange | None = None, gap: float = GAP
) -> None:
    """Draw examples (n, *shape) row by row; NaN leaves a pixel empty.

    Pass the result of `value_range` as limits to use the same scale in several figures. The gap
    between images is in image widths.
    """
    shape, rows = examples.shape[1:], -(-len(examples) // columns)
    values = rescale(examples, value_range(examples) if limits is None else limits)
    bare(axes)
    if is_image(shape):
        sheet = tile(to_rgba(values), rows, columns, gap)
        axes.imshow(sheet, extent=(0, columns, rows, 0))
    else:
        _draw_lines(axes, values, columns)
    axes.set(xlim=(0, columns), ylim=(rows, 0), aspect=cell_height(shape))


def _draw_lines(axes: Axes, examples: Array, columns: int) -> None:
    """Draw each channel of each example as a line in its cell."""
    n, shape = len(examples), examples.shape[1:]
    channels = shape[0] if len(shape) == 2 else 1
    lines = examples.reshape(n, channels, -1)
    time = np.linspace(MARGIN, 1 - MARGIN, lines.shape[-1])
    left, top = np.arange(n) % columns, np.arange(n) // columns
    x = np.broadcast_to((left[:, None] + time)[:, None], lines.shape)
    y = top[:, None, None] + 1 - MARGIN - (1 - 2 * MARGIN) * lines
    colours = [PALETTE[k % len(PALETTE)] for k in range(channels)] * n
    paths = list(np.stack([x, y], -1).reshape(n * channels, -1, 2))
    drawn = LineCollection(paths, colors=colours, rasterized=lines.size > POINTS)
    axes.add_collection(drawn)
    corners = [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]
    frames = np.stack([left, top], -1)[:, None] + corners
    axes.add_collection(
        LineCollection(list(frames), colors=PALE, linewidths=0.6, zorder=0, clip_on=False)
    )
