"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["PARTIAL", "write_all_atomic", "write_atomic"]

PARTIAL = ".part"  # the end of the name of a file that is being written


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    write_all_atomic({path: content})


def write_all_atomic(files: Mapping[Path, bytes]) -> None:
    """Write files that belong together: all are on the disk before the first takes its name.

    Raises
    ------
    OSError
        Where the disk is full or the folder gone; as a rule what was there is as it was.
    """
    drafts = {path: path.with_name(path.name + PARTIAL) for path in files}
    try:
        for path, content in files.items():
            with open(drafts[path], "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path, draft in drafts.items():
            os.replace(draft, path)
    except BaseException:
        for draft in drafts.values():
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
        raise
    for folder in {path.parent for path in files}:
        _sync(folder)


def _sync(folder: Path) -> None:
    """Let the names in a folder reach the disk, where the system can be asked to."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
