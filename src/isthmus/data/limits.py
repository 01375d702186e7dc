"""Bound the memory that reading an untrusted file may take.

Uncompressed data take as much memory as they take on disk. Compressed data, or a size announced
in a header, may take a thousand times more, so the size is checked before memory is allocated:
64 MiB are always allowed, and beyond that 100 bytes per byte of the file (deflate reaches 1,000;
photographs, audio and digits stay below 50). The environment variable ``ISTHMUS_MAX_BYTES``
replaces this rule for users who trust a larger file.
"""

from __future__ import annotations

import os
import stat
import zipfile
from itertools import takewhile
from pathlib import Path

from isthmus._messages import one_line

__all__ = [
    "ENV_VARIABLE",
    "FREE_BYTES",
    "MAX_COLUMNS",
    "MAX_EXPANSION",
    "MAX_MEMBERS",
    "allowed_memory",
    "check_link",
    "check_memory",
    "check_zip",
    "configured_limit",
    "is_inside",
    "is_regular_file",
]

ENV_VARIABLE = "ISTHMUS_MAX_BYTES"
FREE_BYTES = 64 * 2**20  # always allowed
MAX_EXPANSION = 100  # bytes of memory per byte on disk
MAX_COLUMNS = 100_000  # of a table; each costs about a kilobyte, however few rows there are
MAX_MEMBERS = 10_000  # of an archive
MEMBER_BYTES = 256  # of each in the directory
# The methods that NumPy writes; the decoders of others allocate what the file tells them to.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def configured_limit() -> int | None:
    """Return the bytes that ISTHMUS_MAX_BYTES allows, or None if it is not set."""
    text = os.environ.get(ENV_VARIABLE, "").strip()
    if not text:
        return None
    if not text.isdecimal() or len(text) > 18 or int(text) < 1:
        raise ValueError(f"{ENV_VARIABLE} must be a whole number of bytes, got {one_line(text)!r}.")
    return int(text)


def allowed_memory(on_disk: int) -> int:
    """Return how many bytes of memory the content of a file of `on_disk` bytes may take."""
    limit = configured_limit()
    return max(FREE_BYTES, MAX_EXPANSION * on_disk) if limit is None else limit


def check_memory(name: object, n_bytes: int, on_disk: int) -> None:
    """Raise a ValueError if a file of `on_disk` bytes would take too much memory (`n_bytes`)."""
    allowed = allowed_memory(on_disk)
    if n_bytes > allowed:
        raise ValueError(
            f"{name}: its {on_disk:,} bytes would become {n_bytes:,} in memory; at most "
            f"{allowed:,} are allowed. If you trust the file, set {ENV_VARIABLE}={n_bytes}."
        )


def check_zip(path: str | os.PathLike[str]) -> None:
    """Raise an error if a zip archive, such as .npz, would unpack to too much; unpack nothing.

    Python's zipfile never returns more of a member than the directory of the archive announces.
    """
    if _directory_bytes(Path(path)) > MAX_MEMBERS * MEMBER_BYTES:  # before zipfile reads all of it
        raise ValueError(f"{path}: expected at most {MAX_MEMBERS:,} arrays, got more.")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise ValueError(f"{path}: expected at most {MAX_MEMBERS:,} arrays, got {len(members):,}.")
    if any(member.compress_type not in _METHODS for member in members):
        raise ValueError(f"{path}: expected an uncompressed archive or one compressed by deflate.")
    check_memory(path, sum(member.file_size for member in members), Path(path).stat().st_size)


def _directory_bytes(path: Path) -> int:
    """Return the size of the directory of a zip archive, 0 if there is none."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 2**16 - 100))
        tail = stream.read()
    end, end64 = tail.rfind(b"PK\5\6"), tail.rfind(b"PK\6\6")  # the latter for large archives
    size = int.from_bytes(tail[end + 12 : end + 16], "little") if end >= 0 else 0
    large = int.from_bytes(tail[end64 + 40 : end64 + 48], "little") if end64 >= 0 else 0
    return max(size % (2**32 - 1), large)


def is_regular_file(file: str | os.PathLike[str]) -> bool:
    """Return whether a path leads to a regular file; reading a pipe could block forever."""
    try:
        return stat.S_ISREG(os.stat(file).st_mode)
    except (OSError, ValueError):
        return False


def is_inside(file: str | os.PathLike[str], root: str | os.PathLike[str]) -> bool:
    """Return whether a file is inside `root`, or no link: below `root` no link on the way to it."""
    file, root = Path(file), Path(root)
    below = file.is_relative_to(root)
    steps = takewhile(root.__ne__, (file, *file.parents)) if below else (file,)
    if not any(map(os.path.islink, steps)):
        return True
    return Path(os.path.realpath(file)).is_relative_to(os.path.realpath(root))


def check_link(file: Path, root: Path) -> None:
    """Raise a ValueError if a link on the way from `root` to a file below it leads out of it."""
    if not is_inside(file, root):
        raise ValueError(
            f"{root}: {file.relative_to(root)} is a link out of the folder; replace it by what it "
            "leads to."
        )
