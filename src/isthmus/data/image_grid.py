"""Pictures side by side as one array of bytes; numpy alone, for figures and for trackers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_image", "rescale", "tile", "to_rgba", "value_range"]

Array = NDArray[Any]
ValueRange = tuple[Any, Any]

SLACK = 0.25  # a picture may leave [0, 1] by this much, and is still one of [0, 1]


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether one example of that shape is a picture: else it is drawn as lines.

    Two axes may be (height, width) or (channels, time): a few very long rows are signals.

    Examples
    --------
    >>> is_image((28, 28)), is_image((3, 32, 32)), is_image((2, 128)), is_image((30,))
    (True, True, False, False)
    """
    if len(shape) == 3:
        return True
    return len(shape) == 2 and shape[0] > 3 and shape[1] < 8 * shape[0]


def value_range(examples: Array) -> ValueRange:
    """Return the values drawn as black and white, or as the bottom and the top of a cell.

    Pictures keep [0, 1] where their values are about that; columns of a table, which may be of
    any units, have limits of their own.

    Examples
    --------
    >>> value_range(np.array([[[-0.1, 1.1]] * 4]))
    (0.0, 1.0)
    """
    finite = np.where(np.isfinite(examples), examples, np.nan)
    low, high = np.fmin.reduce(finite, None), np.fmax.reduce(finite, None)  # silent where all miss
    if low >= -SLACK and high <= 1 + SLACK and is_image(examples.shape[1:]):
        return 0.0, 1.0
    if examples.ndim == 2 and not (low >= 0 and high <= 1):
        low, high = np.fmin.reduce(finite), np.fmax.reduce(finite)
    low = np.nan_to_num(low)
    return low, np.where(high > low, high, low + 1)


def rescale(examples: Array, limits: ValueRange) -> Array:
    """Return examples with the limits at 0 and 1, and nothing beyond.

    Examples
    --------
    >>> rescale(np.array([-1.0, 2.0, 9.0]), (0, 4)).tolist()
    [0.0, 0.5, 1.0]
    """
    low, high = limits
    return np.clip((examples - low) / (high - low), 0, 1)


def to_rgba(pictures: Array) -> Array:
    """Return bytes (n, height, width, 4) of pictures in [0, 1]; NaN is clear.

    Examples
    --------
    >>> to_rgba(np.array([[[0.0, 1.0]]])).tolist()
    [[[[0, 0, 0, 255], [255, 255, 255, 255]]]]
    """
    if pictures.ndim == 3:
        pictures = pictures[:, None]
    if pictures.shape[1] == 3:
        colours = pictures.transpose(0, 2, 3, 1)
    else:  # channels that are no colours stand side by side, in grey
        colours = np.concatenate(list(pictures.swapaxes(0, 1)), axis=-1)[..., None]
    known = np.isfinite(colours).all(-1, keepdims=True)
    bytes_ = np.uint8(np.round(255 * np.nan_to_num(colours, nan=1.0)))
    rgb = np.broadcast_to(bytes_, (*bytes_.shape[:3], 3))
    return np.concatenate([rgb, 255 * known.astype(np.uint8)], -1)


def tile(pictures: Array, rows: int, columns: int, gap: float) -> Array:
    """Return one picture of all, bytes (height, width, 4), between and after them clear white.

    Parameters
    ----------
    pictures : ndarray of bytes (n, height, width, 4)
    rows, columns : int
    gap : float
        White between pictures, in their widths.

    Examples
    --------
    >>> tile(np.zeros((3, 8, 8, 4), np.uint8), rows=2, columns=2, gap=0.06).shape
    (18, 18, 4)
    """
    n, h, w, _ = pictures.shape
    space = int(np.ceil(gap * w))
    sheet = np.full((rows * columns, h + space, w + space, 4), 255, np.uint8)
    sheet[..., 3] = 0
    before = space // 2
    sheet[:n, before : before + h, before : before + w] = pictures
    grid = sheet.reshape(rows, columns, h + space, w + space, 4).swapaxes(1, 2)
    return grid.reshape(rows * (h + space), columns * (w + space), 4)
