"""Folders of Parquet files as one array."""

import hashlib

import numpy as np
import pytest

from isthmus.data import datasets, disk_array, load, parquet_rows
from isthmus.data.disk_array import DiskArray, as_disk_array
from isthmus.data.parquet_rows import ParquetRows

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

X = np.random.default_rng(0).normal(size=(100, 3))
Y = np.array(["red", "green", "blue"])[np.arange(100) % 3]


@pytest.fixture
def folder(tmp_path):
    """Return a folder of three files with row groups of different lengths."""
    for name, part, size in (
        ("b", slice(10, 75), 20),
        ("a", slice(10), 3),
        ("c", slice(75, 100), 90),
    ):
        write(tmp_path / "rows", name, table(X[part], kind=Y[part]), row_group_size=size)
    return tmp_path / "rows"


def table(values, **more):
    """Return numbers as columns p0, p1, ..."""
    return pa.table({f"p{i}": column for i, column in enumerate(values.T)} | more)


def write(folder, name, content, **options):
    """Write a file into a folder, and return the folder."""
    folder.mkdir(exist_ok=True)
    pq.write_table(content, folder / f"{name}.parquet", **options)
    return folder


@pytest.fixture
def rows(folder, monkeypatch):
    """Return the rows as a `DiskArray`."""
    monkeypatch.setattr(disk_array, "MAX_IN_MEMORY", 0)
    return load(folder, label="kind").X


def test_small_folders_are_read(folder):
    dataset = load(folder, label="kind")
    assert isinstance(dataset.X, np.ndarray)
    assert (dataset.X == X).all()
    assert dataset.y.tolist() == Y.tolist()
    assert dataset.source.to_record() == {"source": str(folder), "label": "kind"}


def test_large_folders_stay_on_disk(folder, rows):
    dataset = load(folder, label=-1)
    assert isinstance(dataset.X, DiskArray)
    assert dataset.y.dtype.kind == "U"
    assert rows.lengths.tolist() == [3, 3, 3, 1, 20, 20, 20, 5, 25]
    assert (rows.shape, rows.ndim, rows.size, rows.nbytes) == ((100, 3), 2, 300, 2400)
    assert as_disk_array(rows) is rows
    assert (rows.read() == X).all()
    assert (rows.array[7:31] == X[7:31]).all()


@pytest.mark.parametrize(
    "index",
    [
        slice(None),
        slice(5, 35),
        slice(9, 10),
        slice(40, 40),
        slice(90, 500),
        slice(3, 95, 7),
        slice(None, None, -1),
        17,
        -1,
        np.array([99, 0, 40, 0]),
        np.arange(100) % 3 == 0,
        [1, 2],
    ],
    ids=str,
)
def test_indexing_follows_numpy(rows, index):
    expected = X[index]
    assert rows[index].shape == expected.shape
    assert (rows[index] == expected).all()


def test_large_row_groups_are_noted(folder, monkeypatch):
    assert load(folder, label="kind").notes == ()
    monkeypatch.setattr(parquet_rows, "LARGE_GROUP", 25 * 3 * 4 - 1)
    assert "write smaller ones (row_group_size)" in load(folder, label="kind").notes[0]


def test_indices_out_of_range_raise(rows):
    for index in (100, [5, -101]):
        with pytest.raises(IndexError):
            rows[index]


def test_each_row_group_is_read_once_for_the_hash(rows, folder, monkeypatch):
    monkeypatch.setattr(datasets, "_CHUNK_BYTES", 64)  # less than a row group
    read, groups = ParquetRows._group, []

    def counted(self, number, names):
        groups.append(number)
        return read(self, number, names)

    dataset = load(folder, label="kind")
    monkeypatch.setattr(ParquetRows, "_group", counted)
    assert dataset.sha256 == hashlib.sha256(X.tobytes()).hexdigest()
    assert groups == [*range(9)]


def test_a_column_of_lists_holds_rows(tmp_path):
    images = np.arange(5 * 4, dtype=np.uint8).reshape(5, 2, 2)
    flat = images.reshape(5, 4)
    for number, kind in enumerate((pa.list_(pa.uint8()), pa.list_(pa.uint8(), 4))):
        column = pa.array(flat.tolist(), kind)
        found = load(write(tmp_path / f"{number}", "0", pa.table({"x": column}))).X
        assert found.dtype == np.uint8
        assert (found == flat).all()
    nested = pa.table({"x": pa.array(images.tolist(), pa.list_(pa.list_(pa.uint8())))})
    assert (images == load(write(tmp_path / "nested", "0", nested)).X).all()


def test_bytes_in_columns_are_not_pixels(tmp_path):
    ages = pa.table({"age": pa.array([1, 200], pa.uint8()), "size": pa.array([3, 4], pa.uint8())})
    assert load(write(tmp_path / "rows", "0", ages)).X.dtype.kind == "f"


