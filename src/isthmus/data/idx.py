"""Read IDX files, the format of MNIST, without trusting their headers.

The header announces how many bytes follow. The bytes are read in pieces and counted, so a hostile
file takes no more memory than it holds; `isthmus.data.limits` bounds the size of compressed ones.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from functools import partial
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import numpy as np

from isthmus.data.limits import ENV_VARIABLE, MAX_MEMBERS, check_memory, configured_limit

__all__ = ["read_idx"]

_MAX_BYTES = 4 * 2**30  # of data per file, unless ISTHMUS_MAX_BYTES is set
_CHUNK_BYTES = 2**20
_GZIP = b"\x1f\x8b\x08"  # at the start of each member
_MAX_DIMENSIONS = 8
_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | PathLike[str]) -> np.ndarray:
    """Read an IDX file, compressed with gzip or not.

    The first bytes of the file, not its name, decide whether it is decompressed. The array is
    uint8, int8, int16, int32, float32 or float64, in native byte order.

    Raises
    ------
    FileNotFoundError
        If there is no file at `path`.
    ValueError
        If the file is damaged, announces more than 4 GiB, or expands more than
        `isthmus.data.limits` allows.

    Examples
    --------
    >>> import tempfile
    >>> header = bytes([0, 0, 0x08, 1]) + (3).to_bytes(4, "big")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "labels-idx1-ubyte"
    ...     _ = path.write_bytes(header + bytes([7, 2, 1]))
    ...     read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected an IDX file, found none; check the path.")
    try:
        with _open(path) as stream:
            dtype, shape = _read_header(stream, path)
            n_bytes = math.prod(shape) * dtype.itemsize
            if isinstance(stream, gzip.GzipFile):
                check_memory(path, n_bytes, path.stat().st_size)
            data = _read_exactly(stream, n_bytes, path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _corrupt(path, f"a valid gzip file, but decompressing failed ({error})") from error
    array = np.frombuffer(data, dtype=dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _corrupt(path: Path, expected: str) -> ValueError:
    return ValueError(f"{path}: expected {expected}; download the file again.")


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as stream:
        compressed = stream.read(2) == _GZIP[:2]
        pieces = iter(partial(stream.read, _CHUNK_BYTES), b"") if compressed else ()
        if sum(piece.count(_GZIP) for piece in pieces) > MAX_MEMBERS:
            raise _corrupt(path, f"a gzip file of at most {MAX_MEMBERS:,} members")
    return gzip.open(path, "rb") if compressed else path.open("rb")  # type: ignore[return-value]


def _read_header(stream: BinaryIO, path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
        start = magic.hex(" ") or "none"
        raise _corrupt(path, f"an IDX file, but it begins with the bytes {start}")
    n_dims = magic[3]
    if not 1 <= n_dims <= _MAX_DIMENSIONS:
        raise _corrupt(path, f"an IDX file of 1 to {_MAX_DIMENSIONS} dimensions, got {n_dims}")
    sizes = stream.read(4 * n_dims)
    if len(sizes) < 4 * n_dims:
        raise _corrupt(path, f"{n_dims} sizes in the header, but the file ends there")
    dtype, shape = np.dtype(_DTYPES[magic[2]]), struct.unpack(f">{n_dims}I", sizes)
    limit = configured_limit() or _MAX_BYTES
    if (n_bytes := math.prod(max(1, size) for size in shape) * dtype.itemsize) > limit:
        found = f"at most {limit:,} bytes of data, but the header announces {n_bytes:,}"
        raise _corrupt(path, f"{found} ({ENV_VARIABLE} sets the limit)")
    return dtype, shape


def _read_exactly(stream: BinaryIO, n_bytes: int, path: Path) -> bytearray:
    """Read `n_bytes` up to the end of the stream, which also verifies the checksum of gzip."""
    data = bytearray()
    while len(data) < n_bytes and (piece := stream.read(min(_CHUNK_BYTES, n_bytes - len(data)))):
        data += piece
    if len(data) < n_bytes:
        raise _corrupt(path, f"{n_bytes:,} bytes of data, but the file ends after {len(data):,}")
    if stream.read(1):
        raise _corrupt(path, f"{n_bytes:,} bytes of data, but the file holds more")
    return data
