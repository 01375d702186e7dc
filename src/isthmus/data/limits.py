"""How much a file from a stranger may cost: one place for the limits, and the way to raise them.

What is read plainly costs what lies on the disk. What is compressed, or what a header promises,
may cost a thousand times that: it is checked before anything is made room for. The measure is
the file itself: 64 MiB are always allowed, beyond them a hundred bytes for each on the disk
(deflate reaches a thousand; photographs, sounds and digits stay below fifty). Whoever trusts a
file that asks for more sets the environment variable ``ISTHMUS_MAX_BYTES``, which takes the
place of that rule.
"""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path

from isthmus._messages import one_line

__all__ = [
    "ENV_VARIABLE",
    "FREE_BYTES",
    "MAX_COLUMNS",
    "MAX_EXPANSION",
    "allowed_memory",
    "check_memory",
    "check_zip",
    "configured_limit",
    "is_inside",
    "is_regular_file",
]

ENV_VARIABLE = "ISTHMUS_MAX_BYTES"
FREE_BYTES = 64 * 2**20  # bytes that any file may become
MAX_EXPANSION = 100  # bytes for each on the disk, beyond that
MAX_COLUMNS = 100_000  # of a table; each costs about a kilobyte, whatever its rows
MAX_MEMBERS = 10_000  # of an archive
# What NumPy writes. The others name the size of their own memory in the file.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def configured_limit() -> int | None:
    """Return the bytes that ISTHMUS_MAX_BYTES allows; None where it is not set.

    Raises
    ------
    ValueError
        Where it is no whole number above 0.
    """
    text = os.environ.get(ENV_VARIABLE, "").strip()
    if not text:
        return None
    if not text.isdecimal() or len(text) > 18 or int(text) < 1:
        raise ValueError(f"{ENV_VARIABLE} must be a whole number of bytes, got {one_line(text)!r}.")
    return int(text)


def allowed_memory(on_disk: int) -> int:
    """Return how many bytes of memory the content of a file may take.

    Parameters
    ----------
    on_disk : int
        Bytes of the file.

    Examples
    --------
    >>> allowed_memory(10) == FREE_BYTES, allowed_memory(10**9) == 10**11
    (True, True)
    """
    given = configured_limit()
    return max(FREE_BYTES, MAX_EXPANSION * on_disk) if given is None else given


def check_memory(path: object, n_bytes: int, on_disk: int) -> None:
    """Raise a ValueError where a file would take more memory than is allowed.

    Parameters
    ----------
    path : object
        What the message names.
    n_bytes : int
        What the content would take.
    on_disk : int
        Bytes of the file.
    """
    most = allowed_memory(on_disk)
    if n_bytes > most:
        raise ValueError(
            f"{path}: its {on_disk:,} bytes would become {n_bytes:,} in memory, at most {most:,} "
            f"are allowed; if you trust the file, set {ENV_VARIABLE}={n_bytes}."
        )


def check_zip(path: str | os.PathLike[str]) -> None:
    """Raise a ValueError where the members of a zip archive, as .npz is one, would be too much.

    Nothing is unpacked. Python's zipfile never gives more of a member than the directory says.

    Raises
    ------
    ValueError
        Also where there are too many members, or one is compressed in another way than NumPy's.
    zipfile.BadZipFile
        Where it is no archive.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise ValueError(f"{path}: expected at most {MAX_MEMBERS:,} arrays, got {len(members):,}.")
    if any(member.compress_type not in _METHODS for member in members):
        raise ValueError(f"{path}: expected an archive compressed by deflate, or not at all.")
    check_memory(path, sum(member.file_size for member in members), Path(path).stat().st_size)


def is_regular_file(file: str | os.PathLike[str]) -> bool:
    """Return whether a path leads to a plain file: a pipe would be waited for without end."""
    try:
        return stat.S_ISREG(os.stat(file).st_mode)
    except (OSError, ValueError):
        return False


def is_inside(file: str | os.PathLike[str], root: str | os.PathLike[str]) -> bool:
    """Return whether a path under a folder is no link that leads out of it."""
    if not os.path.islink(file):
        return True
    return Path(os.path.realpath(file)).is_relative_to(os.path.realpath(root))
