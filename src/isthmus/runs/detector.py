"""The anomaly detector of a run: calibrated once, stored in the run, used for all later data."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from isthmus._messages import one_line, say
from isthmus.applications.anomaly_detection import AnomalyDetector
from isthmus.applications.anomaly_scores import SCORES
from isthmus.data.columns import Table
from isthmus.persistence.atomic import inner_folder
from isthmus.runs.data import CHANGED, load_for_run
from isthmus.runs.split import recorded_split, training_rows

__all__ = ["DETECTOR", "OWN", "RunDetector", "detector_of_run"]

DETECTOR = "detector"  # folder, within a run, of one detector for each score
MAX_TRAINING_ROWS = 20_000  # to which a score is fitted
OWN = "held-out rows of the run"


class RunDetector(NamedTuple):
    """A calibrated detector, and the rows that set its threshold, in words."""

    detector: AnomalyDetector
    origin: str


def detector_of_run(
    run: str | Path,
    model: Any,
    normal: Any = None,
    name: str = "",
    *,
    score_method: str = "reconstruction",
    contamination: str | float = "auto",
    false_alarm_rate: float = 0.05,
    random_state: int = 0,
    handle_unknown: str = "flag",
    data_home: str | Path | None = None,
    store: bool = True,
) -> RunDetector:
    """Return the detector of a run, so that the threshold does not depend on the rows it scores.

    Without `normal` it is the detector stored in the run for this score or, the first time, one
    that is calibrated on the run's own test rows. A new detector is stored in the run.

    Parameters
    ----------
    run : path-like
        Folder of the run.
    model : LatentEstimator
        The model of the run.
    normal : array-like, optional
        Normal rows on which to calibrate a new detector.
    name : str
        The source of the normal rows.
    score_method, contamination, false_alarm_rate, random_state, handle_unknown
        As for `AnomalyDetector`.
    data_home : path-like, optional
        As for `isthmus.data.load`, for the run's own data.
    store : bool
        Whether to store a new detector; only one of several processes should.

    Raises
    ------
    ValueError
        If no detector is stored and the run has no test rows, or its data are not as they were.
    """
    folder = Path(run) / DETECTOR / score_method
    settings: dict[str, Any] = {
        "contamination": contamination,
        "false_alarm_rate": false_alarm_rate,
        "handle_unknown": handle_unknown,
    }
    if normal is None:
        with suppress(ValueError, OSError):  # a detector that cannot be read is replaced
            detector = AnomalyDetector.load(folder, model, **settings)
            origin = AnomalyDetector.read_record(folder)["data"].get("name", "unknown rows")
            return RunDetector(detector, one_line(str(origin)))
    detector = AnomalyDetector(
        model, score_method=score_method, random_state=random_state, **settings
    )
    try:
        if normal is not None:
            detector.fit(normal)
        else:
            _fit_to_run(detector, run, data_home)
    except (ValueError, OSError) as error:
        raise ValueError(f"calibrating on {name or OWN}: {error}") from error
    if store:
        try:
            folder = inner_folder(Path(run), DETECTOR, score_method)
            detector.save(folder, {"name": name or OWN}, models=False)
        except OSError as error:  # a read-only run can be used, too
            say(f"note: the detector is not stored in the run: {error}", error=True)
    return RunDetector(detector, name or OWN)


def _fit_to_run(detector: AnomalyDetector, run: str | Path, data_home: Any) -> None:
    """Calibrate on the test rows of a run, after fitting the score to its training rows."""
    hint = "name normal rows that the run was not trained on by --normal DATA"
    try:
        data = load_for_run(run, data_home=data_home)
    except (ValueError, OSError) as error:
        reason = str(error).partition(";")[0].rstrip(".")  # the rest is about other commands
        raise ValueError(f"{reason}; {hint}.") from error
    if CHANGED in data.notes:
        raise ValueError(f"{CHANGED.rstrip('.')}; {hint}.")
    split = recorded_split(Path(run), data)
    if not len(split.X_test):
        raise ValueError(f"{run} held out no test rows; {hint}.")
    if SCORES[detector.score_method].is_fitted:
        train, _ = training_rows(split, MAX_TRAINING_ROWS)
        columns = data.columns
        detector.fit(train if columns is None else Table(train, columns)).calibrate(split.table)
    else:
        detector.fit(split.table)
