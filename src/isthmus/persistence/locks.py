"""Locks that keep two processes from writing to the same file or folder.

On POSIX a lock is `flock` on an open file, which the system releases when a process dies. A lock
file is removed while it is held, so a process that waits may have opened a file that is gone by
then: whoever gets a lock checks that the file still has its name. Elsewhere filelock is used.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

if sys.platform == "win32":
    from filelock import FileLock, Timeout
else:
    import fcntl

__all__ = ["LOCK", "exclusive", "exclusive_folder", "is_locked", "turn"]

LOCK = ".lock"
WAIT = 0.5  # seconds: a process that asks whether a lock is held shares it for a moment
WAIT_FOR_TURN = 60.0  # seconds
POLL = 0.01  # seconds


@contextlib.contextmanager
def exclusive(lock_file: Path, message: str, wait: float = WAIT) -> Iterator[None]:
    """Hold a lock file, or raise a ValueError with this message if another process holds it.

    Parameters
    ----------
    lock_file : Path
        A file in an existing folder that is used for nothing else; removed at the end.
    message : str
        The error if the lock is still held after `wait` seconds.
    wait : float

    Raises
    ------
    ValueError
        If another process, or another thread of this one, holds the lock.
    OSError
        If the lock file cannot be created, or is a link.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with exclusive(Path(folder) / LOCK, "busy"):
    ...         is_locked(Path(folder))
    True
    """
    if sys.platform == "win32":
        try:
            with FileLock(lock_file, timeout=wait):
                yield
        except Timeout:
            raise ValueError(message) from None
        return
    handle = _locked_file(lock_file, wait)
    if handle is None:
        raise ValueError(message)
    try:
        yield
    finally:
        if _has_name(handle, lock_file):  # the folder may have been deleted, and made again
            with contextlib.suppress(OSError):
                lock_file.unlink()
        _release(handle)


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
                f"cannot write to {error.filename}: {error.strerror}; choose another --out."
            ) from None
        yield


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # it is not empty
            folder.rmdir()


def is_locked(folder: Path) -> bool:
    """Return whether a running process holds the lock of a folder.

    Any number of processes may ask at the same time, also while another one takes the lock.
    """
    path = folder / LOCK
    if sys.platform == "win32":
        if not path.is_file():
            return False
        try:
            with FileLock(path, timeout=0):
                return False
        except (Timeout, OSError):
            return True
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except PermissionError:  # another user's
        return True
    except OSError:
        return False
    try:  # a killed process may leave the file behind
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


@contextlib.contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Let processes and threads write to a folder in turn, if the system supports it.

    Raises
    ------
    TimeoutError
        If another process writes to the folder for a minute.
    """
    try:
        handle = None if sys.platform == "win32" else os.open(folder, os.O_RDONLY)
    except OSError:  # errors of writing tell more
        handle = None
    if handle is None:
        yield
        return
    try:
        try:
            locked = _lock(handle, WAIT_FOR_TURN)
        except OSError:  # the file system has no locks, or as NFS none for folders
            locked = True
        if not locked:
            raise TimeoutError(
                errno.ETIMEDOUT, "another process has been writing for a minute", str(folder)
            )
        yield
    finally:
        _release(handle)


def _locked_file(path: Path, wait: float) -> int | None:
    """Return an open lock file that this call has locked; None if it is held by another."""
    end = time.monotonic() + wait
    while True:
        if path.is_symlink():
            raise OSError(errno.ELOOP, "expected a lock file, found a link; remove it", str(path))
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        try:
            locked = _lock(handle, end - time.monotonic())
            if locked and _has_name(handle, path):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        if not locked:
            return None  # else its last holder had removed it


def _has_name(handle: int, path: Path) -> bool:
    """Whether an open file is the one that has this name."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except OSError:
        return False


def _lock(handle: int, wait: float) -> bool:
    """Lock an open file; return False if another process holds it for so many seconds."""
    end = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(POLL)
        else:
            return True


def _release(handle: int) -> None:
    """Unlock and close a file; forked processes may have copies of it."""
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)
