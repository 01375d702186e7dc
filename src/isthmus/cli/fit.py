"""``isthmus fit``: data by name in, a run folder out."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus._messages import did_you_mean
from isthmus.cli._exit_codes import INTERRUPTED
from isthmus.cli._options import add_data_options, add_fields, add_model, fields_given
from isthmus.models.params import check_fields

if TYPE_CHECKING:
    from isthmus.data import Dataset
    from isthmus.data.disk_array import DiskArray
    from isthmus.estimators import LatentEstimator
    from isthmus.training import Callback
    from isthmus.training.distributed import ProcessGroup
    from isthmus.training.sample_history import SampleRecorder

__all__ = ["add_parser", "run"]

TRACKERS = ("tensorboard", "mlflow", "trackio")
RARE = 30.0  # seconds between the checkpoints of a resumed run that asked for none
HELD_OUT = 0.1  # share of the rows kept for the summary, for data without a test set


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    fit = subparsers.add_parser(
        "fit",
        help="train a model on data; leaves a model and a page of pictures",
        description="Train a model on data. Leaves a folder with the model, its history and "
        "report.html, a page of pictures.",
        epilog="Examples:  isthmus fit digits   isthmus fit digits --n-components 2   "
        "isthmus fit photos/ --size 64 --backbone conv   isthmus fit table.csv --label class "
        "--model conditional-vae",
    )
    fit.add_argument(
        "data",
        metavar="DATA",
        help="digits, mnist, fashion-mnist or sprites; or a path: .npy, .npz, .zarr, a table "
        "(.csv, .tsv, .parquet: numbers, yes and no, categories), or a folder of pictures or "
        "sounds (its sub-folders are classes) or of .parquet files",
    )
    add_model(fit)
    add_data_options(fit)
    fit.add_argument("--out", metavar="DIR", help="folder of the run (default: runs/DATA-MODEL)")
    fit.add_argument("--force", action="store_true", help="replace an existing run in --out")
    fit.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in --out, which was broken off, by the settings it began with",
    )
    fit.add_argument(
        "--checkpoint-every",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="time between two checkpoints, from which --resume goes on; 'none' for no "
        "checkpoints, unless a run is resumed (default: 30)",
    )
    fit.add_argument(
        "--page",
        action="store_true",
        help="write studio.html besides, a page that runs the model in the browser, with up to "
        "5000 rows of the data in it (needs isthmus[studio])",
    )
    fit.add_argument(
        "--track",
        type=tracker_names,
        default=[],
        metavar="NAME[,NAME]",
        help=f"also write numbers and pictures to {', '.join(TRACKERS)} (needs isthmus[track])",
    )
    fit.add_argument(
        "--track-to",
        metavar="DIR|URI",
        help="where the tracker writes: a folder, or a server's address (default: tensorboard in "
        "--out, mlflow and trackio where they do by themselves)",
    )
    fit.add_argument("--quiet", action="store_true", help="print nothing but errors")
    add_fields(fit)


def seconds(text: str) -> float | None:
    """Return a time in seconds, or None; the parser's error for another."""
    if text.lower() == "none":
        return None
    if not (value := float(text)) >= 0:
        raise argparse.ArgumentTypeError(f"expected seconds of 0 or more, or 'none', got {text!r}")
    return value


def tracker_names(text: str) -> list[str]:
    """Return names that commas join, each once; the parser's error for one that is not known."""
    names = [*dict.fromkeys(text.split(","))]
    for name in names:
        if name not in TRACKERS:
            raise argparse.ArgumentTypeError(
                f"unknown tracker {name!r}.{did_you_mean(name, TRACKERS)} "
                f"Known: {', '.join(TRACKERS)}"
            )
    return names


