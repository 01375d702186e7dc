"""What follows the training of a run: held-out numbers, the report, and the page for the browser.

`fit_run` does this at the end; `report_run` does it for a run that was killed before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from isthmus._messages import say, shell_quote
from isthmus.data import Dataset
from isthmus.data.disk_array import as_disk_array
from isthmus.estimators import model_io
from isthmus.evaluation.checks import Findings, check
from isthmus.evaluation.summary import held_out_summary
from isthmus.persistence.integrity import SUMS, WEIGHTS
from isthmus.persistence.locks import LOCK, exclusive_folder
from isthmus.persistence.run_folder import find_checkpoints, read_config, read_test_rows
from isthmus.report import REPORT, model_of_report, write_report
from isthmus.runs.data import CHANGED, DataArguments, as_dataset
from isthmus.runs.folders import is_started, remove_derived
from isthmus.runs.options import Run
from isthmus.runs.split import Split, recorded_split, training_rows
from isthmus.runs.studio_page import PAGE, write_studio_page
from isthmus.training.distributed import is_main
from isthmus.training.sample_history import final_samples
from isthmus.training.training_log import remove_training_log

__all__ = ["finish", "print_notes", "report_run"]

MAX_TRAINING_ROWS = 20_000  # of data on disk, for the baseline of the summary
NO_HISTORY = "Samples of earlier epochs are missing: they were in memory when the run was killed."

Samples = Sequence[tuple[int, NDArray[Any]]]


def finish(
    run: Run, config: dict[str, Any], data: Dataset, split: Split, samples: Samples, page: bool
) -> Run:
    """Add the test numbers, the report and, if requested, the page to a run whose model is saved.

    `config` is its configuration, and `split.train` holds the training rows only.
    """
    folder, estimator, stored = run.folder, run.estimator, as_disk_array(split.train.X)
    assert folder is not None
    assert estimator is not None
    summary, findings, notes = {}, [], data.notes
    X, y = split.X_test, split.y_test
    X_train, y_train = split.train.X, split.train.y
    if stored is not None:
        X_train, numbers = stored.preview_rows()
        y_train = None if y_train is None else y_train[numbers]
    if stored is None and split.train.weights is not None:
        counted = split.train.weights > 0
        X_train, y_train = X_train[counted], None if y_train is None else y_train[counted]
    if len(X):
        summary = held_out_summary(estimator, X_train, X, y, split.test_weights)
        known = estimator.conditional and y_train is not None and y is not None
        labels = {"y_train": y_train, "y_test": y} if known else {}
        found = check(estimator, X_train, X, costly=False, **labels)
        model_io.save_summary(folder, config, summary, [each.to_dict() for each in found.not_ok])
        findings = found.in_summary
        notes = (*map(str, findings), *notes)
    else:
        X, y = X_train, y_train
        notes = ("No rows were held out: this report shows training rows.", *notes)
    if estimator.likelihood_reason_:
        kind = estimator.model_.likelihood.label
        notes = (*notes, f"{kind.capitalize()} ({estimator.likelihood_reason_}).")
    report = write_report(
        folder / REPORT,
        estimator=estimator,
        X=X,
        y=y,
        samples=samples,
        summary=list(summary.items()),
        settings=config["params"],
        title=f"{type(estimator).__name__} on {data.name}",
        notes=notes,
        command=shell_quote("isthmus", "studio", folder),
        model=_model(config),
    )
    written = _page(folder, data) if page else None
    return replace(run, summary=summary, findings=findings, report=report, page=written)


def report_run(
    run: str | Path,
    data: Dataset | DataArguments | str | Path | None = None,
    *,
    page: bool = False,
    force: bool = False,
    quiet: bool = False,
) -> Run:
    """Make what a run lacks: its numbers on the test rows, report.html and studio.html.

    A run that was killed after its model was saved, or ended by SIGTERM, has none of them.
    ``isthmus report`` is this function, and ``isthmus fit --resume`` calls it for such a run.

    Parameters
    ----------
    run : path-like
        Folder of the run.
    data : Dataset, DataArguments, or str or path-like, optional
        The data the run was fitted on; by default they are loaded from where the run recorded.
    page : bool
        Whether the page for the browser is needed as well.
    force : bool
        Whether to write again what exists.
    quiet : bool
        Whether to print nothing to standard error.

    Returns
    -------
    Run
        Also if nothing was missing; then no data are read.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no saved run, or the data are not those it was fitted on.

    See Also
    --------
    isthmus.runs.evaluate_run : Measure a run on any data.

    Examples
    --------
    >>> import tempfile
    >>> import isthmus
    >>> from isthmus.runs import RunOptions, fit_run, report_run
    >>> model = isthmus.Autoencoder(n_components=2, hidden=(16,), epochs=2, progress="none")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = fit_run(model, "digits", RunOptions(out=f"{folder}/run", quiet=True))
    ...     run.report.unlink()
    ...     again = report_run(run.folder, quiet=True)
    ...     again.report.name, again.summary == run.summary
    ('report.html', True)
    """
    folder = Path(run)
    config = read_config(folder)
    if not config["data"].get("sha256"):
        raise ValueError(
            f"{folder} holds a model without a record of its data, as model.save() writes it: no "
            "rows are known to be held out. Measure it by `isthmus evaluate`."
        )
    found = Run(folder, model_io.load(folder), resumable=bool(find_checkpoints(folder)))
    is_whole = not force and _has_report(folder, config)
    if is_whole:
        findings = Findings.from_dicts(config["findings"] or ()).in_summary
        found = replace(
            found, summary=config["held_out"], findings=findings, report=folder / REPORT
        )
        if (folder / PAGE).is_file():
            found = replace(found, page=folder / PAGE)
        if found.page is not None or not page:
            ended = not is_started(folder) and not (folder / LOCK).exists()
            if not ended and not found.resumable:  # killed at the very end
                with exclusive_folder(folder):
                    remove_training_log(folder)
            if not quiet:
                print_notes(f"the run in {folder} is complete: nothing is missing.")
            return found
    loaded = _data(folder, data)
    if CHANGED in loaded.notes or loaded.fingerprint["sha256"] != config["data"]["sha256"]:
        raise ValueError(
            f"{loaded.name} differs from the data that {folder} was fitted on, so that its test "
            "rows are unknown: name the same data."
        )
    with exclusive_folder(folder):
        if is_whole:
            return replace(found, page=_page(folder, loaded))
        remove_derived(folder, config)  # of a model that this one replaced
        split, samples = _split(folder, loaded), final_samples(found.estimator, loaded.y)
        notes = (*loaded.notes, NO_HISTORY) if samples else loaded.notes
        done = finish(found, config, replace(loaded, notes=notes), split, samples, page)
        if not done.resumable:
            remove_training_log(folder)
    return done


def print_notes(*lines: str) -> None:
    """Print lines to standard error, in the main process."""
    if is_main():
        say(*lines, error=True)


def _data(folder: Path, data: Dataset | DataArguments | str | Path | None) -> Dataset:
    """Return the data that were given, or those that a run recorded."""
    given = DataArguments(None) if data is None else data
    try:
        return as_dataset(given, folder)
    except ValueError as error:
        if not (isinstance(given, DataArguments) and given.source is None):
            raise
        command = f"isthmus report {shell_quote(folder)} DATA"  # the rest is of other commands
        raise ValueError(f"{str(error).partition(';')[0]}; name them: {command}.") from error


def _page(folder: Path, data: Dataset) -> Path | None:
    """Write the page for the browser; print why there is none."""
    try:
        return write_studio_page(folder, data).path
    except (ValueError, OSError, ImportError) as error:  # the run itself is complete
        print_notes(f"no page for the browser: {error}")
        return None


def _has_report(folder: Path, config: dict[str, Any]) -> bool:
    """Whether a run has the report of the model that is in it, and the numbers that it shows."""
    rows = read_test_rows(folder, config)
    has_numbers = bool(config["held_out"]) or (rows is not None and not len(rows))
    return has_numbers and model_of_report(folder / REPORT) in (_model(config), "")


def _model(config: dict[str, Any]) -> str:
    """Return what names a model in its report: the checksum of its weights."""
    return str((config.get(SUMS) or {}).get(WEIGHTS, ""))


def _split(folder: Path, data: Dataset) -> Split:
    """Return the recorded split of the data of a run, with the training rows only."""
    split = recorded_split(folder, data)
    if split.test_rows is None or not len(split.test_rows):
        return split
    most = None if as_disk_array(data.X) is None else MAX_TRAINING_ROWS
    X, y = training_rows(split, most)
    train = replace(data, X=X, y=y, groups=None, ids=None, weights=None)
    return replace(split, train=train)
