"""Split arrays into overlapping windows, process these and blend them back together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

__all__ = ["Windows"]

Array = NDArray[Any]
BLOCK = 2**22  # numbers processed at once


@dataclass(frozen=True)
class Windows:
    """Overlapping windows over the last axes of arrays.

    Parameters
    ----------
    size : tuple of int
        Of a window, along the last axes.
    overlap : float, default=0.5
        Fraction of a window that the next one also covers, in [0, 1).
    stride : int, optional
        Distance between the beginnings of windows along each axis, in place of `overlap`.
    taper : bool, default=True
        Whether overlapping windows count less near their ends.

    Notes
    -----
    Windows are weighted by a squared sine that is nowhere 0, and the sum is divided by the sum of
    the weights: `apply` with the identity returns its input, for any length. Arrays shorter than
    a window are padded by reflection at their end.

    References
    ----------
    Signal estimation from modified short-time Fourier transform (Griffin, Lim, 1984).

    Examples
    --------
    >>> X = np.arange(10.0)[None]
    >>> Windows((4,)).cut(X).shape
    (4, 4)
    >>> np.allclose(Windows((4,)).apply(lambda w: 2 * w, X), 2 * X)
    True
    """

    size: tuple[int, ...]
    overlap: float = 0.5
    stride: int | None = None
    taper: bool = True

    def __post_init__(self) -> None:
        if not self.size or any(s < 1 for s in self.size):
            raise ValueError(f"the sizes of windows must be positive, got {self.size!r}.")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"overlap must be at least 0 and below 1, got {self.overlap!r}.")
        if self.stride is not None and not 1 <= self.stride <= min(self.size):
            raise ValueError(
                f"stride must be from 1 to the size of a window, {min(self.size)}, got "
                f"{self.stride!r}."
            )

    def cut(self, X: Array) -> Array:
        """Return the windows of all rows of X (n, ..., *sides), in order, (m, ..., *size)."""
        X = self._padded(X)
        return self._views(X)[tuple(self._index(X))]

    def apply(self, function: Callable[[Array], Array], X: Array) -> Array:
        """Apply a function to all windows of X (n, ..., *sides) and blend the results.

        The function maps windows (m, ..., *size) to an array of the same size along the last axes.
        The result is float64; the other axes are those of the function's results.
        """
        padded, k = self._padded(X), len(self.size)
        views, index = self._views(padded), self._index(padded)
        total, weight = np.zeros(0), self.weight
        weights = np.zeros(padded.shape[-k:])
        step = max(1, BLOCK // math.prod(views.shape[1 + k :]))
        for start in range(0, len(index[0]), step):
            block = tuple(i[start : start + step] for i in index)
            done = np.asarray(function(views[block]), dtype=np.float64) * weight
            if not start:
                total = np.zeros((len(X), *done.shape[1:-k], *padded.shape[-k:]))
            self._add(total, done, block)
            first = tuple(i[block[0] == 0] for i in block)  # the weights are the same for all rows
            self._add(weights[None], np.broadcast_to(weight, (len(first[0]), *self.size)), first)
        kept: Any = (..., *(slice(s) for s in X.shape[-k:]))
        return (total / weights)[kept]

    def _add(self, total: Array, windows: Array, index: tuple[Array, ...]) -> None:
        """Add windows (m, ..., *size) to arrays (n, ..., *sides) at their rows and corners."""
        row, *corners = index
        if len(self.size) == 1 and len(row) > self.size[0] and row[0] == row[-1]:
            for place in range(self.size[0]):  # no place of the array occurs twice
                total[row[0]][..., corners[0] + place] += np.moveaxis(windows[..., place], 0, -1)
            return
        for window, first, *corner in zip(windows, row, *corners, strict=True):
            places = tuple(slice(c, c + s) for c, s in zip(corner, self.size, strict=True))
            total[first][(..., *places)] += window

    @property
    def weight(self) -> Array:
        """Weight of each position of a window when windows are blended, of shape `size`."""
        if not self.taper or (self.stride is None and not self.overlap):
            return np.ones(self.size)
        sines = [np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in self.size]
        return reduce(np.multiply.outer, sines)

    def starts(self, length: int, axis: int = 0) -> Array:
        """Return where windows begin along an axis; the last one ends with the array."""
        size = self.size[axis]
        hop = self.stride or max(1, round(size * (1 - self.overlap)))
        return np.append(np.arange(0, length - size, hop), length - size)

    def _padded(self, X: Array) -> Array:
        sides = X.shape[-len(self.size) :]
        if X.ndim <= len(self.size) or 0 in sides:
            raise ValueError(
                f"expected rows of at least {len(self.size)} non-empty axes, got the shape "
                f"{X.shape}."
            )
        missing = [max(0, size - side) for size, side in zip(self.size, sides, strict=True)]
        if not any(missing):
            return X
        widths = [(0, 0)] * (X.ndim - len(missing)) + [(0, k) for k in missing]
        return np.pad(X, widths, "symmetric")

    def _views(self, X: Array) -> Array:
        """Return views of the windows at all places, (n, *places, ..., *size)."""
        k = len(self.size)
        views = sliding_window_view(X, self.size, tuple(range(-k, 0)))  # (n, ..., *places, *size)
        return np.moveaxis(views, tuple(range(-2 * k, -k)), tuple(range(1, 1 + k)))

    def _index(self, X: Array) -> list[Array]:
        """Return the row and the corner of each window."""
        sides = X.shape[-len(self.size) :]
        corners = [self.starts(side, axis) for axis, side in enumerate(sides)]
        grid = np.meshgrid(np.arange(len(X)), *corners, indexing="ij")
        return [g.ravel() for g in grid]
