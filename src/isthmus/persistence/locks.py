"""Locks that keep two processes from writing to the same file or folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["LOCK", "exclusive", "exclusive_folder", "is_locked"]

LOCK = ".lock"


@contextlib.contextmanager
def exclusive(lock_file: Path, message: str) -> Iterator[None]:
    """Hold a lock file, or raise a ValueError with this message if another process holds it."""
    lock = FileLock(lock_file, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(message) from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the folder may have been deleted
            lock_file.unlink()
        lock.release()


@contextlib.contextmanager
def exclusive_folder(folder: Path) -> Iterator[None]:
    """Create a folder and lock it; remove it at the end if it is empty.

    Existing files stay until something overwrites them.

    Raises
    ------
    ValueError
        If another process holds the lock, or the folder cannot be written.
    """
    created = [p for p in (folder, *folder.parents) if not p.exists()]
    busy = f"another process is writing to {folder}: wait for it, or choose another --out."
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_empty, created)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(exclusive(folder / LOCK, busy))
        except OSError as error:
            raise ValueError(
                f"cannot write to {folder}: {error.strerror}; choose another --out."
            ) from None
        yield


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def is_locked(folder: Path) -> bool:
    """Return whether a running process holds the lock of a folder."""
    if not (folder / LOCK).is_file():
        return False
    try:
        with FileLock(folder / LOCK, timeout=0):  # a killed process may leave the file behind
            return False
    except (Timeout, OSError):
        return True
