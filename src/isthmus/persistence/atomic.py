"""Atomic writing of files: after a crash a file has its old or its new content, never a part.

A new content is written to a *draft*, a hidden file beside its target with an unpredictable name,
which is created exclusively: a link that somebody planted is never followed. The synced draft then
replaces the target; a target that is a link is replaced, not written through. A folder that is a
link is followed if the user named it (`inner_folder` is for the others).

Files that a *record* describes by their checksums, such as those of a model, change together: the
drafts are renamed to hidden names that contain the start of their checksum (*staged*), the record
is replaced, and the staged files get their names. Replacing the record is the one switch. A reader
that finds another content than the record states looks for the staged file.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from isthmus.data.limits import is_regular_file
from isthmus.persistence.locks import turn

__all__ = [
    "finish_staged",
    "inner_folder",
    "is_leftover",
    "naming",
    "open_atomic",
    "open_new",
    "remove",
    "staged",
    "without_links",
    "write_all_atomic",
    "write_atomic",
]

OLD_DRAFT = ".part"  # after the name of the target: a draft of an older version
HIDDEN = re.compile(r"\.(?P<name>.+)\.(?P<digits>[0-9a-f]{16})(?P<draft>\.part)?", re.DOTALL)
MAX_NAME = 200  # bytes of a name in the name of a draft; file systems allow 255 in all
MAX_RECORD = 2**24  # bytes


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file completely or not at all; errors as `write_all_atomic`."""
    write_all_atomic({path: content})


def write_all_atomic(files: Mapping[Path, bytes], record: Path | None = None) -> None:
    """Write files: all contents are on disk before the first one replaces an older file.

    Parameters
    ----------
    files : mapping of Path to bytes
        The folders must exist.
    record : Path, optional
        The one of the files that contains the SHA-256 of the others: all change with it, at once.
        Without a record they get their names one after another.

    Raises
    ------
    OSError
        If a file cannot be written, with its name. Existing files are unchanged, unless renaming
        failed after all contents had been written.
    """
    folders = sorted({Path(os.path.realpath(path.parent)) for path in files})
    others = [path for path in files if path != record]
    with contextlib.ExitStack() as stack:
        for folder in folders:
            stack.enter_context(turn(folder))
        _remove_leftovers(files, record)
        try:
            drafts = {path: _write_draft(path, content) for path, content in files.items()}
            if record is not None:
                sums = {path: hashlib.sha256(files[path]).hexdigest() for path in others}
                drafts |= {p: _rename(drafts[p], staged(p, sums[p]), p) for p in others}
                _sync(folders)  # the record must not reach the disk before what it describes
                _rename(drafts[record], record, record)
                _sync(folders)
            for path in others:
                _rename(drafts[path], path, path)
            _sync(folders)
            if record is not None:
                _remove_leftovers(files, record)  # those that the older record described
        except BaseException:
            _remove_leftovers(files, record)
            raise


@contextlib.contextmanager
def open_atomic(
    path: Path, folder: Path, before: Callable[[Path], None] = lambda draft: None
) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces `path` at the end of the block, unless that raises.

    The caller must hold a lock for the path. The draft is made in `folder`, on the same disk;
    `before` is called with its name when it is complete.
    """
    _remove_leftovers([folder / path.name])
    with naming(path):
        _refuse_folder(path)
        file = open_new(_draft(folder / path.name))
    try:
        try:
            yield file
            with naming(path):
                file.flush()
                os.fsync(file.fileno())
        finally:
            with naming(path):
                file.close()
        before(Path(file.name))
        _rename(Path(file.name), path, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(file.name)
        raise
    _sync([path.parent])


def staged(path: Path, checksum: str) -> Path:
    """Return the name under which a file with a SHA-256 waits for the record to be replaced."""
    return path.with_name(f".{_short(path.name)}.{checksum[:16]}")


def finish_staged(folder: Path, sums: Mapping[str, str]) -> None:
    """Give staged files that a record describes their names: their writer was killed."""
    for name, checksum in sums.items():
        path = folder / name
        if _is_own(waiting := staged(path, checksum)):
            _rename(waiting, path, path)


def is_leftover(path: Path) -> bool:
    """Whether a name is that of a draft or a staged file, which a killed writer leaves."""
    return HIDDEN.fullmatch(path.name) is not None or path.suffix == OLD_DRAFT


def remove(path: Path) -> None:
    """Remove a file, if there is one, and what killed writers left of it."""
    path.unlink(missing_ok=True)
    _remove_leftovers([path])
    _remove_own(path.with_name(path.name + OLD_DRAFT))


def inner_folder(folder: Path, *names: str) -> Path:
    """Return a folder below one that the user named; create it and those between.

    Raises
    ------
    OSError
        If one cannot be created, or is a link: it could lead anywhere.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        folder = folder / name
        if folder.is_symlink():
            raise NotADirectoryError(
                errno.ENOTDIR, "expected a folder, found a link; remove it", str(folder)
            )
        folder.mkdir(exist_ok=True)
    return folder


def open_new(path: Path) -> BinaryIO:
    """Open a file for writing that must not exist, not even as a link."""
    return open(path, "xb", opener=without_links)


def without_links(path: str, flags: int) -> int:
    """Open a file, for the argument `opener` of `open`, unless it is a link."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)  # the umask applies


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file that was to be written in errors of the system, which may name none."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _write_draft(path: Path, content: bytes) -> Path:
    """Write and sync a draft; return its name."""
    with naming(path):
        _refuse_folder(path)
        with open_new(_draft(path)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    return Path(file.name)


def _draft(path: Path) -> Path:
    return path.with_name(f".{_short(path.name)}.{secrets.token_hex(8)}.part")


def _short(name: str) -> str:
    """Return the name of a file; for a long one, its checksum."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= MAX_NAME else hashlib.sha256(encoded).hexdigest()


def _refuse_folder(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        raise IsADirectoryError(errno.EISDIR, "expected a file, found a folder", str(path))


def _rename(old: Path, new: Path, target: Path) -> Path:
    with naming(target):
        os.replace(old, new)
    return new


def _remove_leftovers(paths: Iterable[Path], record: Path | None = None) -> None:
    """Remove drafts and staged files of killed writers, except staged ones the record describes."""
    for folder in {path.parent for path in paths}:
        names = {_short(path.name) for path in paths if path.parent == folder}
        try:
            found = [HIDDEN.fullmatch(name) for name in os.listdir(folder)]
        except OSError:  # errors of writing tell more
            continue
        left = [match for match in found if match is not None and match["name"] in names]
        text = _text(record) if left else b""
        for match in left:
            if match["draft"] or match["digits"].encode() not in text:
                _remove_own(folder / match[0])
        if record is not None:
            for name in names:
                _remove_own(folder / (name + OLD_DRAFT))


def _text(record: Path | None) -> bytes:
    if record is None or not is_regular_file(record):
        return b""
    with record.open("rb") as file:
        return file.read(MAX_RECORD)


def _remove_own(path: Path) -> None:
    if _is_own(path):
        with contextlib.suppress(OSError):
            path.unlink()


def _is_own(path: Path) -> bool:
    """Whether a path is a regular file, no link, of the user who runs this process."""
    try:
        status = path.lstat()
    except OSError:
        return False
    owned = sys.platform == "win32" or status.st_uid == os.geteuid()
    return stat.S_ISREG(status.st_mode) and owned


def _sync(folders: Iterable[Path]) -> None:
    """Flush the renamed entries of folders to disk, if the system supports it."""
    for folder in folders:
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
