"""Read tables from text files and Parquet, and write text tables with imputed cells.

`text_tables` splits a file into rows of cells, `cells` converts the cells of a column to numbers or
text, `column` encodes it as numbers, and `columns` does so for a table. Parquet files and data
frames enter at the third step, by `frames`.
"""

from __future__ import annotations

import csv
from collections.abc import Collection
from io import StringIO
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from isthmus._messages import did_you_mean, one_line
from isthmus._optional import import_optional
from isthmus.data.cells import to_column, to_labels
from isthmus.data.column import Column, RawColumn
from isthmus.data.columns import Columns
from isthmus.data.frames import raw_columns
from isthmus.data.limits import MAX_COLUMNS, check_memory, is_regular_file
from isthmus.data.parquet_limits import check_parquet
from isthmus.data.text_tables import label_index, open_text_table

__all__ = ["fill_table", "find_label", "read_parquet", "read_table"]

_TEXT_TYPES = ("string", "binary")  # of Parquet, where one long value may stand for many cells


def read_table(
    path: str | PathLike[str],
    label: str | int | None = None,
    columns: Columns | None = None,
    drop: Collection[str] = (),
) -> tuple[np.ndarray, np.ndarray | None, Columns]:
    r"""Read a table from a text file or Parquet.

    In a text file, the first row holds names if one of its cells is not a number, or if it counts
    0, 1, 2, ..., as pandas names columns without names. Empty cells, "NA" and "nan" are missing
    values; blank lines are skipped. A column is numeric if every cell is a number; otherwise its
    distinct texts are categories.

    Parameters
    ----------
    path : str or path-like
        A ``.parquet`` file, or text in UTF-8. Cells are separated by tabs in a ``.tsv`` file,
        otherwise by commas, semicolons, tabs or bars, whichever gives rows of the same length.
    label : str, int or None, default=None
        The column to return as `y`: its name, or its index from 0 (from -1 backwards).
    columns : Columns, optional
        The columns of another table, to read this one in the same way. By default they are
        inferred.
    drop : collection of str
        Names of columns to leave out.

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
        If the file is not a table, rows differ in length, a column holds names or free text, the
        column `label` is missing, or the columns differ from those given.
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
    ...     _ = path.write_text("length,colour,kind\n5.1,blue,setosa\n7.0,,versicolor\n")
    ...     X, y, columns = read_table(path, label="kind")
    >>> X
    array([[5.1, 0. ],
           [7. , nan]])
    >>> y.tolist(), columns.names
    (['setosa', 'versicolor'], ('length', 'colour'))
    """
    path = Path(path)
    if not is_regular_file(path):
        raise FileNotFoundError(f"{path}: expected a table, found no file; check the path.")
    try:
        if path.suffix.lower() == ".parquet":
            raw, y = _read_parquet_columns(path, label)
        else:
            texts = {c.name for c in columns.columns if c.is_text} if columns else set()
            raw, y = _read_text_columns(path, label, texts)
        raw = [column for column in raw if column.name not in drop]
        columns = Columns.from_raw(raw) if columns is None else columns
        return columns.encode_raw(raw), y, columns
    except ValueError as error:  # may quote names and cells of any length, with line breaks
        message = str(error)
        raise ValueError(
            one_line(message if str(path) in message else f"{path}: {message}")
        ) from None


def fill_table(
    path: str | PathLike[str],
    values: np.ndarray,
    gaps: np.ndarray,
    columns: Columns,
    label: str | int | None = None,
) -> str:
    r"""Return the text of a table, comma-separated, with some cells replaced.

    All other cells are spelled as before. `values` and `gaps` (n, columns) are numbers and a mask
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
    index = {table.names[at]: at for at in places}  # the model's columns may have another order
    for j, column in enumerate(columns.columns):
        at = index[column.name] if len(index) == len(places) else places[j]
        spelled = _spell(column, values[:, j])
        for i in np.flatnonzero(gaps[:, j]):
            rows[i][at] = spelled[i]
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows([*table.header, *rows])
    return text.getvalue()


def _spell(column: Column, numbers: np.ndarray) -> list[str]:
    """Return numbers (n,) as the text of a column; numbers in the fewest digits that read back."""
    values = column.from_numbers(numbers)
    if column.kind != "number":
        return ["" if value is None else str(value) for value in values]
    return [str(int(v)) if column.whole and np.isfinite(v) else repr(float(v)) for v in values]


def _read_text_columns(
    path: Path, label: str | int | None, texts: Collection[str]
) -> tuple[list[RawColumn], np.ndarray | None]:
    """Return the raw columns and the label; the columns `texts` are text even if all digits."""
    with open_text_table(path, label) as table:
        columns = dict(enumerate(zip(*table.rows, strict=True)))
    y = None
    if label is not None:
        y = to_labels(columns.pop(find_label(path, table.names, label)))
    named = [(table.names[j], cells) for j, cells in columns.items()]
    return [to_column(name, cells, text=name in texts) for name, cells in named], y


def _read_parquet_columns(
    path: Path, label: str | int | None
) -> tuple[list[RawColumn], np.ndarray | None]:
    """Return the raw columns, whose types the file holds, and the label."""
    frame = read_parquet(path)
    y = None
    if label is not None:
        at = find_label(path, tuple(map(str, frame.columns)), label)
        y = to_labels([str(v) for v in frame.iloc[:, at].tolist()])
        frame = frame.drop(columns=frame.columns[at])
    return raw_columns(frame), y


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
    import pyarrow.compute as pc  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    check_parquet(path)
    on_disk = path.stat().st_size
    meta = pq.read_metadata(path)
    schema = meta.schema.to_arrow_schema()
    if len(schema) > MAX_COLUMNS or any(pa.types.is_nested(field.type) for field in schema):
        raise ValueError(f"expected up to {MAX_COLUMNS:,} columns, without lists or records")
    groups = (meta.row_group(i) for i in range(meta.num_row_groups))
    # Each cell takes at least eight bytes; pages are unpacked whole.
    check_memory(path, 8 * max(meta.num_rows, 0) * meta.num_columns, on_disk)
    check_memory(path, sum(group.total_byte_size for group in groups), on_disk)
    texts = [f.name for f in schema if str(f.type).removeprefix("large_") in _TEXT_TYPES]
    table = pq.read_table(path, read_dictionary=texts, partitioning=None, use_threads=False)
    # A long text that all rows share takes little space in the file.
    for column in table.itercolumns():
        for chunk in column.chunks if pa.types.is_dictionary(column.type) else []:
            lengths = pc.binary_length(chunk.dictionary.cast(pa.large_binary()))
            n_bytes = pc.sum(lengths.take(chunk.indices)).as_py() or 0
            check_memory(path, n_bytes, on_disk)
    return table.cast(schema).to_pandas()


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
