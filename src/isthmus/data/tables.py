"""Tables in files: text with comma, semicolon, tab or bar between the cells, and Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from isthmus._messages import did_you_mean, one_line
from isthmus._optional import import_optional
from isthmus.data.columns import Column, Columns, RawColumn, raw_columns
from isthmus.data.limits import MAX_COLUMNS, check_memory, is_regular_file
from isthmus.data.parquet_limits import uncompressed_size

__all__ = [
    "even_rows",
    "fill_table",
    "find_label",
    "read_parquet",
    "read_table",
    "sniff",
    "split_header",
    "to_cells",
    "to_number",
]

_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
_DELIMITERS = "\t;|,"  # the comma last: it also divides decimals where the semicolon divides cells
_TEXTS = ("string", "binary")  # of Parquet, whose long ones may stand for many cells
_Row = tuple[int, list[str]]  # numbered as a spreadsheet does: the first line is row 1


def read_table(
    path: str | PathLike[str], label: str | int | None = None, columns: Columns | None = None
) -> tuple[np.ndarray, np.ndarray | None, Columns]:
    r"""Read a table from a file of text or Parquet.

    Of a file of text the first row is taken for names where a cell of it is no number, or where
    it counts 0, 1, 2, ..., as pandas names columns that have no names. Empty cells, "NA" and "nan"
    are missing values. Blank lines are passed over. A column is numbers where every cell is one,
    else its different texts are categories.

    Parameters
    ----------
    path : str or path-like
        A ``.parquet`` file, or text in UTF-8. In a ``.tsv`` file tabs divide the cells;
        otherwise commas, semicolons, tabs or bars, whichever gives each row the same number of
        cells.
    label : str, int or None, default=None
        The column to keep apart, by its name or by its number from 0 (from -1 backwards).
    columns : Columns, optional
        How to take the columns, as learned from another table; else it is learned.

    Returns
    -------
    X : numpy.ndarray of float64, shape (n_rows, n_columns)
        The other columns as numbers; missing values are NaN.
    y : numpy.ndarray, shape (n_rows,), or None
        The label's column: int64 where every cell is a whole number, else float64 where every
        cell is a number, else str.
    columns : Columns
        How each column was taken; where the file gives no names they are x0, x1, ...

    Raises
    ------
    FileNotFoundError
        If there is no file at `path`.
    ValueError
        If the file is no table, a row has more or fewer cells than the first, a column holds
        names or free text, there is no column `label`, or the columns are not those given.
    ImportError
        For Parquet without pandas and pyarrow.

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
    read = _parquet_cells if path.suffix.lower() == ".parquet" else _text_cells
    try:
        cells, y = read(path, label)
        columns = Columns.from_raw(cells) if columns is None else columns
        return columns.encode_raw(cells), y, columns
    except ValueError as error:  # names and cells, which it may quote, are of any length and lines
        said = str(error)
        raise ValueError(one_line(said if str(path) in said else f"{path}: {said}")) from None


def fill_table(
    path: str | PathLike[str],
    values: np.ndarray,
    gaps: np.ndarray,
    columns: Columns,
    label: str | int | None = None,
) -> str:
    r"""Return the text of a table with some of its cells replaced, the others as they were.

    Parameters
    ----------
    path : str or path-like
        A file of text that `read_table` reads.
    values, gaps : numpy.ndarray, shape (n_rows, n_features)
        Numbers, and where they are to be put, for the first rows; rows behind are left out.
    columns : Columns
        How the columns were taken.
    label : str, int or None, default=None
        As for `read_table`.

    Returns
    -------
    str
        Comma-separated.

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
    every = _read_rows(path)
    names, rows = split_header(path, every, label)
    features = list(range(len(names)))
    if label is not None:
        features.remove(find_label(path, names, label))
    header = [cells for _, cells in every[: len(every) - len(rows)]]
    rows = rows[: len(values)]
    places = {names[at]: at for at in features}  # the model may have them in another order
    for j, column in enumerate(columns.columns):
        at = places[column.name] if len(places) == len(features) else features[j]
        spelled = _spell(column, values[:, j])
        for i in np.flatnonzero(gaps[:, j]):
            rows[i][1][at] = spelled[i]
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(header)
    writer.writerows(cells for _, cells in rows)
    return text.getvalue()


def _spell(column: Column, numbers: np.ndarray) -> list[str]:
    """Return numbers (n,) as the column's text; numbers in the fewest digits that read back."""
    values = column.from_numbers(numbers)
    if column.kind != "number":
        return ["" if value is None else str(value) for value in values]
    return [str(int(v)) if column.whole and np.isfinite(v) else repr(float(v)) for v in values]


