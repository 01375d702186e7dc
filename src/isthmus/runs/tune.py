"""Tune: fit a grid of models, and leave a table, a figure and the best model as a run."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus._messages import say
from isthmus.data import Dataset
from isthmus.data.disk_array import as_disk_array
from isthmus.estimators import ESTIMATORS, model_io
from isthmus.estimators.run_fingerprint import CUSTOM
from isthmus.evaluation.summary import held_out_summary
from isthmus.models.params import params_of, setting_text
from isthmus.persistence.atomic import write_atomic
from isthmus.persistence.locks import exclusive_folder
from isthmus.persistence.schema import check_params
from isthmus.runs.data import DataArguments, as_dataset
from isthmus.runs.fit import checked
from isthmus.runs.folders import RUNS, output_folder, remove_derived, unused
from isthmus.runs.options import Outcome
from isthmus.runs.rescue import save_model
from isthmus.search import Sweep
from isthmus.search.sweep_folder import SWEEP, read_sweep, remove_sweep
from isthmus.training.distributed import started_together

__all__ = [
    "BEST",
    "FIGURE",
    "RESULTS",
    "Tuning",
    "has_finished",
    "sweep_of",
    "tune_run",
    "varied_settings",
]

RESULTS, FIGURE, BEST = "results.csv", "rate-distortion.png", "best"
MAX_HEADER = 2**16  # characters of the first line of results.csv
NUMBERS = ("score", "rate", "distortion", "valid_loss", "epochs", "best_epoch", "seconds")


@dataclass(frozen=True, eq=False)
class Tuning:
    """What `tune_run` leaves.

    Parameters
    ----------
    folder : Path
        With results.csv, rate-distortion.png and the run best/.
    sweep : Sweep
        The fitted sweep.
    outcome : {"finished", "interrupted"}
        Whether Ctrl-C ended training.
    summary : dict of str to float
        Numbers of the best model on the test rows.
    """

    folder: Path
    sweep: Sweep
    outcome: Outcome
    summary: dict[str, float]


def tune_run(
    sweep: Sweep,
    data: Dataset | DataArguments | str | Path,
    *,
    out: str | Path | None = None,
    force: bool = False,
    resume: bool = False,
    quiet: bool = False,
) -> Tuning:
    """Fit a sweep to data and leave a folder: table, figure, and the best model as a run.

    ``isthmus tune`` is this function. Until the sweep is finished, the folder holds the models of
    finished candidates as well, from which `resume` continues.

    Parameters
    ----------
    sweep : Sweep
        It holds out `test_fraction` of the rows to evaluate the candidates.
    data : Dataset, DataArguments, or str or path-like
        The data, or what `isthmus.data.load` takes.
    out : path-like, optional
        The folder; by default a new one, ``runs/DATA-MODEL-tune``.
    force : bool
        Whether a sweep in `out` may be replaced.
    resume : bool
        Whether to continue the sweep in `out`, which was interrupted or killed. It must have the
        same settings; `sweep_of` returns it from the folder.
    quiet : bool
        Whether to print nothing to standard error, except why training ended early.

    Returns
    -------
    Tuning

    Raises
    ------
    ValueError
        If settings or data cannot be used, or the folder must not be written to.
    SaveError
        If the folder cannot be written after training; as for `fit_run`.
    KeyboardInterrupt
        After Ctrl-C before the first model is trained.

    See Also
    --------
    isthmus.runs.fit_run : Fit one model.

    Examples
    --------
    >>> import tempfile
    >>> import isthmus
    >>> from isthmus.runs import tune_run
    >>> model = isthmus.BetaVAE(n_components=2, hidden=(16,), epochs=2, random_state=0)
    >>> sweep = isthmus.Sweep(model, {"beta": [0.5, 4.0]}, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tuning = tune_run(sweep, "digits", out=f"{folder}/tune", quiet=True)
    ...     sorted(path.name for path in tuning.folder.iterdir())
    ['best', 'rate-distortion.png', 'results.csv']
    >>> tuning.summary["rows"]
    180
    """
    if started_together():
        raise ValueError("tune trains its models in one process: start it without torchrun.")
    n = sweep.check()
    data = as_dataset(data)
    folder = _folder(out, data, sweep, force, resume)
    with checked(data, sweep.estimator.missing == "ignore"), exclusive_folder(folder):
        if not quiet:
            say(_description(sweep, data, n), *data.notes, error=True)
        outcome = _fit(sweep, data, folder, resume)
        summary = _write(sweep, data, folder)
        if outcome == "finished":
            remove_sweep(folder)  # last: until then it can be resumed
    return Tuning(folder, sweep, outcome, summary)


def sweep_of(folder: str | Path, **settings: Any) -> Sweep:
    """Return the unfinished sweep in a folder, unfitted, to continue it by `tune_run`.

    `settings` replace those of `Sweep` that do not change results, such as `progress`.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is none, or it cannot be built from its record.
    """
    record = read_sweep(Path(folder))
    cls, kept, points = ESTIMATORS.get(record["estimator"]), record["settings"], []
    if cls is None or CUSTOM in [v for c in record["candidates"] for v in c["params"].values()]:
        raise ValueError(
            f"the sweep in {folder} was started from Python with functions of your own, which are "
            "not saved: continue it there, by tune_run."
        )
    for each in record["candidates"]:
        if not {*each["varied"]} <= {*each["params"]} <= {*params_of(cls)}:
            raise ValueError(f"{Path(folder) / SWEEP} names settings that {cls.__name__} lacks.")
        check_params(each["params"], cls)
        params = {k: tuple(v) if isinstance(v, list) else v for k, v in each["params"].items()}
        points.append({name: [params[name]] for name in each["varied"]})
    names = {*kept} & {"halving", "test_fraction", "max_stacked", "random_state", "metric"}
    return Sweep(cls(**params), points, **({n: kept[n] for n in names} | settings))


def _folder(out: str | Path | None, data: Dataset, sweep: Sweep, force: bool, resume: bool) -> Path:
    if out is None:
        if resume:
            raise ValueError("resume continues the sweep in a folder: name it by out.")
        return unused(RUNS / f"{data.name}-{sweep.estimator.registered_name}-tune")
    folder = Path(out)
    if resume:
        return folder
    began = (folder / SWEEP).is_file()
    hint = "--resume to continue the sweep in it, or " if began else ""
    is_sweep = began or _has_results(folder)
    return output_folder(folder, "sweep", is_sweep, force, hint)


def has_finished(folder: Path) -> bool:
    """Whether a folder holds a complete sweep; removes what it kept to be resumed."""
    complete = _has_results(folder) and (folder / FIGURE).is_file()
    if not complete or (folder / SWEEP).is_file():
        return False
    with exclusive_folder(folder):
        remove_sweep(folder)
    return True


def _has_results(folder: Path) -> bool:
    """Whether a folder holds a finished sweep, or what a killed process has left of one."""
    try:
        with (folder / RESULTS).open(encoding="utf-8", errors="replace") as file:
            header = file.readline(MAX_HEADER).rstrip().split(",")
    except OSError:
        return False
    return header[-1] == "best" and {*NUMBERS} <= {*header}


def _fit(sweep: Sweep, data: Dataset, folder: Path, resume: bool) -> Outcome:
    where = {"resume_from" if resume else "folder": folder}
    try:
        sweep.fit(data.rows, data.y, data.weights, groups=data.groups, **where)
    except KeyboardInterrupt as stop:
        if not hasattr(sweep, "results_"):
            raise
        say(stop, error=True)
        return "interrupted"
    return "finished"


def _write(sweep: Sweep, data: Dataset, folder: Path) -> dict[str, float]:
    """Write the best model before anything that may fail; return its test numbers."""
    best = sweep.best_estimator_
    X, y, rows, weights = data.X_test, data.y_test, None, None
    stored = as_disk_array(data.X)
    if X is None:
        rows = sweep.test_rows_
        X = (data.X if stored is None else stored)[rows]
        y, weights = (None if part is None else part[rows] for part in (data.y, data.weights))
    config = save_model(best, data, rows, folder, BEST)
    remove_derived(folder / BEST, config)
    write_atomic(folder / RESULTS, _csv(sweep).encode())
    X_train = data.X[sweep.train_rows_] if stored is None else stored.preview()
    summary = held_out_summary(best, X_train, X, y, weights)
    model_io.save_summary(folder / BEST, config, summary)
    figure = io.BytesIO()
    sweep.figure().savefig(figure, dpi=150, format="png")
    write_atomic(folder / FIGURE, figure.getvalue())
    return summary


def _csv(sweep: Sweep) -> str:
    """Return the results as CSV, with the best candidate marked."""
    out, names = io.StringIO(), varied_settings(sweep)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*names, *NUMBERS, "stopped", "stacked", "best"])
    for i, row in enumerate(sweep.results_):
        values = [setting_text(row["params"].get(name, "")) for name in names]
        numbers = [row[name] for name in NUMBERS]
        is_best = int(i == sweep.best_index_)
        writer.writerow([*values, *numbers, row["stopped"], row["stacked"], is_best])
    return out.getvalue()


def varied_settings(sweep: Sweep) -> list[str]:
    """Return the names of the settings that a fitted sweep varied."""
    return list(dict.fromkeys(name for row in sweep.results_ for name in row["params"]))


def _description(sweep: Sweep, data: Dataset, n: int) -> str:
    shape = " x ".join(map(str, data.X.shape[1:]))
    return (
        f"{n} of {type(sweep.estimator).__name__} on {data.name}: {len(data.X):,} rows of {shape}, "
        f"{sweep.test_fraction:.0%} held out to evaluate them, seed {sweep.random_state}"
    )
