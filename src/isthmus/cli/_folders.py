"""The folder that a command fills: a new name, an empty one, or one that may be replaced."""

from __future__ import annotations

from pathlib import Path

from isthmus.persistence.atomic import PARTIAL
from isthmus.persistence.locks import LOCK

__all__ = ["has_something", "replaceable", "unused"]


def replaceable(folder: Path, what: str, ours: bool, force: bool, how: str = "") -> Path:
    """Return a folder that the user named, if it may be written to.

    Parameters
    ----------
    folder : Path
    what : str
        What is about to be written: "run" or "sweep".
    ours : bool
        Whether it holds one of these.
    force : bool
        Whether the user allows to replace it.
    how : str
        What else the user could do, in front of the advice to add --force.

    Raises
    ------
    ValueError
        A file, or a folder that holds something else or is not to be replaced.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {folder} is a file; name a folder.")
    if has_something(folder):
        if not force:
            raise ValueError(
                f"{folder} is not empty; add {how}--force to replace the {what} in it."
            )
        if not ours:
            raise ValueError(
                f"{folder} holds something that is no {what}; --force replaces only {what}s."
            )
    return folder


def has_something(folder: Path) -> bool:
    """Whether there is a folder with something in it but a lock and what was never written."""
    return folder.is_dir() and any(p.name != LOCK and p.suffix != PARTIAL for p in folder.iterdir())


def unused(folder: Path) -> Path:
    """Return the folder, or its name with a number that is free."""
    number, free = 2, folder
    while free.exists():
        free, number = folder.with_name(f"{folder.name}-{number}"), number + 1
    return free