def _text_cells(path: Path, label: str | int | None) -> tuple[list[RawColumn], np.ndarray | None]:
    rows = _read_rows(path)
    names, rows = split_header(path, rows, label)
    columns = list(zip(*(cells for _, cells in rows), strict=True))
    y = None
    if label is not None:
        at = find_label(path, names, label)
        y = _to_labels(columns.pop(at))
        names = names[:at] + names[at + 1 :]
    return [to_cells(*each) for each in zip(names, columns, strict=True)], y


def _parquet_cells(
    path: Path, label: str | int | None
) -> tuple[list[RawColumn], np.ndarray | None]:
    frame = read_parquet(path)
    y = None
    if label is not None:
        names = tuple(map(str, frame.columns))
        at = find_label(path, names, label)
        y = _to_labels([str(v) for v in frame.iloc[:, at].tolist()])
        frame = frame.drop(columns=frame.columns[at])
    return raw_columns(frame), y


def read_parquet(path: Path) -> Any:
    """Return the data frame of pandas in a file; one line where there is none."""
    if not is_regular_file(path):
        raise FileNotFoundError(f"{path}: expected a table, found no file; check the path.")
    import_optional("pandas", "pyarrow", extra="tables", what="reading .parquet")
    try:
        frame = _checked_frame(path)
    except Exception as error:  # pyarrow fails in many ways on a damaged file
        reason = one_line(error) or type(error).__name__
        raise ValueError(f"{path}: expected a Parquet file ({reason}); check the file.") from None
    if not len(frame):
        raise ValueError(f"{path}: expected rows, found none; check the file.")
    return frame


