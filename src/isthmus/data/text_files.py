"""Open files of text: compressed or not, in UTF-8 or another encoding, and lines of JSON."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

from isthmus.data.limits import ENV_VARIABLE, allowed_memory

__all__ = ["JSON_SUFFIXES", "TEXT_SUFFIXES", "json_rows", "open_text", "stem_of", "suffix_of"]

JSON_SUFFIXES = (".jsonl", ".jsonl.gz")
TEXT_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", *JSON_SUFFIXES)
TEXT_SHARE = 4  # of the memory that a compressed file may take: a cell takes more than its text
SAMPLE = 100  # records that tell the names of the columns
BLOCK = 2**20  # bytes
_CONTROLS = re.compile(rb"[\0-\x08\x0e-\x1f\x81\x8d\x8f\x90\x9d]")  # not in text of Windows-1252


def suffix_of(path: Path) -> str:
    """Return the ending of a name in lower case, with the one before .gz.

    Examples
    --------
    >>> suffix_of(Path("a.CSV")), suffix_of(Path("v1.2.csv.gz")), suffix_of(Path("a.gz"))
    ('.csv', '.csv.gz', '.gz')
    """
    last = path.suffix.lower()
    return f"{Path(path.stem).suffix.lower()}{last}" if last == ".gz" else last


def stem_of(path: Path) -> str:
    """Return a name without its ending.

    Examples
    --------
    >>> stem_of(Path("in/a.csv.gz")), stem_of(Path("b.npy"))
    ('a', 'b')
    """
    is_double = suffix_of(path) in TEXT_SUFFIXES and path.suffix.lower() == ".gz"
    return Path(path.stem).stem if is_double else path.stem


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a file of text; one that is not UTF-8 is read as Windows-1252, with a warning.

    Raises
    ------
    ValueError
        Also while it is read: if it is not text, or a compressed file is damaged or large.
    """
    encoding = _encoding_of(path)
    if encoding != "utf-8-sig":
        warnings.warn(
            f"{path}: the text is not UTF-8 and is read as Windows-1252 (Latin-1).",
            UserWarning,
            stacklevel=6,
        )
    with _open_bytes(path) as stream, io.TextIOWrapper(stream, encoding, newline="") as text:
        yield text


@contextmanager
def _open_bytes(path: Path) -> Iterator[Any]:
    if path.suffix.lower() != ".gz":
        with path.open("rb") as stream:
            yield stream
        return
    try:
        with path.open("rb") as packed, gzip.GzipFile(fileobj=packed) as stream:
            yield io.BufferedReader(_Limited(stream, path))
    except (EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: expected a gzip file ({error}); check the file.") from None


class _Limited(io.RawIOBase):
    """The unpacked bytes of a file, up to a limit."""

    def __init__(self, stream: Any, path: Path) -> None:
        on_disk = path.stat().st_size
        self.stream, self.path, self.on_disk = stream, path, on_disk
        self.allowed = allowed_memory(on_disk) // TEXT_SHARE

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self.stream.tell())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self.stream.seek(offset, whence))

    def readinto(self, buffer: Any) -> int:
        data = self.stream.read(len(buffer))
        if self.stream.tell() > self.allowed:
            raise ValueError(
                f"{self.path}: its {self.on_disk:,} bytes unpack to much more text; if you trust "
                f"the file, unpack it, or set {ENV_VARIABLE}."
            )
        buffer[: len(data)] = data
        return len(data)


def _encoding_of(path: Path) -> str:
    """Return "utf-8-sig", or "cp1252" for other text; a ValueError if it is not text."""
    decoder, is_utf8 = codecs.getincrementaldecoder("utf-8")(), True
    has_controls = False
    with _open_bytes(path) as stream:
        while block := stream.read(BLOCK):
            has_controls = has_controls or _CONTROLS.search(block) is not None
            try:
                decoder.decode(block)
            except UnicodeDecodeError:
                is_utf8 = False
            if has_controls and not is_utf8:
                raise ValueError(f"{path}: expected text in UTF-8; save the table as UTF-8.")
            if not is_utf8:
                decoder.reset()
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        is_utf8 = False
    if is_utf8:
        return "utf-8-sig"
    if has_controls:
        raise ValueError(f"{path}: expected text in UTF-8; save the table as UTF-8.")
    return "cp1252"


def json_rows(path: Path, stream: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Yield the names of the columns and then the cells of each record, with line numbers.

    Numbers keep their digits; null and absent values are empty.
    """
    records = _records(path, stream)
    first = [*islice(records, SAMPLE)]
    names = [*dict.fromkeys(name for _, record in first for name in record)]
    yield 0, names
    for number, record in chain(first, records):
        if unknown := [name for name in record if name not in names]:
            raise ValueError(
                f"{path}: line {number} has the key {unknown[0]!r}, which the first {SAMPLE} lines "
                "do not have; add it to the first."
            )
        yield number, [_cell(path, number, name, record.get(name)) for name in names]


def _records(path: Path, stream: TextIO) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, parse_float=str, parse_int=str)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise ValueError(f"{path}: expected a JSON object in line {number}; check the file.")
        yield number, record


def _cell(path: Path, number: int, name: str, value: Any) -> str:
    """Return a value as the cell of a table."""
    if isinstance(value, dict | list):
        raise ValueError(
            f"{path}: line {number}: {name!r} holds {type(value).__name__}s; models take numbers "
            "and texts: flatten the records."
        )
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
