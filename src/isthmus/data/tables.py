"""Read tables from text files and Parquet, and write text tables with imputed cells.

`text_tables` splits a file into rows of cells, `cells` finds the columns whose cells are numbers
(spelled as in `number_format`), `column` encodes a column as numbers, and `columns` a table.
Parquet files and data frames enter at the second step, by `frames`.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Sequence
from io import StringIO
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from isthmus._messages import did_you_mean, one_line
from isthmus._optional import import_optional
from isthmus.data.cells import interpret, to_labels
from isthmus.data.column import CellError, RawColumn, object_array
from isthmus.data.columns import Columns
from isthmus.data.frames import raw_columns
from isthmus.data.limits import MAX_COLUMNS, check_memory, is_regular_file
from isthmus.data.parquet_limits import arrow_source, check_parquet, decode_texts, text_columns
from isthmus.data.table_options import TableOptions
from isthmus.data.text_tables import (
    label_index,
    line_number,
    open_text_table,
    warn_of_header,
    warn_of_index,
)

__all__ = ["fill_table", "find_label", "load_table", "read_parquet", "read_table"]

OBJECT_BYTES = 150  # of a cell that is not a number, until it is one


def read_table(
    path: str | PathLike[str],
    label: str | int | None = None,
    columns: Columns | Sequence[str] | None = None,
    *,
    drop: str | Sequence[str] | None = None,
    categorical: str | Sequence[str] | None = None,
    numeric: str | Sequence[str] | None = None,
    decimal: str = "auto",
    na_values: str | float | Sequence[str | float] | None = None,
) -> tuple[np.ndarray, np.ndarray | None, Columns]:
    r"""Read a table from a text file or Parquet.

    In a text file, the first row holds names if some of its cells are not numbers, and not all of
    these occur again in their columns; or if it counts 0, 1, 2, ..., as pandas names columns
    without names. A warning tells what may be mistaken. Blank lines are skipped. A column is
    numeric if every cell is a number or missing; otherwise its distinct texts are categories. The
    words for missing values are those of pandas (an empty cell, NA, NaN, NULL, None, #N/A, ...) and
    the marks ?, -, -- and a single point.

    Numbers may have a decimal comma, marks between thousands, a typographical minus, and a currency
    or percent sign (5% is read as 5), if this is consistent in the whole column. If nearly all
    cells of a column are numbers, another text is an error.

    Parameters
    ----------
    path : str or path-like
        A ``.parquet`` file, or text in UTF-8. Cells are separated by tabs in a ``.tsv`` file,
        otherwise by commas, semicolons, tabs or bars, whichever gives rows of the same length, or
        by the character in a first line such as ``sep=;``.
    label : str, int or None, default=None
        The column to return as `y`: its name, or its index from 0 (from -1 backwards).
    columns : Columns or sequence of str, optional
        Names of the only columns to read. Or the columns of another table (`columns_` of a fitted
        model), to read this one in the same way; others are left out with a warning. By
        default all are read, and their encoding is inferred.
    drop : str or sequence of str, optional
        Columns to leave out.
    categorical : str or sequence of str, optional
        Columns of categories, even if their cells are numbers.
    numeric : str or sequence of str, optional
        Columns of numbers, even if they hold only 0 and 1; other text in them is an error.
    decimal : {"auto", ".", ","}, default="auto"
        The decimal mark.
    na_values : str, number or sequence of these, optional
        More cells that are missing; a number matches all spellings of its value.

    Returns
    -------
    X : numpy.ndarray of float64, shape (n_rows, n_columns)
        The other columns as numbers; missing values are NaN.
    y : numpy.ndarray, shape (n_rows,), or None
        The label: int64 if every cell is a whole number, float64 if every cell is a number,
        otherwise str.
    columns : Columns
        How each column was read; columns without names are called x0, x1, ...

    Raises
    ------
    FileNotFoundError
        If there is no file at `path`.
    ValueError
        If the file is not a table, rows differ in length, a column holds names or free text, or
        text among numbers, a column that is named is missing, or the columns differ from those
        given.
    ImportError
        If a Parquet file is read without pandas and pyarrow.

    See Also
    --------
    isthmus.data.load : Reads every kind of dataset.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "iris.csv"
    ...     _ = path.write_text("length;colour;kind\n5,1;blue;setosa\n7,0;?;versicolor\n")
    ...     X, y, columns = read_table(path, label="kind")
    >>> X
    array([[5.1, 0. ],
           [7. , nan]])
    >>> y.tolist(), columns.names
    (['setosa', 'versicolor'], ('length', 'colour'))
    """
    known = columns if isinstance(columns, Columns) else None
    options = TableOptions.of(
        drop=drop,
        columns=None if known else columns,
        categorical=categorical,
        numeric=numeric,
        decimal=decimal,
        na_values=na_values,
    )
    return load_table(path, label, known, options)


def load_table(
    path: str | PathLike[str],
    label: str | int | None,
    columns: Columns | None,
    options: TableOptions,
) -> tuple[np.ndarray, np.ndarray | None, Columns]:
    """Read a table as `read_table` does; `columns` are those of another table."""
    path = Path(path)
    if not is_regular_file(path):
        raise FileNotFoundError(f"{path}: expected a table, found no file; check the path.")
    read_columns = _parquet_columns if path.suffix.lower() == ".parquet" else _text_columns
    try:
        raw, labels, delimiter = read_columns(path, label)
        if columns is not None:
            columns = columns.updated(options)
            raw = _known_only(path, raw, columns)
            X, options = columns.encode_raw(raw), columns.options
            y = interpret(labels, options, delimiter)
        else:
            options.check_names([c.name for c in (*raw, *labels)])
            raw = options.select(raw)
            if raw and raw[0].from_text:
                warn_of_index(raw[0].name, raw[0].cells or [])
            read = interpret([*raw, *labels], options, delimiter)
            read, y = read[: len(read) - len(labels)], read[len(read) - len(labels) :]
            columns = Columns.from_raw(read, options)
            X = columns.encode_raw(read)
        return X, to_labels(labels[0].cells or [], y[0]) if labels else None, columns
    except ValueError as error:  # may quote names and cells of any length, with line breaks
        message = str(error)
        if isinstance(error, CellError) and read_columns is _text_columns:
            message += f" See line {line_number(path, label, error.row)}."
        raise ValueError(
            one_line(message if str(path) in message else f"{path}: {message}")
        ) from None


def _known_only(path: Path, raw: list[RawColumn], columns: Columns) -> list[RawColumn]:
    """Return the columns that a model knows, with a warning if there are others beside them."""
    found = [column.name for column in raw]
    known = {*columns.names} | {*columns.options.drop}
    extra = [column.name for column in raw if column.name not in known]
    if not extra or not {*columns.names} <= {*found}:
        return raw
    names = one_line(", ".join(map(str, extra)))
    warnings.warn(f"{path}: columns the model does not use: {names}.", UserWarning, stacklevel=4)
    return [column for column in raw if column.name in known]


def fill_table(
    path: str | PathLike[str],
    values: np.ndarray,
    gaps: np.ndarray,
    columns: Columns,
    label: str | int | None = None,
) -> str:
    r"""Return the text of a table with some cells replaced.

    All other cells are spelled as before, separated by commas, or by semicolons if numbers have
    decimal commas. `values` and `gaps` (n, columns) are numbers and a mask
    of the cells that they replace in the first n rows; later rows are left out. `path`, `columns`
    and `label` are those of `read_table`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "iris.csv"
    ...     _ = path.write_text("length,kind,width\n5.10,setosa,3.5\n7.0,versicolor,\n")
    ...     X, _, columns = read_table(path, label="kind")
    ...     X = np.nan_to_num(X, nan=3.5)
    ...     print(fill_table(path, X, X[:, [1, 0]] == 7, columns, label="kind"))
    length,kind,width
    5.10,setosa,3.5
    7.0,versicolor,3.5
    <BLANKLINE>
    """
    path = Path(path)
    with open_text_table(path, label) as table:
        rows = [*islice(table.rows, len(values))]
    places = [*range(len(table.names))]
    if label is not None:
        places.remove(find_label(path, table.names, label))
    places = [at for at in places if columns.options.is_selected(table.names[at])]
    index = {table.names[at]: at for at in places}  # the model's columns may have another order
    for j, column in enumerate(columns.columns):
        at = index[column.name] if len(index) == len(places) else places[j]
        spelled = column.spell(values[:, j])
        for i in np.flatnonzero(gaps[:, j]):
            rows[i][at] = spelled[i]
    text = StringIO()
    has_commas = any(c.format and c.format.decimal == "," for c in columns.columns)
    delimiter = ";" if has_commas else ","
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([*table.header, *rows])
    return text.getvalue()


def _text_columns(
    path: Path, label: str | int | None
) -> tuple[list[RawColumn], list[RawColumn], str]:
    """Return the columns, the label if there is one, and the delimiter."""
    with open_text_table(path, label) as table:
        rows = [*table.rows]
        warn_of_header(table, rows)
        raw = [
            RawColumn(name, "str", values=object_array(cells), from_text=True)
            for name, cells in zip(table.names, zip(*rows, strict=True), strict=True)
        ]
    labels = [] if label is None else [raw.pop(find_label(path, table.names, label))]
    return raw, labels, table.delimiter


def _parquet_columns(
    path: Path, label: str | int | None
) -> tuple[list[RawColumn], list[RawColumn], str]:
    """Return the columns, whose types the file holds, and the label if there is one."""
    frame, labels = read_parquet(path), []
    if label is not None:
        name = frame.columns[find_label(path, tuple(map(str, frame.columns)), label)]
        cells = object_array(map(str, frame.pop(name).tolist()))
        labels = [RawColumn(name, "str", values=cells, from_text=True)]
    return raw_columns(frame), labels, ","


def read_parquet(path: Path) -> Any:
    """Return the table in a Parquet file as a pandas data frame; errors are one line."""
    import_optional("pandas", "pyarrow", extra="tables", what="reading .parquet")
    try:
        frame = _checked_frame(path)
    except Exception as error:  # pyarrow raises errors of many types for a damaged file
        reason = one_line(error) or type(error).__name__
        raise ValueError(f"{path}: expected a Parquet file ({reason}); check the file.") from None
    if not len(frame):
        raise ValueError(f"{path}: expected rows, found none; check the file.")
    return frame


def _checked_frame(path: Path) -> Any:
    """Return a data frame, after checks that it fits the memory allowed."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    schema = check_parquet(path)
    on_disk = path.stat().st_size
    meta = pq.read_metadata(arrow_source(path))
    if len(schema) > MAX_COLUMNS or any(pa.types.is_nested(field.type) for field in schema):
        raise ValueError(f"expected up to {MAX_COLUMNS:,} columns, without lists or records")
    groups = (meta.row_group(i) for i in range(meta.num_row_groups))
    # Each number takes at least eight bytes, other cells are objects; pages are unpacked whole.
    row = sum(8 if pa.types.is_primitive(field.type) else OBJECT_BYTES for field in schema)
    check_memory(path, max(meta.num_rows, 0) * row, on_disk)
    check_memory(path, sum(group.total_byte_size for group in groups), on_disk)
    options = {"read_dictionary": text_columns(schema), "partitioning": None}
    table = pq.read_table(arrow_source(path), use_threads=False, **options)
    return decode_texts(table, schema, path).to_pandas()


def find_label(path: Path, names: tuple[str, ...], label: str | int) -> int:
    """Return the index of the label; a ValueError if it is missing or the only column."""
    if len(names) == 1:
        raise ValueError(f"{path}: expected features beside the label, but there is one column.")
    if isinstance(label, str) and names.count(label) == 1:
        return names.index(label)
    at = label_index(label, len(names))
    if at is None or label in names:
        listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise ValueError(
            f"{path}: expected label to be the name of one column or its number from 0 to "
            f"{len(names) - 1}, got {label!r}; columns: {listed}.{did_you_mean(label, names)}"
        )
    return at
