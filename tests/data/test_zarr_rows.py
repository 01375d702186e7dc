"""Zarr arrays in folders: read as zarr reads them, and safely if a stranger wrote them."""

import bz2
import json
import os
import struct
import zlib

import numpy as np
import pytest

from isthmus.data import load
from isthmus.data.zarr_rows import ZarrRows

zarr = pytest.importorskip("zarr")
numcodecs = pytest.importorskip("numcodecs")
blosc = pytest.importorskip("numcodecs.blosc")
lz4 = pytest.importorskip("numcodecs.lz4")
zstd = pytest.importorskip("numcodecs.zstd")

X = np.random.default_rng(0).integers(0, 200, (23, 5, 3))
ZEROS = 48 * 2**20
NEW = {
    "zarr_format": 3,
    "node_type": "array",
    "shape": [4, 4],
    "data_type": "float32",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 4]}},
    "chunk_key_encoding": {"name": "default"},
    "fill_value": 0,
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
}
OLD = {
    "zarr_format": 2,
    "shape": [4, 4],
    "chunks": [4, 4],
    "dtype": "<f4",
    "compressor": None,
    "filters": None,
    "fill_value": 0,
    "order": "C",
}


def store(folder, record, **chunks):
    folder.mkdir()
    name = "zarr.json" if record["zarr_format"] == 3 else ".zarray"
    (folder / name).write_text(json.dumps(record))
    for key, content in chunks.items():
        file = folder / key.replace("_", "/")
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_bytes(content)
    return folder


def sharded(shard, inner, *codecs):
    settings = {
        "chunk_shape": inner,
        "codecs": [*NEW["codecs"], *codecs],
        "index_codecs": [*NEW["codecs"], {"name": "crc32c"}],
    }
    grid = {"name": "regular", "configuration": {"chunk_shape": shard}}
    codec = {"name": "sharding_indexed", "configuration": settings}
    return NEW | {"chunk_grid": grid, "codecs": [codec]}


def check_same(path, expected):
    rows = ZarrRows(path)
    assert rows.shape == expected.shape
    assert rows.dtype == expected.dtype
    for part in (slice(None), slice(3, 9), slice(6, 7), slice(0, 0)):
        np.testing.assert_array_equal(rows[part], expected[part])
    return rows


