"""Crafted files are refused in one line, in less than a second and with less than 500 MB.

The files are made here: each is small, and takes long or much memory unless its reader has a limit.
"""

import gzip
import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from isthmus import data
from isthmus.bulk.files import find_files
from isthmus.data.chunked_reader import read_chunks
from isthmus.data.feature_columns import FeatureColumns
from isthmus.data.wav import AudioClip, wav_bytes

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("pandas")

SECONDS, MEGABYTES = 1, 500  # of SECURITY.md
BASIC_TAGS = (
    (256, 1),
    (257, 1),
    (258, 8),
    (259, 1),
    (262, 1),
    (273, 8),
    (277, 1),
    (278, 1),
    (279, 1),
)


def image_bytes(form, mode="L", side=2, **options):
    stream = io.BytesIO()
    Image.new(mode, (side, side)).save(stream, form, **options)
    return stream.getvalue()


def png_chunk(name, content=b""):
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png_with(*chunks, at=33):
    good = image_bytes("PNG")
    at = at % len(good)
    return good[:at] + b"".join(chunks) + good[at:]


def jpeg_with(content):
    good = image_bytes("JPEG", side=8)
    return good[:2] + content + good[2:]


def gif_with(n, extra=b"", side=1):
    palette = Image.new("P", (1, 1))
    palette.putpalette([0] * 768)
    stream = io.BytesIO()
    palette.save(stream, "GIF")
    good = bytearray(stream.getvalue())
    good[6:10] = struct.pack("<HH", side, side)
    start = bytes(good).index(b",\0\0\0\0")
    return bytes(good[:start]) + bytes(good[start:-1]) * n + extra + b";"


def directory(entries, after=0):
    tags = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + tags + struct.pack("<I", after)


def tiff(n=1, more=()):
    """Return a TIFF of n pages of one pixel, with more tags."""
    entries = [(tag, 4, 1, value) for tag, value in BASIC_TAGS] + [*more]
    size = len(directory(entries))
    pages = [directory(entries, 16 + size * (i + 1) if i < n - 1 else 0) for i in range(n)]
    return b"II*\0" + struct.pack("<I", 16) + bytes(8) + b"".join(pages) + bytes(10**6)


def exif(n):
    """Return EXIF data of n tags that all hold the same 50 kB."""
    tags = [(60_000 + i, 1, 50_000, 8) for i in range(n)]
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + directory(tags)


def progressive(n):
    good = image_bytes("JPEG", side=1000, progressive=True)
    scan = good.index(b"\xff\xda")
    return good[:scan] + good[scan:-2] * n + good[-2:]


def webp(canvas, n):
    """Return an animation of n frames of 8 pixels on a canvas of any size."""
    frames = [Image.new("RGB", (8, 8), (9 * i, 0, 0)) for i in range(n)]
    stream = io.BytesIO()
    frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:], method=0)
    content = bytearray(stream.getvalue())
    content[24:30] = (canvas - 1).to_bytes(3, "little") * 2
    return bytes(content)


def wav_with(n, at):
    good = wav_bytes(AudioClip(np.zeros((1, 10)), 8000))[0]
    at = at % (len(good) + 1)
    return good[:at] + (b"junk" + bytes(4)) * n + good[at:]


def zip_with(n):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a", b"")
    good = stream.getvalue()
    first, end = good.index(b"PK\1\2"), good.index(b"PK\5\6")
    entries = good[first:end] * n
    tail = good[end : end + 8] + struct.pack("<HHII", *([min(n, 65535)] * 2), len(entries), first)
    return good[:first] + entries + tail + b"\0\0"


def table_bytes(columns, **options):
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink, **options)
    return sink.getvalue()


def deep_list(depth):
    kind = pa.float64()
    for _ in range(depth):
        kind = pa.list_(kind)
    return pa.array([None], kind)


