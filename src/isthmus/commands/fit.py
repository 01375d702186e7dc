"""``isthmus fit``: data by name in, a run folder out."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from isthmus import io
from isthmus.build import build_objective, code_size
from isthmus.claims import LOCK, claimed
from isthmus.cli import INTERRUPTED
from isthmus.commands.folders import has_something, replaceable, unused
from isthmus.commands.live import write_live
from isthmus.commands.show import number_text, print_summary
from isthmus.data import Dataset
from isthmus.data import load as load_data
from isthmus.estimators import ESTIMATORS, LatentEstimator
from isthmus.estimators.base import TERMINATED
from isthmus.estimators.border import check_finite
from isthmus.estimators.choices import check_names, fresh_seed
from isthmus.estimators.identity import CUSTOM, plain_params
from isthmus.fields import check_fields
from isthmus.metrics.summary import held_out_summary
from isthmus.report import REPORT, write_report
from isthmus.training import Callback, Checkpoint, pick_device
from isthmus.training.checkpoints import find_checkpoints, read_checkpoint, remove_checkpoints
from isthmus.training.journal import JOURNAL, Journal, read_journal, remove_journal
from isthmus.training.recorder import SampleRecorder
from isthmus.verbs.fit import fields_given
from isthmus.writing import DRAFT

__all__ = ["run"]

RARE = 30.0  # seconds between the checkpoints of a resumed run that asked for none
HELD_OUT = 0.1  # share of the rows kept for the summary, for data without a test set


def run(arguments: argparse.Namespace) -> int:
    """Train, save, summarise, draw; return the exit code."""
    if arguments.resume:
        check_can_resume(arguments.out)
    estimator = _estimator(arguments)
    data = load_data(
        arguments.data, data_home=arguments.data_home, size=arguments.size, label=arguments.label
    )
    folder = _folder(arguments, data)
    with claimed(folder):
        return _train(estimator, data, folder, arguments)


def _as_said(arguments: argparse.Namespace) -> str:
    """Return the data as the user named them, for the next command line."""
    options = {"--data-home": arguments.data_home, "--size": arguments.size}
    options["--label"] = arguments.label
    words = [arguments.data, *(str(w) for o, v in options.items() if v is not None for w in (o, v))]
    return shlex.join(words)


def _train(
    estimator: LatentEstimator, data: Dataset, folder: Path, arguments: argparse.Namespace
) -> int:
    check_finite(
        data.X, data.feature_names, estimator.missing == "ignore"
    )  # while rows still have their own numbers
    train, X_test, y_test = _hold_out(data, estimator.random_state or 0)
    if not arguments.quiet:
        _say(_opening(estimator, train, len(X_test)), *data.notes)
        if arguments.resume:
            _say(f"going on with epoch {arguments.epoch}")
    recorder = SampleRecorder()
    watchers: list[Callback] = [recorder, Journal(folder, _facts(estimator, data, arguments))]
    every = arguments.checkpoint_every
    if every is None and arguments.resume:  # else a second break would lose those there are
        every = RARE
    if every is not None:
        watchers.append(Checkpoint(folder, every))
    try:
        code, saved = _learn(estimator, data, train, watchers, folder, arguments)
    finally:  # without checkpoints, which an error may have left, there is nothing to go on with
        if not find_checkpoints(folder):
            remove_journal(folder)
    if not saved or code == TERMINATED:  # who sent the signal does not wait for long
        return code
    summary = held_out_summary(estimator, train.X, X_test, y_test)
    io.save(estimator, folder, data.fingerprint, summary)
    page = _report(estimator, folder, data, X_test, y_test, recorder, summary)
    if arguments.page:
        try:
            write_live(folder, data)
        except (ValueError, OSError, ImportError) as error:  # the run itself is whole
            _say(f"no live page: {error}")
    if not arguments.quiet:
        print_summary(estimator, summary, folder, page, _as_said(arguments))
    return code


def _facts(
    estimator: LatentEstimator, data: Dataset, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Return what the journal says of the run."""
    return {
        "estimator": arguments.model,
        "params": plain_params(estimator.get_params(deep=False)),
        "data": {"name": data.name, "shape": list(data.X.shape)},
    }


def _learn(
    estimator: LatentEstimator,
    data: Dataset,
    train: Dataset,
    watchers: list[Callback],
    folder: Path,
    arguments: argparse.Namespace,
) -> tuple[int, bool]:
    """Train and save; return the exit code, and whether there was a model to save."""
    code = _fit(estimator, train, watchers, folder if arguments.resume else None)
    if code and not estimator.best_epoch_ and (folder / io.CONFIG).is_file():
        return code, False  # the model that is there is better than one that has learned nothing
    # The model first: whatever happens to the numbers and pictures, the work is safe.
    io.save(estimator, folder, data.fingerprint)
    if not code or not any(isinstance(w, Checkpoint) and w.goes_on for w in watchers):
        remove_checkpoints(folder)  # of this run, which is done, or of one that it replaces
    else:
        out = shlex.quote(str(folder))
        _say(f"go on by:  isthmus fit {_as_said(arguments)} --out {out} --resume")
    return code, True


