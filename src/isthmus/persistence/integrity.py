"""Files that isthmus writes and reads back: JSON and tensors, checked before they are believed.

A record (config.json, index.json, mixture.json) carries the SHA-256 of the files beside it and of
its own content: what was cut off or flipped on the way is found out. This is no signature;
whoever changes a file on purpose can write the sums anew, so nothing that is read is trusted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from isthmus._messages import one_line
from isthmus.data.limits import ENV_VARIABLE, configured_limit, is_regular_file

__all__ = [
    "CONFIG",
    "HISTORY",
    "MAX_JSON",
    "SUMS",
    "WEIGHTS",
    "check_content",
    "check_record",
    "parse_json",
    "read_bytes",
    "read_json",
    "read_tensors",
    "with_checksums",
]

CONFIG, WEIGHTS, HISTORY = "config.json", "model.safetensors", "history.jsonl"
MAX_JSON = 16 * 2**20  # bytes: a table of 60,000 columns has 14 MB
MAX_NESTED = 500_000  # lists and dictionaries in one file, of which an empty one takes 64 bytes
MAX_HEADER = 16 * 2**20  # bytes of names and shapes in a file of tensors
SUMS, OWN = "sha256", "this file"


def with_checksums(record: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return a record with the SHA-256 of files beside it and of itself.

    Parameters
    ----------
    record : mapping
        Plain JSON.
    files : mapping
        Contents by name.

    Examples
    --------
    >>> record = with_checksums({"a": 1}, {"b.txt": b"b"})
    >>> check_record(record, "record.json"), check_content(record, "b.txt", b"b")
    (None, None)
    >>> check_content(record, "b.txt", b"c")
    Traceback (most recent call last):
    ...
    ValueError: b.txt is damaged: its bytes are not those that were written; ...
    """
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    whole = {**record, SUMS: sums}
    return whole | {SUMS: sums | {OWN: _own(whole)}}


def check_record(record: Mapping[str, Any], path: object) -> None:
    """Raise a ValueError where a record is not what was written; older ones have no sum."""
    sums = record.get(SUMS)
    if sums is None:
        return
    if not isinstance(sums, dict) or not all(isinstance(s, str) for s in sums.values()):
        raise ValueError(f"{path} is damaged: its checksums are none; get it again.")
    try:
        whole = sums.get(OWN) == _own(record)
    except RecursionError:
        whole = False
    if not whole:
        raise ValueError(
            f"{path} is damaged: its content is not what was written; get it again, or, if you "
            f"changed it yourself, take its entry {SUMS!r} out."
        )


def check_content(record: Mapping[str, Any], name: str, content: bytes) -> None:
    """Raise a ValueError where a file is not what its record says; older ones say nothing."""
    wanted = (record.get(SUMS) or {}).get(name)
    if wanted is not None and hashlib.sha256(content).hexdigest() != wanted:
        raise ValueError(
            f"{name} is damaged: its bytes are not those that were written; get it again from its "
            "source."
        )


def _own(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a record's content, however its JSON is laid out."""
    others = {name: s for name, s in record[SUMS].items() if name != OWN}
    text = json.dumps({**record, SUMS: others}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read_bytes(path: Path) -> bytes:
    """Return the content of a plain file.

    Raises
    ------
    FileNotFoundError
        Where there is none; a pipe or device is none.
    """
    if not is_regular_file(path):
        raise FileNotFoundError(f"{path}: expected a file, found none; get the folder whole.")
    return path.read_bytes()


def read_json(path: Path) -> Any:
    """Return what a file of JSON says.

    Raises
    ------
    FileNotFoundError
        Where there is none.
    ValueError
        In one line where it is no JSON, or too large to be what isthmus writes.
    """
    return parse_json(_small(path, MAX_JSON), path)


def parse_json(content: bytes, path: object) -> Any:
    """Return what JSON says; a ValueError of one line for all that may be wrong with it."""
    if content.count(b"{") + content.count(b"[") > MAX_NESTED:
        raise ValueError(f"{path}: expected at most {MAX_NESTED:,} lists, got more.")
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {one_line(error)}.") from None


def read_tensors(
    content: bytes, path: object, load: Callable[[bytes], dict[str, Any]]
) -> dict[str, Any]:
    """Return the tensors of a safetensors file by name.

    Parameters
    ----------
    content : bytes
        Of the file.
    path : object
        What a message names.
    load : callable
        Of safetensors, for torch or NumPy.

    Raises
    ------
    ValueError
        In one line where they cannot be read.
    """
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 2 <= length <= min(len(content) - 8, MAX_HEADER):
        raise ValueError(f"{path} is no safetensors file: its header is cut short or too long.")
    parse_json(content[8 : 8 + length], path)  # nesting that safetensors would follow
    try:
        return load(content)
    except Exception as error:  # safetensors fails in many ways, some of them Rust's
        raise ValueError(f"{path} is no whole safetensors file: {one_line(error)}.") from error


def _small(path: Path, most: int) -> bytes:
    """Return the content of a file of at most so many bytes, however long it says it is."""
    if not is_regular_file(path):
        raise FileNotFoundError(f"{path}: expected a file, found none; get the folder whole.")
    most = configured_limit() or most
    with path.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(
            f"{path}: expected at most {most:,} bytes, got more; if you trust it, "
            f"set {ENV_VARIABLE}."
        )
    return content
