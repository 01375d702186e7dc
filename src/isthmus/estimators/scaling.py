"""Scaling of real-valued data, in float64, before the model sees them and after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["Scaler", "as_float32", "as_float64", "row_slices"]

Array = NDArray[Any]
PIECE = 2**18  # numbers looked at in one go: as float64 they stay in a processor's cache


@dataclass(frozen=True)
class Scaler:
    """(x - shift) / scale, held in float64 so that large offsets lose nothing.

    Parameters
    ----------
    shift, scale : ndarray
        One number each, or one for each feature.
    """

    shift: Array
    scale: Array

    @classmethod
    def fit(cls, X: Array, how: str) -> Scaler:
        """Learn shift and scale: for each feature ("standard"), for all ("global"), or none."""
        if how == "none":
            return cls(np.zeros(()), np.ones(()))
        axis = 0 if how == "standard" else None
        chunks = [*row_slices(X)]
        n = np.maximum(1, sum(np.sum(~np.isnan(as_float64(X[s])), axis) for s in chunks))
        # In units of a power of two, which changes no digit and lets no square overflow or vanish.
        peak = np.max(
            [np.fmax.reduce(np.abs(as_float64(X[s])), axis, initial=0.0) for s in chunks], 0
        )
        unit = np.ldexp(0.5, np.frexp(peak)[1])
        shift = sum(np.nansum(as_float64(X[s]) / unit, axis) for s in chunks) / n
        square = sum(np.nansum((as_float64(X[s]) / unit - shift) ** 2, axis) for s in chunks) / n
        shift, scale = shift * unit, np.sqrt(square) * unit
        # A column that varies by rounding alone is constant.
        constant = scale <= 10 * np.finfo(np.float64).eps * np.abs(shift)
        return cls(np.asarray(shift), np.where(constant, 1.0, scale))

    def only(self, scalable: bool | NDArray[np.bool_]) -> Scaler:
        """Return a scaler that leaves the other columns of a mixed table unchanged."""
        if np.all(scalable) or self.identity:
            return self
        return Scaler(np.where(scalable, self.shift, 0.0), np.where(scalable, self.scale, 1.0))

    @property
    def identity(self) -> bool:
        """Whether nothing is changed."""
        return self.shift.ndim == 0 and self.shift == 0 and self.scale == 1

    @property
    def log_unit(self) -> torch.Tensor | None:
        """Logarithm of the scale, or None where there is none."""
        return None if self.identity else torch.tensor(np.log(self.scale), dtype=torch.float32)

    def transform(self, X: Array) -> Array:
        """Return float32 as the model sees it; bytes untouched where they may be."""
        if self.identity:
            return X if X.dtype == np.uint8 else as_float32(X)
        out = np.empty(X.shape, np.float32)
        for piece in row_slices(X):
            part = as_float64(X[piece])
            part -= self.shift
            part /= self.scale
            out[piece] = part
        return out

    def inverse_transform(self, X: Array) -> Array:
        """Return what the model made in the units of the data."""
        if self.identity:
            return X
        out = X.astype(np.float64)
        out *= self.scale
        out += self.shift
        return out


def as_float64(X: Array) -> Array:
    """Return float64, bytes as [0, 1]."""
    out = X.astype(np.float64)
    if X.dtype == np.uint8:
        out /= 255
    return out


def row_slices(X: Array) -> Iterator[slice]:
    """Yield which rows to look at in one go.

    Examples
    --------
    >>> [*row_slices(np.zeros((5, 2**17)))]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 6, None)]
    """
    rows = max(1, PIECE // max(1, int(np.prod(X.shape[1:]))))
    return (slice(start, start + rows) for start in range(0, len(X), rows))


def as_float32(X: Array) -> Array:
    """Return float32: X itself where it is."""
    return X.astype(np.float32, copy=False)
