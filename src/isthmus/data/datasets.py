"""Load datasets by name or path, with the single function `load`."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from isthmus._messages import as_text, did_you_mean, one_line
from isthmus.data import sprites
from isthmus.data.audio import AUDIO_SUFFIXES, is_audio_folder, read_audio_folder
from isthmus.data.columns import Columns, Table
from isthmus.data.disk_array import DiskArray, as_disk_array, release_pages
from isthmus.data.idx import read_idx
from isthmus.data.images import IMAGE_SUFFIXES, match_channels, read_images
from isthmus.data.limits import ENV_VARIABLE, check_memory, check_zip, is_regular_file
from isthmus.data.parquet_rows import ParquetRows, is_parquet_folder, parquet_files
from isthmus.data.row_ids import check_weights, describe_row, read_ids, read_weights
from isthmus.data.series_tables import cut_series, read_series_table
from isthmus.data.sparse_rows import SparseRows, is_sparse
from isthmus.data.table_options import TableOptions
from isthmus.data.tables import load_table
from isthmus.data.text_files import TEXT_SUFFIXES, stem_of, suffix_of
from isthmus.data.zarr_rows import ZarrRows, is_zarr

__all__ = [
    "MAX_PATH_LENGTH",
    "DataSource",
    "Dataset",
    "is_media",
    "known_datasets",
    "load",
    "load_with",
]

_NAMES = ("digits", "fashion-mnist", "mnist", "sprites")
_IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_TABLES = (*TEXT_SUFFIXES, ".parquet")
_HDF5 = "import h5py; X = h5py.File({0!r})['NAME OF THE DATASET']"
_BY_LIBRARY = {  # how to read other files
    ".h5": _HDF5,
    ".hdf5": _HDF5,
    ".h5ad": "import anndata; X = anndata.read_h5ad({0!r}).X",
    ".nc": "import xarray; X = xarray.open_dataset({0!r})['NAME OF THE VARIABLE'].to_numpy()",
    ".mat": "from scipy.io import loadmat; X = loadmat({0!r})['NAME OF THE VARIABLE']",
    ".xlsx": "import pandas; X = pandas.read_excel({0!r})",
}
_DATA_KEYS = ("X", "x", "data")
_LABEL_KEYS = ("y", "labels", "label")
_SPARSE_KEYS = {"data", "format", "shape"}  # among the members that scipy.sparse.save_npz writes
_N_SPRITES = 10_000
AUDIO_WINDOW = 4096  # audio samples
_CHUNK_BYTES = 2**24
MAX_PATH_LENGTH = 4096  # characters; longer paths are not recorded


class DataSource(NamedTuple):
    """The absolute path and the options with which `load` reads a dataset again."""

    path: str
    size: int | tuple[int, int] | None = None
    label: str | int | None = None
    id_column: str | None = None
    table: TableOptions = TableOptions()
    group_column: str | None = None
    weight_column: str | None = None
    time_column: str | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> DataSource | None:
        """Return the source in a record that `to_record` wrote; None if there is none."""
        if (path := record.get("source")) is None:
            return None
        size = record.get("size")
        size = tuple(size) if isinstance(size, list) else size
        table = TableOptions.from_json(record.get("table", {}))
        label, id_column = record.get("label"), record.get("id_column")
        others = (record.get(f"{name}_column") for name in ("group", "weight", "time"))
        return cls(path, size, label, id_column, table, *others)

    def to_record(self) -> dict[str, object]:
        """Return the entries of a fingerprint that describe the source, fit for JSON."""
        size = list(self.size) if isinstance(self.size, tuple) else self.size
        table = self.table.to_json() or None
        record = {**self._asdict(), "source": self.path, "size": size, "table": table}
        del record["path"]
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
    ids : dict of str to numpy.ndarray (n_samples,), or None
        Columns that name each sample: the file of an image and its page, the file of a window of
        audio and its start in seconds, or the id column of a table.
    weights : numpy.ndarray of float64, shape (n_samples,), or None
        How often each sample counts: the `sample_weight` of the `fit` of a model.

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
    ids: dict[str, np.ndarray] | None = None
    weights: np.ndarray | None = None

    def row_name(self, row: int) -> str:
        """Return what names a sample: its file or id if there is one, else its number."""
        return describe_row(self.ids, row)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", as_text(self.name))
        if is_sparse(self.X):  # frozen: set once, here
            rows = SparseRows.of(self.X)
            object.__setattr__(self, "X", as_disk_array(rows) or np.asarray(rows))
        if is_sparse(self.X_test):
            object.__setattr__(self, "X_test", np.asarray(SparseRows.of(self.X_test)))

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
    id_column: str | None = None,
    group_column: str | None = None,
    weight_column: str | None = None,
    time_column: str | None = None,
    columns: Columns | Sequence[str] | None = None,
    drop: str | Sequence[str] | None = None,
    categorical: str | Sequence[str] | None = None,
    numeric: str | Sequence[str] | None = None,
    decimal: str = "auto",
    na_values: str | float | Sequence[str | float] | None = None,
    shape: tuple[int, ...] | None = None,
    rate: int | None = None,
    resize: bool = False,
) -> Dataset:
    """Load a dataset by its name or from a path.

    Parameters
    ----------
    source : str or path-like
        A name: 'digits' (part of scikit-learn, float32 in [0, 1]), 'mnist' or 'fashion-mnist'
        (uint8, from files in `data_home`), 'sprites' (10,000 rendered images, always the same,
        labelled by shape). Or a path: ``.npy``; ``.npz`` with an array X, x, data or a single
        one, and labels y, labels or label, or written by `scipy.sparse.save_npz`; ``.csv``,
        ``.tsv``, ``.jsonl`` (also ``.gz`` of these) or ``.parquet``; a folder of images, of audio
        files, which are cut into windows, or of ``.parquet`` files with equal columns; one image or
        audio file; a ``.zarr`` array. Write "./digits" for a path that equals a known name.
    data_home : str or path-like, default=None
        The folder with ``mnist/`` and ``fashion-mnist/``; by default the environment variable
        ISTHMUS_DATA.
    size : int or (int, int), default=None
        For images, side, or height and width, in pixels; for audio, samples per window (default
        4096, or that of `shape`).
    label : str or int, default=None
        The column of a table to return as `y`.
    id_column : str, default=None
        The column of a table that names its rows. It is not a feature, and is returned in `ids`.
    group_column : str, default=None
        The column of a table whose equal cells mark rows that are held out together, such as those
        of one patient. It is not a feature, and is returned in `groups`.
    weight_column : str, default=None
        The column of a table that says how often each row counts in training. It is not a feature,
        and is returned in `weights`.
    time_column : str, default=None
        The column of times of a table that is a time series. The samples are windows (channels,
        steps) of it, of `size` steps; by default of its dominant period.
    columns : Columns or sequence of str, default=None
        The only columns of a table to read; or how to read them: `columns_` of a fitted model.
    drop, categorical, numeric, decimal, na_values : optional
        How to read a table: columns to leave out, columns of categories or of numbers whatever
        their cells hold, the decimal mark, more cells that are missing; see `read_table`.
    shape : tuple of int, default=None
        Shape of one example of a fitted model, `feature_shape_`: images get its channels, and
        audio is cut into windows of its length.
    rate : int, default=None
        Sampling rate of the audio that a model was fitted on, in hertz; other audio is resampled.
    resize : bool, default=False
        Whether to scale images to `shape`; otherwise images of another size are an error.

    Returns
    -------
    Dataset
        Numbers, with at least one sample. An ``.npy`` file is memory-mapped, read-only; a sparse
        matrix becomes dense, a large one during training.

    Raises
    ------
    FileNotFoundError
        If the files of 'mnist' or 'fashion-mnist' are missing; the message says where to put them.
    ValueError
        If `source` is neither a name nor a path, the file is damaged or does not hold numbers, or
        an option does not apply.

    See Also
    --------
    read_table, read_image_folder, read_idx : Read one kind of file.

    Examples
    --------
    >>> digits = load("digits")
    >>> digits.X.shape, digits.X.dtype, digits.y.shape
    ((1797, 8, 8), dtype('float32'), (1797,))
    """
    known = columns if isinstance(columns, Columns) else None
    table = TableOptions.of(
        drop=drop,
        columns=None if known else columns,
        categorical=categorical,
        numeric=numeric,
        decimal=decimal,
        na_values=na_values,
    )
    options: dict[str, Any] = {"size": size, "label": label, "id_column": id_column}
    options |= {"group_column": group_column, "weight_column": weight_column}
    options |= {"time_column": time_column}
    options |= {"data_home": data_home, "shape": shape, "rate": rate, "resize": resize}
    return load_with(source, columns=known, table=table, **options)


def load_with(
    source: str | PathLike[str],
    *,
    data_home: str | PathLike[str] | None = None,
    size: int | tuple[int, int] | None = None,
    label: str | int | None = None,
    id_column: str | None = None,
    group_column: str | None = None,
    weight_column: str | None = None,
    time_column: str | None = None,
    columns: Columns | None = None,
    table: TableOptions | None = None,
    shape: tuple[int, ...] | None = None,
    rate: int | None = None,
    resize: bool = False,
) -> Dataset:
    """Load a dataset as `load` does, with the options for tables in one object."""
    path, table = Path(source), table or TableOptions()
    is_table = suffix_of(path) in _TABLES
    is_folder = is_parquet_folder(path)
    for name, value in (("size", size), ("resize", resize or None)):
        is_series = name == "size" and time_column is not None
        if value is not None and not (is_media(path) or is_series):
            other = ", or with time_column (--time) for tables" if name == "size" else ""
            raise ValueError(f"{name} is for images or audio{other}, not {str(source)!r}; omit it.")
    for name, given, known in (
        ("label", label, is_table or is_folder),
        ("id_column (--id)", id_column, is_table),
        ("group_column (--groups)", group_column, is_table or is_folder),
        ("weight_column (--weights)", weight_column, is_table or is_folder),
        ("time_column (--time)", time_column, is_table),
        (next(iter(table.to_json()), ""), table or None, is_table or is_folder),
    ):
        if given is not None and not known:
            raise ValueError(
                f"{name} is for tables (.csv, .tsv, .jsonl, .parquet), not {str(source)!r}; "
                "omit it."
            )
    if source in _NAMES:
        return _load_known(str(source), data_home)
    if time_column is not None:
        apart = {"id_column": id_column, "group_column": group_column}
        apart |= {"weight_column": weight_column}
        if wrong := [name for name, column in apart.items() if column is not None]:
            raise ValueError(f"{wrong[0]} is not for a time series (--time); omit it.")
        dataset, table = _load_series(path, time_column, label, size, shape, table)
    elif is_media(path):
        if resize and size is None and (sides := _image_size(shape)):
            size = sides
        dataset = _load_media(path, size, shape, rate)
    else:
        others = (id_column, group_column, weight_column)
        dataset = _load_path(path, label, others, columns, table)
    _check_numbers(path, dataset.X)
    absolute = str(path.absolute())  # links stay: the suffix of their target may be missing
    if len(absolute) > MAX_PATH_LENGTH:
        return dataset
    others = (group_column, weight_column, time_column)
    read_from = DataSource(absolute, size, label, id_column, table, *others)
    return replace(dataset, source=read_from)


def _load_series(
    path: Path,
    time: str,
    label: str | int | None,
    size: int | tuple[int, int] | None,
    shape: tuple[int, ...] | None,
    table: TableOptions,
) -> tuple[Dataset, TableOptions]:
    """Return the windows of a time series, and how to read others with the same channels."""
    if isinstance(size, tuple):
        raise ValueError(f"size of a time series is one number, steps per window; got {size}.")
    series = read_series_table(path, time, label, table).series
    window = size or (shape[-1] if shape is not None else None)
    cut = cut_series(series, window, str(path))
    ids = {time: np.asarray(series.label(cut.starts)).astype(str)}
    dataset = Dataset(path.stem, cut.X, notes=cut.notes, groups=cut.groups, ids=ids)
    return dataset, dataclasses.replace(table, columns=series.names)


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


def is_media(path: Path) -> bool:
    """Return whether a path is that of an image or audio file, or of a folder of these."""
    if path.is_dir():
        return not (is_parquet_folder(path) or is_zarr(path))
    return path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES | AUDIO_SUFFIXES


def _load_media(
    path: Path,
    size: int | tuple[int, int] | None,
    shape: tuple[int, ...] | None,
    rate: int | None,
) -> Dataset:
    """Return images or windows of audio, as a model takes them that was fitted on `shape`."""
    name = path.resolve().name if path.is_dir() else path.stem
    is_audio = is_audio_folder(path) if path.is_dir() else path.suffix.lower() in AUDIO_SUFFIXES
    if is_audio:
        if isinstance(size, tuple):
            raise ValueError(f"size of audio is one number, samples per window; got {size}.")
        is_window = shape is not None and math.prod(shape[:-1]) == 1
        window = size or (shape[-1] if shape is not None and is_window else AUDIO_WINDOW)
        audio = read_audio_folder(path, window, rate=rate)
        return Dataset(
            name, audio.X, audio.labels, notes=audio.notes, groups=audio.files, rate=audio.rate,
            ids=audio.ids,
        )  # fmt: skip
    X, y, notes, ids, groups = read_images(path, size)
    if (sides := _image_size(shape)) and X.shape[-2:] != sides:
        raise ValueError(
            f"{path}: the images have {X.shape[-2]} x {X.shape[-1]} pixels (height x width), but "
            f"the model takes {sides[0]} x {sides[1]}; add --resize (resize=True) to scale them."
        )
    if shape is not None:
        X, note = match_channels(X, shape)
        notes += (note,) if note else ()
    return Dataset(name, X, y, notes=notes, groups=groups, ids=ids)


def _image_size(shape: tuple[int, ...] | None) -> tuple[int, int] | None:
    """Return height and width of the images that a model takes; None if it takes no images."""
    is_image = shape is not None and (
        (len(shape) == 2 and shape[0] > 1) or (len(shape) == 3 and shape[0] in (1, 3))
    )
    return (shape[-2], shape[-1]) if shape is not None and is_image else None


def _load_path(
    path: Path,
    label: str | int | None,
    others: tuple[str | None, str | None, str | None],
    columns: Columns | None,
    table: TableOptions,
) -> Dataset:
    """Return the data at a path; `others` are the columns of ids, groups and weights of a table."""
    id_column, group_column, weight_column = others
    suffix = suffix_of(path)
    if is_zarr(path):
        array = ZarrRows(path)
        _check_numbers(path, array)
        return Dataset(path.stem, _read_if_small(path, array))
    if is_parquet_folder(path):
        files, remarks = parquet_files(path)
        rows = ParquetRows(files, label, table, [name for name in others if name is not None])
        X = _read_if_small(path, rows)
        notes, groups, weights = (*remarks, *rows.notes), None, None
        if group_column is not None:
            groups = rows.column(group_column).astype(str)
        if weight_column is not None:
            weights = check_weights(path, weight_column, rows.column(weight_column))
        return Dataset(
            path.resolve().name, X, rows.labels(), notes=notes, groups=groups, weights=weights
        )
    if not path.exists():
        raise ValueError(
            f"{str(path)!r} is neither a known dataset ({', '.join(_NAMES)}) nor a file or "
            f"folder; check the name.{did_you_mean(path, _NAMES)}"
        )
    if not is_regular_file(path):
        raise ValueError(f"{path}: expected a file or a folder, got a pipe or device.")
    if suffix in _TABLES:
        ids = None if id_column is None else {id_column: read_ids(path, id_column)}
        groups = None
        if group_column is not None:
            groups = np.array([*map(str, read_ids(path, group_column, "group column"))])
        weights = None
        if weight_column is not None:
            weights = read_weights(path, weight_column, table)
        aside = [name for name in others if name not in (None, label)]
        table = table.updated(TableOptions.of(drop=aside))
        X, y, columns = load_table(path, label, columns, table)
        notes = ("columns:", *(f"  {line}" for line in columns.summary)) if columns.mixed else ()
        return Dataset(
            stem_of(path), X, y, columns, notes=notes, groups=groups, ids=ids, weights=weights
        )
    if suffix in (".npy", ".npz"):
        return Dataset(path.stem, *_load_numpy(path))
    if suffix in _BY_LIBRARY:
        raise ValueError(
            f"{path}: {suffix} files are read in Python, by the library that knows their layout: "
            f"{_BY_LIBRARY[suffix].format(path.name)}; then pass X to fit."
        )
    raise ValueError(
        f"{path}: expected .npy, .npz, .csv, .tsv, .jsonl, .parquet, an image, an audio file, "
        "or a folder; convert it."
    )


def _read_if_small(path: Path, array: Any) -> Any:
    """Return an array on disk, read whole unless it is large."""
    rows = DiskArray.of(array)
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
            if _SPARSE_KEYS.issubset(content.files):
                return _load_sparse(path, content), None
            key = _data_key(list(content.files))
            label_key = next((k for k in _LABEL_KEYS if k in content.files and k != key), None)
            X, y = content[key] if key else None, content[label_key] if label_key else None
            names = one_line(", ".join(content.files[:20])) or "none"
    except Exception as error:  # NumPy raises errors of many types for a damaged file
        if ENV_VARIABLE in str(error):
            raise
        raise ValueError(
            f"{path}: expected NumPy arrays of numbers, got a damaged file or Python objects; save "
            "numbers with numpy.save, numpy.savez or scipy.sparse.save_npz."
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


def _load_sparse(path: Path, content: Any) -> Any:
    """Return the matrix that `scipy.sparse.save_npz` wrote, after checking its indices."""
    from scipy import sparse

    shape = content["shape"].tolist()
    check_memory(path, 16 * sum(shape), path.stat().st_size)  # of the pointers to rows or columns
    matrix = sparse.load_npz(path)
    if hasattr(matrix, "check_format"):
        matrix.check_format(full_check=True)
    return matrix


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
