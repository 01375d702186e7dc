"""Read a zarr array, of version 2 or 3, whose rows stay on disk until they are used.

This reader exists because zarr-python cannot be restricted for untrusted stores: its codecs
include pickle (zarr 3.0 reads it by default), it unpacks a chunk of any size before it compares
the size with the announced one, and it follows links out of the store. Here the codecs are those
of a short list, a chunk is unpacked into exactly as many bytes as it must have, and every file is
inside the folder. numcodecs does the unpacking.
"""

from __future__ import annotations

import bz2
import gzip
import itertools
import json
import math
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from isthmus._messages import one_line
from isthmus._optional import import_optional
from isthmus.data.limits import allowed_memory, check_link, check_memory, is_regular_file

__all__ = ["ZarrRows", "is_zarr"]

Array = NDArray[Any]
Content = bytes | memoryview
METADATA = ("zarr.json", ".zarray")  # of versions 3 and 2
MAX_METADATA = 2**20  # bytes
CHUNK_COST = 2**12  # bytes that each chunk counts for, at least: opening a file takes time
SLACK = 2**16  # bytes by which a compressed chunk may exceed an uncompressed one, and an eighth
INTEGERS = [f"{kind}{8 * n}" for kind in ("int", "uint") for n in (1, 2, 4, 8)]
NUMBERS = ("bool", *INTEGERS, "float16", "float32", "float64")
PACKAGES = dict.fromkeys(("blosc", "lz4", "zstd"), "numcodecs") | {"crc32c": "google_crc32c"}
NO_CHUNK = 2**64 - 1  # in the index of a shard
FILLS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def is_zarr(path: Path) -> bool:
    """Return whether a folder is a zarr array, by its name or its content."""
    return path.is_dir() and (
        path.suffix.lower() == ".zarr" or any((path / name).is_file() for name in METADATA)
    )


