"""Read files of any length a chunk of rows at a time."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus._messages import one_line
from isthmus._optional import import_optional
from isthmus.data.cells import interpret
from isthmus.data.column import CellError, RawColumn, object_array
from isthmus.data.datasets import is_media, known_datasets, load
from isthmus.data.feature_columns import FeatureColumns
from isthmus.data.limits import is_regular_file
from isthmus.data.number_format import NumberFormat
from isthmus.data.parquet_limits import arrow_source, check_parquet, decode_texts, text_columns
from isthmus.data.table_options import TableOptions
from isthmus.data.text_files import TEXT_SUFFIXES, suffix_of
from isthmus.data.text_tables import open_text_table

__all__ = [
    "ARRAY_SUFFIXES",
    "SUFFIXES",
    "TEXT_SUFFIXES",
    "Chunk",
    "describe_error",
    "is_known",
    "read_chunks",
]

Array = NDArray[Any]
ARRAY_SUFFIXES = (".npy", ".npz")
SUFFIXES = (".parquet", *ARRAY_SUFFIXES, *TEXT_SUFFIXES)
BUFFER_BYTES = 2**20  # per column of Parquet
ROW = re.compile(
    r"(?:(?<=\b[ai][tn] row )|(?<=\bX\[))\d+"
)  # the number of a row in an error message


class Chunk(NamedTuple):
    """Some rows of a file: features X (n, ...), and columns of n values to keep."""

    X: Array
    kept: dict[str, Any]


def is_known(path: Path) -> bool:
    """Return whether a path is the name of a known dataset, and nothing lies there."""
    return str(path) in known_datasets() and not path.exists()


def read_chunks(path: Path, features: FeatureColumns, rows: int) -> Iterator[Chunk]:
    """Yield the rows of a file in chunks of `rows` rows, so that memory use stays constant.

    An error is one line that names the file and the row.
    """
    if not (is_regular_file(path) or is_media(path) or is_known(path)):
        raise FileNotFoundError(f"{path}: expected a file, found none; check the name.")
    readers = dict.fromkeys(ARRAY_SUFFIXES, _read_array) | dict.fromkeys(TEXT_SUFFIXES, _read_text)
    readers |= {name: _read_array for name in known_datasets() if is_known(path)}
    by_suffix = readers.get(suffix_of(path) or str(path), _read_parquet)
    read = _read_media if is_media(path) else by_suffix
    start = 0
    try:
        for chunk in read(path, features, rows):
            yield chunk
            start += len(chunk.X)
    except (ValueError, TypeError, OSError, LookupError, NotImplementedError) as error:
        raise ValueError(describe_error(path, error, start)) from error


def describe_error(path: Path, error: Exception, start: int) -> str:
    """Return one line that names the file and the row of an error in a chunk.

    `start` is the first row of the chunk, from which the message of the error counts.
    """
    message = one_line(error) or type(error).__name__
    if str(path) in message:
        return message
    message, named = ROW.subn(lambda number: str(start + int(number[0])), message, count=1)
    return f"{path}: {f'from row {start} on: ' if start and not named else ''}{message}"


def _read_array(path: Path, features: FeatureColumns, rows: int) -> Iterator[Chunk]:
    if features.keep:
        raise ValueError("--keep is for tables, but the file holds one array; omit it.")
    X = load(str(path) if is_known(path) else path).X  # a path is not a name
    if X.ndim < 2:
        raise ValueError(f"expected rows of numbers, got an array of shape {X.shape}.")
    for start in range(0, len(X), rows):
        yield Chunk(np.array(X[start : start + rows]), {})  # copied: read now, in this thread


def _read_media(path: Path, features: FeatureColumns, rows: int) -> Iterator[Chunk]:
    """Yield images or windows of audio, with the names of their files."""
    if features.keep:
        raise ValueError("--keep and --id are for tables, but these are images or audio; omit it.")
    data = load(path, **features.media._asdict())
    for note in data.notes:
        warnings.warn(f"{path}: {note}", UserWarning, stacklevel=2)
    for start in range(0, len(data.X), rows):
        part = slice(start, start + rows)
        kept = {name: column[part] for name, column in (data.ids or {}).items()}
        yield Chunk(data.X[part], kept)


def _read_parquet(path: Path, features: FeatureColumns, rows: int) -> Iterator[Chunk]:
    import_optional("pyarrow", extra="tables", what="reading .parquet")
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    schema = check_parquet(path)
    settings: dict[str, Any] = {"buffer_size": BUFFER_BYTES, "pre_buffer": False}
    settings["read_dictionary"] = text_columns(schema)
    with pq.ParquetFile(arrow_source(path), **settings) as file:
        names = [*dict.fromkeys((*features.names(schema.names), *features.keep))]
        batches = file.iter_batches(rows, columns=names, use_threads=False)
        tables = _even_tables(batches, rows) if file.metadata.num_rows else [schema.empty_table()]
        for table in (decode_texts(each, schema, path) for each in tables):
            yield Chunk(features.rows(table), features.kept(table))


def _even_tables(batches: Iterator[Any], rows: int) -> Iterator[Any]:
    """Regroup batches into tables of a fixed number of rows."""
    import pyarrow as pa

    pending: list[Any] = []
    for batch in batches:
        pending.append(batch)
        if sum(map(len, pending)) >= rows:
            table = pa.Table.from_batches(pending)
            yield table[:rows]
            pending = table[rows:].to_batches()
    if sum(map(len, pending)):
        yield pa.Table.from_batches(pending)


def _read_text(path: Path, features: FeatureColumns, rows: int) -> Iterator[Chunk]:
    formats: dict[str, NumberFormat] = {}  # of a model of arrays, from the first chunk
    with open_text_table(path) as table:
        if len({*table.names}) < len(table.names):
            twice = Counter(table.names).most_common(1)[0][0]
            raise ValueError(f"two columns are named {one_line(twice)!r}; rename one.")
        features.check_width(table.names)
        while cells := [*islice(table.rows, rows)]:
            columns = dict(zip(table.names, zip(*cells, strict=True), strict=True))
            kept = {name: [*columns[name]] for name in features.keep if name in columns}
            raw = {
                name: RawColumn(name, "str", values=object_array(columns[name]), from_text=True)
                for name in features.names(table.names)
            }
            if features.encoding is not None:
                X = features.encoding.encode_raw([*raw.values()])
            else:
                options = features.options
                formats = formats or _formats([*raw.values()], options, table.delimiter)
                numbers = {n: _numbers(c, formats[n], options) for n, c in raw.items()}
                X = features.rows(columns | numbers)
            yield Chunk(X, kept)


def _formats(
    raw: Sequence[RawColumn], options: TableOptions, delimiter: str
) -> dict[str, NumberFormat]:
    """Return how the numbers of each column are spelled; all columns must hold numbers."""
    numeric = replace(options, numeric=tuple(str(column.name) for column in raw))
    found = interpret(raw, numeric, delimiter)
    return {column.name: column.format or NumberFormat() for column in found}


def _numbers(column: RawColumn, format: NumberFormat, options: TableOptions) -> Array:
    cells = column.cells or []
    read = format.read_all(cells, options.missing)
    if read.odd:
        row = read.odd[0]
        raise CellError(
            f"column {column.name!r} holds {cells[row]!r} in row {row}, which is not a number; use "
            "--keep to exclude the column from the features.",
            row,
        )
    return read.numbers
