"""The output folder of a run: a new name, an empty folder, or one that may be replaced."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

from isthmus.persistence.atomic import is_leftover, remove
from isthmus.persistence.integrity import MAX_JSON, SUMS, damaged_files, read_bytes
from isthmus.persistence.locks import LOCK
from isthmus.persistence.run_folder import CONFIG, SPLIT, find_checkpoints
from isthmus.report import REPORT
from isthmus.runs.studio_page import PAGE
from isthmus.training.training_log import TRAINING_LOG, has_training_log

__all__ = [
    "RUNS",
    "damaged_files_of_run",
    "has_content",
    "is_started",
    "output_folder",
    "remove_derived",
    "run_folder",
    "unused",
]

#: What describes the model of a run, and is removed when another model takes its place.
DERIVED = (
    REPORT,
    PAGE,
    "evaluation.json",
    "detector/*/detector.json",
    "detector/*/detector.safetensors",
    "index/index.json",
    "index/codes.safetensors",
    "mixture*/mixture.json",
    "mixture*/mixture.safetensors",
    "onnx/encoder.onnx",
    "onnx/decoder.onnx",
    "onnx/scorer.onnx",
    "torch/encoder.pt2",
    "torch/decoder.pt2",
    "torch/scorer.pt2",
)
RECORDS = (CONFIG, *(name for name in DERIVED if "/" in name and name.endswith(".json")))
RUNS = Path("runs")  # parent of the folders of runs that the user did not name


def run_folder(out: Path | None, name: str, *, resume: bool, force: bool) -> Path:
    """Return the folder to write a run to: `out` if it may be used, or a new one in runs/."""
    if out is None:
        return unused(RUNS / name)
    if resume and has_content(out):
        return out
    interrupted, is_saved, started = bool(find_checkpoints(out)), _has_model(out), is_started(out)
    hint = "--resume to continue the run in it, or " if interrupted else ""
    replaceable = force or (started and _has_only_log(out))
    return output_folder(out, "run", interrupted or started or is_saved, replaceable, hint)


def output_folder(folder: Path, what: str, is_one: bool, force: bool, hint: str = "") -> Path:
    """Return a folder that the user named; raise a ValueError if it may not be written to.

    `is_one` says whether it holds what is about to be written, a "run" or a "sweep", and `force`
    whether that may be replaced. `hint` is advice besides --force.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {folder} is a file; name a folder.")
    if has_content(folder):
        if not force:
            raise ValueError(
                f"{folder} is not empty; add {hint}--force to replace the {what} in it."
            )
        if not is_one:
            raise ValueError(
                f"{folder} does not hold a {what}; --force replaces only {what}s. Name another "
                "folder."
            )
    return folder


def has_content(folder: Path) -> bool:
    """Whether a folder exists and holds more than a lock and unfinished files."""
    return folder.is_dir() and any(p.name != LOCK and not is_leftover(p) for p in folder.iterdir())


def unused(folder: Path) -> Path:
    """Return the folder, or if it exists its name with a free number."""
    number, free = 2, folder
    while free.exists():
        free, number = folder.with_name(f"{folder.name}-{number}"), number + 1
    return free


def is_started(folder: Path) -> bool:
    """Whether a folder holds the training log of a run, intact or not."""
    try:
        return has_training_log(folder)
    except OSError:
        return False


def damaged_files_of_run(folder: Path) -> list[str]:
    """Return the names of files of a run, or below it, that do not match their checksums."""
    records = [path for pattern in RECORDS for path in sorted(folder.glob(pattern))]
    return [
        (path.parent / name).relative_to(folder).as_posix()
        for path in records
        for name in damaged_files(path)
    ]


def _has_only_log(folder: Path) -> bool:
    """Whether a started run has written nothing that is worth keeping."""
    kept = {p.name for p in folder.iterdir() if not is_leftover(p)}
    return kept - {LOCK, "tensorboard"} == {TRAINING_LOG}


def _has_model(folder: Path) -> bool:
    """Whether the config.json of a folder, intact or not, was written by isthmus."""
    try:
        return b'"isthmus"' in read_bytes(folder / CONFIG, MAX_JSON)
    except (ValueError, OSError):
        return False


def remove_derived(folder: Path, config: Mapping[str, Any]) -> None:
    """Remove the files of a run that describe a model before the one that `config` belongs to."""
    names = DERIVED if SPLIT in (config.get(SUMS) or {}) else (*DERIVED, SPLIT)
    for pattern in map(Path, names):
        below = pattern != Path(pattern.name)
        for parent in [*folder.glob(str(pattern.parent))] if below else [folder]:
            is_link = parent.resolve() != folder.resolve() / parent.relative_to(folder)
            if parent.is_dir() and not is_link:
                remove(parent / pattern.name)
                with suppress(OSError):  # not empty
                    for each in takewhile(lambda each: each != folder, (parent, *parent.parents)):
                        each.rmdir()
