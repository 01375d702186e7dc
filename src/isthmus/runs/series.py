"""Time series of a run that was fitted on windows of one: read as a series, and its detector."""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus._messages import one_line, say
from isthmus.applications.series_detection import SeriesDetector
from isthmus.data.series import Series
from isthmus.data.series_tables import SeriesTable, cut_series, read_series_table
from isthmus.data.table_options import TableOptions
from isthmus.persistence.atomic import inner_folder
from isthmus.persistence.run_folder import read_config, read_test_rows
from isthmus.runs.data import CHANGED, load_for_run
from isthmus.runs.detector import DETECTOR

__all__ = ["own_series", "series_detector_of_run", "series_for_run"]

SERIES = "series"  # folder of the detector
OWN = "held-out steps of the run"


def series_for_run(
    run: str | Path,
    path: str | Path,
    *,
    time: str | None = None,
    label: str | int | None = None,
    table: TableOptions | None = None,
) -> SeriesTable:
    """Read a table as a time series with the channels that a run was fitted on.

    Parameters
    ----------
    run : path-like
        Folder of a run that was fitted on windows of a series.
    path : path-like
        The table.
    time : str, optional
        Its column of times; by default that of the run.
    label : str or int, optional
        A column of labels.
    table : TableOptions, optional
        How to read the table, in addition to the options of the run.

    Raises
    ------
    ValueError
        If the table is no series with these channels.
    """
    record = read_config(Path(run))["data"]
    options = TableOptions.from_json(record.get("table", {})).updated(table or TableOptions())
    return read_series_table(Path(path), time or record["time_column"], label, options)


def series_detector_of_run(
    run: str | Path,
    model: Any,
    normal: SeriesTable | None = None,
    name: str = "",
    *,
    contamination: str | float = "auto",
    false_alarm_rate: float = 0.01,
    data_home: str | Path | None = None,
) -> tuple[SeriesDetector, str]:
    """Return the detector of a run, and the steps that set its threshold, in words.

    It is stored in the run. The first time it is fitted to the run's own series, and calibrated on
    the steps that lie in no window that the model was trained on; with `normal`, on these.

    Raises
    ------
    ValueError
        If the run's own series is needed and is not as it was.
    """
    settings: dict[str, Any] = {
        "contamination": contamination,
        "false_alarm_rate": false_alarm_rate,
    }
    folder = Path(run) / DETECTOR / SERIES
    detector, origin = None, OWN
    with suppress(ValueError, OSError):  # a detector that cannot be read is replaced
        detector = SeriesDetector.load(folder, model, **settings)
        saved = SeriesDetector.read_record(folder)["data"].get("name", "unknown steps")
        origin = one_line(str(saved))
    if detector is None:
        detector = _fitted_to_run(run, model, settings, data_home)
    elif normal is None:
        return detector, origin
    if normal is not None:
        detector.calibrate(normal.series)
        origin = name
    try:
        detector.save(inner_folder(Path(run), DETECTOR, SERIES), {"name": origin}, models=False)
    except OSError as error:  # a read-only run can be used, too
        say(f"note: the detector is not stored in the run: {error}", error=True)
    return detector, origin


def own_series(run: str | Path, data_home: str | Path | None = None) -> tuple[Series, str]:
    """Return the series that a run was fitted on, and its path.

    Raises
    ------
    ValueError
        If it is not found, or is not as it was.
    """
    data = load_for_run(run, data_home=data_home)
    if CHANGED in data.notes:
        raise ValueError(f"{CHANGED.rstrip('.')}; fit a new run on them.")
    source = data.source
    assert source is not None
    return series_for_run(run, source.path, label=source.label).series, source.path


def _fitted_to_run(
    run: str | Path, model: Any, settings: dict[str, Any], data_home: Any
) -> SeriesDetector:
    series, path = own_series(run, data_home)
    window = model.feature_shape_[-1]
    held_out = _untrained(Path(run), series, window, path)[series.rows]
    if not held_out.any():
        say(
            "note: the run held out no steps: the threshold is that of steps that it was trained "
            "on, which is too low.",
            error=True,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the gaps were named when the run was fitted
        mask = held_out if held_out.any() else None
        return SeriesDetector(model, **settings).fit(series, held_out=mask)


def _untrained(run: Path, series: Any, window: int, name: str) -> NDArray[np.bool_]:
    """Return which steps lie in no window that the model of a run was trained on."""
    starts = cut_series(series, window, name).starts
    rows = read_test_rows(run, read_config(run))
    trained = np.delete(starts, [] if rows is None else rows)
    change = np.zeros(len(series.values) + 1, int)
    np.add.at(change, trained, 1)
    np.add.at(change, trained + window, -1)
    return change.cumsum()[:-1] == 0
