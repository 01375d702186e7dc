"""Labels and other contexts as numbers beside x and z, with a place for "unknown"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_array, column_or_1d

__all__ = ["ConditionEncoder", "check_labels"]

Array = NDArray[Any]


@dataclass(frozen=True)
class ConditionEncoder:
    """How a context becomes numbers: one column a class (or a number), and one for "unknown".

    Parameters
    ----------
    classes : ndarray, optional
        The labels, for a context of classes.
    n_numbers : int
        Columns of a context of numbers.
    shift, scale : tuple of float
        By which numbers are brought to mean 0 and standard deviation 1; none for as they are.
    """

    classes: Array | None = None
    n_numbers: int = 0
    shift: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    @classmethod
    def fit(cls, y: Any, n: int) -> ConditionEncoder:
        """Learn from the y of n training rows: labels (n,), or numbers (n,) or (n, columns)."""
        y = check_labels(y, n)
        if (y.ndim == 2 and y.shape[1] > 1) or type_of_target(y) == "continuous":
            numbers = check_array(y.reshape(n, -1), dtype=np.float64, input_name="y")
            shift, scale = numbers.mean(0), numbers.std(0)
            # A column that varies by rounding alone is constant.
            constant = scale <= 10 * np.finfo(np.float64).eps * np.abs(shift)
            scale = np.where(constant, 1.0, scale)
            return cls(None, numbers.shape[1], tuple(shift.tolist()), tuple(scale.tolist()))
        return cls(classes=np.unique(column_or_1d(y, warn=True)))

    @property
    def width(self) -> int:
        """Numbers a row."""
        return 1 + (self.n_numbers if self.classes is None else len(self.classes))

    def encode(self, condition: Any, n: int) -> Array:
        """Return (n, width) float32; a single label or row of numbers serves all rows.

        Raises
        ------
        ValueError
            A label never seen, or the wrong number of rows.
        """
        out = np.zeros((n, self.width), np.float32)
        if condition is None:
            out[:, -1] = 1
        elif self.classes is None:
            out[:, :-1] = self._numbers(condition, n)
        else:
            out[np.arange(n), self._labels(condition, n)] = 1
        return out

    def _labels(self, condition: Any, n: int) -> Array:
        assert self.classes is not None
        labels = np.atleast_1d(np.asarray(condition))
        labels = column_or_1d(labels)
        _check_rows(len(labels), n)
        index = np.searchsorted(self.classes, labels).clip(max=len(self.classes) - 1)
        unseen = self.classes[index] != labels
        if unseen.any():
            known = ", ".join(map(str, self.classes[:20]))
            raise ValueError(
                f"the label {str(labels[unseen][0])!r} was not there when the model was fitted; "
                f"known are: {known}{', …' if len(self.classes) > 20 else ''}."
            )
        return np.broadcast_to(index, n)

    def _numbers(self, condition: Any, n: int) -> Array:
        numbers = np.asarray(condition, dtype=np.float64)
        if numbers.ndim < 2:  # one number for each row, or one row of numbers for all
            numbers = numbers.reshape((-1, 1) if self.n_numbers == 1 else (1, -1))
        if numbers.shape[1:] != (self.n_numbers,) or len(numbers) not in (1, n):
            raise ValueError(
                f"condition must hold {self.n_numbers} numbers for each of the {n} rows (or once "
                f"for all), got shape {np.shape(condition)}."
            )
        numbers = check_array(numbers, input_name="condition")
        if self.scale:
            numbers = (numbers - np.array(self.shift)) / np.array(self.scale)
        return np.broadcast_to(numbers, (n, self.n_numbers))


def check_labels(y: Any, n: int) -> Array:
    """Return the y of n training rows as an array; a ValueError where some are missing."""
    y = np.asarray(y)
    if y.ndim == 0 or len(y) != n:
        got = "none" if y.ndim == 0 else str(len(y))
        raise ValueError(f"X has {n} rows, but y has {got}: give a label for each of the {n} rows.")
    # NaN alone is not equal to itself.
    missing = (y != y) | (y == None) if y.dtype.kind in "fO" else np.zeros(n, bool)  # noqa: E711
    if missing.any():
        raise ValueError(
            f"y has missing values, the first in row {int(np.argwhere(missing)[0, 0])}: drop these "
            "rows, or give them a label of their own."
        )
    return y


def _check_rows(got: int, n: int) -> None:
    if got not in (1, n):
        raise ValueError(
            f"expected one label for each of the {n} rows (or a single one), got {got}."
        )
