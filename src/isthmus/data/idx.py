"""Reading IDX files, the format of MNIST, without trusting them.

The header of an IDX file announces how many bytes follow. Nothing is allocated on its word:
the bytes are read in pieces and counted, so that a hostile file costs no more memory than it
really holds, and a compressed one no more than it announces: which `isthmus.data.limits` bounds.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import numpy as np

from isthmus.data.limits import ENV_VARIABLE, check_memory, configured_limit

__all__ = ["MAX_BYTES", "read_idx"]

MAX_BYTES = 4 * 2**30  # the most bytes of data one file may announce, where nothing else is set
_CHUNK = 2**20
_MAX_DIMENSIONS = 8
_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | PathLike[str]) -> np.ndarray:
    """Read an IDX file, compressed with gzip or not.

    Parameters
    ----------
    path : str or path-like
        The file. Whether it is compressed is seen from its first bytes, not from its name.

    Returns
    -------
    numpy.ndarray
        The array in the shape that the header announces, in native byte order: uint8, int8,
        int16, int32, float32 or float64.

    Raises
    ------
    FileNotFoundError
        If there is no file at `path`.
    ValueError
        If the file is not IDX, is cut short, has bytes to spare, announces more than 4 GiB, or
        is compressed to less than a hundredth of its size; see `isthmus.data.limits`.

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
        raise _bad(path, f"a gzip file that decompresses, but it is damaged ({error})") from error
    array = np.frombuffer(data, dtype=dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _bad(path: Path, expected: str) -> ValueError:
    return ValueError(f"{path}: expected {expected}; get the file again from its source.")


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as stream:
        compressed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if compressed else path.open("rb")  # type: ignore[return-value]


def _read_header(stream: BinaryIO, path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
        raise _bad(path, f"an IDX file, but it begins with the bytes {magic.hex(' ') or 'none'}")
    ndim = magic[3]
    if not 1 <= ndim <= _MAX_DIMENSIONS:
        raise _bad(path, f"an IDX file of 1 to {_MAX_DIMENSIONS} dimensions, got {ndim}")
    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise _bad(path, f"{ndim} sizes in the header, but the file ends there")
    dtype, shape = np.dtype(_DTYPES[magic[2]]), struct.unpack(f">{ndim}I", sizes)
    most = configured_limit() or MAX_BYTES
    if (n_bytes := math.prod(max(1, size) for size in shape) * dtype.itemsize) > most:
        said = f"at most {most:,} bytes of data, but its header says {n_bytes:,}"
        raise _bad(path, f"{said} ({ENV_VARIABLE} sets the limit)")
    return dtype, shape


def _read_exactly(stream: BinaryIO, n_bytes: int, path: Path) -> bytearray:
    """Read `n_bytes` and see that the stream ends there; its checksum is verified on the way."""
    data = bytearray()
    while len(data) < n_bytes and (piece := stream.read(min(_CHUNK, n_bytes - len(data)))):
        data += piece
    if len(data) < n_bytes:
        raise _bad(path, f"{n_bytes:,} bytes of data, but the file ends after {len(data):,}")
    if stream.read(1):
        raise _bad(path, f"{n_bytes:,} bytes of data, but the file holds more")
    return data
