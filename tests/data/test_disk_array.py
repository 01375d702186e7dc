"""Arrays on disk: when they stay there, and how their blocks are read and held out."""

import mmap

import numpy as np
import pytest

from isthmus.data import disk_array, load
from isthmus.data.disk_array import DiskArray, as_disk_array, release_pages

X = np.arange(1000 * 4, dtype=np.float32).reshape(1000, 4)


@pytest.fixture
def all_large(monkeypatch):
    """Treat every array on disk as too large for memory."""
    monkeypatch.setattr(disk_array, "MAX_IN_MEMORY", 0)


@pytest.fixture
def path(tmp_path):
    """Return a file with the rows."""
    np.save(tmp_path / "x.npy", X)
    return tmp_path / "x.npy"


def blocks_of(n=1000, rows=64):
    """Return rows in memory, in blocks."""
    return DiskArray.of(X[:n], block_bytes=16 * rows)


def test_blocks_have_row_indices():
    rows = blocks_of()
    assert rows.lengths.tolist() == [64] * 15 + [40]
    assert len(rows) == rows.n_total == 1000
    chosen = np.array([15, 0])
    assert rows.indices(chosen).tolist() == [*range(960, 1000), *range(64)]
    assert (rows.read(chosen) == X[rows.indices(chosen)]).all()
    assert (rows.read() == X).all()


@pytest.mark.parametrize("n_bytes", [1, 16 * 64, 16 * 100, 16 * 640, 10**9])
def test_block_groups_partition_the_blocks(n_bytes):
    rows = blocks_of()
    pieces = list(rows.block_groups(n_bytes))
    assert np.concatenate(pieces).tolist() == rows.blocks.tolist()
    sizes = [len(rows.indices(piece)) for piece in pieces]
    assert all(size * 16 <= n_bytes or len(p) == 1 for size, p in zip(sizes, pieces, strict=True))


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.37, 0.999])
@pytest.mark.parametrize("bounds", [[0, 990, 1000], [0, 1000], list(range(0, 1001, 50))])
def test_split_is_a_partition(fraction, bounds):
    rows = DiskArray(X, np.array(bounds), np.arange(len(bounds) - 1))
    kept, held = rows.split(fraction, np.random.default_rng(0))
    assert len(held) == max(1, int(fraction * 1000))
    assert len(kept) + len(held) == 1000
    assert sorted([*kept.indices(), *held.indices()]) == [*range(1000)]
    assert (held.read() == X[held.indices()]).all()


def test_indexing_follows_numpy():
    kept, held = blocks_of().split(0.3, np.random.default_rng(0))
    for part in (kept, held):
        whole = X[part.indices()]
        assert (np.array(part) == whole).all()
        for index in (slice(None), slice(5, 200, 3), 17, -1, [3, 0, 3], whole[:, 0] > 2000):
            assert (part[index] == whole[index]).all()
        assert (part.size, part.nbytes) == (whole.size, whole.nbytes)


def test_repeated_splits_are_disjoint():
    rows = blocks_of()
    order = np.random.default_rng(3)
    kept, first = rows.split(0.3, order)
    kept, second = kept.split(0.3, order)
    assert sorted([*kept.indices(), *first.indices(), *second.indices()]) == [*range(1000)]


def test_held_out_rows_fit_memory(monkeypatch):
    monkeypatch.setattr(disk_array, "MAX_HELD_OUT_BYTES", 16 * 30)
    assert len(blocks_of().split(0.5, np.random.default_rng(0))[1]) == 30


@pytest.mark.parametrize("rows", [10, 64, 700, 1000])
def test_preview_is_evenly_spaced(monkeypatch, rows):
    monkeypatch.setattr(disk_array, "PREVIEW_BYTES", 16 * 100)
    seen = blocks_of(rows=rows).preview()[:, 0] / 4
    assert 2 <= len(seen) <= 100
    assert seen.min() < 100
    assert seen.max() > 800
    assert len(np.unique(seen)) == len(seen)


def test_blocks_are_multiples_of_chunks():
    class Chunked:
        dtype, shape = X.dtype, X.shape

        def __init__(self, rows):
            self.chunks = (rows, 4)

    assert np.diff(DiskArray.of(Chunked(10), block_bytes=16 * 64).bounds)[:2].tolist() == [60, 60]
    assert DiskArray.of(Chunked(300), block_bytes=16 * 64).lengths.tolist() == [300, 300, 300, 100]
    assert DiskArray.of(Chunked(9999), block_bytes=16 * 64).lengths.tolist() == [1000]


def test_large_memory_maps_stay_on_disk(path, monkeypatch):
    mapped = np.load(path, mmap_mode="r")
    assert as_disk_array(mapped) is None
    monkeypatch.setattr(disk_array, "MAX_IN_MEMORY", X.nbytes)
    assert as_disk_array(mapped) is None
    monkeypatch.setattr(disk_array, "MAX_IN_MEMORY", X.nbytes - 1)
    monkeypatch.setattr(disk_array, "BLOCK_BYTES", 1024)
    assert as_disk_array(X) is None  # it is in memory already
    for rows in (mapped, mapped[10:], mapped[:, ::2], np.asarray(mapped)):
        assert (DiskArray.of(rows).read() == rows).all()
    assert as_disk_array(mapped).shape == (1000, 4)


