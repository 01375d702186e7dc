"""Sample weights: how often each row counts."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from isthmus.data.columns import Table
from isthmus.data.disk_array import DiskArray, as_disk_array
from isthmus.data.input_types import read_labels
from isthmus.data.sparse_rows import SparseRows, as_rows

__all__ = ["WeightedRows", "check_sample_weight", "repeat_rows", "take_rows", "weight_rows"]

Array = NDArray[Any]
MAX_REPEATED = 2**18  # rows, for methods that take no weights


class WeightedRows(NamedTuple):
    """Training rows without those of weight 0; `numbers` are their row numbers if some are out."""

    X: Any
    y: Any = None
    groups: Any = None
    weights: Array | None = None
    numbers: Array | None = None

    def repeated(self, values: Any) -> Any:
        """Return values (n, ...), each as often as its row counts."""
        return values if self.weights is None else values[repeat_rows(self.weights)]


def check_sample_weight(sample_weight: Any, n: int) -> Array:
    """Return the weights of n rows as float64, scaled to the mean 1; one number is for all rows.

    Raises
    ------
    ValueError
        If there is not one weight per row, or one is negative or not finite, or all are 0.

    Examples
    --------
    >>> check_sample_weight([1, 3], 2)
    array([0.5, 1.5])
    """
    weights = np.asarray(read_labels(sample_weight), np.float64)
    weights = np.full(n, weights) if weights.ndim == 0 else weights
    if weights.shape != (n,):
        raise ValueError(
            f"sample_weight must hold one weight for each of {n} rows, got shape {weights.shape}."
        )
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"sample_weight[{row}] is {weights[row]}: weights must be finite and at least 0."
        )
    if not weights.any():
        raise ValueError("sample_weight is zero for every row: at least one must be above 0.")
    weights = weights / weights.max()  # so that no sum overflows
    return weights / weights.mean()


def weight_rows(X: Any, y: Any, groups: Any, sample_weight: Any) -> WeightedRows:
    """Check sample weights, and leave out rows of weight 0.

    Rows on disk stay, and count nothing.
    """
    if sample_weight is None:
        return WeightedRows(X, y, groups)
    X = as_rows(X)
    stored = None if isinstance(X, SparseRows) else as_disk_array(X)
    n = _num_samples(X) if stored is None else stored.n_total
    weights = check_sample_weight(sample_weight, n)
    if stored is not None or weights.all():
        return WeightedRows(X, y, groups, weights)
    for name, values in (("y", y), ("groups", groups)):
        if values is not None and _num_samples(values) != n:
            raise ValueError(f"X has {n} rows, but {name} has {_num_samples(values)}.")
    kept = np.flatnonzero(weights)
    y, groups = (None if values is None else take_rows(values, kept) for values in (y, groups))
    return WeightedRows(
        take_rows(X, kept), y, groups, check_sample_weight(weights[kept], len(kept)), kept
    )


def repeat_rows(weights: Array, most: int = MAX_REPEATED) -> Array:
    """Return row numbers (at most `most`) in which each row occurs in proportion to its weight.

    If all weights are multiples of the smallest, rows occur just so often; otherwise, and if they
    would be too many, the rows are an evenly spaced sample. For methods that take no weights.

    Examples
    --------
    >>> repeat_rows(np.array([0.5, 1.5, 0.0]), most=10)
    array([0, 1, 1, 1])
    """
    times = weights.astype(np.float64) / weights[weights > 0].min()
    whole = np.allclose(times, times.round(), atol=1e-4)
    ends = np.cumsum(times.round() if whole else times)
    n = int(min(most, ends[-1] if whole else len(weights)))
    return np.searchsorted(ends, (np.arange(n) + 0.5) * (ends[-1] / n))


def take_rows(X: Any, rows: Array) -> Any:
    """Return some rows of anything that `fit` takes as X or y."""
    if isinstance(X, Table | SparseRows | DiskArray):
        return X[rows]
    return _safe_indexing(X if hasattr(X, "shape") or isinstance(X, list) else np.asarray(X), rows)