def run(arguments: argparse.Namespace) -> int:
    """Train, save, summarise, draw; return the exit code."""
    from isthmus.training import pick_device
    from isthmus.training.distributed import join_process_group

    given = fields_given(arguments)
    process_group = join_process_group(
        given.get("strategy", "auto"), pick_device(given.get("device", "auto"))
    )
    with process_group.translate_errors():
        code = _run(arguments, process_group)
        process_group.close()  # at one time: torchrun ends all when the first one fails
    return code


def _run(arguments: argparse.Namespace, process_group: ProcessGroup) -> int:
    from isthmus.cli._elastic_restart import go_on_where_it_broke
    from isthmus.data import load as load_data
    from isthmus.persistence.locks import exclusive_folder
    from isthmus.training.trackers import make_trackers

    if not go_on_where_it_broke(arguments, process_group):
        return 0
    if arguments.resume and process_group.is_main:
        check_can_resume(arguments.out)
    estimator = _estimator(arguments, process_group)
    make_trackers(arguments.track, arguments.track_to, Path())  # what lacks is said at once
    data = load_data(
        arguments.data, data_home=arguments.data_home, size=arguments.size, label=arguments.label
    )
    if not process_group.is_main:
        return _help(estimator, data, arguments)
    folder = _folder(arguments, data)
    with exclusive_folder(folder):
        return _train(estimator, data, folder, arguments)


def _help(estimator: LatentEstimator, data: Dataset, arguments: argparse.Namespace) -> int:
    """Train as one of several processes, of which another writes and speaks."""
    folder = Path(arguments.out or ".")
    train, *_ = hold_out(data, estimator.random_state or 0)
    return _fit(estimator, train, _checkpoints(folder, arguments), folder, arguments)


def _as_said(arguments: argparse.Namespace) -> str:
    """Return the data as the user named them, for the next command line."""
    options = {"--data-home": arguments.data_home, "--size": arguments.size}
    options["--label"] = arguments.label
    words = [arguments.data, *(str(w) for o, v in options.items() if v is not None for w in (o, v))]
    return shlex.join(words)


def _tracked(arguments: argparse.Namespace) -> str:
    """Return the flags by which a run that goes on is tracked as before."""
    names, to = arguments.track, arguments.track_to
    flags = f" --track {','.join(names)}" if names else ""
    return flags if to is None else f"{flags} --track-to {shlex.quote(to)}"


def _train(
    estimator: LatentEstimator, data: Dataset, folder: Path, arguments: argparse.Namespace
) -> int:
    from isthmus.cli._console import print_summary
    from isthmus.cli._live import write_live
    from isthmus.data.disk_array import DiskArray, as_disk_array
    from isthmus.estimators import model_io
    from isthmus.estimators.fitting import SIGTERM_EXIT_CODE
    from isthmus.estimators.validation import check_finite
    from isthmus.evaluation.summary import held_out_summary
    from isthmus.persistence.run_folder import find_checkpoints
    from isthmus.training.sample_history import SampleRecorder
    from isthmus.training.trackers import make_trackers
    from isthmus.training.training_log import TrainingLog, remove_training_log

    if as_disk_array(data.X) is None:  # which is checked as it is read
        # While rows still have their own numbers.
        check_finite(data.X, data.feature_names, estimator.missing == "ignore")
    train, X_test, y_test = hold_out(data, estimator.random_state or 0)
    if not arguments.quiet:
        _say(_opening(estimator, train, len(X_test)), *data.notes)
        if arguments.resume:
            _say(f"going on with epoch {arguments.epoch}")
    recorder = SampleRecorder()
    watchers: list[Callback] = [recorder, TrainingLog(folder, _facts(estimator, data, arguments))]
    watchers += make_trackers(arguments.track, arguments.track_to, folder)
    watchers += _checkpoints(folder, arguments)
    try:
        code, saved = _learn(estimator, data, train, watchers, folder, arguments)
    finally:  # without checkpoints, which an error may have left, there is nothing to go on with
        if not find_checkpoints(folder):
            remove_training_log(folder)
    if not saved or code == SIGTERM_EXIT_CODE:  # who sent the signal does not wait for long
        return code
    some = train.X.preview() if isinstance(train.X, DiskArray) else train.X
    summary = held_out_summary(estimator, some, X_test, y_test)
    model_io.save(estimator, folder, data.fingerprint, summary)
    page = _report(estimator, folder, data, X_test, y_test, recorder, summary)
    if arguments.page:
        try:
            write_live(folder, data)
        except (ValueError, OSError, ImportError) as error:  # the run itself is whole
            _say(f"no live page: {error}")
    if not arguments.quiet:
        print_summary(estimator, summary, folder, page, _as_said(arguments))
    return code