def test_empty_files_and_groups_are_skipped(tmp_path):
    folder = write(tmp_path / "rows", "0", table(X[:0]))
    for name, part in (("1", X[:5]), ("2", X[:0]), ("3", X[5:7])):
        write(folder, name, table(part))
    assert (X[:7] == load(folder).X).all()
    with pytest.raises(ValueError, match="none: expected rows, found none"):
        load(write(tmp_path / "none", "0", table(X[:0])))


def test_missing_numbers_are_nan(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_array, "MAX_IN_MEMORY", 0)
    folder = write(tmp_path / "rows", "0", pa.table({"x": [1, 2]}))
    write(folder, "1", pa.table({"x": [None, 4]}))
    found = load(folder).X
    assert found.dtype.kind == "i"  # the type of the first row group
    assert found[[2, 0]].ravel().tolist() == pytest.approx([np.nan, 1], nan_ok=True)


def test_labels_of_all_types(tmp_path):
    for number, (values, kind) in enumerate(
        (
            ([3, 1, 2], "i"),
            ([0.5, 1.0, 2.0], "f"),
            ([True, False, True], "b"),
            (["a", "bb", "c"], "U"),
        )
    ):
        folder = write(tmp_path / f"{number}", "0", table(X[:3], y=values), row_group_size=2)
        assert load(folder, label="y").y.tolist() == values
        assert load(folder, label="y").y.dtype.kind == kind
    labels = pa.array(["a", "b", "a"]).dictionary_encode()
    folder = write(tmp_path / "labels", "0", table(X[:3], y=labels))
    assert load(folder, label="y").y.tolist() == ["a", "b", "a"]


def test_columns_may_have_another_order(tmp_path):
    folder = write(tmp_path / "rows", "0", table(X[:5]))
    write(folder, "1", table(X[5:7]).select(["p2", "p0", "p1"]))
    assert (X[:7] == load(folder).X).all()


def damaged_end(path):
    """Truncate a file."""
    path.write_bytes(path.read_bytes()[:-3])


def damaged_page(path):
    """Overwrite the header of a page."""
    content = bytearray(path.read_bytes())
    content[4:64] = bytes(range(60))
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [damaged_end, damaged_page])
def test_a_damaged_file_is_named(folder, damage):
    damage(folder / "c.parquet")
    with pytest.raises(ValueError, match=r"c\.parquet") as error:
        load(folder, label="kind").X[:]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"q": [1.0]}, r"1\.parquet: the columns differ from those of 0\.parquet"),
        ({"p0": [[1.0, 2.0]]}, r"1\.parquet: expected rows of shape \(1,\), got \(2,\)"),
        ({"p0": ["text"]}, r"1\.parquet: column 'p0' does not hold numbers"),
        ({"p0": [{"a": 1}]}, r"1\.parquet: "),
    ],
)
def test_files_with_other_columns_are_refused(tmp_path, content, message):
    folder = write(tmp_path / "rows", "0", table(X[:, :1]))
    write(folder, "1", pa.table(content))
    with pytest.raises(ValueError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": [[1.0, 2.0], [3.0]]}, "lists of different lengths"),
        ({"x": [[1.0, 2.0], None]}, "lists of different lengths or missing ones"),
        ({"x": [[1.0], [2.0]], "z": [1.0, 2.0]}, "got both"),
        ({"x": pa.nulls(2)}, "does not hold numbers"),
    ],
)
def test_invalid_columns_are_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=rf"0\.parquet: .*{message}"):
        load(write(tmp_path / "rows", "0", pa.table(content)))


def test_invalid_labels_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="got 'z'; columns: p0, p1, p2, kind"):
        load(folder, label="z")
    with pytest.raises(ValueError, match="expected features beside the label"):
        load(write(tmp_path / "y", "0", pa.table({"y": [1]})), label="y")
    two = pa.table([pa.array([1.0]), pa.array([2.0])], names=["x", "x"])
    with pytest.raises(ValueError, match="two columns have the same name"):
        load(write(tmp_path / "two", "0", two))


def test_private_files_are_skipped_and_subfolders_refused(folder, tmp_path):
    (folder / "._a.parquet").write_bytes(b"of a Mac")
    (folder / "_metadata.parquet").write_bytes(b"of Spark")
    (folder / "d.parquet").mkdir()
    assert load(folder, label="kind").X.shape == (100, 3)
    write(folder / "d.parquet", "0", table(X))
    with pytest.raises(ValueError, match=r"directly in the folder, found d\.parquet/0\.parquet"):
        load(folder, label="kind")
    (tmp_path / "parts").mkdir()
    write(tmp_path / "parts" / "kind=red", "0", table(X))
    with pytest.raises(ValueError, match=r"found kind=red/0\.parquet; move it"):
        load(tmp_path / "parts")