def _checked_frame(path: Path) -> Any:
    """Return a data frame; a ValueError before more is unpacked than is allowed."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.compute as pc  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    on_disk = path.stat().st_size
    meta = pq.read_metadata(path)
    schema = meta.schema.to_arrow_schema()
    if len(schema) > MAX_COLUMNS or any(pa.types.is_nested(field.type) for field in schema):
        raise ValueError(f"expected up to {MAX_COLUMNS:,} columns, none of lists or records")
    groups = (meta.row_group(i) for i in range(meta.num_row_groups))
    # A row takes eight bytes at least; a page is unpacked whole.
    check_memory(path, 8 * max(meta.num_rows, 0) * meta.num_columns, on_disk)
    check_memory(path, sum(group.total_byte_size for group in groups), on_disk)
    check_memory(path, uncompressed_size(path), on_disk)
    texts = [field.name for field in schema if str(field.type).removeprefix("large_") in _TEXTS]
    table = pq.read_table(path, read_dictionary=texts, partitioning=None, use_threads=False)
    # One long text for all rows is short in the file.
    for column in table.itercolumns():
        for chunk in column.chunks if pa.types.is_dictionary(column.type) else []:
            lengths = pc.binary_length(chunk.dictionary.cast(pa.large_binary()))
            n_bytes = pc.sum(lengths.take(chunk.indices)).as_py() or 0
            check_memory(path, n_bytes, on_disk)
    return table.cast(schema).to_pandas()


def _read_rows(path: Path) -> list[_Row]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a table, found no file; check the path.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            delimiter = "\t" if path.suffix.lower() == ".tsv" else sniff(stream.read(2**16))
            stream.seek(0)
            reader = enumerate(csv.reader(stream, delimiter=delimiter), start=1)
            rows = list(even_rows(path, reader))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text in UTF-8; save the table as UTF-8.") from error
    except csv.Error as error:
        raise ValueError(f"{path}: expected a table as text ({error}); check the file.") from error
    return rows


def even_rows(path: Path, rows: Iterable[_Row]) -> Iterator[_Row]:
    """Pass rows on that are not blank; an error as soon as one has not as many cells as others."""
    width = 0
    for number, cells in rows:
        width = width or len(cells)
        if width > MAX_COLUMNS:
            raise ValueError(f"{path}: expected at most {MAX_COLUMNS:,} columns, got {width:,}.")
        if cells and len(cells) != width:
            raise ValueError(
                f"{path}: expected {width} cells in each row, as in the first, but row {number} "
                f"has {len(cells)}; complete the row or remove it."
            )
        if cells:
            yield number, cells


def sniff(text: str) -> str:
    r"""Return what divides the cells of a table that begins with this text.

    Examples
    --------
    >>> sniff("a;b\n1,5;2\n")
    ';'
    """
    lines = [line for line in text.splitlines() if line.strip()][:20]
    lines = lines[:-1] or lines  # the last may be cut short
    for delimiter in _DELIMITERS:
        widths = {len(row) for row in csv.reader(lines, delimiter=delimiter)}
        if len(widths) == 1 and widths.pop() > 1:
            return delimiter
    # A ragged table: the error to come should speak of the columns it seems to have.
    return max(reversed(_DELIMITERS), key=(lines or [""])[0].count)


def split_header(
    path: Path, rows: list[_Row], label: str | int | None
) -> tuple[tuple[str, ...], list[_Row]]:
    """Return the names of the columns and the rows below them.

    Parameters
    ----------
    path : Path
        For the error to name.
    rows : list of (int, list of str)
        All rows, or the first two: as `even_rows` yields them.
    label : str, int or None
        As for `read_table`.

    Raises
    ------
    ValueError
        Where there is no row.
    """
    first = rows[0][1] if rows else []
    at = _position(label, len(first))  # where the label may be text in a table without names
    has_header = any(to_number(cell) is None for j, cell in enumerate(first) if j != at)
    has_header = has_header or _is_numbering([cells for _, cells in rows[:2]])
    if len(rows) <= has_header:
        raise ValueError(f"{path}: expected rows, found none; check the file.")
    names = (cell.strip() for cell in first) if has_header else [""] * len(first)
    return tuple(name or f"x{j}" for j, name in enumerate(names)), rows[has_header:]


def _is_numbering(rows: list[list[str]]) -> bool:
    """Whether the first of two rows numbers columns without names 0, 1, 2, ..., as pandas does.

    A first cell left out is that of an index. Two columns or one may as well begin with a row of
    such values, where all are whole numbers.
    """
    if len(rows) < 2:
        return False
    first, second = ([cell.strip() for cell in row] for row in rows)
    numbers = first[1:] if not first[0] else first
    counted = bool(numbers) and numbers == [str(i) for i in range(len(numbers))]
    return counted and (len(numbers) > 2 or not all(cell.isdecimal() for cell in second))


def find_label(path: Path, names: tuple[str, ...], label: str | int) -> int:
    """Return which column is the label; a ValueError where there is none, or no other."""
    if len(names) == 1:
        raise ValueError(f"{path}: expected features beside the label, but there is one column.")
    if isinstance(label, str) and names.count(label) == 1:
        return names.index(label)
    at = _position(label, len(names))
    if at is None or label in names:
        listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise ValueError(
            f"{path}: expected label to be the name of one column or its number from 0 to "
            f"{len(names) - 1}, got {label!r}; columns: {listed}.{did_you_mean(label, names)}"
        )
    return at


def _position(label: str | int | None, n_columns: int) -> int | None:
    """Return the place of a label given by its number, be it a string from a command line."""
    try:
        return range(n_columns)[int(label)] if label is not None else None
    except (ValueError, IndexError):
        return None


def to_number(cell: str) -> float | None:
    """Return the number in a cell, NaN where it is missing, None where it is text.

    Examples
    --------
    >>> to_number(" 1e3"), to_number("NA"), to_number("red")
    (1000.0, nan, None)
    """
    if cell.strip().lower() in _MISSING:
        return float("nan")
    try:
        return None if "_" in cell else float(cell)  # Python alone reads 20_01 as a number
    except ValueError:
        return None


def to_cells(name: str, cells: Sequence[str]) -> RawColumn:
    """Return a column: numbers where every cell is one, else text.

    Examples
    --------
    >>> to_cells("x", ["1", "", "3"]).numbers
    array([ 1., nan,  3.])
    """
    numbers = _to_numbers(cells)
    if numbers is None:
        texts = [None if c.strip().lower() in _MISSING else c.strip() for c in cells]
        return RawColumn(name, "str", values=np.array([*texts, None], object)[:-1])
    present = [cell for cell in cells if cell.strip().lower() not in _MISSING]
    whole = not any(mark in cell for cell in present for mark in ".eEnN")
    return RawColumn(name, "int64" if whole else "float64", numbers=np.array(numbers))


def _to_numbers(cells: Sequence[str]) -> list[float] | None:
    """Return the numbers of a column, None where there is text."""
    try:
        if "_" not in "".join(cells):
            return list(map(float, cells))  # several times faster than cell by cell
    except ValueError:
        pass
    values = [to_number(cell) for cell in cells]
    return None if None in values else [value for value in values if value is not None]


def _to_labels(cells: Sequence[str]) -> np.ndarray:
    values = [to_number(cell) for cell in cells]
    if None in values:
        return np.array([cell.strip() for cell in cells])
    try:
        return np.array([int(cell) for cell in cells], dtype=np.int64)
    except (ValueError, OverflowError):
        return np.array(values, dtype=np.float64)
