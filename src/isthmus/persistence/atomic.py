"""Atomic writing of files: after a crash a file has its old or its new content, never a part."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["PARTIAL", "write_all_atomic", "write_atomic"]

PARTIAL = ".part"  # suffix of files that are being written


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file completely or not at all."""
    write_all_atomic({path: content})


def write_all_atomic(files: Mapping[Path, bytes]) -> None:
    """Write files that belong together: all contents are on disk before the first is renamed.

    Raises
    ------
    OSError
        If the disk is full or a folder does not exist; existing files are normally unchanged.
    """
    partial = {path: path.with_name(path.name + PARTIAL) for path in files}
    try:
        for path, content in files.items():
            with open(partial[path], "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path, draft in partial.items():
            os.replace(draft, path)
    except BaseException:
        for draft in partial.values():
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
        raise
    for folder in {path.parent for path in files}:
        _sync(folder)


def _sync(folder: Path) -> None:
    """Flush the renamed entries of a folder to disk, if the system supports it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
