"""Read the table of a time series from a file, and cut it into windows to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from isthmus.data.row_ids import read_ids
from isthmus.data.series import Series, as_times, choose_window, regular_series
from isthmus.data.table_options import TableOptions
from isthmus.data.tables import load_table
from isthmus.data.windows import Windows

__all__ = ["SeriesTable", "SeriesWindows", "cut_series", "read_series_table", "window_starts"]

Array = NDArray[Any]
MAX_WINDOWS = 10_000  # of a series; of a longer one they begin farther apart
GROUP = 4  # windows after which another group begins


class SeriesTable(NamedTuple):
    """A series, the cells that hold the times of its rows, and the labels of its rows, if any."""

    series: Series
    times: Array
    labels: Array | None


class SeriesWindows(NamedTuple):
    """Windows (n, n_channels, window), their first steps, groups of neighbours, and remarks."""

    X: Array
    starts: Array
    groups: Array
    notes: tuple[str, ...]


def read_series_table(
    path: Path, time: str, label: str | int | None = None, options: TableOptions | None = None
) -> SeriesTable:
    """Read a table whose rows follow each other in time.

    Parameters
    ----------
    path : Path
        A table: .csv, .tsv or .parquet.
    time : str
        The column of times.
    label : str or int, optional
        A column that is no channel.
    options : TableOptions, optional
        How to read the table; with `columns` these are the channels, in this order.

    Raises
    ------
    ValueError
        If the file is no table, a channel holds no numbers, or the times cannot be read.
    """
    options = options or TableOptions()
    cells = read_ids(path, time, "time column")
    aside = TableOptions.of(drop=[time])
    X, labels, columns = load_table(path, label, None, options.updated(aside))
    names = [str(column.name) for column in columns.columns]
    if wrong := [c.name for c in columns.columns if c.kind == "category"]:
        raise ValueError(
            f"{path}: column {wrong[0]!r} holds words, not numbers: leave it out by --drop, or "
            "name it by --label."
        )
    wanted = options.columns or names
    if missing := [name for name in wanted if name not in names]:
        raise ValueError(
            f"{path} has no channel {missing[0]!r}; expected {', '.join(wanted)}, found "
            f"{', '.join(names)}."
        )
    order = [names.index(name) for name in wanted]
    times, zone = as_times(np.asarray(cells), f"{path}: column {time!r}")
    chosen = tuple(names[j] for j in order)
    series = regular_series(X[:, order], times, chosen, zone, name=str(path))
    return SeriesTable(series, np.asarray(cells).astype(str), labels)


def window_starts(n_steps: int, window: int) -> Array:
    """Return the first steps of the windows that a model of a series is trained on."""
    stride = max(1, min(window, -(-(n_steps - window + 1) // MAX_WINDOWS)))
    return Windows((window,), stride=stride).starts(n_steps)


def cut_series(series: Series, window: int | None, name: str) -> SeriesWindows:
    """Return the windows of a series without missing values.

    Windows overlap: those of one group begin within four windows, to be held out together.

    Raises
    ------
    ValueError
        If the series is shorter than a window, or all windows have missing values.
    """
    notes = []
    if window is None:
        window, reason = choose_window(series.values)
        notes.append(f"window: {reason}")
    n_steps = len(series.values)
    if n_steps < window:
        raise ValueError(f"{name} has {n_steps} steps, fewer than a window of {window}.")
    starts = window_starts(n_steps, window)
    missing = np.append(0, np.cumsum(np.isnan(series.values).any(1)))
    known = missing[starts + window] == missing[starts]
    if not known.any():
        raise ValueError(
            f"{name}: every window of {window} steps has missing values; set a shorter window, or "
            "drop the channels with gaps."
        )
    if n := int((~known).sum()):
        notes.append(f"left out {n:,} of {len(starts):,} windows, which have missing values")
    starts = starts[known]
    X = sliding_window_view(series.values, window, 0)[starts]
    return SeriesWindows(X, starts, starts // (GROUP * window), tuple(notes))
