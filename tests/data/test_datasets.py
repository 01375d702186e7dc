"""Datasets by name and by path, and the errors for those that cannot be loaded."""

import gzip
import hashlib
import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from isthmus.data import Dataset, datasets, known_datasets, load


def test_digits():
    digits = load("digits")
    assert digits.name == "digits"
    assert digits.X.shape == (1797, 8, 8)
    assert digits.X.dtype == np.float32
    assert (digits.X.min(), digits.X.max()) == (0, 1)
    assert digits.y.dtype.kind == "i"
    assert set(digits.y) == set(range(10))


def test_sprites():
    first, second = load("sprites"), load("sprites")
    assert first.X.shape == (10_000, 64, 64)
    assert first.X.dtype == np.uint8
    assert set(first.y) == {0, 1, 2}
    assert first.fingerprint == second.fingerprint


def test_known_datasets_are_sorted():
    assert known_datasets() == ("digits", "fashion-mnist", "mnist", "sprites")


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def data_home(tmp_path):
    for name in ("mnist", "fashion-mnist"):
        folder = tmp_path / name
        write_idx(folder / "train-images-idx3-ubyte.gz", np.arange(5 * 784).reshape(5, 28, 28))
        write_idx(folder / "train-labels-idx1-ubyte", np.arange(5))
        write_idx(folder / "t10k-images-idx3-ubyte", np.ones((2, 28, 28)))
        write_idx(folder / "t10k-labels-idx1-ubyte.gz", np.array([7, 8]))
    return tmp_path


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("by_variable", [False, True])
def test_idx_datasets(data_home, monkeypatch, name, by_variable):
    monkeypatch.setenv("ISTHMUS_DATA", str(data_home if by_variable else data_home / "nowhere"))
    dataset = load(name, data_home=None if by_variable else data_home)
    assert dataset.name == name
    assert dataset.X.shape == (5, 28, 28)
    assert dataset.X.dtype == np.uint8
    assert dataset.y.tolist() == [0, 1, 2, 3, 4]
    assert dataset.X_test.shape == (2, 28, 28)
    assert dataset.y_test.tolist() == [7, 8]