LONG = pa.DictionaryArray.from_arrays(pa.array(np.zeros(10**6, "i4")), ["a" * 10_000])
TEXT_CHUNK = png_chunk(b"tEXt", b"k\0v")
CORPUS = {
    "blank lines": ("a.csv", lambda: b"a,b\n" + b"\n" * 3_000_000 + b"1,2\n"),
    "blank lines of old Macs": ("a.csv", lambda: b"\r" * 3_000_000),
    "blank lines of Windows": ("a.tsv", lambda: b"\r\n" * 3_000_000),
    "too many columns": ("a.csv", lambda: b"a," * 3_000_000 + b"\n"),
    "a long cell": ("a.csv", lambda: b" " * 10_000_000),
    "chunks": ("a.png", lambda: png_with(*[png_chunk(b"teSt")] * 300_000)),
    "chunks at the end": ("a.png", lambda: png_with(*[png_chunk(b"teSt")] * 300_000, at=-12)),
    "empty data chunks": ("a.png", lambda: png_with(*[png_chunk(b"IDAT")] * 300_000)),
    "text chunks": ("a.png", lambda: png_with(*[TEXT_CHUNK] * 300_000)),
    "compressed profile": (
        "a.png",
        lambda: png_with(png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**8), 1))),
    ),
    "compressed text": (
        "a.png",
        lambda: png_with(png_chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(10**8), 1))),
    ),
    "tags of the same bytes in a PNG": (
        "a.png",
        lambda: png_with(png_chunk(b"eXIf", exif(4000)[6:])),
    ),
    "the same at the end": ("a.png", lambda: png_with(png_chunk(b"eXIf", exif(4000)[6:]), at=-12)),
    "the same in a text": (
        "a.png",
        lambda: png_with(
            png_chunk(b"tEXt", b"Raw profile type exif\0\nexif\n9\n" + exif(4000).hex().encode())
        ),
    ),
    "segments": ("a.jpg", lambda: jpeg_with(b"\xff\xfe\0\x03a" * 300_000)),
    "bytes between segments": ("a.jpg", lambda: jpeg_with(b"\xff" * 3_000_000)),
    "zeros between segments": ("a.jpg", lambda: jpeg_with(b"\xff" + bytes(3_000_000))),
    "scans": ("a.jpg", lambda: progressive(200)),
    "tags of the same bytes in a JPEG": (
        "a.jpg",
        lambda: jpeg_with(b"\xff\xe1" + struct.pack(">H", len(exif(4000)) + 2) + exif(4000)),
    ),
    "comments": ("a.gif", lambda: gif_with(1, b"\x21\xfe\x01a\x00" * 300_000)),
    "parts of a comment": ("a.gif", lambda: gif_with(1, b"\x21\xfe" + b"\x01a" * 300_000 + b"\0")),
    "bytes between blocks": ("a.gif", lambda: gif_with(1, b"x" * 3_000_000)),
    "frames": ("a.gif", lambda: gif_with(100_000)),
    "large frames": ("a.gif", lambda: gif_with(1000, side=3900)),
    "large animation": ("a.webp", lambda: webp(3900, 20)),
    "pages": ("a.tif", lambda: tiff(100_000)),
    "tags": ("a.tif", lambda: tiff(1, [(60_000 + i % 5000, 3, 1, 1) for i in range(65_000)])),
    "tags of the same bytes": ("a.tif", lambda: tiff(1, [(60_000, 4, 200_000, 20)] * 4000)),
    "large tag": ("a.tif", lambda: tiff(1, [(60_000, 12, 2**31, 20)])),
    "chunks before the samples": ("a.wav", lambda: wav_with(1_000_000, 12)),
    "chunks after the samples": ("a.wav", lambda: wav_with(1_000_000, -1)),
    "members": ("a.npz", lambda: zip_with(300_000)),
    "deep header": ("a.npy", lambda: b"\x93NUMPY\1\0" + struct.pack("<H", 60_000) + b"(" * 60_000),
    "fields": (
        "a.npy",
        lambda: b"\x93NUMPY\2\0" + struct.pack("<I", 2_000_000) + b"[('a','f4')," * 166_667,
    ),
    "too many columns of Parquet": (
        "a.parquet",
        lambda: b"PAR1" + (foot := wide_footer(100_001)) + struct.pack("<I", len(foot)) + b"PAR1",
    ),
    "text in all rows": ("a.parquet", lambda: table_bytes({"a": LONG}, store_schema=False)),
    "short text": ("a.parquet", lambda: table_bytes({"a": pa.array(["x"]).take([0] * 3_000_000)})),
    "no text": ("a.parquet", lambda: table_bytes({"a": pa.nulls(3_000_000, pa.string())})),
    "booleans": ("a.parquet", lambda: table_bytes({"a": np.zeros(30_000_000, "?")})),
    "nested lists": ("a.parquet", lambda: table_bytes({"a": deep_list(90)})),
    "lists": ("a.parquet", lambda: table_bytes({"a": pa.array([[0.0] * 1000]).take([0] * 1000)})),
}


def wide_footer(n):
    """Return the footer of a Parquet file whose schema announces n columns."""
    size, out = n + 1, []
    while size >= 128:
        out.append(size & 127 | 128)
        size >>= 7
    head = bytes([0x15, 2, 0x19, 0xFC, *out, size])
    return head + (bytes([0x48, 1]) + b"a" + bytes([0])) * (n + 1) + bytes([0x16, 0, 0x19, 0x0C, 0])


@pytest.fixture(scope="module", autouse=True)
def imported(tmp_path_factory):
    """Read a valid file of each kind, so that what is measured later imports nothing."""
    folder = tmp_path_factory.mktemp("valid")
    for suffix, form in {
        "png": "PNG",
        "gif": "GIF",
        "webp": "WEBP",
        "tif": "TIFF",
        "jpg": "JPEG",
    }.items():
        (folder / f"a.{suffix}").write_bytes(image_bytes(form))
    (folder / "a.wav").write_bytes(wav_bytes(AudioClip(np.zeros((1, 10)), 8000))[0])
    (folder / "a.csv").write_bytes(b"a,b\n1,x\n")
    (folder / "a.parquet").write_bytes(table_bytes({"a": [1.0], "b": ["x"]}))
    np.savez(folder / "a.npz", X=np.zeros((1, 1)))
    np.save(folder / "a.npy", np.zeros((1, 1)))
    for path in folder.iterdir():
        data.load(path)