def _fit(
    estimator: LatentEstimator, train: Dataset, watchers: list[Callback], resume_from: Path | None
) -> int:
    """Train; return the exit code: 0, or why training was broken off with a model."""
    try:
        estimator.fit(train.rows, train.y, callbacks=watchers, resume_from=resume_from)
    except (KeyboardInterrupt, SystemExit) as stop:
        if not hasattr(estimator, "model_"):
            raise
        code = INTERRUPTED if isinstance(stop, KeyboardInterrupt) else int(stop.code or 0)
        _say(str(stop) if code == INTERRUPTED else "terminated; the best weights so far are kept.")
        return code
    return 0


def _report(
    estimator: LatentEstimator,
    folder: Path,
    data: Dataset,
    X_test: Any,
    y_test: Any,
    recorder: SampleRecorder,
    summary: dict[str, float],
) -> Path:
    return write_report(
        folder / REPORT,
        estimator=estimator,
        X=X_test,
        y=y_test,
        samples=recorder.pictures(estimator),
        summary=[(name, number_text(value)) for name, value in summary.items()],
        settings=io.read_config(folder)["params"],
        title=f"{type(estimator).__name__} on {data.name}",
        notes=data.notes,
        command=f"isthmus studio {shlex.quote(str(folder))}",
    )


def _say(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr)


def _estimator(arguments: argparse.Namespace) -> LatentEstimator:
    fields: dict[str, Any] = {"progress": "none" if arguments.quiet else "auto"}
    if arguments.resume:
        fields = _begun_with(arguments) | fields
    fields |= fields_given(arguments)
    if fields.get("random_state") is None:
        fields["random_state"] = fresh_seed() % 2**31  # recorded, so that the run can be repeated
    estimator = ESTIMATORS[arguments.model](**fields)
    check_fields(estimator)
    check_names(estimator.likelihood)
    build_objective(estimator)  # choices that exclude each other, before any data are read
    pick_device(estimator.device)
    return estimator


def check_can_resume(out: str | None) -> None:
    """Raise a ValueError in one line where there is no run to go on with."""
    if out is None:
        raise ValueError("--resume goes on with the run in a folder: say which by --out DIR.")
    if (Path(out) / io.CONFIG).is_file() and not find_checkpoints(out):
        raise ValueError(
            f"the run in {out} is complete: there is nothing to go on with. For a new one name "
            "another --out, or add --force instead of --resume."
        )


def _begun_with(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that the run to go on with began with; note its model and epoch."""
    facts = read_checkpoint(arguments.out).facts
    about, arguments.epoch = facts["about"], facts["epoch"]
    model = next((k for k, cls in ESTIMATORS.items() if cls.__name__ == about["estimator"]), None)
    if model is None or CUSTOM in about["params"].values():
        raise ValueError(
            f"the run in {arguments.out} was made from Python with code of its maker's own; go on "
            "with it there, by fit(..., resume_from=...)."
        )
    if arguments.model not in ("vae", model):
        raise ValueError(f"the run in {arguments.out} is of a {model}, not of a {arguments.model}.")
    arguments.model = model
    params = {k: tuple(v) if isinstance(v, list) else v for k, v in about["params"].items()}
    return params | {"random_state": about["seed"]}


def _folder(arguments: argparse.Namespace, data: Dataset) -> Path:
    """Return the folder of the run: one that may be written over, or a new name."""
    if arguments.out is None:
        return unused(Path("runs") / f"{data.name}-{arguments.model}")
    folder = Path(arguments.out)
    if arguments.resume and has_something(folder):
        return folder
    broken_off, begun = bool(find_checkpoints(folder)), _only_begun(folder)
    how = "--resume to go on with the run in it, or " if broken_off else ""
    ours = broken_off or begun or (folder / io.CONFIG).is_file()
    return replaceable(folder, "run", ours, arguments.force or begun, how)


def _only_begun(folder: Path) -> bool:
    """Whether a folder holds a journal alone, of a run killed before its first checkpoint."""
    names = {p.name for p in folder.iterdir() if p.suffix != DRAFT} if folder.is_dir() else set()
    try:
        return names - {LOCK} == {JOURNAL} and read_journal(folder) is not None
    except (ValueError, OSError):  # somebody's own file of that name
        return False


def _hold_out(data: Dataset, seed: int) -> tuple[Dataset, Any, Any]:
    """Return training data, and rows for the summary: a test set, or a tenth drawn at random."""
    if data.X_test is not None:
        return data, data.X_test, data.y_test
    groups = np.arange(len(data.X)) if data.groups is None else data.groups
    names = np.unique(groups)
    n = len(names)
    if n < 2:  # one sound: its end
        names = groups = np.arange(len(data.X))
        n = len(names)
    order = np.random.default_rng(seed).permutation(names)
    held_names = order[: min(max(1, int(HELD_OUT * n)), n // 2)]
    is_held = np.isin(groups, held_names)
    held, kept = np.flatnonzero(is_held), np.flatnonzero(~is_held)
    y, y_test = (None, None) if data.y is None else (data.y[kept], data.y[held])
    return replace(data, X=data.X[kept], y=y), data.X[held], y_test


def _opening(estimator: LatentEstimator, data: Dataset, n_test: int) -> str:
    shape, size = " x ".join(map(str, data.X.shape[1:])), code_size(estimator, data.X.shape[1:])
    return (
        f"{type(estimator).__name__} with {size} components on {data.name}: "
        f"{len(data.X):,} rows of {shape}, {n_test:,} held out for the summary, seed "
        f"{estimator.random_state}"
    )