class ZarrRows:
    """The rows of a zarr array of numbers in a folder.

    Each chunk is a file, or a part of a file that is a shard. Chunks that are missing hold the
    fill value, as zarr defines it.

    Parameters
    ----------
    path : Path
        The folder of one array.

    Raises
    ------
    ValueError
        If the folder holds no array, one of other values than numbers, one with a codec that is
        not read, or one that would take too much memory; also if a chunk is damaged or a link leads
        out of the folder, when it is read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._index: tuple[Path, Array] | None = None  # of the last shard
        record = _metadata(path)
        try:
            self.shape = _sizes(record["shape"], 0)
            read = _parse_v3 if record.get("zarr_format") == 3 else _parse_v2
            self._layout = read(record, len(self.shape))
            self._fill = _fill_value(record.get("fill_value"), self.dtype)
        except ValueError as error:
            raise ValueError(f"{path}: {one_line(error)}.") from error
        except (LookupError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"{path}: its metadata are damaged ({one_line(error)}).") from error
        self._check_size()

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers."""
        return self._layout.dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of a chunk."""
        return self._layout.chunks

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of numbers."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, uncompressed."""
        return self.size * self.dtype.itemsize

    def _check_size(self) -> None:
        """Raise a ValueError if reading would take too much memory or too much time."""
        chunk = math.prod(self.chunks) * self.dtype.itemsize
        n = math.prod(-(-side // c) for side, c in zip(self.shape, self.chunks, strict=True))
        needed = max(self.nbytes, chunk, n * CHUNK_COST)
        if needed <= allowed_memory(0):
            return
        on_disk = _size_on_disk(self.path, needed)
        check_memory(self.path, max(self.nbytes, chunk), on_disk)
        if n * CHUNK_COST > allowed_memory(on_disk):
            raise ValueError(
                f"{self.path}: {n:,} chunks of {chunk:,} bytes are too many to read; rechunk the "
                "array."
            )

    def __getitem__(self, rows: slice) -> Array:
        """Return consecutive rows."""
        start, stop, _ = rows.indices(self.shape[0])
        out = np.full((max(0, stop - start), *self.shape[1:]), self._fill, self.dtype)
        wanted = [(start, stop), *((0, side) for side in self.shape[1:])]
        for place in _places(wanted, self.chunks):
            if (chunk := self._chunk(place)) is None:
                continue
            here, there = [], []  # the part of the chunk, and where it belongs
            for (low, high), at, side in zip(wanted, place, self.chunks, strict=True):
                first, last = max(low, at * side), min(high, (at + 1) * side)
                here.append(slice(first - at * side, last - at * side))
                there.append(slice(first - low, last - low))
            out[tuple(there)] = chunk[tuple(here)]
        return out

    def _chunk(self, place: tuple[int, ...]) -> Array | None:
        """Return a chunk, or None if it is missing."""
        counts = [f // c for f, c in zip(self._layout.file_shape, self.chunks, strict=True)]
        file = self.path / self._layout.key([p // n for p, n in zip(place, counts, strict=True)])
        check_link(file, self.path)
        if not os.path.lexists(file):
            return None
        if not is_regular_file(file):
            raise ValueError(f"expected {file} to be a file")
        n_bytes = math.prod(self.chunks) * self.dtype.itemsize
        with file.open("rb") as stream:
            length = os.fstat(stream.fileno()).st_size
            if (shard := self._layout.shard) is not None:
                if self._index is None or self._index[0] != file:
                    self._index = file, shard.read_index(stream, length, counts)
                inner = tuple(p % n for p, n in zip(place, counts, strict=True))
                start, n_stored = map(int, self._index[1][inner])
                if start == n_stored == NO_CHUNK:
                    return None
                if start + n_stored > length:
                    raise ValueError(f"the index of {file} is damaged")
                stream.seek(start)
                length = n_stored
            if length > n_bytes + n_bytes // 8 + SLACK:
                raise ValueError(f"{file} has {length:,} bytes for a chunk of {n_bytes:,}")
            return self._layout.chain.decode(stream.read(length), self.chunks)


@dataclass(frozen=True)
class _Chain:
    """How the bytes of a chunk become an array.

    The axes are transposed back by `order`; `dtype` has the byte order of the file; `unpackers` are
    the names of codecs from bytes to bytes in the order of encoding.
    """

    dtype: np.dtype[Any]
    order: tuple[int, ...]
    unpackers: tuple[str, ...] = ()

    def decode(self, content: Content, shape: Sequence[int]) -> Array:
        """Return a chunk of a shape; a ValueError if it has another size."""
        n_bytes = math.prod(shape) * self.dtype.itemsize
        sizes = [n_bytes]  # before each codec; of compressed bytes the size is not known
        for name in self.unpackers:
            sizes.append(sizes[-1] + 4 if name == "crc32c" else 0)
        for name, size in zip(reversed(self.unpackers), sizes[-2::-1], strict=True):
            content = UNPACKERS[name](content, size)
        if len(content) != n_bytes:
            raise ValueError(f"expected a chunk of {n_bytes:,} bytes, got {len(content):,}")
        stored = np.frombuffer(content, self.dtype).reshape([shape[axis] for axis in self.order])
        return stored.transpose(np.argsort(self.order)).astype(self.dtype.newbyteorder("="))


@dataclass(frozen=True)
class _Shard:
    """A file of several chunks, with an index of their offsets and lengths."""

    index: _Chain
    at_start: bool

    def read_index(self, stream: BinaryIO, size: int, counts: Sequence[int]) -> Array:
        """Return the offset and the length of each chunk, (*counts, 2), in a file of a size."""
        shape = (*counts, 2)
        length = 8 * math.prod(shape) + 4 * len(self.index.unpackers)
        if length > size:
            raise ValueError("the index of a shard is truncated")
        stream.seek(0 if self.at_start else size - length)
        return self.index.decode(stream.read(length), shape)


@dataclass(frozen=True)
class _Layout:
    """What both versions of the metadata say about an array."""

    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    file_shape: tuple[int, ...]  # that of a shard, if there are shards
    key: Callable[[Sequence[int]], str]  # the name of the file of a chunk or shard
    chain: _Chain
    shard: _Shard | None = None


def _metadata(path: Path) -> dict[str, Any]:
    file = next((path / name for name in METADATA if (path / name).is_file()), None)
    expected = f"{path}: expected a zarr array; for a group, pass the path of one of its arrays."
    if file is None:
        raise ValueError(expected)
    check_link(file, path)
    with file.open("rb") as stream:
        content = stream.read(MAX_METADATA + 1)
    if len(content) > MAX_METADATA:
        raise ValueError(f"{file}: expected at most {MAX_METADATA:,} bytes of metadata.")
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: expected JSON ({one_line(error)}).") from error
    if not isinstance(record, dict) or record.get("node_type", "array") != "array":
        raise ValueError(expected)
    return record


def _parse_v2(record: Mapping[str, Any], n_axes: int) -> _Layout:
    text = record["dtype"]
    if not isinstance(text, str) or len(text) > 3 or text[1:2] not in tuple("biuf"):
        raise ValueError(f"expected numbers, got {one_line(text)}; save real numbers")
    dtype = np.dtype(text)
    if record.get("filters"):
        names = [each["id"] for each in record["filters"]]
        raise ValueError(_unread("filters", one_line(", ".join(names))))
    compressor = record.get("compressor")
    unpackers = () if compressor is None else (_unpacker(compressor["id"]),)
    axes = tuple(range(n_axes))
    order = {"C": axes, "F": axes[::-1]}[record.get("order", "C")]
    separator = _separator(record.get("dimension_separator", "."))
    chunks = _sizes(record["chunks"], 1, n_axes)
    chain = _Chain(dtype, order, unpackers)
    return _Layout(dtype.newbyteorder("="), chunks, chunks, partial(_key, (), separator), chain)


def _parse_v3(record: Mapping[str, Any], n_axes: int) -> _Layout:
    if record["data_type"] not in NUMBERS:
        raise ValueError(f"expected numbers, got {one_line(record['data_type'])}")
    dtype = np.dtype(record["data_type"])
    if record.get("storage_transformers"):
        raise ValueError(_unread("storage transformers", ""))
    grid, encoding = record["chunk_grid"], record["chunk_key_encoding"]
    if grid["name"] != "regular" or encoding["name"] not in ("default", "v2"):
        raise ValueError("expected a regular grid of chunks with the usual names")
    outer = _sizes(grid["configuration"]["chunk_shape"], 1, n_axes)
    prefix = ("c",) if encoding["name"] == "default" else ()
    usual = "/" if prefix else "."
    separator = _separator(encoding.get("configuration", {}).get("separator", usual))
    key = partial(_key, prefix, separator)
    codecs = record["codecs"]
    if codecs[0]["name"] != "sharding_indexed":
        return _Layout(dtype, outer, outer, key, _chain(codecs, dtype, n_axes))
    if len(codecs) > 1:
        raise ValueError(_unread("codecs after those of a shard", one_line(codecs[1]["name"])))
    settings = codecs[0]["configuration"]
    inner = _sizes(settings["chunk_shape"], 1, n_axes)
    if any(large % small for large, small in zip(outer, inner, strict=True)):
        raise ValueError(f"chunks of shape {inner} do not divide shards of shape {outer}")
    index = _chain(settings["index_codecs"], np.dtype("u8"), n_axes + 1)
    if {*index.unpackers} - {"crc32c"}:
        raise ValueError(_unread("index codecs", ", ".join(index.unpackers)))
    shard = _Shard(index, settings.get("index_location", "end") == "start")
    return _Layout(dtype, inner, outer, key, _chain(settings["codecs"], dtype, n_axes), shard)


def _chain(codecs: Sequence[Mapping[str, Any]], dtype: np.dtype[Any], n_axes: int) -> _Chain:
    """Return a chain of codecs of version 3: transpositions, bytes, and at most one compressor."""
    order, names = np.arange(n_axes), [codec["name"] for codec in codecs]
    while names and names[0] == "transpose":
        axes = codecs[len(codecs) - len(names)]["configuration"]["order"]
        if sorted(_sizes(axes, 0, n_axes)) != [*range(n_axes)]:
            raise ValueError("the axes of a transposition are damaged")
        order, names = order[np.array(axes, int)], names[1:]
    if names[:1] != ["bytes"]:
        raise ValueError(_unread("codecs", one_line(", ".join(map(str, names)))))
    settings = codecs[len(codecs) - len(names)].get("configuration") or {}
    stored = dtype.newbyteorder(">" if settings.get("endian") == "big" else "<")
    unpackers = tuple(_unpacker(name) for name in names[1:])
    if sum(name != "crc32c" for name in unpackers) > 1:
        raise ValueError(_unread("several compressors", ", ".join(unpackers)))
    return _Chain(stored, tuple(order.tolist()), unpackers)


def _unpacker(name: Any) -> str:
    if not isinstance(name, str) or name not in UNPACKERS:
        raise ValueError(_unread("codecs", one_line(name)))
    if name in PACKAGES:
        import_optional(PACKAGES[name], extra="scale", what=f"reading a zarr array with {name}")
    return name


def _unread(kind: str, found: str) -> str:
    known = ", ".join(UNPACKERS)
    return f"{kind} {found} are not read; save the array with one of {known}, or uncompressed"


def _sizes(value: Any, minimum: int, n: int | None = None) -> tuple[int, ...]:
    """Return sides of a shape, after checks of their type and number."""
    if not isinstance(value, list) or len(value) != (len(value) if n is None else n):
        raise ValueError(f"expected {n or 'some'} sizes, got {one_line(value)}")
    if len(value) > 32 or any(type(v) is not int or not minimum <= v < 2**62 for v in value):
        raise ValueError(f"expected whole numbers from {minimum}, got {one_line(value)}")
    return tuple(value)


def _key(prefix: tuple[str, ...], separator: str, place: Sequence[int]) -> str:
    return separator.join((*prefix, *map(str, place))) or "0"


def _separator(value: Any) -> str:
    if value not in (".", "/"):
        raise ValueError(f"expected '.' or '/' between the numbers of a chunk, got {value!r}")
    return str(value)


def _fill_value(value: Any, dtype: np.dtype[Any]) -> Array:
    """Return what missing chunks hold: a number, of which JSON has several spellings."""
    if value is None:
        return np.zeros((), dtype)
    if isinstance(value, str) and value.startswith("0x") and dtype.kind == "f":
        return np.array(int(value, 16), f"u{dtype.itemsize}").view(dtype)
    value = FILLS.get(value, value) if isinstance(value, str) else value
    if not isinstance(value, bool | int | float) or (dtype.kind != "f" and value != value // 1):
        raise ValueError(f"expected a number as the fill value, got {one_line(value)}")
    return np.array(value).astype(dtype) if dtype.kind in "bf" else np.array(value, dtype)


def _places(wanted: Sequence[tuple[int, int]], chunks: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield the numbers of the chunks that overlap a range of each axis."""
    ranges = zip(wanted, chunks, strict=True)
    return itertools.product(*(range(low // c, -(-high // c)) for (low, high), c in ranges))


def _size_on_disk(path: Path, needed: int) -> int:
    """Return the bytes of the files in a folder, counted only as far as `needed` demands."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            total += os.lstat(os.path.join(folder, name)).st_size
            if allowed_memory(total) >= needed:
                return total
    return total


def _gunzip(content: Content, size: int) -> Content:
    return gzip.GzipFile(fileobj=BytesIO(content)).read(size + 1)


def _inflate(content: Content, size: int) -> Content:
    return zlib.decompressobj().decompress(content, size + 1)


def _bunzip2(content: Content, size: int) -> Content:
    return bz2.BZ2File(BytesIO(content)).read(size + 1)


def _blosc_size(content: Content) -> int:
    return int.from_bytes(content[4:8], "little")


def _lz4_size(content: Content) -> int:
    return int.from_bytes(content[:4], "little")


def _zstd_size(content: Content) -> int | None:
    """Return the size that the header of a frame announces, if it does (RFC 8878, 3.1.1.1)."""
    flags = content[4] if len(content) > 4 else 0
    is_single = flags >> 5 & 1
    length = (is_single, 2, 4, 8)[flags >> 6]
    start = 6 - is_single + (0, 1, 2, 4)[flags & 3]
    size = int.from_bytes(content[start : start + length], "little")
    return None if not length else size + 256 * (length == 2)


def _with_numcodecs(
    name: str, announced: Callable[[Content], int | None], content: Content, size: int
) -> Content:
    """Decompress by numcodecs, which refuses more bytes than fit the output."""
    module = import_module(f"numcodecs.{name}")
    if announced(content) not in (size, None):
        raise ValueError(f"expected a chunk of {size:,} bytes, got {announced(content):,}")
    out = np.zeros(size, np.uint8)  # not empty: a shorter chunk would show old memory
    module.decompress(content, out)
    return out.data


def _check_crc(content: Content, size: int) -> Content:
    """Return bytes without their checksum, if that is right."""
    body = bytes(content[:-4])
    if import_module("google_crc32c").value(body) != int.from_bytes(content[-4:], "little"):
        raise ValueError("the checksum of a chunk is wrong")
    return body


# The codecs from bytes to bytes; each returns no more than a byte above the expected size.
UNPACKERS: dict[str, Callable[[Content, int], Content]] = {
    "blosc": partial(_with_numcodecs, "blosc", _blosc_size),
    "bz2": _bunzip2,
    "crc32c": _check_crc,
    "gzip": _gunzip,
    "lz4": partial(_with_numcodecs, "lz4", _lz4_size),
    "zlib": _inflate,
    "zstd": partial(_with_numcodecs, "zstd", _zstd_size),
}
