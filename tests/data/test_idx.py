"""IDX files: all types, compressed or not, and all kinds of invalid files."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from isthmus.data import read_idx


def header(code, *sizes):
    return bytes([0, 0, code, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    ("code", "dtype"),
    [(0x08, "u1"), (0x09, "i1"), (0x0B, "i2"), (0x0C, "i4"), (0x0D, "f4"), (0x0E, "f8")],
)
def test_every_type_is_read_in_native_order(tmp_path, code, dtype, compress):
    expected = np.arange(24).reshape(2, 3, 4).astype(dtype) - (0 if dtype == "u1" else 7)
    content = header(code, 2, 3, 4) + expected.astype(f">{dtype}").tobytes()
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(content) if compress else content)
    got = read_idx(path)
    assert got.dtype == np.dtype(dtype)
    assert got.dtype.isnative
    np.testing.assert_array_equal(got, expected)


def test_a_file_without_samples_is_an_empty_array(tmp_path):
    (tmp_path / "none").write_bytes(header(0x08, 0, 28, 28))
    assert read_idx(tmp_path / "none").shape == (0, 28, 28)


GOOD = header(0x08, 2, 2) + bytes(4)
BAD = {
    "empty": (b"", "begins with the bytes none"),
    "not idx": (b"\x89PNG\r\n\x1a\n", "begins with the bytes 89 50 4e 47"),
    "unknown type": (header(0x0A, 1) + b"\0", "begins with"),
    "no dimension": (header(0x08), "1 to 8 dimensions, got 0"),
    "too many dimensions": (header(0x08, *[1] * 9) + b"\0", "1 to 8 dimensions, got 9"),
    "header cut short": (header(0x08, 2, 2)[:-1], "2 sizes in the header"),
    "data cut short": (GOOD[:-1], "4 bytes of data, but the file ends after 3"),
    "bytes to spare": (GOOD + b"\0", "4 bytes of data, but the file holds more"),
    "too large": (header(0x0E, 2**31, 2**31), "at most 4,294,967,296 bytes"),
    "too large by product": (header(0x08, *[2**32 - 1] * 8), "at most 4,294,967,296 bytes"),
    "empty but immense": (header(0x08, 0, *[2**32 - 1] * 3), "at most 4,294,967,296 bytes"),
    "gzip of bytes to spare": (gzip.compress(GOOD + b"\0"), "holds more"),
    "gzip of data cut short": (gzip.compress(GOOD[:-1]), "ends after 3"),
    "gzip cut short": (gzip.compress(GOOD)[:-9], "valid gzip file, but"),
    "gzip of wrong checksum": (gzip.compress(GOOD)[:-8] + bytes(8), "valid gzip file, but"),
    "gzip of nonsense": (b"\x1f\x8b" + bytes(20), "valid gzip file, but"),
    "gzip with a tail": (gzip.compress(GOOD) + b"tail", "valid gzip file, but"),
    "gzip of damaged blocks": (gzip.compress(GOOD)[:10] + b"\xff" * 20, "valid gzip file, but"),
}


@pytest.mark.parametrize("name", BAD)
def test_errors_name_the_file(tmp_path, name):
    content, words = BAD[name]
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte: expected") as caught:
        read_idx(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        header(0x08, 2**32 - 1) + bytes(10),  # promises much and holds little
        gzip.compress(header(0x08, 10) + bytes(100 * 2**20)),  # promises little and holds much
    ],
)
def test_a_false_header_allocates_no_memory(tmp_path, content):
    path = tmp_path / "liar"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="liar"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_missing_files_and_folders_are_refused(tmp_path):
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(FileNotFoundError, match="expected an IDX file"):
            read_idx(path)
