"""Compute the uncompressed size of a Parquet file from its page headers, without unpacking pages.

This parser exists because pyarrow cannot bound what a hostile file costs. Measured with pyarrow
26.0.1, `thrift_string_size_limit` and `thrift_container_size_limit` set: a file of 3.6 kB whose
footer understates its pages returns a batch of 105 MB, since Arrow allocates what the header of
each page announces; and a damaged entry of a column in the footer ends the process (SIGABRT).

Headers are structures of Thrift's compact protocol. Their field 2 is the uncompressed size of a
page, field 3 its compressed size (Apache Parquet, file format).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from isthmus.data.limits import MAX_COLUMNS, check_memory

__all__ = ["arrow_source", "check_parquet", "decode_texts", "text_columns", "uncompressed_size"]

HEADER_BYTES = (2**12, 2**24)  # read at first, and at most: headers hold statistics of any length
MAX_DEPTH = 16
STOP, TRUE, FALSE, BYTE, DOUBLE, BINARY, LISTS, MAP, STRUCT = 0, 1, 2, 3, 7, 8, (9, 10), 11, 12
TEXT_TYPES = ("string", "binary")
Fields = dict[int, Any]


def check_parquet(path: Path) -> Any:
    """Return the Arrow schema of a Parquet file, before anything else is read.

    Raise a ValueError if the file is damaged, has too many columns or would take too much memory.
    """
    check_memory(path, uncompressed_size(path), path.stat().st_size)
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    return pq.read_schema(arrow_source(path))


def arrow_source(path: Path) -> Any:
    """Return a path in the form that Arrow opens: a file if its name is not UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return path.open("rb")  # closed with the last reference
    return path


def text_columns(schema: Any) -> list[str]:
    """Return the names of the columns of text, which may repeat one long value for many cells.

    Read them as dictionaries (`read_dictionary` of pyarrow), and then `decode_texts`.
    """
    return [f.name for f in schema if str(f.type).removeprefix("large_") in TEXT_TYPES]


def decode_texts(table: Any, schema: Any, path: Path) -> Any:
    """Return a table with its texts decoded, unless that would take too much memory."""
    import pyarrow as pa
    import pyarrow.compute as pc  # type: ignore[import-untyped]

    for column in table.itercolumns():
        for chunk in column.chunks if pa.types.is_dictionary(column.type) else []:
            if not pa.types.is_nested(chunk.type.value_type):
                lengths = pc.binary_length(chunk.dictionary.cast(pa.large_binary()))
                n_bytes = pc.sum(lengths.take(chunk.indices)).as_py() or 0
                check_memory(path, n_bytes, path.stat().st_size)
    return table.cast(pa.schema([schema.field(name) for name in table.column_names]))


def uncompressed_size(path: Path) -> int:
    """Return the sum of the uncompressed sizes that the page headers of a file announce."""
    with path.open("rb") as stream:
        return sum(_column_size(stream, column) for column in _columns(stream))


def _columns(stream: BinaryIO) -> Iterator[Fields]:
    """Yield the metadata of each column of each row group."""
    end = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, end - 8))
    tail = stream.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or length > end - 8:
        raise ValueError("it does not end as a Parquet file does")
    stream.seek(end - 8 - length)
    for group in _field(_ThriftReader(stream.read(length)).struct(), 4, list):
        for column in _field(group, 1, list):
            yield _field(column, 3, dict)


def _field(fields: Any, number: int, kind: type) -> Any:
    value = fields.get(number) if isinstance(fields, dict) else None
    if not isinstance(value, kind):
        raise ValueError("its footer or the header of a page is damaged")
    return value


def _column_size(stream: BinaryIO, column: Fields) -> int:
    offset, total = _field(column, 9, int), 0  # of the first data page
    offset = min(offset, column.get(11) or offset)  # of the dictionary page
    end = offset + _field(column, 7, int)
    while 0 < offset < end:
        length, fields = _read_header(stream, offset)
        compressed, uncompressed = _field(fields, 3, int), _field(fields, 2, int)
        if min(compressed, uncompressed) < 0:
            raise ValueError("the header of a page is damaged")
        total += length + uncompressed
        offset += length + compressed
    return total


def _read_header(stream: BinaryIO, offset: int) -> tuple[int, Fields]:
    """Return the length and the fields of the page header at an offset."""
    for n_bytes in HEADER_BYTES:
        stream.seek(offset)
        reader = _ThriftReader(stream.read(n_bytes))
        try:
            fields = reader.struct()
        except ValueError:
            if n_bytes == HEADER_BYTES[-1]:
                raise
            continue
        return reader.position, fields
    raise AssertionError


class _ThriftReader:
    """Reads integers, lists and structures by field number; skips values of other types."""

    def __init__(self, content: bytes) -> None:
        self.content, self.position = content, 0

    def struct(self, depth: int = 0) -> Fields:
        fields: Fields = {}
        number = 0
        while (head := self._byte()) != STOP:
            number = number + (head >> 4) if head >> 4 else self._integer()
            kind = head & 15
            fields[number] = None if kind in (TRUE, FALSE) else self._value(kind, depth + 1)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError("its structures are nested too deep")
        if BYTE < kind < DOUBLE:
            return self._integer()
        if kind == STRUCT:
            return self.struct(depth)
        if kind in LISTS:
            head = self._byte()
            n = head >> 4 if head >> 4 < 15 else self._varint()
            return self._items(n, (head & 15,), depth)
        if kind == MAP:
            n = self._varint()
            kinds = self._byte() if n else 0
            return self._items(n, (kinds >> 4, kinds & 15), depth)
        sizes = {TRUE: 1, FALSE: 1, BYTE: 1, DOUBLE: 8}  # a boolean in a list takes a byte
        if kind != BINARY and kind not in sizes:
            raise ValueError("it holds a field of an unknown type")
        return self._skip(sizes.get(kind) or self._varint())

    def _items(self, n: int, kinds: tuple[int, ...], depth: int) -> list[Any]:
        if n > len(self.content) - self.position:  # each item takes at least a byte
            raise ValueError("it has a truncated list")
        if n > MAX_COLUMNS + 1:  # the first item of the schema is the table itself
            raise ValueError(f"it has more than {MAX_COLUMNS:,} columns or row groups")
        return [self._value(kind, depth + 1) for _ in range(n) for kind in kinds]

    def _skip(self, n: int) -> None:
        self.position += n
        if self.position > len(self.content):
            raise ValueError("the header of a page is truncated")

    def _byte(self) -> int:
        self._skip(1)
        return self.content[self.position - 1]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("it has an integer of more than 10 bytes")

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