def _checkpoints(folder: Path, arguments: argparse.Namespace) -> list[Callback]:
    from isthmus.training import Checkpoint

    every = arguments.checkpoint_every
    if every is None and arguments.resume:  # else a second break would lose those there are
        every = RARE
    return [] if every is None else [Checkpoint(folder, every)]


def _facts(
    estimator: LatentEstimator, data: Dataset, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Return what the journal says of the run."""
    from isthmus.cli._elastic_restart import launcher
    from isthmus.estimators.run_fingerprint import params_to_json

    return {
        "estimator": arguments.model,
        "params": params_to_json(estimator.get_params(deep=False)),
        "data": {"name": data.name, "shape": list(data.X.shape)},
        **launcher(),
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
    from isthmus.estimators import model_io
    from isthmus.persistence.run_folder import CONFIG, remove_checkpoints
    from isthmus.training import Checkpoint

    code = _fit(estimator, train, watchers, folder, arguments)
    if code and not estimator.best_epoch_ and (folder / CONFIG).is_file():
        return code, False  # the model that is there is better than one that has learned nothing
    # The model first: whatever happens to the numbers and pictures, the work is safe.
    model_io.save(estimator, folder, data.fingerprint)
    if not code or not any(isinstance(w, Checkpoint) and w.goes_on for w in watchers):
        remove_checkpoints(folder)  # of this run, which is done, or of one that it replaces
    else:
        out = shlex.quote(str(folder))
        again = f"--resume{_tracked(arguments)}"
        _say(f"go on by:  isthmus fit {_as_said(arguments)} --out {out} {again}")
    return code, True


def _fit(
    estimator: LatentEstimator,
    train: Dataset,
    watchers: list[Callback],
    folder: Path,
    arguments: argparse.Namespace,
) -> int:
    """Train; return the exit code: 0, or why training was broken off with a model."""
    resume_from = folder if arguments.resume else None
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
    from isthmus.cli._console import number_text
    from isthmus.persistence.run_folder import read_config
    from isthmus.report import REPORT, write_report

    return write_report(
        folder / REPORT,
        estimator=estimator,
        X=X_test,
        y=y_test,
        samples=recorder.pictures(estimator),
        summary=[(name, number_text(value)) for name, value in summary.items()],
        settings=read_config(folder)["params"],
        title=f"{type(estimator).__name__} on {data.name}",
        notes=data.notes,
        command=f"isthmus studio {shlex.quote(str(folder))}",
    )


def _say(*lines: str) -> None:
    from isthmus.training.distributed import is_main

    for line in lines if is_main() else ():
        print(line, file=sys.stderr)


def _estimator(arguments: argparse.Namespace, process_group: ProcessGroup) -> LatentEstimator:
    from isthmus.estimators import ESTIMATORS
    from isthmus.estimators.defaults import check_likelihood, fresh_seed
    from isthmus.registry import build_objective
    from isthmus.training import pick_device
    from isthmus.training.checkpoints import read_checkpoint

    fields: dict[str, Any] = {"progress": "none" if arguments.quiet else "auto"}
    if arguments.resume:
        facts = process_group.broadcast_object(
            read_checkpoint(arguments.out).facts if process_group.is_main else None
        )
        fields = _begun_with(arguments, facts) | fields
    fields |= fields_given(arguments)
    if fields.get("random_state") is None:  # recorded, so that the run can be repeated
        fields["random_state"] = process_group.broadcast_object(fresh_seed() % 2**31)
    estimator = ESTIMATORS[arguments.model](**fields)
    check_fields(estimator)
    check_likelihood(estimator.likelihood)
    build_objective(estimator)  # choices that exclude each other, before any data are read
    pick_device(estimator.device)
    return estimator


def check_can_resume(out: str | None) -> None:
    """Raise a ValueError in one line where there is no run to go on with."""
    from isthmus.persistence.run_folder import CONFIG, find_checkpoints

    if out is None:
        raise ValueError("--resume goes on with the run in a folder: say which by --out DIR.")
    if (Path(out) / CONFIG).is_file() and not find_checkpoints(out):
        raise ValueError(
            f"the run in {out} is complete: there is nothing to go on with. For a new one name "
            "another --out, or add --force instead of --resume."
        )


def _begun_with(arguments: argparse.Namespace, facts: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that the run to go on with began with; note its model and epoch."""
    from isthmus.estimators import ESTIMATORS
    from isthmus.estimators.run_fingerprint import CUSTOM

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
    from isthmus.cli._folders import has_something, replaceable, unused
    from isthmus.persistence.run_folder import CONFIG, find_checkpoints

    if arguments.out is None:
        return unused(Path("runs") / f"{data.name}-{arguments.model}")
    folder = Path(arguments.out)
    if arguments.resume and has_something(folder):
        return folder
    broken_off, begun = bool(find_checkpoints(folder)), _only_begun(folder)
    how = "--resume to go on with the run in it, or " if broken_off else ""
    ours = broken_off or begun or (folder / CONFIG).is_file()
    return replaceable(folder, "run", ours, arguments.force or begun, how)


def _only_begun(folder: Path) -> bool:
    """Whether a folder holds a journal alone, of a run killed before its first checkpoint."""
    from isthmus.persistence.atomic import PARTIAL
    from isthmus.persistence.locks import LOCK
    from isthmus.training.training_log import TRAINING_LOG, read_training_log

    names = {p.name for p in folder.iterdir() if p.suffix != PARTIAL} if folder.is_dir() else set()
    try:
        return (
            names - {LOCK, "tensorboard"} == {TRAINING_LOG}
            and read_training_log(folder) is not None
        )
    except (ValueError, OSError):  # somebody's own file of that name
        return False


def hold_out(data: Dataset, seed: int) -> tuple[Dataset, Any, Any]:
    """Return training data, and rows for the summary: a test set, or a tenth drawn at random."""
    import numpy as np

    from isthmus.data.disk_array import as_disk_array

    if data.X_test is not None:
        return data, data.X_test, data.y_test
    if (stored := as_disk_array(data.X)) is not None:
        return _hold_out_stored(data, stored, seed)
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


def _hold_out_stored(data: Dataset, stored: DiskArray, seed: int) -> tuple[Dataset, Any, Any]:
    """Return the same of an array on the disk: runs of neighbours that fit memory.

    Labels are those of the whole array: rows that stay on the disk know their numbers in it.
    """
    import numpy as np

    kept, held = stored.split(HELD_OUT, np.random.default_rng(seed))
    y_test = None if data.y is None else data.y[held.indices()]
    return replace(data, X=kept), held.read(), y_test


def _opening(estimator: LatentEstimator, data: Dataset, n_test: int) -> str:
    from isthmus.registry import code_size

    shape, size = " x ".join(map(str, data.X.shape[1:])), code_size(estimator, data.X.shape[1:])
    return (
        f"{type(estimator).__name__} with {size} components on {data.name}: "
        f"{len(data.X):,} rows of {shape}, {n_test:,} held out for the summary, seed "
        f"{estimator.random_state}"
    )