def message_of(error, *args, **kwargs):
    with pytest.raises(error) as caught:
        load(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_data_home(monkeypatch):
    monkeypatch.delenv("ISTHMUS_DATA", raising=False)
    message = message_of(FileNotFoundError, "mnist")
    assert "set data_home, or the environment variable ISTHMUS_DATA" in message
    assert "mnist/ with train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz" in message


def test_a_missing_idx_file(data_home):
    (data_home / "mnist" / "t10k-images-idx3-ubyte").unlink()
    message = message_of(FileNotFoundError, "mnist", data_home=data_home)
    assert f"t10k-images-idx3-ubyte missing in {data_home / 'mnist'}; put" in message


def test_idx_labels_of_another_length_are_refused(data_home):
    write_idx(data_home / "mnist" / "train-labels-idx1-ubyte", np.arange(4))
    message = message_of(ValueError, "mnist", data_home=data_home)
    assert "labels of shape (4,) for samples of shape (5, 28, 28)" in message


def test_npy_is_memory_mapped_read_only(tmp_path):
    X = np.random.default_rng(0).normal(size=(10, 3))
    np.save(tmp_path / "rows.npy", X)
    dataset = load(tmp_path / "rows.npy")
    assert dataset.name == "rows"
    assert isinstance(dataset.X, np.memmap)
    assert not dataset.X.flags.writeable
    np.testing.assert_array_equal(dataset.X, X)
    assert dataset.y is None


@pytest.mark.parametrize("key", ["X", "x", "data", "anything"])
@pytest.mark.parametrize("label_key", [None, "y", "labels", "label"])
def test_npz(tmp_path, key, label_key):
    X, y = np.eye(4), np.array(list("abcd"))
    np.savez(tmp_path / "set.npz", **{key: X}, **({label_key: y} if label_key else {}))
    dataset = load(str(tmp_path / "set.npz"))
    np.testing.assert_array_equal(dataset.X, X)
    assert dataset.y is None if label_key is None else dataset.y.tolist() == list("abcd")


def test_npz_prefers_the_usual_name(tmp_path):
    np.savez_compressed(tmp_path / "set.npz", other=np.zeros(9), X=np.eye(3))
    np.testing.assert_array_equal(load(tmp_path / "set.npz").X, np.eye(3))


def test_table(tmp_path):
    (tmp_path / "people.tsv").write_text("age\tsize\tkind\n1\t2\tx\n3\t\ty\n")
    dataset = load(tmp_path / "people.tsv", label="kind")
    assert dataset.name == "people"
    assert dataset.feature_names == ("age", "size")
    assert dataset.y.tolist() == ["x", "y"]
    np.testing.assert_array_equal(dataset.X, [[1, 2], [3, np.nan]])


def test_image_folder(tmp_path):
    for kind in ("cats", "dogs"):
        (tmp_path / "pets" / kind).mkdir(parents=True)
        Image.new("L", (8, 4)).save(tmp_path / "pets" / kind / "a.png")
    dataset = load(tmp_path / "pets", size=4)
    assert dataset.name == "pets"
    assert dataset.X.shape == (2, 4, 4)
    assert dataset.y.tolist() == ["cats", "dogs"]
    assert dataset.notes == ("resized 2 of 2 images to 4x4 (height x width)",)


def test_unknown_names_raise_with_a_suggestion():
    message = message_of(ValueError, "mnits")
    assert "'mnits' is neither a known dataset (digits, fashion-mnist, mnist, sprites)" in message
    assert message.endswith("Did you mean 'mnist'?")
    assert "neither" in message_of(ValueError, "no/such/file.npy")


def test_inapplicable_size_and_label_raise(tmp_path):
    assert "size is for images or audio" in message_of(ValueError, "digits", size=8)
    assert "label is for tables" in message_of(ValueError, "digits", label="y")
    assert "label is for tables" in message_of(ValueError, tmp_path, label=0)


def test_an_unknown_suffix(tmp_path):
    (tmp_path / "notes.txt").write_text("1,2")
    assert "expected .npy, .npz, .csv, .tsv, .jsonl, .parquet, an image" in message_of(
        ValueError, tmp_path / "notes.txt"
    )


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((0, 3)), "at least one sample, got an array of shape (0, 3)"),
        (np.zeros((3, 0)), "at least one sample, got an array of shape (3, 0)"),
        (np.float64(3), "at least one sample, got an array of shape ()"),
        (np.array([["a"]]), "expected numbers, got <U1"),
        (np.array([1j]), "expected numbers, got complex128"),
        (np.array([[None]]), "or Python objects"),
    ],
)
@pytest.mark.parametrize("save", [np.save, np.savez])
def test_arrays_without_samples_are_refused(tmp_path, save, array, words):
    path = tmp_path / ("a.npy" if save is np.save else "a.npz")
    save(path, array)
    message = message_of(ValueError, path)
    assert str(path) in message
    assert words in message


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize(
    "content",
    [b"", b"nonsense", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x01\x00\x04\x00{'a("],
)
def test_damaged_arrays_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert "got a damaged file" in message_of(ValueError, tmp_path / name)


@pytest.mark.parametrize("save", [np.save, np.savez_compressed])
def test_truncated_arrays_are_refused(tmp_path, save):
    path = tmp_path / ("a.npy" if save is np.save else "a.npz")
    save(path, np.random.default_rng(0).normal(size=(100, 3)))
    path.write_bytes(path.read_bytes()[:-50])
    assert "got a damaged file" in message_of(ValueError, path)


def test_an_ambiguous_npz_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", first=np.eye(2), second=np.eye(2))
    message = message_of(ValueError, tmp_path / "a.npz")
    assert "expected an array named X, got first, second" in message


def test_npz_labels_of_another_length_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.eye(3), y=np.arange(2))
    assert "labels of shape (2,)" in message_of(ValueError, tmp_path / "a.npz")


def test_fingerprint_hashes_the_bytes(monkeypatch):
    monkeypatch.setattr(datasets, "_CHUNK_BYTES", 64)  # several pieces
    X = np.random.default_rng(0).normal(size=(50, 3, 2)).astype(">f4")
    print_ = Dataset("some", X).fingerprint
    assert print_["sha256"] == hashlib.sha256(X.tobytes()).hexdigest()
    assert json.loads(json.dumps(print_)) == print_
    assert print_["shape"] == [50, 3, 2]
    assert print_["dtype"] == ">f4"
    strided = Dataset("some", np.asfortranarray(X)).fingerprint
    assert strided == print_
    assert Dataset("some", X[::-1]).fingerprint != print_


def test_datasets_are_frozen():
    with pytest.raises(AttributeError):
        Dataset("a", np.eye(2)).name = "b"


def test_data_imports_no_heavy_library():
    code = "import isthmus.data, sys; print({'torch', 'sklearn', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("name", "library"),
    [("x.h5", "h5py"), ("x.HDF5", "h5py"), ("x.h5ad", "anndata"), ("x.nc", "xarray"),
     ("x.mat", "loadmat"), ("x.xlsx", "pandas")],
)  # fmt: skip
def test_files_of_other_libraries_name_the_library(tmp_path, name, library):
    (tmp_path / name).write_bytes(b"content")
    with pytest.raises(ValueError, match=rf"read in Python.*{library}.*'{name}'") as error:
        load(tmp_path / name)
    assert "\n" not in str(error.value)
