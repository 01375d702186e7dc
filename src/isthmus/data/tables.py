"""Reading tables of numbers from text: comma, semicolon, tab or bar between the cells."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from os import PathLike
from pathlib import Path

import numpy as np

from isthmus.fields import nearest

__all__ = ["filled_table", "read_table"]

_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
_DELIMITERS = "\t;|,"  # the comma last: it also divides decimals where the semicolon divides cells
_Row = tuple[int, list[str]]  # numbered as a spreadsheet does: the first line is row 1


def read_table(
    path: str | PathLike[str], label: str | int | None = None
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    r"""Read a table of numbers from a text file.

    The first row is taken for names where a cell of it is no number. Empty cells, "NA" and
    "nan" are missing values. Blank lines are passed over.

    Parameters
    ----------
    path : str or path-like
        A file in UTF-8. In a ``.tsv`` file tabs divide the cells; otherwise commas,
        semicolons, tabs or bars, whichever gives each row the same number of cells.
    label : str, int or None, default=None
        The column to keep apart, by its name or by its number from 0 (from -1 backwards).

    Returns
    -------
    X : numpy.ndarray of float64, shape (n_rows, n_features)
        The other columns; missing values are NaN.
    y : numpy.ndarray, shape (n_rows,), or None
        The label's column: int64 where every cell is a whole number, else float64 where every
        cell is a number, else str.
    feature_names : tuple of str
        The names of the columns of `X`; x0, x1, ... where the file gives none.

    Raises
    ------
    FileNotFoundError
        If there is no file at `path`.
    ValueError
        If the file is no table, a row has more or fewer cells than the first, a column other
        than the label holds text, or there is no column `label`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "iris.csv"
    ...     _ = path.write_text("length,width,kind\n5.1,3.5,setosa\n7.0,,versicolor\n")
    ...     X, y, feature_names = read_table(path, label="kind")
    >>> X
    array([[5.1, 3.5],
           [7. , nan]])
    >>> y.tolist(), feature_names
    (['setosa', 'versicolor'], ('length', 'width'))
    """
    path = Path(path)
    rows = _read_rows(path)
    names, rows = _split_header(path, rows, label)
    numbers = [number for number, _ in rows]
    columns = list(zip(*(cells for _, cells in rows), strict=True))
    y = None
    if label is not None:
        at = _find_label(path, names, label)
        y = _to_labels(columns.pop(at))
        names = names[:at] + names[at + 1 :]
    X = np.empty((len(rows), len(columns)))
    for j, (name, cells) in enumerate(zip(names, columns, strict=True)):
        X[:, j] = _to_numbers(path, name, cells, numbers)
    return X, y, names


def filled_table(
    path: str | PathLike[str], values: np.ndarray, gaps: np.ndarray, label: str | int | None = None
) -> str:
    r"""Return the text of a table with some of its cells replaced, the others as they were.

    Parameters
    ----------
    path : str or path-like
        A file that `read_table` reads.
    values, gaps : numpy.ndarray, shape (n_rows, n_features)
        Numbers, and where they are to be put, for the first rows; rows behind are left out.
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
    ...     X, _, _ = read_table(path, label="kind")
    ...     print(filled_table(path, np.nan_to_num(X, nan=3.2), np.isnan(X), label="kind"))
    length,kind,width
    5.10,setosa,3.5
    7.0,versicolor,3.2
    <BLANKLINE>
    """
    path = Path(path)
    every = _read_rows(path)
    names, rows = _split_header(path, every, label)
    features = list(range(len(names)))
    if label is not None:
        features.remove(_find_label(path, names, label))
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(cells for _, cells in every[: len(every) - len(rows)])
    for (_, cells), value, gap in zip(rows, values, gaps, strict=False):
        for j in np.flatnonzero(gap):
            cells[features[j]] = repr(float(value[j]))  # the shortest that reads back the same
        writer.writerow(cells)
    return text.getvalue()


def _read_rows(path: Path) -> list[_Row]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a table, found no file; check the path.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            delimiter = "\t" if path.suffix.lower() == ".tsv" else _sniff(stream.read(2**16))
            stream.seek(0)
            reader = enumerate(csv.reader(stream, delimiter=delimiter), start=1)
            rows = [(number, cells) for number, cells in reader if cells]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text in UTF-8; save the table as UTF-8.") from error
    except csv.Error as error:
        raise ValueError(f"{path}: expected a table as text ({error}); check the file.") from error
    for number, cells in rows:
        if len(cells) != len(rows[0][1]):
            raise ValueError(
                f"{path}: expected {len(rows[0][1])} cells in each row, as in the first, but row "
                f"{number} has {len(cells)}; complete the row or remove it."
            )
    return rows


def _sniff(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()][:20]
    lines = lines[:-1] or lines  # the last may be cut short
    for delimiter in _DELIMITERS:
        widths = {len(row) for row in csv.reader(lines, delimiter=delimiter)}
        if len(widths) == 1 and widths.pop() > 1:
            return delimiter
    # A ragged table: the error to come should speak of the columns it seems to have.
    return max(reversed(_DELIMITERS), key=(lines or [""])[0].count)


def _split_header(
    path: Path, rows: list[_Row], label: str | int | None
) -> tuple[tuple[str, ...], list[_Row]]:
    """Return the names of the columns and the rows below them."""
    first = rows[0][1] if rows else []
    at = _position(label, len(first))  # where the label may be text in a table without names
    has_header = any(_parse(cell) is None for j, cell in enumerate(first) if j != at)
    if len(rows) <= has_header:
        raise ValueError(f"{path}: expected rows of numbers, found none; check the file.")
    names = (cell.strip() for cell in first) if has_header else [""] * len(first)
    return tuple(name or f"x{j}" for j, name in enumerate(names)), rows[has_header:]


def _find_label(path: Path, names: tuple[str, ...], label: str | int) -> int:
    if len(names) == 1:
        raise ValueError(f"{path}: expected features beside the label, but there is one column.")
    if isinstance(label, str) and names.count(label) == 1:
        return names.index(label)
    at = _position(label, len(names))
    if at is None or label in names:
        listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise ValueError(
            f"{path}: expected label to be the name of one column or its number from 0 to "
            f"{len(names) - 1}, got {label!r}; columns: {listed}.{nearest(label, names)}"
        )
    return at


def _position(label: str | int | None, n_columns: int) -> int | None:
    """Return the place of a label given by its number, be it a string from a command line."""
    try:
        return range(n_columns)[int(label)] if label is not None else None
    except (ValueError, IndexError):
        return None


def _parse(cell: str) -> float | None:
    """Return the number in a cell, NaN where it is missing, None where it is text."""
    if cell.strip().lower() in _MISSING:
        return float("nan")
    try:
        return None if "_" in cell else float(cell)  # Python alone reads 20_01 as a number
    except ValueError:
        return None


def _to_numbers(path: Path, name: str, cells: Sequence[str], numbers: list[int]) -> list[float]:
    try:
        if "_" not in "".join(cells):
            return list(map(float, cells))  # several times faster than cell by cell
    except ValueError:
        pass
    values = [_parse(cell) for cell in cells]
    if None in values:
        at = values.index(None)
        raise ValueError(
            f"{path}: column {name!r} holds text ({cells[at][:40]!r} in row {numbers[at]}); "
            f"keep it apart with label={name!r}, turn it into numbers, or remove it."
        )
    return [value for value in values if value is not None]


def _to_labels(cells: Sequence[str]) -> np.ndarray:
    values = [_parse(cell) for cell in cells]
    if None in values:
        return np.array([cell.strip() for cell in cells])
    try:
        return np.array([int(cell) for cell in cells], dtype=np.int64)
    except (ValueError, OverflowError):
        return np.array(values, dtype=np.float64)
