"""Folders that one process at a time writes to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["LOCK", "exclusive_folder", "is_locked"]

LOCK = ".lock"


@contextlib.contextmanager
def exclusive_folder(folder: Path) -> Iterator[None]:
    """Make the folder before anything is computed, for this process alone.

    It is taken away again if nothing came of it. A run that is to be replaced stays as it is
    until the new one is written over it.
    """
    made = [p for p in (folder, *folder.parents) if not p.exists()]
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise ValueError(
            f"another process is writing to {folder}: wait for it, or name another --out."
        ) from None
    except OSError as error:
        raise ValueError(
            f"cannot write to {folder}: {error.strerror}; name another --out."
        ) from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the folder may be gone
            (folder / LOCK).unlink()
        lock.release()
        for p in made:
            if p.is_dir() and not any(p.iterdir()):
                p.rmdir()


def is_locked(folder: Path) -> bool:
    """Whether a process has exclusive_folder the folder and is still there."""
    if not (folder / LOCK).is_file():  # as a killed process may leave it
        return False
    try:
        with FileLock(folder / LOCK, timeout=0):
            return False
    except (Timeout, OSError):
        return True
