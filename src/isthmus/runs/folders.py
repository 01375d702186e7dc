"""The output folder of a run: a new name, an empty folder, or one that may be replaced."""

from __future__ import annotations

from pathlib import Path

from isthmus.persistence.atomic import PARTIAL
from isthmus.persistence.locks import LOCK
from isthmus.persistence.run_folder import CONFIG, find_checkpoints
from isthmus.training.training_log import TRAINING_LOG, read_training_log

__all__ = ["RUNS", "has_content", "output_folder", "run_folder", "unused"]

RUNS = Path("runs")  # parent of the folders of runs that the user did not name


def run_folder(out: Path | None, name: str, *, resume: bool, force: bool) -> Path:
    """Return the folder to write a run to: `out` if it may be used, or a new one in runs/."""
    if out is None:
        return unused(RUNS / name)
    if resume and has_content(out):
        return out
    interrupted, started = bool(find_checkpoints(out)), _only_started(out)
    hint = "--resume to continue the run in it, or " if interrupted else ""
    is_run = interrupted or started or (out / CONFIG).is_file()
    return output_folder(out, "run", is_run, force or started, hint)


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
    return folder.is_dir() and any(p.name != LOCK and p.suffix != PARTIAL for p in folder.iterdir())


def unused(folder: Path) -> Path:
    """Return the folder, or if it exists its name with a free number."""
    number, free = 2, folder
    while free.exists():
        free, number = folder.with_name(f"{folder.name}-{number}"), number + 1
    return free


def _only_started(folder: Path) -> bool:
    """Whether a folder holds only the training log of a run killed before its first checkpoint."""
    names = {p.name for p in folder.iterdir() if p.suffix != PARTIAL} if folder.is_dir() else set()
    try:
        only_log = names - {LOCK, "tensorboard"} == {TRAINING_LOG}
        return only_log and read_training_log(folder) is not None
    except (ValueError, OSError):  # a file of the user's with this name
        return False
