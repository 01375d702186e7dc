"""Whether test rows are copies of training rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from isthmus.evaluation.checks.claim import Claim
from isthmus.evaluation.checks.context import Context, Rows
from isthmus.evaluation.checks.finding import Evidence, Remedy

__all__ = ["copies", "expected_copies"]

Array = NDArray[Any]
COPIED = 0.01  # of the test rows
FEW = 3  # times that a row can occur without being one that the data repeat by nature
COMMON = 0.01  # of the training rows that occur more often, from which data repeat by nature
MOST_COMPARED = 2**28  # values of pairs of rows
LEAST_EQUAL = 10  # rows like another one in some columns
MOST_ROWS = (100, 1_000)  # test rows of which the neighbours are counted, of long and short rows


def copies(context: Context) -> Iterator[Claim]:
    """Check whether more test rows are copies of training rows than chance explains.

    Some data repeat by nature, such as tables of few categories. The share of copies to be expected
    is that of training rows that occur more than once, if more than 1% of them occur more than
    three times; otherwise it follows from the number of training rows that differ from a test row
    in one or two columns, see `expected_copies`.

    References
    ----------
    The population frequencies of species and the estimation of population parameters (Good, 1953).
    """
    train, test = context.train, context.test
    assert train is not None
    assert test is not None
    counts = Counter(_as_bytes(train))
    found = np.array([row in counts for row in _as_bytes(test)], dtype=float)
    chance = 0.0
    if found.any():
        times = np.array([*counts.values()])
        often = times[times > FEW].sum() > COMMON * len(train)
        repeated = float(times[times > 1].sum() / len(train)) if often else 0.0
        chance = max(repeated, _by_neighbours(train, test))
    excess = float(found.mean()) - chance
    share = min(1.0, excess * train.n_given / len(train))  # only some training rows were compared
    yield Claim(
        "copied rows",
        Evidence(
            "share of test rows that are copies of training rows, beyond chance",
            max(0.0, share),
            COPIED,
            p_value=_p_value(
                float(found.mean()), len(test), chance, len(test if chance else train)
            ),
            rows=len(test),
        ),
        f"{share:.1%} of the test rows are copies of training rows, so that scores on test rows "
        "are too good.",
        "Test rows are not copies of training rows, beyond what these data repeat.",
        Remedy(
            advice="Remove repeated rows before splitting; pass `groups` to `fit` to keep the rows "
            "of one source together."
        ),
    )


def _as_bytes(rows: Rows) -> list[bytes]:
    return [row.tobytes() for row in rows.values + 0.0]  # -0.0 becomes 0.0


def _p_value(found: float, n_found: int, chance: float, n_chance: int) -> float:
    """Return the p-value of a share that is larger than another one."""
    both = (found * n_found + chance * n_chance) / (n_found + n_chance)
    error = (both * (1 - both) * (1 / n_found + 1 / n_chance)) ** 0.5
    return float(norm.sf((found - chance) / error)) if error else 1.0


def _by_neighbours(train: Rows, test: Rows) -> float:
    """Return the share of test rows that are copies by chance, see `expected_copies`."""
    n, most = len(train), int(np.clip(MOST_COMPARED // max(1, train.values.size), *MOST_ROWS))
    columns = _distinct_columns(np.concatenate([train.values, test.values]))
    chosen = np.random.default_rng(0).permutation(len(test))[:most]
    if columns.shape[1] == 1:
        expected = _expected_in_one_column(columns[:n, 0], columns[n:, 0])
    else:
        expected = expected_copies(columns[:n], columns[n:][chosen])
    return float(-np.expm1(-expected).mean())


def expected_copies(train: Array, test: Array) -> Array:
    """Return how many training rows are to be expected to equal each test row by chance, (n_test,).

    If a test row has a training rows that differ in column j only, b in column k only, and c in
    both, then a · b / c rows are to be expected that differ in neither, given that columns j and k
    are independent in the neighbourhood of the row. The sums over all pairs of columns are used.
    Of copies that were planted among many possible rows there are no such neighbours.

    Parameters
    ----------
    train, test : ndarray of int (n, columns) and (n_test, columns)

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> bits = rng.integers(2, size=(1000, 12))  # 4096 possible rows
    >>> float(expected_copies(bits[:800], bits[800:]).mean().round(2))
    0.2
    >>> wide = rng.integers(9, size=(1000, 12))
    >>> float(expected_copies(wide[:800], wide[800:]).mean())
    0.0
    """
    n_test, d = test.shape
    different = np.zeros((n_test, len(train)), dtype=np.int32)
    for j in range(d):
        different += test[:, None, j] != train[:, j]
    row, other = np.nonzero(different == 1)
    column = np.zeros(len(row), dtype=np.intp)
    for j in range(d):
        column[test[row, j] != train[other, j]] = j
    by_column = np.bincount(row * d + column, minlength=n_test * d).reshape(n_test, d)
    pairs = (by_column.sum(axis=1) ** 2 - (by_column**2).sum(axis=1)) / 2  # sum of a · b
    expected: Array = pairs / np.maximum(1, (different == 2).sum(axis=1))
    return expected


def _expected_in_one_column(train: Array, test: Array) -> Array:
    """Return the same for single values: the mean number of training rows one step away."""
    values = np.unique(train)
    if len(values) < 2:
        return np.full(len(test), np.inf)
    step, rows = np.diff(values).min(), np.sort(train)
    near, nearest = (
        np.searchsorted(rows, test + width * step) - np.searchsorted(rows, test - width * step)
        for width in (1.5, 0.5)
    )
    expected: Array = (near - nearest) / 2
    return expected


def _distinct_columns(values: Array) -> Array:
    """Return the columns without those that others determine, and one-hot codes as one column.

    A column is left out if rows that are equal in the columns before it are equal in it, too; of
    ten such rows or more this is no coincidence.
    """
    kept: list[Array] = []
    rows = np.zeros(len(values), dtype=np.intp)  # which rows are equal in the columns kept
    n = 1
    for column in _with_one_hot_codes_merged(np.where(np.isnan(values), np.inf, values)):
        levels, codes = np.unique(column, return_inverse=True)
        rows = np.unique(rows * len(levels) + codes, return_inverse=True)[1]
        n, before = int(rows.max()) + 1, n
        if n > before or len(values) - before < LEAST_EQUAL:
            kept.append(column)
    return np.column_stack(kept) if kept else np.zeros((len(values), 1))


def _with_one_hot_codes_merged(values: Array) -> Iterator[Array]:
    """Return the columns, (n,) each; adjacent columns of 0 and 1 that are never both 1 are one."""
    merged, some, size = None, np.ones(len(values)), 0
    for column in values.T:
        binary = bool(np.isin(column, (0, 1)).all())
        if merged is not None and binary and (some + column).max() <= 1:
            size += 1
            merged, some = merged + size * column, some + column
            continue
        if merged is not None:
            yield merged
        merged, some, size = column, column if binary else np.ones(len(values)), 1
    if merged is not None:
        yield merged
