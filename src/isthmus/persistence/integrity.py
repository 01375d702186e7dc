"""Reading and checksums of the JSON and tensor files that isthmus writes.

A record (config.json, index.json, mixture.json, detector.json) contains SHA-256 checksums of its
own content and of the other files in its folder, so that truncated and altered files are detected.
The checksums are not a signature: an attacker can recompute them, so readers trust no content.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from isthmus._messages import one_line
from isthmus.data.limits import ENV_VARIABLE, configured_limit, is_regular_file
from isthmus.persistence.atomic import staged

__all__ = [
    "CONFIG",
    "HISTORY",
    "MAX_JSON",
    "SUMS",
    "WEIGHTS",
    "check_content",
    "check_lines",
    "check_record",
    "damaged_files",
    "described_file",
    "parse_json",
    "parse_lines",
    "read_bytes",
    "read_described",
    "read_json",
    "read_tensors",
    "read_together",
    "with_checksums",
    "with_new_checksum",
]

CONFIG, WEIGHTS, HISTORY = "config.json", "model.safetensors", "history.jsonl"
MAX_JSON = 16 * 2**20  # bytes: a table of 60,000 columns has 14 MB
MAX_NESTED = 500_000  # lists and dictionaries in one file; an empty one takes 64 bytes of memory
MAX_VALUES = 3_000_000  # in one file
MAX_DEPTH = 64  # of lists and dictionaries in one another
MAX_HEADER = 16 * 2**20  # bytes of names and shapes in a safetensors file
SUMS, OWN = "sha256", "this file"
T = TypeVar("T")
SHA256 = re.compile("[0-9a-f]{64}")


def with_checksums(record: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return a record, plain JSON, with the SHA-256 of itself and of files (contents by name).

    Examples
    --------
    >>> record = with_checksums({"a": 1}, {"b.txt": b"b"})
    >>> check_record(record, "record.json"), check_content(record, "b.txt", b"b")
    (None, None)
    >>> check_content(record, "b.txt", b"c")
    Traceback (most recent call last):
    ...
    ValueError: b.txt is damaged: its content does not match its checksum. Download it again.
    """
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return with_new_checksum({**record, SUMS: sums})


