"""Read a folder of Parquet files as one array whose rows stay on disk until they are used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus._messages import did_you_mean, one_line
from isthmus._optional import import_optional
from isthmus.data.feature_columns import number_rows
from isthmus.data.limits import is_regular_file
from isthmus.data.media_folders import inside_only
from isthmus.data.parquet_limits import arrow_source, check_parquet, decode_texts, text_columns
from isthmus.data.table_options import TableOptions
from isthmus.data.tables import find_label

__all__ = ["ParquetRows", "is_parquet_folder", "parquet_files", "parquet_names"]

Array = NDArray[Any]
LARGE_GROUP = 2**28  # bytes of a row group, as float32, above which `notes` warn


class ParquetRows:
    """The rows of Parquet files with equal columns: of numbers, or one of lists of numbers.

    `bounds` are the first rows of the row groups, which are always read whole, and the number of
    rows; `dtype` is that of the first row group. The columns `aside` are no features.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        label: str | int | None = None,
        options: TableOptions | None = None,
        aside: Sequence[str] = (),
    ) -> None:
        self._parquet = import_optional(
            "pyarrow.parquet", extra="tables", what="a folder of Parquet files"
        )
        self.paths = list(paths)
        self._footers = [self._footer(path) for path in self.paths]
        self._check_columns(label, options or TableOptions(), aside)
        self.groups = [  # (file, row group in the file)
            (number, group)
            for number, footer in enumerate(self._footers)
            for group in range(footer.num_row_groups)
            if footer.row_group(group).num_rows > 0
        ]
        if not self.groups:
            raise ValueError(f"{self.paths[0].parent}: expected rows, found none; check the files.")
        lengths = [self._footers[number].row_group(group).num_rows for number, group in self.groups]
        self.bounds = np.cumsum([0, *lengths])
        self.shape: tuple[int, ...] = ()
        first = self._read(0)
        self.shape, self.dtype = (int(self.bounds[-1]), *first.shape[1:]), first.dtype

    def _footer(self, path: Path) -> Any:
        with _named_errors(path):
            check_parquet(path)
            return self._parquet.read_metadata(arrow_source(path))

    def _check_columns(
        self, label: str | int | None, options: TableOptions, aside: Sequence[str]
    ) -> None:
        """Check that all files have the same columns, and store their names."""
        path = self.paths[0]
        names, *others = [footer.schema.to_arrow_schema().names for footer in self._footers]
        if len({*names}) < len(names):
            raise ValueError(f"{path}: two columns have the same name; rename one of them.")
        for other, its in zip(self.paths[1:], others, strict=True):
            if sorted(its) != sorted(names):
                raise ValueError(
                    f"{other}: the columns differ from those of {path.name}; keep files with other "
                    "columns in another folder."
                )
        at = None if label is None else find_label(path, tuple(names), label)
        self.label = None if at is None else names[at]
        if unfit := [name for name in options.to_json() if name not in ("drop", "columns")]:
            raise ValueError(
                f"{path.parent}: {unfit[0]} is for tables in one file. A folder of Parquet files "
                "holds numbers only; drop, columns, label, groups and weights apply to it."
            )
        options.check_names(names)
        for name in aside:
            if name not in names:
                raise ValueError(
                    f"{path}: there is no column {name!r}; columns: {', '.join(names[:20])}."
                    f"{did_you_mean(name, names)}"
                )
        left = [name for name in names if name not in (self.label, *aside)]
        self.names = [name for name in left if options.is_selected(name)]

    def _group(self, number: int, names: list[str]) -> Any:
        place, group = self.groups[number]
        path, footer = self.paths[place], self._footers[place]
        schema = footer.schema.to_arrow_schema()
        options = {"metadata": footer, "read_dictionary": text_columns(schema)}
        source = arrow_source(path)
        with _named_errors(path), self._parquet.ParquetFile(source, **options) as file:
            return decode_texts(file.read_row_group(group, columns=names), schema, path)

    def _read(self, number: int) -> Array:
        """Return the features of a row group."""
        table = self._group(number, self.names)
        with _named_errors(self.paths[self.groups[number][0]]):
            rows = number_rows(table, self.names)
            expected = (int(np.diff(self.bounds)[number]), *(self.shape or rows.shape)[1:])
            if rows.shape != expected:
                raise ValueError(f"expected rows of shape {expected[1:]}, got {rows.shape[1:]}.")
        return rows

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the user, one line each."""
        largest = int(np.diff(self.bounds).max()) * int(np.prod(self.shape[1:])) * 4
        if largest <= LARGE_GROUP:
            return ()
        return (
            f"row groups of up to {largest / 2**20:,.0f} MB are read whole, several at a time; "
            "if memory is short, write smaller ones (row_group_size).",
        )

    def __getitem__(self, rows: slice) -> Array:
        """Return consecutive rows."""
        start, stop, _ = rows.indices(self.shape[0])
        first = int(np.searchsorted(self.bounds, start, "right")) - 1
        last = int(np.searchsorted(self.bounds, stop, "left"))
        offset = int(self.bounds[first])
        parts = [self._read(number) for number in range(first, last)]
        return np.concatenate(parts)[start - offset : stop - offset]

    def labels(self) -> Array | None:
        """Return the labels of all rows, numbers or strings, or None without a label."""
        if self.label is None:
            return None
        labels = self.column(self.label)
        return labels if labels.dtype.kind in "biuf" else labels.astype(str)

    def column(self, name: str) -> Array:
        """Return a column of all rows, which need not be a feature."""
        parts = [self._group(i, [name]).column(0) for i in range(len(self.groups))]
        return np.concatenate([part.to_numpy(zero_copy_only=False) for part in parts])


def parquet_names(path: Path) -> list[str]:
    """Return the names of the columns of a Parquet file."""
    parquet = import_optional("pyarrow.parquet", extra="tables", what="a folder of Parquet files")
    with _named_errors(path):
        check_parquet(path)
        return [*parquet.read_schema(path).names]


def is_parquet_folder(path: Path) -> bool:
    """Return whether a folder or one of its subfolders holds Parquet files."""
    return path.is_dir() and any(_visible(path, "*.parquet", "*/*.parquet"))


def parquet_files(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the sorted Parquet files of a folder, and a note if links are left out.

    Raise a ValueError if subfolders hold Parquet files.
    """
    if deeper := inside_only(_visible(folder, "*/*.parquet"), folder)[0]:
        raise ValueError(
            f"{folder}: expected all Parquet files directly in the folder, found "
            f"{deeper[0].relative_to(folder)}; move it or pass its folder."
        )
    files, notes = inside_only(_visible(folder, "*.parquet"), folder)
    if not files:
        raise ValueError(f"{folder}: expected Parquet files, found none ({notes[0]}).")
    return files, notes


def _visible(folder: Path, *patterns: str) -> Iterator[Path]:
    """Yield files that are not hidden or private (._x, _metadata)."""
    for pattern in patterns:
        for path in folder.glob(pattern):
            if path.name[0] not in "._" and is_regular_file(path):
                yield path


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Turn errors, of which Arrow raises many types, into one line that names the file."""
    try:
        yield
    except (ValueError, OSError, LookupError, TypeError, NotImplementedError) as error:
        message = one_line(error)
        message = message if str(path) in message else f"{path}: {message}"
        raise ValueError(message) from error
