"""Rows that a detector cannot score, which it flags as anomalous."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.estimators.validation import RowError, find_empty

__all__ = ["NO_SCORE", "skip_failing_rows", "unscored_note", "warn_unscored"]

Array = NDArray[Any]
NO_SCORE = (
    "no row has a finite score: each row holds no value, or values that overflow float32 or that "
    "the likelihood does not take. Check the unit of X, or mark missing values as missing."
)


def skip_failing_rows(function: Callable[[Array], Any], data: Array) -> tuple[Array, Any]:
    """Apply a function to the rows that can be scored; return their positions and the result.

    These hold values, all of which the models take. The result is None if there are no such rows.
    """
    rows = np.flatnonzero(~find_empty(data))
    while len(rows):
        try:
            return rows, function(data if len(rows) == len(data) else data[rows])
        except RowError as error:
            rows = np.delete(rows, error.rows)
    return rows, None


def warn_unscored(scores: Array, unknown: Array, numbers: Array | None = None) -> None:
    """Warn of rows without a finite score, except those with unknown categories (n, columns)."""
    rows = np.flatnonzero(~np.isfinite(scores) & ~unknown.any(-1))
    if len(rows):
        first = rows[0] if numbers is None else numbers[rows[0]]
        warnings.warn(unscored_note(int(first), len(rows)), stacklevel=4)


def unscored_note(first: int, n: int) -> str:
    """Return a note about rows that are flagged because they cannot be scored.

    Examples
    --------
    >>> unscored_note(12, 1)
    'row 12 holds no value or one that overflows float32 or lies outside the range of the
    likelihood: flagged as anomalous.'
    """
    which = f"row {first} holds" if n == 1 else f"{n:,} rows, the first of them row {first}, hold"
    problem = "no value or one that overflows float32 or lies outside the range of the likelihood"
    return f"{which} {problem}: flagged as anomalous."