class TestValidArrays:
    @pytest.mark.parametrize("dtype", ["<f4", ">f8", "i2", ">u4", "u1", "bool", "f2"])
    @pytest.mark.parametrize("order", "CF")
    def test_version_2(self, tmp_path, dtype, order):
        made = zarr.create_array(
            tmp_path / "a", shape=X.shape, chunks=(4, 5, 2), dtype=dtype, zarr_format=2,
            order=order, compressors=None,
        )  # fmt: skip
        made[:] = X
        check_same(tmp_path / "a", X.astype(np.dtype(dtype).newbyteorder("=")))

    @pytest.mark.parametrize("name", ["blosc", "zstd", "lz4", "gzip", "zlib", "bz2"])
    def test_compressors_of_version_2(self, tmp_path, name):
        codec = numcodecs.get_codec({"id": name})
        made = zarr.create_array(
            tmp_path / "a", shape=X.shape, chunks=(4, 5, 2), dtype="f4", zarr_format=2,
            compressors=codec, fill_value=7,
        )  # fmt: skip
        made[:11] = X[:11]  # the other chunks are missing
        check_same(tmp_path / "a", np.asarray(made[:]))

    @pytest.mark.parametrize("shards", [None, (8, 10, 6)])
    @pytest.mark.parametrize("codec", [None, "GzipCodec", "ZstdCodec", "BloscCodec", "Crc32cCodec"])
    def test_version_3(self, tmp_path, shards, codec):
        made = zarr.create_array(
            tmp_path / "a", shape=X.shape, chunks=(4, 5, 2), shards=shards, dtype=">i4",
            compressors=getattr(zarr.codecs, codec)() if codec else None, fill_value=3,
        )  # fmt: skip
        made[3:] = X[3:]
        rows = check_same(tmp_path / "a", np.asarray(made[:]).astype("i4"))
        assert rows.chunks == (4, 5, 2)

    @pytest.mark.parametrize("separator", [".", "/"])
    def test_transposed_chunks_and_other_names(self, tmp_path, separator):
        filters = [zarr.codecs.TransposeCodec(order=(2, 0, 1))] * 2
        made = zarr.create_array(
            tmp_path / "a", shape=X.shape, chunks=(4, 5, 2), dtype="u2", filters=filters,
            chunk_key_encoding={"name": "v2", "separator": separator},
        )  # fmt: skip
        made[:] = X
        check_same(tmp_path / "a", X.astype("u2"))

    @pytest.mark.parametrize("fill", [1.5, np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("version", [2, 3])
    def test_fill_values(self, tmp_path, fill, version):
        zarr.create_array(
            tmp_path / "a", shape=(3, 2), dtype="f4", fill_value=fill, zarr_format=version
        )
        check_same(tmp_path / "a", np.full((3, 2), fill, "f4"))
        record = NEW | {"shape": [3, 2], "fill_value": "0x7fc00000"}
        assert np.isnan(ZarrRows(store(tmp_path / "b", record))[:]).all()

    def test_zstd_frame_that_does_not_announce_its_size(self, tmp_path):
        pa = pytest.importorskip("pyarrow")
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(np.arange(16, dtype="f4").tobytes())
        record = OLD | {"compressor": {"id": "zstd"}}
        path = store(tmp_path / "a", record, **{"0.0": sink.getvalue().to_pybytes()})
        assert ZarrRows(path)[:].ravel().tolist() == [*range(16)]

    def test_links_within_the_array_are_followed(self, tmp_path):
        path = store(tmp_path / "a", OLD, real=np.ones(16, "f4").tobytes())
        (path / "0.0").symlink_to("real")
        (tmp_path / "b").symlink_to("a")
        assert ZarrRows(tmp_path / "b")[:].sum() == 16


OBJECT = {"id": "pickle", "protocol": 5}
BYTES = NEW["codecs"][0]
INVALID = {
    "pickle as a filter": OLD | {"dtype": "|O", "filters": [OBJECT]},
    "pickle as a filter of numbers": OLD | {"filters": [OBJECT]},
    "pickle as the compressor": OLD | {"compressor": OBJECT},
    "pickle in version 3": NEW | {"codecs": [{"name": "numcodecs.pickle"}]},
    "pickle after the bytes": NEW | {"codecs": [BYTES, {"name": "numcodecs.pickle"}]},
    "pickle in a shard": sharded([4, 4], [2, 2], {"name": "numcodecs.pickle"}),
    "pickle in the index": json.loads(
        json.dumps(sharded([4, 4], [2, 2])).replace('"crc32c"', '"numcodecs.pickle"')
    ),
    "json2 codec": OLD | {"filters": [{"id": "json2"}]},
    "objects": OLD | {"dtype": "|O"},
    "text": OLD | {"dtype": "<U9"},
    "records": OLD | {"dtype": [["a", "<f4"]]},
    "text of version 3": NEW | {"data_type": "string"},
    "records of version 3": NEW | {"data_type": {"name": "structured"}},
    "a transformer": NEW | {"storage_transformers": [{"name": "x"}]},
    "two compressors": NEW | {"codecs": [BYTES, {"name": "gzip"}, {"name": "gzip"}]},
    "no codecs": NEW | {"codecs": []},
    "codecs as text": NEW | {"codecs": "bytes"},
    "chunks of size 0": OLD | {"chunks": [0, 4]},
    "chunks of size 0 in version 3": NEW
    | {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 0]}}},
    "chunks of size 0 in a shard": sharded([4, 4], [0, 2]),
    "chunks of another number of axes": OLD | {"chunks": [4]},
    "negative chunks": OLD | {"chunks": [-4, 4]},
    "fractional chunks": OLD | {"chunks": [4.0, 4]},
    "chunks that do not divide a shard": sharded([4, 4], [3, 4]),
    "another grid": NEW | {"chunk_grid": {"name": "rectilinear"}},
    "a name with ..": NEW
    | {"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "/../"}}},
    "a separator with ..": OLD | {"dimension_separator": "/../../"},
    "a fill value of text": OLD | {"fill_value": "x" * 10_000},
    "a fill value out of range": OLD | {"dtype": "|u1", "fill_value": 10**400},
    "a fill value of another type": OLD | {"fill_value": {"a": 1}},
    "a million chunks": OLD | {"shape": [1000, 1000], "chunks": [1, 1]},
    "a million chunks in a shard": sharded([1000, 1000], [1, 1]) | {"shape": [1000, 1000]},
    "a huge chunk": OLD | {"chunks": [2**40, 2**20]},
    "a huge array": OLD | {"shape": [2**61, 2**61]},
    "no rows": OLD | {"shape": [10**18, 0]},
    "many axes": OLD | {"shape": [1] * 500, "chunks": [1] * 500},
    "no shape": {"zarr_format": 2},
    "transposed twice the same axis": NEW
    | {"codecs": [{"name": "transpose", "configuration": {"order": [1, 1]}}, BYTES]},
}


@pytest.mark.parametrize("kind", INVALID)
def test_invalid_metadata_raise(tmp_path, kind, monkeypatch):
    """Crafted metadata are refused before a chunk is read."""
    monkeypatch.setattr(ZarrRows, "_chunk", lambda *_: pytest.fail("a chunk was read"))
    with pytest.raises(ValueError, match=r".+") as caught:
        load(store(tmp_path / "a", INVALID[kind]))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert str(tmp_path / "a") in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"[" * 10**5, b"9" * 10_000, b"null", b"[]", b" " * 2**21, b"\xff", b""]
)
@pytest.mark.parametrize("name", ["zarr.json", ".zarray"])
def test_damaged_metadata_raise(tmp_path, name, content):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.zarr"):
        load(tmp_path / "a.zarr")


