"""Scaling of real-valued data, in float64, before the model sees them and after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.data.layout import channels_first, channels_last, model_shape

__all__ = [
    "LIMITS",
    "MOST_SCALED",
    "PEAK",
    "Scaler",
    "as_float32",
    "as_float64",
    "constant_as_one",
    "row_slices",
]

Array = NDArray[Any]
#: Least and greatest value that the model can compute with in float32, which goes to 3.4e38.
LIMITS = (np.float64(-1e37), np.float64(1e37))
MOST_SCALED = 1e15  # after scaling, so that squares and their sums do not overflow
PEAK = 10.0  # largest scaled deviation of a feature in the rows that it was learned from
SLICE_NUMBERS = 2**18  # as float64 they fit into the processor's cache


@dataclass(frozen=True)
class Scaler:
    """Standardisation (x - shift) / scale in float64, so that large offsets lose no digits.

    It also moves the channels: data (n, *features) have them where `channels` says, the scaled
    rows that the model sees have them first. Shift and scale are arrays of one number each, or of
    one per feature in the order of the model. `n_axes` is the number of axes of one example.
    """

    shift: Array
    scale: Array
    channels: str = "first"
    n_axes: int = 1

    @classmethod
    def fit(cls, X: Any, how: str, weights: Array | None = None, channels: str = "first") -> Scaler:
        """Learn the scale per feature ("standard"), over all features ("global"), or "none".

        Means count sample weights (n,). The scale of a feature is its standard deviation, but at
        least 1/10 of its largest deviation from the mean: a feature that is constant in all but a
        few rows would have huge values there.
        """
        n_axes = X.ndim - 1
        if how == "none":
            return cls(np.zeros(()), np.ones(()), channels, n_axes)
        X = channels_first(X) if channels == "last" else X
        axis = 0 if how == "standard" else None
        slices = [*row_slices(X)]

        def total(function: Callable[[Array], Array]) -> Any:
            """Return the weighted sum of a function of the values, without those missing."""
            sums = 0.0
            for rows in slices:
                values = function(as_float64(X[rows]))
                if weights is not None:
                    values = (values.T * weights[rows]).T
                sums = sums + np.nansum(values, axis)
            return sums

        n = total(lambda x: ~np.isnan(x) * 1.0)
        n = np.where(n > 0, n, 1)
        # Dividing by a power of two is exact, and keeps squares from overflow and underflow.
        peaks = (np.fmax.reduce(np.abs(as_float64(X[s])), axis, initial=0.0) for s in slices)
        unit = np.ldexp(0.5, np.frexp(reduce(np.maximum, peaks))[1])
        shift = total(lambda x: x / unit) / n
        square = total(lambda x: (x / unit - shift) ** 2) / n
        shift, scale = shift * unit, np.sqrt(square) * unit
        if how == "standard":
            far = (np.fmax.reduce(np.abs(as_float64(X[s]) - shift), 0, initial=0.0) for s in slices)
            scale = np.maximum(scale, reduce(np.maximum, far) / PEAK)
        return cls(np.asarray(shift), constant_as_one(shift, scale), channels, n_axes)

    def only(self, scalable: bool | NDArray[np.bool_]) -> Scaler:
        """Return a scaler that leaves the other columns of a mixed table unchanged."""
        if np.all(scalable) or self.identity:
            return self
        shift, scale = np.where(scalable, self.shift, 0.0), np.where(scalable, self.scale, 1.0)
        return replace(self, shift=shift, scale=scale)

    @property
    def identity(self) -> bool:
        """Whether the scaler changes nothing."""
        return self.shift.ndim == 0 and self.shift == 0 and self.scale == 1

    @property
    def limits(self) -> tuple[Array, Array]:
        """Least and greatest value per feature whose scaled form float32 can compute with."""
        with np.errstate(over="ignore"):  # models of older versions may have any scale
            ends = [self.shift + sign * MOST_SCALED * self.scale for sign in (-1, 1)]
        low, high = (self.to_data_layout(each) if np.ndim(each) else each for each in ends)
        return np.maximum(low, LIMITS[0]), np.minimum(high, LIMITS[1])

    @property
    def log_unit(self) -> torch.Tensor | None:
        """Logarithm of the scale, or None if the scaler changes nothing."""
        return None if self.identity else torch.tensor(np.log(self.scale), dtype=torch.float32)

    def transform(self, X: Array) -> Array:
        """Return scaled float32 with channels first; unscaled bytes stay bytes."""
        X = self.to_model_layout(X)
        if self.identity:
            return X if X.dtype == np.uint8 else as_float32(X)
        out = np.empty(X.shape, np.float32)
        for rows in row_slices(X):
            part = as_float64(X[rows])
            part -= self.shift
            part /= self.scale
            out[rows] = part
        return out

    def inverse_transform(self, X: Array) -> Array:
        """Return outputs of the model in the units and the layout of the data."""
        if self.identity:
            return self.to_data_layout(X)
        out = X.astype(np.float64)
        out *= self.scale
        out += self.shift
        return self.to_data_layout(out)

    def model_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one example of the data with its channels first."""
        return model_shape(shape, self.channels)

    def to_model_layout(self, X: Array) -> Array:
        """Return data (..., *features) with their channels first."""
        return channels_first(X, self.n_axes) if self.channels == "last" else X

    def to_data_layout(self, X: Array) -> Array:
        """Return outputs of the model (..., *features) in the layout of the data."""
        return channels_last(X, self.n_axes) if self.channels == "last" else X


def constant_as_one(shift: Array, scale: Array) -> Array:
    """Replace the standard deviation of columns that are constant up to rounding by 1."""
    constant = scale <= 10 * np.finfo(np.float64).eps * np.abs(shift)
    return np.where(constant, 1.0, scale)


def as_float64(X: Array) -> Array:
    """Return a float64 copy; bytes are mapped to [0, 1]."""
    out = X.astype(np.float64)
    if X.dtype == np.uint8:
        out /= 255
    return out


def row_slices(X: Array) -> Iterator[slice]:
    """Yield slices of rows that fit into the processor's cache.

    Examples
    --------
    >>> [*row_slices(np.zeros((5, 2**17)))]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 6, None)]
    """
    rows = max(1, SLICE_NUMBERS // max(1, int(np.prod(X.shape[1:]))))
    return (slice(start, start + rows) for start in range(0, len(X), rows))


def as_float32(X: Array) -> Array:
    """Return float32, without a copy if X has that type."""
    return X.astype(np.float32, copy=False)
