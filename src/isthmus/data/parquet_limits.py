"""What the pages of a Parquet file unpack to, by their own headers, without unpacking them.

The footer of a file says how large its columns are, and may lie; Arrow makes room for what the
header of each page says. Headers are structures of Thrift's compact protocol, of which the second
field is the size unpacked and the third the size in the file (Apache Parquet, file format).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["uncompressed_size"]

HEADERS = (2**12, 2**24)  # bytes looked at: statistics hold the least and the greatest value
MOST_NESTED = 16
STOP, TRUE, FALSE, BYTE, DOUBLE, BINARY, LISTS, MAP, STRUCT = 0, 1, 2, 3, 7, 8, (9, 10), 11, 12
Fields = dict[int, Any]


def uncompressed_size(path: Path) -> int:
    """Return the sum of the sizes that the pages of a file say they unpack to.

    The footer is read here too: Arrow's Python face ends the whole process where the entry of a
    column is damaged.

    Parameters
    ----------
    path : Path

    Raises
    ------
    ValueError
        Where the footer or the header of a page is damaged.
    """
    with path.open("rb") as stream:
        return sum(_of_column(stream, column) for column in _columns(stream))


def _columns(stream: BinaryIO) -> Iterator[Fields]:
    """Yield what the footer says of each column of each group of rows."""
    end = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, end - 8))
    tail = stream.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or length > end - 8:
        raise ValueError("it does not end as a Parquet file does")
    stream.seek(end - 8 - length)
    for group in _entry(_Thrift(stream.read(length)).struct(), 4, list):
        for column in _entry(group, 1, list):
            yield _entry(column, 3, dict)


def _entry(fields: Any, number: int, kind: type) -> Any:
    """Return a field of a structure that was read; a ValueError where there is no such one."""
    value = fields.get(number) if isinstance(fields, dict) else None
    if not isinstance(value, kind):
        raise ValueError("its footer or the header of a page is damaged")
    return value


def _of_column(stream: BinaryIO, column: Fields) -> int:
    at, total = _entry(column, 9, int), 0  # of the pages of data
    at = min(at, column.get(11) or at)  # of that of the dictionary
    end = at + _entry(column, 7, int)
    while 0 < at < end:
        length, fields = _header(stream, at)
        packed, unpacked = _entry(fields, 3, int), _entry(fields, 2, int)
        if min(packed, unpacked) < 0:
            raise ValueError("the header of a page is damaged")
        total += length + unpacked
        at += length + packed
    return total


def _header(stream: BinaryIO, at: int) -> tuple[int, Fields]:
    """Return the length and the whole numbers of the header at a place."""
    for most in HEADERS:
        stream.seek(at)
        head = _Thrift(stream.read(most))
        try:
            fields = head.struct()
        except ValueError:
            if most == HEADERS[-1]:
                raise
            continue
        return head.at, fields
    raise AssertionError


class _Thrift:
    """Reads structures: whole numbers, lists and structures by number; passes over all else."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def struct(self, depth: int = 0) -> Fields:
        fields: Fields = {}
        number = 0
        while (head := self._byte()) != STOP:
            number = number + (head >> 4) if head >> 4 else self._whole()
            kind = head & 15
            fields[number] = None if kind in (TRUE, FALSE) else self._value(kind, depth + 1)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if depth > MOST_NESTED:
            raise ValueError("its structures are nested too deep")
        if BYTE < kind < DOUBLE:
            return self._whole()
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
        sizes = {TRUE: 1, FALSE: 1, BYTE: 1, DOUBLE: 8}  # in lists a truth value takes a byte
        if kind != BINARY and kind not in sizes:
            raise ValueError("it holds a field of no known kind")
        return self._pass(sizes.get(kind) or self._varint())

    def _items(self, n: int, kinds: tuple[int, ...], depth: int) -> list[Any]:
        if n > len(self.content) - self.at:  # each takes a byte at least
            raise ValueError("it has a list that is cut short")
        return [self._value(kind, depth + 1) for _ in range(n) for kind in kinds]

    def _pass(self, n: int) -> None:
        self.at += n
        if self.at > len(self.content):
            raise ValueError("the header of a page is cut short")

    def _byte(self) -> int:
        self._pass(1)
        return self.content[self.at - 1]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("it has a number without end")

    def _whole(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
