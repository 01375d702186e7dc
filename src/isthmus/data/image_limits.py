"""Bound the time and memory that Pillow takes to open an image of a stranger.

Pillow reads each chunk of a PNG, block of a GIF, segment of a JPEG and directory of a TIFF in
Python, and the values of all tags of a directory, even if they overlap. A file may hold a million
of these. They are counted here before Pillow opens the file.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

__all__ = ["check_exif", "check_parts"]

FREE_PARTS = 5000  # always allowed
PART_BYTES = 2**10  # of the file, for each part beyond
TAGS_PER_PART = 10
MAX_SCANS = 100  # of a progressive JPEG, each of which decodes the whole image
TYPE_BYTES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)  # of the types of TIFF
END_OF_GIF, EXTENSION, FRAME = 0x3B, 0x21, 0x2C


def check_parts(stream: BinaryIO) -> None:
    """Raise a ValueError if an image file has far more parts than its size explains."""
    size = os.fstat(stream.fileno()).st_size
    if not size:
        return
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content[:4]
        walk = next((walk for magic, walk in WALKS.items() if start.startswith(magic)), None)
        if walk is not None:
            _check_number(walk(content), size)


def check_exif(image: Any) -> None:
    """Raise a ValueError if the EXIF data of an image would take too much memory."""
    content = image.info.get("exif", b"")
    if not content and (text := image.info.get("Raw profile type exif")):  # of ImageMagick
        try:
            content = bytes.fromhex("".join(text.split("\n")[3:]))
        except (AttributeError, ValueError, TypeError):
            return  # Pillow does not read it either
    if content:
        _check_number(_tiff_parts(content.removeprefix(b"Exif\0\0")), len(content))


def _check_number(parts: Iterator[int], size: int) -> None:
    n = 0
    try:
        for more in parts:
            n += more
            if n > FREE_PARTS and n * PART_BYTES > size:
                raise ValueError(f"it has more than {n - 1:,} chunks, blocks, tags or pages")
    except (IndexError, struct.error):
        return  # the file is truncated, about which Pillow decides


def _png_parts(content: mmap.mmap) -> Iterator[int]:
    place = 8
    while place + 8 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        if content[place + 4 : place + 8] == b"eXIf":
            exif = content[place + 8 : place + 8 + length].removeprefix(b"Exif\0\0")
            _check_number(_tiff_parts(exif), length)
        place += 12 + length
        yield 1


def _gif_parts(content: mmap.mmap) -> Iterator[int]:
    place = 13 + _palette_bytes(content[10])
    while (kind := content[place]) != END_OF_GIF:
        place += 1
        if kind == FRAME:
            place += 10 + _palette_bytes(content[place + 8])
        elif kind == EXTENSION:
            place += 1
        if kind in (FRAME, EXTENSION):
            while length := content[place]:
                place += 1 + length
                if kind == EXTENSION:
                    yield 1
            place += 1
        yield 1  # also for a byte between blocks, which Pillow skips


def _palette_bytes(flags: int) -> int:
    return 3 * 2 ** (flags % 8 + 1) if flags & 0x80 else 0


def _jpeg_parts(content: mmap.mmap) -> Iterator[int]:
    place = 2
    while True:
        if content[place] != 0xFF or content[place + 1] in (0, 0xFF):
            place += 1  # bytes between segments, which Pillow skips one by one
        elif content[place + 1] == 0xDA:
            break
        elif 0xD0 <= content[place + 1] <= 0xD8:  # markers without a segment
            place += 2
        else:
            place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        yield 1
    scans = 0
    while (place := content.find(b"\xff\xda", place + 2)) >= 0:
        scans += 1
        if scans > MAX_SCANS:
            raise ValueError(f"it has more than {MAX_SCANS} scans")


def _tiff_parts(content: Any) -> Iterator[int]:
    """Yield the parts of each directory; a ValueError if its values overlap or exceed the file."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(content[:2]))
    if order is None:
        return
    is_big = struct.unpack_from(f"{order}H", content, 2)[0] == 43  # BigTIFF: offsets of 8 bytes
    n_tags, tag, offset, start = ("Q", "HHQ8s", "Q", 8) if is_big else ("H", "HHI4s", "I", 4)
    head, entry = struct.Struct(order + n_tags), struct.Struct(order + tag)
    (place,) = struct.unpack_from(order + offset, content, start)
    seen = set()
    while place and place not in seen:
        seen.add(place)
        (n,) = head.unpack_from(content, place)
        place += head.size
        yield 1 + n // TAGS_PER_PART
        tags = entry.iter_unpack(content[place : place + n * entry.size])
        sizes = ((TYPE_BYTES[kind] if kind < len(TYPE_BYTES) else 0) * m for _, kind, m, _ in tags)
        if sum(sizes) > len(content) + 8 * n:
            raise ValueError("the values of its tags overlap")
        (place,) = struct.unpack_from(order + offset, content, place + n * entry.size)


WALKS: dict[bytes, Callable[[Any], Iterator[int]]] = {
    b"\x89PNG": _png_parts,
    b"GIF8": _gif_parts,
    b"\xff\xd8": _jpeg_parts,
    b"II": _tiff_parts,
    b"MM": _tiff_parts,
}
