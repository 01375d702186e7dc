"""Read the rows of a text table: UTF-8, with commas, semicolons, tabs or bars between cells.

The csv module is used instead of pandas because a plain CSV file must be readable without the
extra `tables`. `isthmus.data.cells` converts the cells to numbers.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from isthmus.data.cells import to_number
from isthmus.data.limits import MAX_COLUMNS

__all__ = ["TextTable", "label_index", "open_text_table"]

_DELIMITERS = "\t;|,"  # the comma last: it is also the decimal mark if semicolons separate cells
Row = list[str]


class TextTable(NamedTuple):
    """Names of the columns; the header, as a list of no or one row; an iterator over the others."""

    names: tuple[str, ...]
    header: list[Row]
    rows: Iterator[Row]


@contextmanager
def open_text_table(path: Path, label: str | int | None = None) -> Iterator[TextTable]:
    """Open a text table; blank lines are skipped, columns without a name are called x0, x1, ...

    Raises
    ------
    ValueError
        Also while rows are read: if the file is not a table, has no rows of values, or its rows
        differ in length.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            is_tsv = path.suffix.lower() == ".tsv"
            delimiter = "\t" if is_tsv else _guess_delimiter(stream.read(2**16))
            stream.seek(0)
            rows = _checked_rows(path, csv.reader(stream, delimiter=delimiter))
            first = [*islice(rows, 2)]
            header = first[:1] if _has_header(first, label) else []
            if len(first) == len(header):
                raise ValueError(f"{path}: expected rows, found none; check the file.")
            names = header[0] if header else [""] * len(first[0])
            named = tuple(name.strip() or f"x{j}" for j, name in enumerate(names))
            yield TextTable(named, header, chain(first[len(header) :], rows))
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected text in UTF-8; save the table as UTF-8.") from None
    except csv.Error as error:
        raise ValueError(f"{path}: expected a text table ({error}); check the file.") from None


def label_index(label: str | int | None, n_columns: int) -> int | None:
    """Return the index of a label given by number, which the command line passes as a string."""
    try:
        return range(n_columns)[int(label)] if label is not None else None
    except (ValueError, IndexError):
        return None


def _checked_rows(path: Path, rows: Iterator[Row]) -> Iterator[Row]:
    """Yield the rows that are not blank, after checks of their length."""
    width = 0
    for number, cells in enumerate(rows, start=1):  # as in a spreadsheet
        width = width or len(cells)
        if width > MAX_COLUMNS:
            raise ValueError(f"{path}: expected at most {MAX_COLUMNS:,} columns, got {width:,}.")
        if cells and len(cells) != width:
            raise ValueError(
                f"{path}: expected {width} cells per row, as in the first, but row {number} has "
                f"{len(cells)}; complete the row or remove it."
            )
        if cells:
            yield cells


def _guess_delimiter(text: str) -> str:
    """Return the delimiter of a table that begins with this text."""
    lines = [line for line in text.splitlines() if line.strip()][:20]
    lines = lines[:-1] or lines  # the last one may be truncated
    for delimiter in _DELIMITERS:
        widths = {len(row) for row in csv.reader(lines, delimiter=delimiter)}
        if len(widths) == 1 and widths.pop() > 1:
            return delimiter
    # Rows differ in length: choose the delimiter of the first one, for the error that follows.
    return max(reversed(_DELIMITERS), key=(lines or [""])[0].count)


def _has_header(rows: Sequence[Row], label: str | int | None) -> bool:
    """Return whether the first of up to two rows holds names rather than values.

    It does if a cell outside the label's column is not a number, or if it counts 0, 1, 2, ..., as
    pandas names columns without names.
    """
    first, second = (*rows, [], [])[:2]
    label_at = label_index(label, len(first))  # a label may be text in a table without names
    if any(to_number(cell) is None for j, cell in enumerate(first) if j != label_at):
        return True
    numbers = [cell.strip() for cell in first]
    numbers = numbers[1:] if numbers[:1] == [""] else numbers  # the first cell of an index
    if not second or not numbers or numbers != [str(i) for i in range(len(numbers))]:
        return False
    # One or two columns may begin with a row of such values, if all values are whole numbers.
    return len(numbers) > 2 or not all(cell.strip().isdecimal() for cell in second)
