"""The axis of the channels in images: models take it first, data may have it last."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LAYOUTS",
    "channels_first",
    "channels_last",
    "find_channels",
    "model_shape",
    "to_channels_first",
]

Array = NDArray[Any]
CHANNELS = (1, 3, 4)  # grey; red, green, blue; and opacity
LAYOUTS = ("first", "last")


def find_channels(shape: tuple[int, ...], setting: str = "auto") -> str:
    """Return where examples of a shape have their channels: "first" or "last".

    Parameters
    ----------
    shape : tuple of int
        Shape of one example.
    setting : {"auto", "first", "last"}
        "auto" is "last" if the last of three axes has length 1, 3 or 4 and the first has not, else
        "first". No image has a side of length 1, so that is the axis of the channels.

    Raises
    ------
    ValueError
        If the first and the last axis both have length 3 or 4 and the setting is "auto", or if
        `shape` has no axis for the channels.

    Examples
    --------
    >>> find_channels((28, 28, 1)), find_channels((3, 64, 64)), find_channels((28, 28))
    ('last', 'first', 'first')
    """
    if setting == "last" and len(shape) < 2:
        raise ValueError(
            "channels='last' needs images (n, height, width, channels) or signals (n, time, "
            f"channels), but one example has the shape {shape}; use channels='auto'."
        )
    if setting in LAYOUTS:
        return setting
    found = _guess(shape)
    if found is None:
        raise ValueError(
            f"examples of shape {shape} may have their channels first or last: set "
            "channels='first' or channels='last' (--channels first)."
        )
    return found


def _guess(shape: tuple[int, ...]) -> str | None:
    """Return the layout that a shape suggests; None if both are plausible."""
    first, last = (len(shape) == 3 and shape[axis] in CHANNELS for axis in (0, -1))
    if not (first and last):
        return "last" if last else "first"
    if 1 in (shape[0], shape[-1]):
        return "first" if shape[0] == 1 else "last"
    return None


def model_shape(shape: tuple[int, ...], channels: str) -> tuple[int, ...]:
    """Return the shape of one example, with channels first or last, as models take it."""
    return (shape[-1], *shape[:-1]) if channels == "last" else shape


def channels_first(X: Array, n_axes: int | None = None) -> Array:
    """Move the last axis before the other axes of an example, of which there are `n_axes`.

    By default the first axis of X counts the examples. The result is a view.
    """
    return np.moveaxis(X, -1, -(X.ndim - 1 if n_axes is None else n_axes))


def channels_last(X: Array, n_axes: int | None = None) -> Array:
    """Undo `channels_first`; the result is a view."""
    return np.moveaxis(X, -(X.ndim - 1 if n_axes is None else n_axes), -1)


def to_channels_first(images: Array) -> Array:
    """Return images (n, height, width, channels) with channels first, other arrays as they are.

    Examples
    --------
    >>> to_channels_first(np.zeros((9, 28, 30, 3))).shape
    (9, 3, 28, 30)
    """
    return channels_first(images) if _guess(images.shape[1:]) == "last" else images
