"""Files of any length, a part of their rows at a time."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus._messages import one_line
from isthmus._optional import import_optional
from isthmus.data.columns import Column, RawColumn
from isthmus.data.datasets import load
from isthmus.data.feature_columns import FeatureColumns
from isthmus.data.limits import check_memory, is_regular_file
from isthmus.data.parquet_limits import uncompressed_size
from isthmus.data.tables import even_rows, sniff, split_header, to_cells, to_number

__all__ = ["ARRAY_SUFFIXES", "SUFFIXES", "TEXT_SUFFIXES", "Chunk", "describe_error", "read_chunks"]

Array = NDArray[Any]
ARRAY_SUFFIXES, TEXT_SUFFIXES = (".npy", ".npz"), (".csv", ".tsv")
SUFFIXES = (".parquet", *ARRAY_SUFFIXES, *TEXT_SUFFIXES)
BUFFER = 2**20  # bytes of a column that are read in one go
ROW = re.compile(r"(?<=\b[ai][tn] row )\d+")  # as messages give the number of a row


class Chunk(NamedTuple):
    """Some rows of a file: X (n, ...) for a model, and columns of n values that are kept."""

    X: Array
    kept: dict[str, Any]


def read_chunks(path: Path, features: FeatureColumns, rows: int) -> Iterator[Chunk]:
    """Yield the rows of a file, so many at a time whatever its own division: memory stays flat.

    Parameters
    ----------
    path : Path
        ``.parquet``; ``.npy``, which is mapped, or ``.npz``; ``.csv`` or ``.tsv``.
    features : FeatureColumns
        What is taken of tables.
    rows : int
        In each part but the last.

    Raises
    ------
    FileNotFoundError, ValueError
        In one line where the file cannot be read or does not suit the model.
    ImportError
        For Parquet without pyarrow.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "X.npy"
    ...     np.save(path, np.zeros((5, 3)))
    ...     [part.X.shape for part in read_chunks(path, FeatureColumns(3), rows=2)]
    [(2, 3), (2, 3), (1, 3)]
    """
    if not is_regular_file(path):
        raise FileNotFoundError(f"{path}: expected a file, found none; check the name.")
    kind = path.suffix.lower()
    read = (
        _of_array if kind in ARRAY_SUFFIXES else _of_text if kind in TEXT_SUFFIXES else _of_parquet
    )
    start = 0
    try:
        for part in read(path, features, rows):
            yield part
            start += len(part.X)
    except (ValueError, TypeError, OSError, LookupError, NotImplementedError) as error:
        raise ValueError(describe_error(path, error, start)) from error


def describe_error(path: Path, error: Exception, start: int) -> str:
    """Return one line: what is wrong with a file, in which of its rows.

    Parameters
    ----------
    path : Path
    error : Exception
        Of a part; a row that it names is counted from the part's first.
    start : int
        The part's first row.

    Examples
    --------
    >>> describe_error(Path("x.npy"), ValueError("X contains NaN: the first at row 3"), start=100)
    'x.npy: X contains NaN: the first at row 103'
    """
    said = one_line(error) or type(error).__name__
    if str(path) in said:
        return said
    said, named = ROW.subn(lambda number: str(start + int(number[0])), said, count=1)
    where = f"of the rows from {start} on: " if start and not named else ""
    return f"{path}: {where}{said}"


def _of_array(path: Path, features: FeatureColumns, rows: int) -> Iterator[Chunk]:
    if features.keep:
        raise ValueError("--keep is for tables, and this is one array; omit it.")
    X = load(path).X
    if X.ndim < 2:
        raise ValueError(f"expected rows of numbers, got an array of shape {X.shape}.")
    for start in range(0, len(X), rows):
        yield Chunk(np.array(X[start : start + rows]), {})  # read here, not when it is used


# ---------------------------------------------------------------------- Parquet


def _of_parquet(path: Path, features: FeatureColumns, rows: int) -> Iterator[Chunk]:
    import_optional("pyarrow", extra="tables", what="reading .parquet")
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    # What is damaged is found here: Arrow would end the process, or make room without end.
    check_memory(path, uncompressed_size(path), path.stat().st_size)
    with pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False) as file:
        schema = file.schema_arrow
        names = [*dict.fromkeys((*features.names(schema.names), *features.keep))]
        batches = file.iter_batches(rows, columns=names, use_threads=False)
        tables = _even_tables(batches, rows) if file.metadata.num_rows else [schema.empty_table()]
        for table in tables:
            yield Chunk(features.rows(table), features.kept(table))


def _even_tables(batches: Iterator[Any], rows: int) -> Iterator[Any]:
    """Yield tables of so many rows of batches of any."""
    import pyarrow as pa

    rest: list[Any] = []
    for batch in batches:
        rest.append(batch)
        if sum(map(len, rest)) >= rows:
            table = pa.Table.from_batches(rest)
            yield table[:rows]
            rest = table[rows:].to_batches()
    if sum(map(len, rest)):
        yield pa.Table.from_batches(rest)


# ------------------------------------------------------------------------- text


def _of_text(path: Path, features: FeatureColumns, rows: int) -> Iterator[Chunk]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        delimiter = "\t" if path.suffix.lower() == ".tsv" else sniff(stream.read(2**16))
        stream.seek(0)
        try:
            lines = even_rows(path, enumerate(csv.reader(stream, delimiter=delimiter), start=1))
            names, first = split_header(path, [*islice(lines, 2)], None)
            _check_different(names)
            while first or (first := [*islice(lines, rows)]):
                more = [*first, *islice(lines, rows - len(first))]
                columns = zip(*(cells for _, cells in more), strict=True)
                yield _text_part(features, dict(zip(names, columns, strict=True)))
                first = []
        except UnicodeDecodeError:
            raise ValueError("expected text in UTF-8; save the table as UTF-8.") from None
        except csv.Error as error:
            raise ValueError(f"expected a table as text ({error}); check the file.") from None


def _check_different(names: Sequence[str]) -> None:
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two columns are named {twice[0]!r}; rename one.")


def _text_part(features: FeatureColumns, columns: dict[str, Sequence[str]]) -> Chunk:
    names = features.names([*columns])
    if features.by_name:
        assert features.columns is not None
        both = zip(features.columns.columns, names, strict=True)
        X = features.columns.encode_raw([_cells(column, columns[name]) for column, name in both])
    else:
        X = features.rows({**columns, **{name: _numbers(name, columns[name]) for name in names}})
    return Chunk(X, {name: [*columns[name]] for name in features.keep})


def _cells(column: Column, texts: Sequence[str]) -> RawColumn:
    """Return cells as the column has them: texts stay texts where a part of them are digits."""
    if not any(isinstance(category, str) for category in column.categories):
        return to_cells(column.name, texts)
    cells = to_cells(column.name, [*texts, "no number"])  # so that it is not taken for numbers
    assert cells.values is not None
    return replace(cells, values=cells.values[:-1])


def _numbers(name: str, texts: Sequence[str]) -> Array:
    cells = to_cells(name, texts)
    if cells.numbers is None:
        row = next(i for i, text in enumerate(texts) if to_number(text) is None)
        raise ValueError(
            f"column {name!r} holds {texts[row]!r} in row {row}, which is no number; --keep sets "
            "it apart."
        )
    return cells.numbers
