"""Read the rows of a text table: UTF-8, with commas, semicolons, tabs or bars between cells.

The csv module is used instead of pandas because a plain CSV file must be readable without the
extra `tables`. `read_table` reads all rows at once and `read_chunks` a part at a time, both here.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from isthmus.data.columns import RawColumn
from isthmus.data.limits import MAX_COLUMNS

__all__ = ["guess_delimiter", "has_header", "iter_rows", "label_index", "to_column", "to_number"]

_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
_DELIMITERS = "\t;|,"  # the comma last: it is also the decimal mark if semicolons separate cells
Row = tuple[int, list[str]]  # numbered from 1, as in a spreadsheet


@contextmanager
def iter_rows(path: Path) -> Iterator[Iterator[Row]]:
    """Open a text table and yield an iterator over its rows that are not blank."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            delimiter = (
                "\t" if path.suffix.lower() == ".tsv" else guess_delimiter(stream.read(2**16))
            )
            stream.seek(0)
            yield _checked_rows(path, csv.reader(stream, delimiter=delimiter))
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected text in UTF-8; save the table as UTF-8.") from None
    except csv.Error as error:
        raise ValueError(f"{path}: expected a text table ({error}); check the file.") from None


def _checked_rows(path: Path, rows: Iterator[list[str]]) -> Iterator[Row]:
    width = 0
    for number, cells in enumerate(rows, start=1):
        width = width or len(cells)
        if width > MAX_COLUMNS:
            raise ValueError(f"{path}: expected at most {MAX_COLUMNS:,} columns, got {width:,}.")
        if cells and len(cells) != width:
            raise ValueError(
                f"{path}: expected {width} cells per row, as in the first, but row {number} has "
                f"{len(cells)}; complete the row or remove it."
            )
        if cells:
            yield number, cells


def guess_delimiter(text: str) -> str:
    """Return the delimiter of a table that begins with this text."""
    lines = [line for line in text.splitlines() if line.strip()][:20]
    lines = lines[:-1] or lines  # the last one may be truncated
    for delimiter in _DELIMITERS:
        widths = {len(row) for row in csv.reader(lines, delimiter=delimiter)}
        if len(widths) == 1 and widths.pop() > 1:
            return delimiter
    # Rows differ in length: choose the delimiter of the first one, for the error that follows.
    return max(reversed(_DELIMITERS), key=(lines or [""])[0].count)


def has_header(first: Sequence[str], second: Sequence[str] | None, label: str | int | None) -> bool:
    """Return whether the first row of a table holds names rather than values.

    It does if a cell outside the label's column is not a number, or if it counts 0, 1, 2, ..., as
    pandas names columns without names.
    """
    label_at = label_index(label, len(first))  # a label may be text in a table without names
    if any(to_number(cell) is None for j, cell in enumerate(first) if j != label_at):
        return True
    if second is None:
        return False
    numbers = [cell.strip() for cell in first]
    numbers = numbers if numbers[0] else numbers[1:]  # an empty first cell is that of an index
    if not numbers or numbers != [str(i) for i in range(len(numbers))]:
        return False
    # One or two columns may begin with a row of such values, if all values are whole numbers.
    return len(numbers) > 2 or not all(cell.strip().isdecimal() for cell in second)


def label_index(label: str | int | None, n_columns: int) -> int | None:
    """Return the index of a label given by number, which the command line passes as a string."""
    try:
        return range(n_columns)[int(label)] if label is not None else None
    except (ValueError, IndexError):
        return None


def to_number(cell: str) -> float | None:
    """Return the number in a cell, NaN if it is missing, None if it is text."""
    if _is_missing(cell):
        return float("nan")
    try:
        return None if "_" in cell else float(cell)  # only Python reads 20_01 as a number
    except ValueError:
        return None


def to_column(name: str, cells: Sequence[str], text: bool = False) -> RawColumn:
    """Return a column: numbers if every cell is one and `text` is false, else text."""
    numbers = None if text else _to_numbers(cells)
    if numbers is None:
        texts = [None if _is_missing(cell) else cell.strip() for cell in cells]
        return RawColumn(name, "str", values=np.array([*texts, None], object)[:-1])
    whole = not any(mark in c for c in cells if not _is_missing(c) for mark in ".eEnN")
    return RawColumn(name, "int64" if whole else "float64", numbers=np.array(numbers))


def _is_missing(cell: str) -> bool:
    return cell.strip().lower() in _MISSING


def _to_numbers(cells: Sequence[str]) -> list[float] | None:
    try:
        if "_" not in "".join(cells):
            return list(map(float, cells))  # several times faster than cell by cell
    except ValueError:
        pass
    values = [to_number(cell) for cell in cells]
    return None if None in values else [value for value in values if value is not None]