@pytest.mark.usefixtures("all_large")
def test_arrays_without_rows_are_read_whole(tmp_path):
    for shape in ((7,), (1, 7), (0, 7), (7, 0)):
        np.save(tmp_path / "x.npy", np.zeros(shape))
        assert as_disk_array(np.load(tmp_path / "x.npy", mmap_mode="r")) is None

    class Frame:
        bounds, shape = "of something else", (5, 5)

    assert as_disk_array(Frame()) is None


@pytest.mark.parametrize("mode", ["r+", "c"])
def test_writes_to_a_map_are_kept(path, mode):
    mapped = np.load(path, mmap_mode=mode)
    mapped[:] = -1
    view = mapped[5:]
    view.flags.writeable = False
    for each in (mapped, view, np.asarray(view)):
        release_pages(each)
    assert (DiskArray.of(view).read() == -1).all()
    assert (mapped == -1).all()


def test_pages_of_a_read_only_map_are_released(path, monkeypatch):
    advice = []

    class Told(mmap.mmap):
        def madvise(self, *args):
            advice.append(args)
            return super().madvise(*args)

    monkeypatch.setattr(mmap, "mmap", Told)
    mapped = np.load(path, mmap_mode="r")
    assert (DiskArray.of(mapped[3:]).read() == X[3:]).all()
    assert advice == [(mmap.MADV_DONTNEED,)]
    assert (mapped == X).all()


def test_errors_name_the_rows():
    class Broken:
        dtype, shape = X.dtype, X.shape

        def __getitem__(self, rows):
            if rows.stop > 500:
                raise RuntimeError("the chunk\nis damaged")
            return X[rows]

    rows = DiskArray.of(Broken(), block_bytes=16 * 100)
    assert (rows.read(np.arange(5)) == X[:500]).all()
    with pytest.raises(ValueError, match=r"^cannot read rows 500 to 599 of X: the chunk is dam"):
        rows.read()


def test_zarr(tmp_path, all_large, monkeypatch):
    monkeypatch.setattr(disk_array, "BLOCK_BYTES", 1024)
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(tmp_path / "x.zarr", shape=X.shape, chunks=(64, 4), dtype=X.dtype)
    array[:] = X
    assert as_disk_array(array).shape == X.shape
    assert (as_disk_array(array).read() == X).all()
    dataset = load(tmp_path / "x.zarr")
    assert isinstance(dataset.X, DiskArray)
    assert len(dataset.X) == 1000
    assert dataset.sha256 == _sha256(tmp_path)
    long = zarr.create_array(tmp_path / "y.zarr", shape=X.shape, chunks=(5000, 4), dtype=X.dtype)
    long[:] = X
    assert (load(tmp_path / "y.zarr").X == X).all()


def _sha256(tmp_path):
    np.save(tmp_path / "same.npy", X)
    return load(tmp_path / "same.npy").sha256


def test_zarr_groups_and_other_folders_are_refused(tmp_path):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "g.zarr", mode="w")
    group.create_array("x", shape=(5, 2), dtype="f4")[:] = 1
    assert load(tmp_path / "g.zarr" / "x").X.tolist() == [[1, 1]] * 5
    assert as_disk_array(group) is None
    (tmp_path / "none.zarr").mkdir()
    for name in ("g.zarr", "none.zarr"):
        with pytest.raises(ValueError, match="expected a zarr array; for a group"):
            load(tmp_path / name)
    for shape in ((), (0, 3)):
        zarr.create_array(tmp_path / "e.zarr", shape=shape, dtype="f4", overwrite=True)
        with pytest.raises(ValueError, match="expected at least one sample"):
            load(tmp_path / "e.zarr")


def test_oversized_or_damaged_zarr_is_refused(tmp_path):
    zarr = pytest.importorskip("zarr")
    zarr.create_array(tmp_path / "x.zarr", shape=(10**9, 10**5), chunks=(100, 2), dtype="f4")
    with pytest.raises(ValueError, match="would become 400,000,000,000,000 in memory"):
        load(tmp_path / "x.zarr")
    array = zarr.create_array(tmp_path / "y.zarr", shape=(7, 3), dtype="f4")
    array[:] = 2
    for path in (tmp_path / "y.zarr" / "c").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match="cannot read rows 0 to 6 of X"):
        load(tmp_path / "y.zarr")


@pytest.mark.parametrize("chunks", [None, (64, 4)])
def test_h5py(tmp_path, chunks, all_large, monkeypatch):
    h5py = pytest.importorskip("h5py")
    monkeypatch.setattr(disk_array, "BLOCK_BYTES", 1024)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=X, chunks=chunks)
        assert (as_disk_array(file["x"]).read() == X).all()
        assert as_disk_array(file) is None
