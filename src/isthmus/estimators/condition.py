"""Encoding of labels and numeric conditions as model inputs, with a code for "unknown"."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_array, column_or_1d

from isthmus.data.column import labels_as_saved
from isthmus.data.input_types import read_labels
from isthmus.estimators.scaling import MOST_SCALED, constant_as_one
from isthmus.estimators.validation import check_finite

__all__ = ["ConditionEncoder", "check_labels"]

Array = NDArray[Any]


@dataclass(frozen=True)
class ConditionEncoder:
    """One-hot encoding of classes, or standardised numbers, and one column for "unknown".

    Parameters
    ----------
    classes : ndarray, optional
        The class labels; None for numeric conditions.
    n_numbers : int
        Number of columns of a numeric condition.
    shift, scale : tuple of float
        Mean and standard deviation per column; empty to leave numbers as they are.
    frequencies : tuple of float
        Share of each class among the training rows; empty if unknown, as in models saved before
        isthmus recorded them.
    """

    classes: Array | None = None
    n_numbers: int = 0
    shift: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    frequencies: tuple[float, ...] = ()

    @classmethod
    def fit(
        cls, y: Any, n: int, rows: Any = slice(None), weights: Array | None = None
    ) -> ConditionEncoder:
        """Learn from the y of n rows: labels (n,), or numbers (n,) or (n, columns).

        The mean and standard deviation of numbers, and the shares of classes, are those of the
        training rows, numbered in `rows`, and count their sample weights.
        """
        y = check_labels(y, n)
        if (y.ndim == 2 and y.shape[1] > 1) or type_of_target(y) == "continuous":
            numbers = check_array(y.reshape(n, -1), dtype=np.float64, input_name="y")
            trained = numbers[rows]
            shift = np.average(trained, 0, weights)
            spread = np.sqrt(np.average((trained - shift) ** 2, 0, weights))
            scale = constant_as_one(shift, spread)
            return cls(None, numbers.shape[1], tuple(shift.tolist()), tuple(scale.tolist()))
        classes, index = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        counts = np.bincount(index[rows], weights, len(classes))
        return cls(classes, frequencies=tuple((counts / counts.sum()).tolist()))

    @property
    def log_frequencies(self) -> Array:
        """Log of the share of each class, (n_classes,); equal shares if they are unknown."""
        assert self.classes is not None
        n = len(self.classes)
        with np.errstate(divide="ignore"):
            return np.log(np.array(self.frequencies or (1 / n,) * n))

    @property
    def width(self) -> int:
        """Number of encoded columns."""
        return 1 + (self.n_numbers if self.classes is None else len(self.classes))

    def encode(self, condition: Any, n: int) -> Array:
        """Return (n, width) float32; one label or one row of numbers applies to all rows.

        Raises
        ------
        ValueError
            If a label was not seen during fit, or the number of labels is neither 1 nor n.
        """
        out = np.zeros((n, self.width), np.float32)
        if condition is None:
            out[:, -1] = 1
        elif self.classes is None:
            out[:, :-1] = self._numbers(condition, n)
        else:
            out[np.arange(n), self._class_indices(self.classes, condition, n)] = 1
        return out

    @staticmethod
    def _class_indices(classes: Array, condition: Any, n: int) -> Array:
        labels = labels_as_saved(column_or_1d(np.atleast_1d(read_labels(condition))))
        if len(labels) not in (1, n):
            raise ValueError(
                f"expected one label for all rows or one for each of the {n} rows, got "
                f"{len(labels)}."
            )
        index = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
        unseen = classes[index] != labels
        if unseen.any():
            known = ", ".join(map(str, classes[:20]))
            raise ValueError(
                f"unknown label {str(labels[unseen][0])!r}; labels seen during fit: "
                f"{known}{', …' if len(classes) > 20 else ''}."
            )
        return np.broadcast_to(index, n)

    def _numbers(self, condition: Any, n: int) -> Array:
        numbers = np.asarray(read_labels(condition), dtype=np.float64)
        if numbers.ndim < 2:  # one number per row, or one row of numbers for all rows
            numbers = numbers.reshape((-1, 1) if self.n_numbers == 1 else (1, -1))
        if numbers.shape[1:] != (self.n_numbers,) or len(numbers) not in (1, n):
            raise ValueError(
                f"condition must have {self.n_numbers} numbers for each of the {n} rows, or once "
                f"for all rows, got shape {np.shape(condition)}."
            )
        numbers = check_array(numbers, input_name="condition")
        if self.scale:
            numbers = (numbers - np.array(self.shift)) / np.array(self.scale)
        check_finite(numbers, limits=(-MOST_SCALED, MOST_SCALED), what="condition")
        return np.broadcast_to(numbers, (n, self.n_numbers))


def check_labels(y: Any, n: int) -> Array:
    """Return the y of n training rows as an array; raise a ValueError if any are missing."""
    y = read_labels(y)
    if y.ndim == 0 or len(y) != n:
        got = "no rows" if y.ndim == 0 else f"{len(y)}"
        raise ValueError(f"X has {n} rows, but y has {got}: pass one label per row.")
    # Only NaN differs from itself.
    missing = (y != y) | (y == None) if y.dtype.kind in "fOmM" else np.zeros(n, bool)  # noqa: E711
    if missing.any():
        raise ValueError(
            f"y has missing values, the first in row {int(np.argwhere(missing)[0, 0])}: drop these "
            "rows, or give them a label of their own."
        )
    if (labels := labels_as_saved(y)) is not y:
        warnings.warn(
            f"labels such as {labels.reshape(-1)[0]!s} are kept as text, because saved models hold "
            "only text, numbers and booleans.",
            UserWarning,
            stacklevel=2,
        )
    return labels