def with_new_checksum(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a changed record with a new checksum of itself; those of the files stay."""
    others = {name: checksum for name, checksum in record[SUMS].items() if name != OWN}
    return {**record, SUMS: others | {OWN: _own_sum(record)}}


def check_record(record: Mapping[str, Any], path: object) -> None:
    """Raise a ValueError if a record does not match its checksum; older records have none."""
    sums = record.get(SUMS)
    if sums is None:
        return
    names = sums if isinstance(sums, dict) else {"/": None}
    if any(Path(n).name != n or not isinstance(s, str) for n, s in names.items()):
        raise ValueError(
            f"{path} is damaged: {SUMS!r} must map file names to hex digests. Download it again."
        )
    try:
        intact = sums.get(OWN) == _own_sum(record)
    except RecursionError:
        intact = False
    if not intact:
        raise ValueError(
            f"{path} is damaged: its content does not match its checksum. Download it again, or "
            f"remove its entry {SUMS!r} if you edited it yourself."
        )


def check_content(record: Mapping[str, Any], name: str, content: bytes) -> None:
    """Raise a ValueError if a file does not match its checksum in the record, if there is one."""
    expected = (record.get(SUMS) or {}).get(name)
    if expected is not None and hashlib.sha256(content).hexdigest() != expected:
        raise ValueError(
            f"{name} is damaged: its content does not match its checksum. Download it again."
        )


def _own_sum(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a record's content, independent of the layout of its JSON."""
    others = {name: s for name, s in record[SUMS].items() if name != OWN}
    text = json.dumps({**record, SUMS: others}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read_bytes(path: Path, limit: int | None = None) -> bytes:
    """Return the content of a file.

    Raises a FileNotFoundError for a missing file, pipe or device, and a ValueError if the file has
    more than `limit` bytes.
    """
    if not is_regular_file(path):
        raise FileNotFoundError(
            f"{path} is missing or not a regular file: the folder is incomplete."
        )
    if limit is None:
        return path.read_bytes()
    limit = configured_limit() or limit
    with path.open("rb") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise ValueError(
            f"{path} has more than {limit:,} bytes; if you trust it, set {ENV_VARIABLE}."
        )
    return content


def described_file(path: Path, record: Mapping[str, Any]) -> Path:
    """Return where a file that a record describes is: under its name, or under a hidden one.

    The latter if its writer was killed after the record had been replaced; see
    `isthmus.persistence.atomic`.
    """
    checksum = (record.get(SUMS) or {}).get(path.name, "")
    waiting = staged(path, checksum) if SHA256.fullmatch(checksum) else path
    return waiting if is_regular_file(waiting) and not waiting.is_symlink() else path


def read_described(path: Path, record: Mapping[str, Any], limit: int | None = None) -> bytes:
    """Return the content of a file that a record describes, checked.

    Errors as for `read_bytes` and `check_content`.
    """
    if (file := described_file(path, record)) != path:
        with contextlib.suppress(ValueError, FileNotFoundError):  # damaged, or just renamed
            content = read_bytes(file, limit)
            check_content(record, path.name, content)
            return content
    content = read_bytes(path, limit)
    check_content(record, path.name, content)
    return content


def read_together(
    read_record: Callable[[], dict[str, Any]], read: Callable[[dict[str, Any]], T]
) -> tuple[dict[str, Any], T]:
    """Return a record and what `read` reads of it, of one version.

    Another process may replace the record and its files at the same time: what does not match is
    read again if the checksums in the record have changed.
    """
    while True:
        record = read_record()
        try:
            return record, read(record)
        except (ValueError, FileNotFoundError):
            if read_record().get(SUMS) == record.get(SUMS):
                raise


def damaged_files(path: Path) -> list[str]:
    """Return the names of a record, or of the files beside it, that do not match its checksums.

    Missing files count as damaged. Files of any size are read in parts.
    """

    def read() -> dict[str, Any]:
        record = read_json(path)
        if not isinstance(record, dict):
            raise ValueError(f"{path} is not a record.")
        check_record(record, path)
        return record

    try:
        sums = (record := read()).get(SUMS) or {}
        damaged = [n for n in sums if n != OWN and not _is_intact(path.with_name(n), record)]
        changed = bool(damaged) and (read().get(SUMS) or {}) != sums  # by another process
    except ValueError:
        return [path.name]
    return damaged_files(path) if changed else damaged


def _is_intact(path: Path, record: Mapping[str, Any]) -> bool:
    for file in {described_file(path, record), path}:
        with contextlib.suppress(FileNotFoundError):  # just renamed
            if is_regular_file(file) and _sum_of(file) == record[SUMS][path.name]:
                return True
    return False


def _sum_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; errors as for `read_bytes` and `parse_json`."""
    return parse_json(read_bytes(path, MAX_JSON), path)


def parse_json(content: bytes, path: object) -> Any:
    """Parse JSON; raise a ValueError of one line for every kind of invalid content."""
    if (n := content.count(b"{") + content.count(b"[")) > MAX_NESTED:
        raise ValueError(f"{path} has more than {MAX_NESTED:,} lists and dictionaries.")
    if content.count(b",") > MAX_VALUES:
        raise ValueError(f"{path} has more than {MAX_VALUES:,} values.")
    try:
        value = _DECODER.decode(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {one_line(error)}.") from None
    if n > MAX_DEPTH and _is_deep(value):
        raise ValueError(f"{path} has more than {MAX_DEPTH} lists and dictionaries in one another.")
    return value


def parse_lines(content: bytes, limit: int) -> Iterator[Any]:
    """Return an iterator over the values of lines of JSON, without blank lines.

    Raises a ValueError at once if there are too many lines or values, and from the iterator if a
    line is invalid.
    """
    check_lines(content, limit)
    lines = enumerate(io.BytesIO(content), start=1)
    return (parse_json(line, f"line {number}") for number, line in lines if line != b"\n")


def check_lines(content: bytes, limit: int) -> None:
    """Raise a ValueError if a file has too many lines, or its lines together too many values."""
    if (n := content.count(b"\n")) > limit:
        raise ValueError(f"expected at most {limit:,} lines, got {n:,}.")
    if n + content.count(b",") > MAX_VALUES:
        raise ValueError(f"expected at most {MAX_VALUES:,} numbers.")


def _is_deep(value: Any) -> bool:
    level = [v for v in (value,) if isinstance(v, dict | list)]
    for _ in range(MAX_DEPTH + 1):
        inner = (each.values() if isinstance(each, dict) else each for each in level)
        level = [v for values in inner for v in values if isinstance(v, dict | list)]
        if not level:
            return False
    return True


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a dictionary; readers disagree about which of two equal names counts."""
    found = {sys.intern(name): value for name, value in pairs}  # lines share their names
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise ValueError(f"{one_line(counts.most_common(1)[0][0])!r} occurs twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_without_duplicates)


def read_tensors(
    content: bytes, path: object, load: Callable[[bytes], dict[str, Any]]
) -> dict[str, Any]:
    """Return the tensors of a safetensors file by name.

    `load` is the loader of safetensors for torch or NumPy, and `path` a name for messages. Raises
    a ValueError of one line if the tensors cannot be read.
    """
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 2 <= length <= min(len(content) - 8, MAX_HEADER):
        raise ValueError(f"{path} is not a safetensors file: its header is truncated or too long.")
    parse_json(content[8 : 8 + length], path)  # deep nesting would overflow safetensors' parser
    try:
        return load(content)
    except Exception as error:  # safetensors raises many types, some from Rust
        raise ValueError(f"{path} is not a valid safetensors file: {one_line(error)}.") from error
