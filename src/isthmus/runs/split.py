"""The split of a data set into training rows and test rows, drawn once and recorded in the run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data import Dataset
from isthmus.data.columns import Table
from isthmus.data.disk_array import as_disk_array
from isthmus.persistence.run_folder import read_config, read_test_rows
from isthmus.training.batches import draw_rows, hold_out

__all__ = [
    "TEST_FRACTION",
    "Split",
    "recorded_split",
    "split_dataset",
    "training_row_numbers",
    "training_rows",
]

TEST_FRACTION = 0.1  # share of the rows held out for the summary by default

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Split:
    """Training rows and test rows of a data set.

    Parameters
    ----------
    train : Dataset
        The data set without its test rows. The model holds out its validation rows from these.
    X_test, y_test : ndarray or None
        The test rows and their labels.
    test_rows : ndarray of int, or None
        Row numbers of the test rows, sorted; None if the data set has a test set of its own.
    test_weights : ndarray or None
        Sample weights of the test rows.
    """

    train: Dataset
    X_test: Any
    y_test: Any
    test_rows: Array | None
    test_weights: Array | None = None

    @property
    def table(self) -> Any:
        """The test rows in the form in which estimators take them: of tables with the columns."""
        columns = self.train.columns
        return self.X_test if columns is None else Table(self.X_test, columns)


def split_dataset(data: Dataset, test_fraction: float, seed: int, how: str = "random") -> Split:
    """Hold out test rows: the data set's own test set, else random ones or the last ones.

    Rows of one group, such as windows of one sound, stay together. Of an array that stays on
    disk, blocks of neighbouring rows are held out, at most as many as fit into memory.

    Parameters
    ----------
    data : Dataset
    test_fraction : float
        Share of the rows (or groups) to hold out, at least one; 0 holds out none.
    seed : int
        Seed of the choice.
    how : {"random", "time"}
        Hold out random rows (or groups), or the last ones.

    Examples
    --------
    >>> from isthmus.data import load
    >>> split = split_dataset(load("digits"), test_fraction=0.1, seed=0)
    >>> split.train.X.shape, split.X_test.shape, split.test_rows[:3]
    ((1618, 8, 8), (179, 8, 8), array([12, 20, 53]))
    """
    if data.X_test is not None:
        return Split(data, data.X_test, data.y_test, None)
    if test_fraction == 0:
        none = np.arange(0)
        return Split(data, data.X[:0], None if data.y is None else data.y[:0], none)
    rng = None if how == "time" else np.random.default_rng(seed)
    if (stored := as_disk_array(data.X)) is not None:
        kept, held = hold_out(stored, data.groups, test_fraction, rng)
        # y, groups and weights are those of the whole array: rows on disk keep their numbers.
        train = replace(data, X=kept, ids=None)
        return _with_test_rows(train, data, held.indices(), held.read())
    counted = np.arange(len(data.X)) if data.weights is None else np.flatnonzero(data.weights)
    groups = None if data.groups is None else data.groups[counted]
    rows = counted[draw_rows(groups, len(counted), test_fraction, rng)]
    is_test = np.zeros(len(data.X), bool)
    is_test[rows] = True
    y, groups, weights = (
        None if part is None else part[~is_test] for part in (data.y, data.groups, data.weights)
    )
    train = replace(data, X=data.X[~is_test], y=y, groups=groups, ids=None, weights=weights)
    return _with_test_rows(train, data, rows, data.X[rows])


def recorded_split(run: Path, data: Dataset) -> Split:
    """Return the test rows that a run recorded; `train` is the whole data set.

    Runs of older versions record none: their rows are drawn again, in the same way. So are those
    of data with another number of rows.

    Parameters
    ----------
    run : Path
        Folder of the run.
    data : Dataset
        The data the run was fitted on.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no run, or the record is missing or corrupt.
    """
    config = read_config(Path(run))
    rows = read_test_rows(Path(run), config)
    shape = config["data"].get("shape") or [len(data.X)]
    if data.X_test is not None or rows is None or shape[0] != len(data.X):
        drawn = split_dataset(
            data,
            TEST_FRACTION,
            config["fitted"]["seed"] or 0,
            config["params"].get("validation_split", "random"),
        )
        return replace(drawn, train=data)
    if len(rows) and rows[-1] >= len(data.X):
        raise ValueError(f"{run} records test row {rows[-1]}, but {data.name} has {len(data.X)}.")
    X = as_disk_array(data.X) or data.X
    return _with_test_rows(data, data, rows, X[rows])


def training_rows(split: Split, most: int | None) -> tuple[Array, Array | None]:
    """Return the rows of a recorded split that were trained on, at most `most`, and their labels.

    Examples
    --------
    >>> from isthmus.data import load
    >>> data = load("digits")
    >>> split = Split(data, data.X[:9], None, np.arange(9))
    >>> len(training_rows(split, None)[0]), len(training_rows(split, 100)[0])
    (1788, 100)
    """
    X, y, rows = split.train.X, split.train.y, training_row_numbers(split, most)
    return np.asarray((as_disk_array(X) or X)[rows]), None if y is None else y[rows]


def training_row_numbers(split: Split, most: int | None) -> Array:
    """Return the numbers of the rows of a recorded split that were trained on, at most `most`."""
    X = split.train.X
    counted = split.train.weights is None or split.train.weights > 0
    rows = np.flatnonzero(np.broadcast_to(counted, len(X)))
    rows = np.setdiff1d(rows, [] if split.test_rows is None else split.test_rows)
    if most is not None and len(rows) > most:
        rows = np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
    return rows


def _with_test_rows(train: Dataset, data: Dataset, rows: Array, X_test: Array) -> Split:
    y, weights = (None if part is None else part[rows] for part in (data.y, data.weights))
    return Split(train, X_test, y, rows, weights)
