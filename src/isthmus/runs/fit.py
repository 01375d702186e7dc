"""Fit a run: load, split, train, save once, summarise, report."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import config_context

from isthmus.data import Dataset
from isthmus.data.disk_array import as_disk_array
from isthmus.estimators import LatentEstimator
from isthmus.estimators.run_fingerprint import params_to_json
from isthmus.estimators.validation import RowError, check_finite, check_held_out
from isthmus.persistence.locks import exclusive_folder
from isthmus.persistence.run_folder import CONFIG, find_checkpoints, remove_checkpoints
from isthmus.registry import code_size
from isthmus.runs.data import DataArguments, as_dataset
from isthmus.runs.elastic_restart import after_restart, launcher
from isthmus.runs.folders import remove_derived, run_folder
from isthmus.runs.options import Outcome, Run, RunOptions
from isthmus.runs.report import finish, print_notes, report_run
from isthmus.runs.rescue import save_model
from isthmus.runs.settings import (
    Facts,
    Model,
    check_saved,
    facts_to_resume,
    join,
    prepare_estimator,
)
from isthmus.runs.split import TEST_FRACTION, Split, split_dataset
from isthmus.training import Callback, Checkpoint, TrainerView
from isthmus.training.distributed import ProcessGroup
from isthmus.training.sample_history import SampleRecorder
from isthmus.training.snapshot import CheckpointError
from isthmus.training.trackers import make_trackers
from isthmus.training.training_log import TrainingLog, read_run_facts, remove_training_log

__all__ = ["checked", "fit_run"]

EVENTS = "tensorboard/events.out.tfevents.*"
RESUMED_EVERY = 30.0  # seconds between the checkpoints of a resumed run that asks for none


def fit_run(
    model: Model, data: Dataset | DataArguments | str | Path, options: RunOptions | None = None
) -> Run:
    """Fit a model to data and leave a run folder: model, history, test numbers and a report.

    ``isthmus fit`` is this function. The folder holds config.json, model.safetensors,
    history.jsonl, split.safetensors (row numbers of the test rows) and report.html. The model is
    saved before the summary and the report are computed.

    Parameters
    ----------
    model : LatentEstimator or ModelSettings
        The estimator to fit; it is copied, not changed.
    data : Dataset, DataArguments, or str or path-like
        The data, or what `isthmus.data.load` takes.
    options : RunOptions, optional
        Where to write, how much to hold out, checkpoints, trackers.

    Returns
    -------
    Run
        Folder, fitted estimator, numbers, and how training ended. Ctrl-C and SIGTERM end
        training, not the program: look at `Run.outcome`.

    Raises
    ------
    ValueError
        If settings or data cannot be used, or the folder must not be written to; nothing is
        written then.
    SaveError
        If the folder cannot be written after training, for example because the disk is full. The
        error holds the fitted model, and names the folder to which it was saved instead.
    KeyboardInterrupt
        After Ctrl-C before or after training.

    Notes
    -----
    Under torchrun, call it once in each process: it leaves the process group at the end.

    See Also
    --------
    isthmus.runs.tune_run : Fit a grid of models and keep the best.
    isthmus.load : Load the model of a run.

    Examples
    --------
    >>> import tempfile
    >>> import isthmus
    >>> from isthmus.runs import RunOptions, fit_run
    >>> model = isthmus.VAE(n_components=2, hidden=(16,), epochs=2, progress="none")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     options = RunOptions(out=f"{folder}/digits", test_fraction=0.2, quiet=True)
    ...     run = fit_run(model, "digits", options)
    ...     sorted(path.name for path in run.folder.iterdir())
    ['config.json', 'history.jsonl', 'model.safetensors', 'report.html', 'split.safetensors']
    >>> run.outcome, run.summary["rows"], run.estimator.n_iter_
    ('finished', 359, 2)
    """
    process_group = join(model)
    with process_group.translate_errors():
        run = _fit_run(model, data, options or RunOptions(), process_group)
        process_group.close()  # in all processes at once: torchrun ends all when one fails
    return run


def _fit_run(model: Model, data: Any, options: RunOptions, process_group: ProcessGroup) -> Run:
    """Check everything that needs no data, load the data, and fit."""
    remaining = after_restart(options, process_group)
    if remaining is None:
        return Run(options.out)
    options = remaining
    if not options.resume or options.out is None:
        return _fit_from(None, model, data, options, process_group)
    candidates, first = facts_to_resume(options.out, process_group), None
    if not candidates:  # training is done
        return _complete(model, data, options.out, options, process_group)
    for facts in candidates:
        try:
            return _fit_from(facts, model, data, options, process_group)
        except CheckpointError as error:
            first = first or error
    assert first is not None
    raise first


def _fit_from(
    facts: Facts | None, model: Model, data: Any, options: RunOptions, process_group: ProcessGroup
) -> Run:
    """Fit from the start, or from a checkpoint with the given facts."""
    estimator = prepare_estimator(model, facts, options.out, process_group)
    make_trackers(options.trackers, options.track_to, Path())  # an error if a library is missing
    fraction = process_group.broadcast_object(
        _test_fraction(options) if process_group.is_main else None
    )
    data = as_dataset(data)
    with checked(data, estimator.missing == "ignore"):
        split = split_dataset(
            data, fraction, estimator.random_state or 0, estimator.validation_split
        )
        fitting = _Fitting(estimator, data, split, fraction, options)
        if not process_group.is_main:
            return fitting.assist()
        name = f"{data.name}-{estimator.registered_name}"
        folder = run_folder(options.out, name, resume=options.resume, force=options.force)
        with exclusive_folder(folder):
            return fitting.run(folder, facts)


def _complete(
    model: Model, data: Any, folder: Path, options: RunOptions, process_group: ProcessGroup
) -> Run:
    """Make what a run lacks whose model is saved."""
    if not process_group.is_main:
        return Run()
    check_saved(model, folder)
    if find_checkpoints(folder):  # of a run that the saved one has replaced
        with exclusive_folder(folder):
            remove_checkpoints(folder)
    return report_run(folder, data, page=options.page, quiet=options.quiet)


def _test_fraction(options: RunOptions) -> float:
    """Return the fraction that the user chose, else that of the run to resume, else the default."""
    if options.test_fraction is not None:
        return options.test_fraction
    try:
        log = read_run_facts(options.out) if options.resume else None
    except ValueError as error:  # checkpoints tell whether the rows are the same
        print_notes(f"{error} Held out: {TEST_FRACTION}, unless you name another fraction.")
        log = None
    fraction = None if log is None else log.get("test_fraction")
    known = isinstance(fraction, int | float) and 0 <= fraction < 1
    return float(fraction) if known else TEST_FRACTION  # type: ignore[arg-type]


def checked(data: Dataset, missing: bool) -> AbstractContextManager[None]:
    """Check a data set for NaN and infinity; return a context that does not check again.

    Rows of a large array on disk are checked as they are read.
    """
    if as_disk_array(data.X) is not None:
        return nullcontext()
    counted = None if data.weights is None else np.flatnonzero(data.weights)
    X = data.X if counted is None else data.X[counted]
    check_finite(X, data.feature_names, missing, counted)
    if data.X_test is not None:
        check_finite(data.X_test, data.feature_names, missing)
    return config_context(assume_finite=True)


@dataclass(frozen=True)
class _Fitting:
    """One run whose data are loaded and split."""

    estimator: LatentEstimator
    data: Dataset
    split: Split
    test_fraction: float
    options: RunOptions

    def assist(self) -> Run:
        """Train in a process that writes and prints nothing."""
        folder = self.options.out or Path()
        callbacks = [*self.options.callbacks, *self._checkpoints(folder)]
        return Run(None, self.estimator, self._train(callbacks, folder))

    def run(self, folder: Path, facts: Facts | None) -> Run:
        """Train, save, summarise and report."""
        if not self.options.quiet:
            print_notes(self._description(), *self.data.notes)
            if facts is not None:
                print_notes(f"resuming in epoch {facts['epoch']}")
        old_events = [] if self.options.resume else [*folder.glob(EVENTS)]
        if (folder / "tensorboard").is_symlink():
            raise ValueError(f"{folder / 'tensorboard'} is a link; remove it.")
        recorder, checkpoints = SampleRecorder(), self._checkpoints(folder)
        callbacks: list[Callback] = [recorder, TrainingLog(folder, self._log_facts())]
        callbacks += [] if self.options.quiet else [_PrintLikelihood()]
        callbacks += self.options.callbacks
        callbacks += make_trackers(self.options.trackers, self.options.track_to, folder)
        try:
            outcome = self._train([*callbacks, *checkpoints], folder)
            resumable = outcome != "finished" and any(c.resumes for c in checkpoints)
            run = Run(folder, self.estimator, outcome, resumable=resumable)
            saved = self._save(folder, outcome, checkpoints)
            for path in old_events if saved is not None else ():
                path.unlink(missing_ok=True)
            if saved is not None and outcome != "terminated":  # SIGTERM leaves little time
                samples = recorder.pictures(self.estimator)
                run = finish(run, saved, self.data, self.split, samples, self.options.page)
            if saved is not None and not resumable:
                remove_checkpoints(folder)  # last: until then the run can be resumed
        finally:  # an error may have left checkpoints; without any there is nothing to resume
            if not find_checkpoints(folder):
                remove_training_log(folder)
        return run

    def _train(self, callbacks: list[Callback], folder: Path) -> Outcome:
        model, train = self.estimator, self.split.train
        resume = folder if self.options.resume else None
        first = _CheckTestRows(self.split)
        callbacks = [first, *callbacks]
        try:
            model.fit(
                train.rows,
                train.y,
                train.weights,
                groups=train.groups,
                callbacks=callbacks,
                resume_from=resume,
            )
        except RowError as error:
            if self.split.test_rows is None or as_disk_array(train.X) is not None:
                raise
            numbers = np.delete(np.arange(len(self.data.X)), self.split.test_rows)
            raise error.renumbered(numbers) from None
        except ValueError as error:
            if resume is None or first.has_started:
                raise
            raise CheckpointError(str(error)) from error  # its settings may not fit the data
        except (KeyboardInterrupt, SystemExit) as stop:
            if not hasattr(model, "model_"):
                raise
            if isinstance(stop, KeyboardInterrupt):
                print_notes(str(stop))
                return "interrupted"
            print_notes("terminated; the best weights so far are kept.")
            return "terminated"
        return "finished"

    def _save(
        self, folder: Path, outcome: Outcome, checkpoints: list[Checkpoint]
    ) -> dict[str, Any] | None:
        """Save the model; return its configuration, or None if an older model is kept."""
        learned = outcome == "finished" or self.estimator.best_epoch_
        if not learned and (folder / CONFIG).is_file():
            return None
        config = save_model(self.estimator, self.data, self.split.test_rows, folder)
        if not any(c.resumes for c in checkpoints):
            remove_checkpoints(folder)  # of a run that this one replaces
        remove_derived(folder, config)
        return config

    def _checkpoints(self, folder: Path) -> list[Checkpoint]:
        every = self.options.checkpoint_every
        if every is None and self.options.resume:  # a second interruption must not lose the first
            every = RESUMED_EVERY
        return [] if every is None else [Checkpoint(folder, every)]

    def _log_facts(self) -> dict[str, Any]:
        return {
            "estimator": self.estimator.registered_name,
            "params": params_to_json(self.estimator.get_params(deep=False)),
            "data": {"name": self.data.name, "shape": list(self.data.X.shape)},
            "test_fraction": self.test_fraction,
            **launcher(),
        }

    def _description(self) -> str:
        X = self.split.train.X
        shape = " x ".join(map(str, X.shape[1:]))
        return (
            f"{type(self.estimator).__name__} with {code_size(self.estimator, X.shape[1:])} "
            f"components on {self.data.name}: {len(X):,} rows of {shape}, "
            f"{len(self.split.X_test):,} held out for the summary, seed "
            f"{self.estimator.random_state}"
        )


class _PrintLikelihood(Callback):
    """Print the likelihood of a run and why it was chosen, before the model is trained."""

    def on_start(self, trainer: TrainerView, rows: Any) -> None:
        estimator: Any = trainer.settings
        print_notes(f"{estimator.model_.likelihood.label}: {estimator.likelihood_reason_}")


class _CheckTestRows(Callback):
    """Refuse test rows that the model could not evaluate, before it is trained."""

    def __init__(self, split: Split) -> None:
        self.split, self.has_started = split, False

    def on_start(self, trainer: TrainerView, rows: Any) -> None:
        self.has_started = True
        if len(self.split.X_test):
            place = "the rows held out for the summary"
            check_held_out(trainer.settings, self.split.table, None, self.split.test_rows, place)