def test_pickles_in_a_chunk_do_not_run(tmp_path):
    marker = tmp_path / "ran"
    chunk = b"cos\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR."
    for i, (dtype, where) in enumerate([("|O", "filters"), ("<f4", "compressor")]):
        record = OLD | {"dtype": dtype, where: [OBJECT] if where == "filters" else OBJECT}
        with pytest.raises(ValueError, match=r"pickle|expected numbers"):
            load(store(tmp_path / f"{i}", record, **{"0.0": chunk}))
    assert not marker.exists()


def _gzip(n, wbits=31):
    packer = zlib.compressobj(1, wbits=wbits)
    blocks = [packer.compress(bytes(2**20)) for _ in range(n // 2**20)]
    return b"".join(blocks) + packer.flush()


def _lz4(n):
    return struct.pack("<I", n) + lz4.compress(bytes(n // 256))[4:]


BOMBS = {
    "gzip": lambda: _gzip(ZEROS),
    "zlib": lambda: _gzip(ZEROS, 15),
    "bz2": lambda: bz2.compress(bytes(ZEROS // 8)) * 8,
    "zstd": lambda: zstd.compress(bytes(ZEROS), 1),
    "blosc": lambda: blosc.compress(bytes(ZEROS), b"zstd", 5, 1),
    "lz4": lambda: _lz4(ZEROS),
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("size", ["too large", "too small", "damaged"])
def test_chunks_of_a_false_size_raise(tmp_path, name, size, measure):
    if size == "too large":
        content = BOMBS[name]()
    else:
        codec = numcodecs.get_codec({"id": name})
        content = bytes(codec.encode(np.zeros(15, "f4").tobytes()))
        content = content if size == "too small" else content[: len(content) // 2]
    path = store(tmp_path / "a", OLD | {"compressor": {"id": name}}, **{"0.0": content})
    refusal = measure(load, path)
    assert "ValueError: cannot read rows 0 to 3" in refusal.error
    assert refusal.megabytes < 20


def test_bombs_in_shards_raise(tmp_path, measure):
    google_crc32c = pytest.importorskip("google_crc32c")
    bomb = _gzip(ZEROS)
    index = struct.pack("<8Q", *(0, len(bomb)) * 4)

    content = bomb + index + struct.pack("<I", google_crc32c.value(index))
    record = sharded([4, 4], [2, 2], {"name": "gzip"})
    path = store(tmp_path / "a", record, c_0_0=content)
    refusal = measure(load, path)
    assert "ValueError: cannot read rows 0 to 3" in refusal.error
    assert refusal.megabytes < 20
    for offset, n in ((2**63, 5), (0, 2**62), (len(content), 1)):
        index = struct.pack("<8Q", *(offset, n) * 4)
        tail = index + struct.pack("<I", google_crc32c.value(index))
        (path / "c" / "0" / "0").write_bytes(bomb[:1000] + tail)
        with pytest.raises(ValueError, match="cannot read rows"):
            load(path)
    (path / "c" / "0" / "0").write_bytes(content[:-1] + b"x")
    with pytest.raises(ValueError, match="the checksum of a chunk is wrong"):
        load(path)


def test_a_sparse_file_is_not_read_whole(tmp_path):
    path = store(tmp_path / "a", OLD | {"compressor": {"id": "gzip"}}, **{"0.0": b""})
    os.truncate(path / "0.0", 2**40)
    with pytest.raises(ValueError, match="bytes for a chunk of 64"):
        load(path)


class TestLinks:
    @pytest.mark.parametrize("what", ["chunk", "folder", "metadata", "device", "nested"])
    def test_links_out_of_the_array_are_not_followed(self, tmp_path, what):
        secret = store(tmp_path / "secret", NEW, c_0_0=np.ones(16, "f4").tobytes())
        path = store(tmp_path / "a", NEW)
        (path / "c").mkdir()
        if what == "chunk":
            (path / "c" / "0").mkdir()
            (path / "c" / "0" / "0").symlink_to(secret / "c" / "0" / "0")
        elif what == "folder":
            (path / "c" / "0").symlink_to(secret / "c" / "0")
        elif what == "nested":
            (path / "hop").symlink_to("../secret")
            (path / "c" / "0").symlink_to("../hop/c/0")
        elif what == "device":
            (path / "c" / "0").mkdir()
            (path / "c" / "0" / "0").symlink_to("/dev/zero")
        else:
            (path / "zarr.json").unlink()
            (path / "zarr.json").symlink_to(secret / "zarr.json")
        with pytest.raises(ValueError, match="is a link out of the folder"):
            load(path)

    def test_pipes_are_not_opened(self, tmp_path):
        path = store(tmp_path / "a", OLD)
        os.mkfifo(path / "0.0")
        with pytest.raises(ValueError, match="to be a file"):
            load(path)
