"""Arrange images on a grid as one byte array, for figures and trackers (NumPy only)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_image", "rescale", "tile", "to_rgba", "value_range"]

Array = NDArray[Any]
ValueRange = tuple[Any, Any]

TOLERANCE = 0.25  # by which the values of an image in [0, 1] may leave that range


def is_image(shape: tuple[int, ...]) -> bool:
    """Return whether an example of this shape is drawn as an image rather than as lines.

    Two axes may be (height, width) or (channels, time): a few very long rows are signals.
    """
    if len(shape) == 3:
        return True
    return len(shape) == 2 and shape[0] > 3 and shape[1] < 8 * shape[0]


def value_range(examples: Array) -> ValueRange:
    """Return the values drawn as black and white, or at the bottom and the top of a cell.

    Images whose values lie in or near [0, 1] are drawn in that range. Columns of a table, which may
    have different units, each have their own range.
    """
    finite = np.where(np.isfinite(examples), examples, np.nan)
    low, high = np.fmin.reduce(finite, None), np.fmax.reduce(finite, None)  # no warning if all NaN
    if low >= -TOLERANCE and high <= 1 + TOLERANCE and is_image(examples.shape[1:]):
        return 0.0, 1.0
    if examples.ndim == 2 and not (low >= 0 and high <= 1):
        low, high = np.fmin.reduce(finite), np.fmax.reduce(finite)
    low = np.nan_to_num(low)
    return low, np.where(high > low, high, low + 1)


def rescale(examples: Array, limits: ValueRange) -> Array:
    """Map the range `limits` to [0, 1] and clip values outside it."""
    low, high = limits
    return np.clip((examples - low) / (high - low), 0, 1)


def to_rgba(images: Array) -> Array:
    """Convert images in [0, 1] to bytes (n, height, width, 4); NaN becomes transparent."""
    if images.ndim == 3:
        images = images[:, None]
    if images.shape[1] == 3:
        colours = images.transpose(0, 2, 3, 1)
    else:  # channels that are not colours: side by side, in grey
        colours = np.concatenate(list(images.swapaxes(0, 1)), axis=-1)[..., None]
    known = np.isfinite(colours).all(-1, keepdims=True)
    bytes_ = np.uint8(np.round(255 * np.nan_to_num(colours, nan=1.0)))
    rgb = np.broadcast_to(bytes_, (*bytes_.shape[:3], 3))
    return np.concatenate([rgb, 255 * known.astype(np.uint8)], -1)


def tile(images: Array, rows: int, columns: int, gap: float) -> Array:
    """Arrange images (n, height, width, 4) on a grid, with transparent white gaps around them.

    The width of a gap is a fraction of the width of an image.
    """
    n, h, w, _ = images.shape
    space = int(np.ceil(gap * w))
    sheet = np.full((rows * columns, h + space, w + space, 4), 255, np.uint8)
    sheet[..., 3] = 0
    before = space // 2
    sheet[:n, before : before + h, before : before + w] = images
    grid = sheet.reshape(rows, columns, h + space, w + space, 4).swapaxes(1, 2)
    return grid.reshape(rows * (h + space), columns * (w + space), 4)
