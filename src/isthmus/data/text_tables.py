"""Read the rows of a text table: with commas, semicolons, tabs or bars between cells.

A first line such as "sep=;", as Excel writes it, names the delimiter. The csv module is used
instead of pandas because a plain CSV file must be readable without the extra `tables`.
`isthmus.data.cells` converts the cells to numbers.
"""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from isthmus.data.cells import holds_number
from isthmus.data.limits import MAX_COLUMNS
from isthmus.data.text_files import JSON_SUFFIXES, json_rows, open_text, suffix_of

__all__ = [
    "TextTable",
    "label_index",
    "line_number",
    "open_text_table",
    "warn_of_header",
    "warn_of_index",
]

_DELIMITERS = "\t;|,"  # the comma last: it is also the decimal mark if semicolons separate cells
_SEPARATOR = re.compile(r'"?sep=([^\w"\r\n])"?\r?\n', re.IGNORECASE)
MAX_BLANK = 100_000  # blank lines in a row
SAMPLE = 100  # rows that tell whether the first one holds names
Row = list[str]


class TextTable(NamedTuple):
    """An open text table.

    Parameters
    ----------
    names : tuple of str
        Names of the columns.
    header : list of list of str
        No or one row.
    numbered : iterator of (int, list of str)
        The other rows, with their numbers as in a spreadsheet.
    delimiter : str
    """

    names: tuple[str, ...]
    header: list[Row]
    numbered: Iterator[tuple[int, Row]]
    delimiter: str

    @property
    def rows(self) -> Iterator[Row]:
        """The rows of values."""
        return (cells for _, cells in self.numbered)


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
        with open_text(path) as stream:
            if suffix_of(path) in JSON_SUFFIXES:
                yield _json_table(path, stream)
                return
            start = stream.read(2**16)
            named = _SEPARATOR.match(start)
            start = start[named.end() :] if named else start
            delimiter = named[1] if named else _guess_delimiter(start, suffix_of(path))
            stream.seek(0)
            rows = csv.reader(stream, delimiter=delimiter)
            numbered = _checked_rows(path, islice(enumerate(rows, start=1), bool(named), None))
            first = [*islice(numbered, SAMPLE)]
            has_header = _has_header([cells for _, cells in first], label)
            header = [first[0][1]] if has_header else []
            if len(first) == len(header):
                raise ValueError(f"{path}: expected rows, found none; check the file.")
            names = header[0] if header else [""] * len(first[0][1])
            complete = tuple(name.strip() or f"x{j}" for j, name in enumerate(names))
            yield TextTable(complete, header, chain(first[len(header) :], numbered), delimiter)
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected text in UTF-8; save the table as UTF-8.") from None
    except csv.Error as error:
        raise ValueError(f"{path}: expected a text table ({error}); check the file.") from None


def _json_table(path: Path, stream: TextIO) -> TextTable:
    """Return the table in lines of JSON objects."""
    numbered = _checked_rows(path, json_rows(path, stream))
    first = [*islice(numbered, 2)]
    if len(first) < 2:
        raise ValueError(f"{path}: expected rows, found none; check the file.")
    header = first[0][1]
    names = tuple(name.strip() or f"x{j}" for j, name in enumerate(header))
    return TextTable(names, [header], chain(first[1:], numbered), ",")


def label_index(label: str | int | None, n_columns: int) -> int | None:
    """Return the index of a label given by number, which the command line passes as a string."""
    try:
        return range(n_columns)[int(label)] if label is not None else None
    except (ValueError, IndexError):
        return None


def line_number(path: Path, label: str | int | None, row: int) -> int | None:
    """Return the number, as in a spreadsheet, of a row of values of a text table."""
    with open_text_table(path, label) as table:
        return next((number for number, _ in islice(table.numbered, row, None)), None)


def _checked_rows(path: Path, rows: Iterator[tuple[int, Row]]) -> Iterator[tuple[int, Row]]:
    """Yield the rows that are not blank, after checks of their length."""
    width = blank = 0
    for number, cells in rows:
        blank = 0 if cells else blank + 1
        if blank > MAX_BLANK:
            raise ValueError(
                f"{path}: expected rows, but more than {MAX_BLANK:,} lines up to line {number:,} "
                "are blank; remove them."
            )
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


def _guess_delimiter(text: str, suffix: str) -> str:
    """Return the delimiter of a table that begins with this text."""
    if suffix in (".tsv", ".tsv.gz"):
        return "\t"
    lines = [line for line in text.splitlines() if line.strip()][:20]
    lines = lines[:-1] or lines  # the last one may be truncated
    for delimiter in _DELIMITERS:
        widths = {len(row) for row in csv.reader(lines, delimiter=delimiter)}
        if len(widths) == 1 and widths.pop() > 1:
            return delimiter
    # Rows differ in length: choose the delimiter of the first one, for the error that follows.
    return max(reversed(_DELIMITERS), key=(lines or [""])[0].count)


def _has_header(rows: Sequence[Row], label: str | int | None) -> bool:
    """Return whether the first of some rows holds names rather than values.

    It does if a cell outside the label's column is not a number, unless all such cells occur again
    in their columns, as categories do; or if it counts 0, 1, 2, ..., as pandas names columns
    without names.
    """
    first, *others = rows or [[]]
    label_at = label_index(label, len(first))  # a label may be text in a table without names
    is_text = False
    for j, cell in enumerate(first):  # of wide tables, usually only the first cell is examined
        if j != label_at and not holds_number(cell):
            if label in first or cell not in [row[j] for row in others]:
                return True
            is_text = True
    if is_text:
        return False
    numbers = [cell.strip() for cell in first]
    numbers = numbers[1:] if numbers[:1] == [""] else numbers  # the first cell of an index
    if not others or not numbers or numbers != [str(i) for i in range(len(numbers))]:
        return False
    # One or two columns may begin with a row of such values, if all values are whole numbers.
    return len(numbers) > 2 or not all(cell.strip().isdecimal() for cell in others[0])


def warn_of_header(table: TextTable, rows: Sequence[Row]) -> None:
    """Warn if the first row may hold values but was taken for names, or the reverse."""
    names = table.header[0] if table.header else []
    if not names and _may_hold_names(rows[:SAMPLE]):
        _warn(
            f"the first row, from {rows[0][0]!r} to {rows[0][-1]!r}, is read as values; if it "
            "holds names, begin one with a letter."
        )
    above = [j for j, name in enumerate(names) if not holds_number(name)]
    numbers = [name for name in names if name.strip() and holds_number(name)]
    if above and numbers and not any(holds_number(row[j]) for row in rows[:SAMPLE] for j in above):
        _warn(f"the first row, with {numbers[0]!r}, is read as the names of the columns.")


def _may_hold_names(rows: Sequence[Row]) -> bool:
    """Whether a first row of numbers rises, such as years, outside the values of each column."""
    try:
        first, *others = np.array(rows, np.float64)
    except ValueError:  # numbers in another format
        return False
    if len(first) < 3 or len(others) < 5:
        return False  # by chance
    outside = (first < np.min(others, 0)) | (first > np.max(others, 0))
    return bool((np.diff(first) > 0).all() and outside.all())


def warn_of_index(name: str, cells: Sequence[str]) -> None:
    """Warn if a column without a name counts the rows from 0 or 1, as an index does."""
    if name != "x0" or not len(cells) or cells[0] not in ("0", "1"):
        return
    start = int(cells[0])
    if all(cell == str(i) for i, cell in enumerate(cells, start)):
        _warn(
            "the first column has no name and counts the rows; if it is an index, leave it out by "
            "--drop x0 (drop='x0')."
        )


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=5)