def check(refusal):
    assert refusal.error.startswith(("ValueError: ", "OSError: ")), refusal.error or "was read"
    assert "\n" not in refusal.error
    assert len(refusal.error) < 3000
    assert refusal.seconds < SECONDS
    assert refusal.megabytes < MEGABYTES


@pytest.mark.parametrize("name", CORPUS)
def test_crafted_files_are_refused_within_the_limits(tmp_path, measure, name):
    file, content = CORPUS[name]
    (tmp_path / file).write_bytes(content())
    check(measure(data.load, tmp_path / file))


@pytest.mark.parametrize("name", ["chunks", "frames", "pages", "segments", "short text"])
def test_crafted_files_in_a_folder_are_refused_within_the_limits(tmp_path, measure, name):
    file, content = CORPUS[name]
    if name == "short text":  # in a folder, Parquet holds numbers
        name, content = "text", lambda: table_bytes({"a": LONG}, store_schema=False)
    (tmp_path / file).write_bytes(content())
    check(measure(data.load, tmp_path))


def read_all(path, features):
    for _ in read_chunks(path, features, 1000):
        pass


@pytest.mark.parametrize(
    "name", [name for name, (file, _) in CORPUS.items() if file.endswith((".csv", ".parquet"))]
)
def test_crafted_tables_are_refused_in_bulk_within_the_limits(tmp_path, measure, name):
    file, content = CORPUS[name]
    (tmp_path / file).write_bytes(content())
    check(measure(read_all, tmp_path / file, FeatureColumns(2)))


def test_texts_to_keep_do_not_fill_the_memory(tmp_path, measure):
    long = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2000, "i4")), ["a" * 200_000])
    content = table_bytes({"a": long, "b": np.zeros(len(long))}, store_schema=False)
    (tmp_path / "a.parquet").write_bytes(content)
    check(measure(read_all, tmp_path / "a.parquet", FeatureColumns(1, keep=("a",))))


def test_wide_headers_take_time_in_proportion(tmp_path, measure):
    """A header of 100,000 columns is refused at once by a model of three features."""
    names = ",".join(f"c{i}" for i in range(100_000))
    (tmp_path / "a.csv").write_text(f"{names}\n" + "1," * 99_999 + "1\n")
    check(measure(read_all, tmp_path / "a.csv", FeatureColumns(3)))
    (tmp_path / "a.csv").write_text("a," * 99_999 + "a\n" + "1," * 99_999 + "1\n")
    check(measure(read_all, tmp_path / "a.csv", FeatureColumns(100_000)))


def test_gzip_members_are_limited(tmp_path, measure):
    head = bytes([0, 0, 8, 1]) + struct.pack(">I", 10)
    content = gzip.compress(head) + gzip.compress(b"") * 300_000 + gzip.compress(bytes(10))
    (tmp_path / "a").write_bytes(content)
    check(measure(data.read_idx, tmp_path / "a"))
    (tmp_path / "a").write_bytes(
        gzip.compress(head) + gzip.compress(b"") + gzip.compress(bytes(10))
    )
    assert data.read_idx(tmp_path / "a").tolist() == [0] * 10


def test_one_crafted_file_does_not_end_the_bulk_reading_of_others(tmp_path):
    file, content = CORPUS["too many columns of Parquet"]
    (tmp_path / file).write_bytes(content())
    (tmp_path / "good.parquet").write_bytes(table_bytes({"a": [1.0]}))
    bad, good = find_files([str(tmp_path)])
    with pytest.raises(ValueError, match="more than 100,000 columns"):
        read_all(bad, FeatureColumns(1))
    assert next(read_chunks(good, FeatureColumns(1), 10)).X.tolist() == [[1.0]]


def test_images_with_many_parts_that_their_size_explains_are_read(tmp_path):
    """Long animations, PNG files in small chunks and stacks of pages are no attack."""
    (tmp_path / "a.gif").write_bytes(gif_with(2000))
    assert len(data.load(tmp_path / "a.gif").X) == 2000
    (tmp_path / "a.tif").write_bytes(tiff(300))
    assert len(data.load(tmp_path / "a.tif").X) == 300
    good = png_with(*[png_chunk(b"teSt", bytes(1100))] * 6000)
    (tmp_path / "a.png").write_bytes(good)
    assert data.load(tmp_path / "a.png").X.shape == (1, 2, 2)
    rotated = Image.Exif()
    rotated[0x0112] = 6
    Image.new("L", (4, 2)).save(tmp_path / "b.png", exif=rotated)
    assert data.load(tmp_path / "b.png").X.shape == (1, 4, 2)
    (tmp_path / "a.jpg").write_bytes(image_bytes("JPEG", side=16, progressive=True, exif=rotated))
    assert data.load(tmp_path / "a.jpg").X.shape == (1, 16, 16)
