"""Load datasets by name or path, with the single function `load`."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from isthmus._messages import did_you_mean, one_line
from isthmus._optional import import_optional
from isthmus.data import sprites
from isthmus.data.audio import is_audio_folder, read_audio_folder
from isthmus.data.columns import Columns, Table
from isthmus.data.disk_array import DiskArray, as_disk_array, release_pages
from isthmus.data.idx import read_idx
from isthmus.data.images import read_images
from isthmus.data.limits import ENV_VARIABLE, check_memory, check_zip, is_regular_file
from isthmus.data.parquet_rows import ParquetRows, is_parquet_folder, parquet_files
from isthmus.data.tables import read_table

__all__ = ["MAX_PATH_LENGTH", "DataSource", "Dataset", "known_datasets", "load"]

_NAMES = ("digits", "fashion-mnist", "mnist", "sprites")
_IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_TABLES = (".csv", ".tsv", ".parquet")
_DATA_KEYS = ("X", "x", "data")
_LABEL_KEYS = ("y", "labels", "label")
_N_SPRITES = 10_000
AUDIO_WINDOW = 4096  # audio samples
_CHUNK_BYTES = 2**24
MAX_PATH_LENGTH = 4096  # characters; longer paths are not recorded


class DataSource(NamedTuple):
    """The absolute path and the options with which `load` reads a dataset again."""

    path: str
    size: int | tuple[int, int] | None = None
    label: str | int | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> DataSource | None:
        """Return the source in a record that `to_record` wrote; None if there is none."""
        if (path := record.get("source")) is None:
            return None
        size = record.get("size")
        return cls(path, tuple(size) if isinstance(size, list) else size, record.get("label"))

    def to_record(self) -> dict[str, object]:
        """Return the entries of a fingerprint that describe the source, fit for JSON."""
        size = list(self.size) if isinstance(self.size, tuple) else self.size
        record = {"source": self.path, "size": size, "label": self.label}
        return {name: value for name, value in record.items() if value is not None}


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset in memory, or mapped from a file.

    Parameters
    ----------
    name : str
        The known name, or that of the file or folder.
    X : numpy.ndarray, or an array on disk, shape (n_samples, ...)
        The samples: rows of numbers, or images (n, height, width) or (n, 3, height, width).
    y : numpy.ndarray, shape (n_samples,), or None
        Their labels, integers or strings.
    columns : Columns or None
        The encoding of a table's columns.
    factors : numpy.ndarray, shape (n_samples, n_factors), or None
        The true factors of generated data, whole numbers.
    X_test, y_test : numpy.ndarray or None
        The samples and labels of the dataset's own test split.
    notes : tuple of str
        Remarks for the user, one line each.
    groups : numpy.ndarray of int, shape (n_samples,), or None
        Samples of one group overlap, such as windows of one audio file, and are held out together.
    rate : int or None
        Sampling rate of audio, in hertz.
    source : DataSource or None
        Where the data were read from; None for known datasets.

    Examples
    --------
    >>> dataset = Dataset("zeros", np.zeros((3, 2), dtype=np.float32))
    >>> dataset.fingerprint["shape"], dataset.fingerprint["dtype"]
    ([3, 2], '<f4')
    """

    name: str
    X: Any
    y: np.ndarray | None = None
    columns: Columns | None = None
    factors: np.ndarray | None = None
    X_test: np.ndarray | None = None
    y_test: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    groups: np.ndarray | None = None
    rate: int | None = None
    source: DataSource | None = None

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """Names of a table's columns."""
        return None if self.columns is None else tuple(map(str, self.columns.names))

    @property
    def rows(self) -> np.ndarray | Table:
        """The input of a model's `fit`: `X`, together with the columns of a table."""
        return self.X if self.columns is None else Table(self.X, self.columns)

    @property
    def fingerprint(self) -> dict[str, object]:
        """Name, shape, dtype, SHA-256 of the bytes of `X`, and source, as JSON data."""
        return {
            "name": self.name,
            "shape": list(self.X.shape),
            "dtype": self.X.dtype.str,
            "sha256": self.sha256,
            **({"rate": self.rate} if self.rate else {}),
            **(self.source.to_record() if self.source else {}),
        }

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the bytes of `X`; computed once."""
        digest = hashlib.sha256()
        for part in _chunks(self.X):
            digest.update(part.data)
        return digest.hexdigest()


def _chunks(X: np.ndarray) -> Iterator[np.ndarray]:
    """Yield contiguous parts of the samples, so that X is never copied whole."""
    if (rows := as_disk_array(X)) is not None:
        yield from map(np.ascontiguousarray, map(rows.read, rows.block_groups(_CHUNK_BYTES)))
        return
    step = max(1, _CHUNK_BYTES * len(X) // max(1, X.nbytes))
    for start in range(0, len(X), step):
        yield np.ascontiguousarray(X[start : start + step])
        release_pages(X)


def known_datasets() -> tuple[str, ...]:
    """Return the names of the known datasets, sorted.

    Examples
    --------
    >>> known_datasets()
    ('digits', 'fashion-mnist', 'mnist', 'sprites')
    """
    return _NAMES


def load(
    source: str | PathLike[str],
    *,
    data_home: str | PathLike[str] | None = None,
    size: int | tuple[int, int] | None = None,
    label: str | int | None = None,
    columns: Columns | None = None,
) -> Dataset:
    """Load a dataset by its name or from a path.

    Parameters
    ----------
    source : str or path-like
        A name: 'digits' (part of scikit-learn, float32 in [0, 1]), 'mnist' or 'fashion-mnist'
        (uint8, from files in `data_home`), 'sprites' (10,000 rendered images, always the same,
        labelled by shape). Or a path: ``.npy``; ``.npz`` with an array X, x, data or a single
        one, and labels y, labels or label; ``.csv``, ``.tsv`` or ``.parquet``; a folder of
        images, of audio files, which are cut into windows, or of ``.parquet`` files with equal
        columns; a ``.zarr`` array. Write "./digits" for a path that equals a known name.
    data_home : str or path-like, default=None
        The folder with ``mnist/`` and ``fashion-mnist/``; by default the environment variable
        ISTHMUS_DATA.
    size : int or (int, int), default=None
        For a folder of images, side, or height and width, in pixels; for one of audio, samples
        per window (default 4096).
    label : str or int, default=None
        The column of a table to return as `y`.
    columns : Columns, default=None
        How to read the columns of a table: `columns_` of a fitted model.

    Returns
    -------
    Dataset
        Numbers, with at least one sample. An ``.npy`` file is memory-mapped, read-only.

    Raises
    ------
    FileNotFoundError
        If the files of 'mnist' or 'fashion-mnist' are missing; the message says where to put them.
    ValueError
        If `source` is neither a name nor a path, the file is damaged or does not hold numbers, or
        `size` or `label` does not apply.

    See Also
    --------
    read_table, read_image_folder, read_idx : Read one kind of file.

    Examples
    --------
    >>> digits = load("digits")
    >>> digits.X.shape, digits.X.dtype, digits.y.shape
    ((1797, 8, 8), dtype('float32'), (1797,))
    """
    path = Path(source)
    if size is not None and (not path.is_dir() or is_parquet_folder(path)):
        raise ValueError(f"size is for folders of images or audio, not {str(source)!r}; omit it.")
    if label is not None and not (path.suffix.lower() in _TABLES or is_parquet_folder(path)):
        raise ValueError(
            f"label is for tables (.csv, .tsv, .parquet), not {str(source)!r}; omit it."
        )
    if source in _NAMES:
        return _load_known(str(source), data_home)
    dataset = _load_path(path, size, label, columns)
    _check_numbers(path, dataset.X)
    absolute = str(path.absolute())  # links stay: the suffix of their target may be missing
    if len(absolute) > MAX_PATH_LENGTH:
        return dataset
    return replace(dataset, source=DataSource(absolute, size, label))


def _load_known(name: str, data_home: str | PathLike[str] | None) -> Dataset:
    if name == "digits":
        from sklearn.datasets import load_digits

        bunch = load_digits()
        return Dataset(name, (bunch.images / 16).astype(np.float32), bunch.target)
    if name == "sprites":
        images, factors = sprites.sample(_N_SPRITES, random_state=0)
        return Dataset(name, images, factors[:, 0], factors=factors)
    return _load_idx(name, data_home or os.environ.get("ISTHMUS_DATA"))


def _load_idx(name: str, data_home: str | PathLike[str] | None) -> Dataset:
    wanted = ", ".join(f"{file}.gz" for file in _IDX_FILES)
    if not data_home:
        raise FileNotFoundError(
            f"{name}: set data_home, or the environment variable ISTHMUS_DATA, to a folder that "
            f"holds {name}/ with {wanted}."
        )
    folder = Path(data_home) / name
    found = [[f for f in (folder / n, folder / f"{n}.gz") if f.is_file()] for n in _IDX_FILES]
    missing = [file for file, paths in zip(_IDX_FILES, found, strict=True) if not paths]
    if missing:
        raise FileNotFoundError(
            f"{name}: {', '.join(missing)} missing in {folder}; put {wanted} there (with "
            "or without .gz)."
        )
    X, y, X_test, y_test = (read_idx(paths[0]) for paths in found)
    _check_lengths(folder / _IDX_FILES[0], X, y)
    _check_lengths(folder / _IDX_FILES[2], X_test, y_test)
    _check_numbers(folder / _IDX_FILES[0], X)
    return Dataset(name, X, y, X_test=X_test, y_test=y_test)


def _load_path(
    path: Path,
    size: int | tuple[int, int] | None,
    label: str | int | None,
    columns: Columns | None,
) -> Dataset:
    suffix = path.suffix.lower()
    if _is_zarr(path):
        return Dataset(path.stem, _load_zarr(path))
    if is_parquet_folder(path):
        rows = ParquetRows(parquet_files(path), label)
        X = _read_if_small(path, rows)
        return Dataset(path.resolve().name, X, rows.labels(), notes=rows.notes)
    if path.is_dir() and is_audio_folder(path):
        if isinstance(size, tuple):
            raise ValueError(
                f"size of a folder of audio is one number, samples per window; got {size}."
            )
        X, y, notes, rate, files = read_audio_folder(path, size or AUDIO_WINDOW)
        return Dataset(path.resolve().name, X, y, notes=notes, groups=files, rate=rate)
    if path.is_dir():
        X, y, notes, _, groups = read_images(path, size)
        return Dataset(path.resolve().name, X, y, notes=notes, groups=groups)
    if not path.exists():
        raise ValueError(
            f"{str(path)!r} is neither a known dataset ({', '.join(_NAMES)}) nor a file or "
            f"folder; check the name.{did_you_mean(path, _NAMES)}"
        )
    if not is_regular_file(path):
        raise ValueError(f"{path}: expected a file or a folder, got a pipe or device.")
    if suffix in _TABLES:
        X, y, columns = read_table(path, label, columns)
        notes = ("columns:", *(f"  {line}" for line in columns.summary)) if columns.mixed else ()
        return Dataset(path.stem, X, y, columns, notes=notes)
    if suffix in (".npy", ".npz"):
        return Dataset(path.stem, *_load_numpy(path))
    raise ValueError(f"{path}: expected .npy, .npz, .csv, .tsv, .parquet, or a folder; convert it.")


def _is_zarr(path: Path) -> bool:
    """Return whether a folder is a zarr array, by its name or its content."""
    metadata = ("zarr.json", ".zarray")  # of versions 3 and 2
    return path.is_dir() and (
        path.suffix.lower() == ".zarr" or any((path / name).is_file() for name in metadata)
    )


def _load_zarr(path: Path) -> Any:
    """Return a zarr array, read unless it is large."""
    zarr = import_optional("zarr", extra="scale", what=f"{path}: reading a zarr array")
    try:
        array = zarr.open_array(path, mode="r")
    except Exception as error:  # zarr raises errors of many types for other files
        raise ValueError(
            f"{path}: expected a zarr array; for a group, pass the path of one of its arrays."
        ) from error
    check_memory(path, array.nbytes, sum(p.stat().st_size for p in path.rglob("*") if p.is_file()))
    return _read_if_small(path, array)


def _read_if_small(path: Path, array: Any) -> Any:
    """Return an array on disk, read whole unless it is large."""
    rows = DiskArray.of(array) if array.shape else array
    _check_numbers(path, rows)
    return as_disk_array(array) or rows.read()


def _load_numpy(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        if zipfile.is_zipfile(path):
            check_zip(path)
        content = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content, None
        with content:
            key = _data_key(list(content.files))
            label_key = next((k for k in _LABEL_KEYS if k in content.files and k != key), None)
            X, y = content[key] if key else None, content[label_key] if label_key else None
            names = one_line(", ".join(content.files[:20])) or "none"
    except Exception as error:  # NumPy raises errors of many types for a damaged file
        if ENV_VARIABLE in str(error):
            raise
        raise ValueError(
            f"{path}: expected NumPy arrays of numbers, got a damaged file or Python objects; save "
            "numbers with numpy.save or numpy.savez."
        ) from error
    if y is not None and not (isinstance(y, np.ndarray) and y.dtype.kind in "biufUS"):
        raise ValueError(f"{path}: the labels must be numbers or strings; save them as such.")
    if X is None:
        raise ValueError(f"{path}: expected an array named X, got {names}; rename the samples X.")
    if not isinstance(X, np.ndarray):  # NumPy returns other members of an archive as bytes
        raise ValueError(f"{path}: its member {one_line(str(key))} is not an array.")
    if y is not None:
        _check_lengths(path, X, y)
    return X, y


def _data_key(keys: list[str]) -> str | None:
    """Return the name of the array of samples: a usual name, or that of the only array."""
    others = [key for key in keys if key not in _LABEL_KEYS] or keys
    known = [key for key in _DATA_KEYS if key in keys]
    return known[0] if known else others[0] if len(others) == 1 else None


def _check_lengths(path: Path, X: np.ndarray, y: np.ndarray) -> None:
    if y.ndim != 1 or y.shape != X.shape[:1]:
        raise ValueError(
            f"{path}: expected one label per sample, got labels of shape {y.shape} for samples of "
            f"shape {X.shape}; check that they belong together."
        )


def _check_numbers(path: Path, X: Any) -> None:
    if X.dtype.kind not in "biuf":
        raise ValueError(f"{path}: expected numbers, got {X.dtype}; save real numbers.")
    if X.ndim == 0 or X.size == 0:
        raise ValueError(f"{path}: expected at least one sample, got an array of shape {X.shape}.")
