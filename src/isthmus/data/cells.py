"""Decide which columns of text hold numbers, and read them.

A column is numeric only if all of its cells are: with one decimal mark, and one currency or percent
sign or none. A few cells of other text among many numbers are an error, because the column would
otherwise become categories.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.column import CellError, RawColumn, object_array
from isthmus.data.number_format import DECIMAL_MARKS, MissingValues, NumberFormat, common_unit
from isthmus.data.table_options import TableOptions

__all__ = ["holds_number", "interpret", "to_labels"]

Array = NDArray[Any]
MIN_NUMBERS, MIN_SHARE = 5, 0.9  # of numbers in a column in which any other text is an error
NUMBER_TYPES = {"pandas": ("float64", "int64"), "polars": ("Float64", "Int64")}
USUAL = MissingValues()


def holds_number(cell: str) -> bool:
    """Return whether a cell is missing, or a number in some format."""
    unit = common_unit([cell])
    return USUAL.is_word(cell) or any(
        replace(unit, decimal=mark).read(cell) is not None for mark in DECIMAL_MARKS
    )


def interpret(
    raw: Sequence[RawColumn],
    options: TableOptions,
    delimiter: str = ",",
    library: str = "pandas",
) -> list[RawColumn]:
    """Return the columns of a table, as numbers if all cells of a column are numbers.

    The decimal mark of a column such as "1,234", "5,678" does not follow from its cells: it is that
    of the other columns, or else a comma if semicolons separate the cells.

    Parameters
    ----------
    raw : sequence of RawColumn
    options : TableOptions
    delimiter : str
        The character between cells.
    library : {"pandas", "polars"}
        The library whose names the types of the columns have.

    Raises
    ------
    ValueError
        If almost all cells of a column are numbers, and the user did not declare it categorical.
    """
    missing = options.missing
    texts = {
        j: _TextColumn(column.name, cells, missing, options.decimal)
        for j, column in enumerate(raw)
        if str(column.name) not in options.categorical and (cells := column.cells) is not None
    }
    marks = {t.formats[0].decimal for t in texts.values() if len(t.formats) == 1}
    columns = []
    for j, column in enumerate(raw):
        numeric = str(column.name) in options.numeric
        if j in texts and (format := texts[j].choose(marks, delimiter)):
            numbers, is_whole = texts[j].numbers(format)
            dtype = NUMBER_TYPES[library][is_whole and (column.from_text or _is_full(numbers))]
            read = replace(column, dtype=dtype, numbers=numbers, values=None, from_text=False)
            columns.append(replace(read, format=format, numeric=numeric))
            continue
        if j in texts:
            texts[j].check_odd_cells(numeric)
        as_categories = str(column.name) in options.categorical
        columns.append(_without_missing(column, missing, as_categories, numeric))
    _warn_of_text([c for before, c in zip(raw, columns, strict=True) if not before.from_text])
    _warn_of_units([t for t in texts.values() if t.formats and t.formats[0].unit])
    return columns


def to_labels(cells: Sequence[str], read: RawColumn) -> Array:
    """Return labels as int64 if all are whole numbers, float64 if all are numbers, else as text.

    `read` is the column that `interpret` made of the cells.
    """
    if read.numbers is None:
        return np.array([cell.strip() for cell in cells])
    try:
        return np.array([int(cell) for cell in cells], np.int64)
    except (ValueError, OverflowError):
        whole = _is_full(read.numbers) and read.dtype == "int64" and abs(read.numbers).max() < 2**53
        return read.numbers.astype(np.int64 if whole else np.float64)


class _TextColumn:
    """The cells of a column, and the formats in which all of them are numbers."""

    def __init__(
        self, name: Any, cells: list[str], missing: MissingValues, decimal: str = "auto"
    ) -> None:
        self.name, self.cells, self.missing = name, cells, missing
        self._marks = DECIMAL_MARKS if decimal == "auto" else (decimal,)
        self.formats = self._fitting(NumberFormat())
        if not self.formats and (unit := common_unit(dict.fromkeys(cells))).unit:
            self.formats = self._fitting(unit)

    def _fitting(self, unit: NumberFormat) -> list[NumberFormat]:
        formats = [replace(unit, decimal=mark) for mark in self._marks]
        return [f for f in formats if f.first_odd(self.cells, self.missing) is None]

    def choose(self, marks: Collection[str], delimiter: str) -> NumberFormat | None:
        """Return the format of the numbers, None for text; `marks` are those of other columns."""
        if len(self.formats) < 2:
            return self.formats[0] if self.formats else None
        point, comma = self.formats
        marked = (c for c in self.cells if ("," in c or "." in c) and not self.missing.is_word(c))
        cell = next(marked, None)
        has_comma = cell is not None and "," in cell
        is_comma = {*marks} == {","} or (not marks and has_comma and delimiter == ";")
        chosen = comma if is_comma else point
        if cell and (not marks if has_comma else is_comma):
            self._warn_of_guess(chosen, cell)
        return chosen

    def _warn_of_guess(self, format: NumberFormat, cell: str) -> None:
        other = "," if format.decimal == "." else "."
        _warn(
            f"column {self.name!r}: {cell!r} was read as {format.read(cell):g}; if {other!r} is "
            f"the decimal mark, pass decimal={other!r} (--decimal {other})."
        )

    def numbers(self, format: NumberFormat) -> tuple[Array, bool]:
        """Return the cells as numbers, and whether they are spelled as whole ones."""
        numbers = format.read_all(self.cells, self.missing).numbers
        present = [c for c, gap in zip(self.cells, np.isnan(numbers), strict=True) if not gap]
        bare = "".join(present).replace(format.unit, "") if format.unit else "".join(present)
        return numbers, not any(mark in bare for mark in (format.decimal, *"eEnN"))

    def check_odd_cells(self, numeric: bool) -> None:
        """Raise a ValueError if the column is numeric, or nearly so, and some cells are text.

        Text that is only in the first or the last cell is a unit or a remark.
        """
        unit = common_unit(dict.fromkeys(self.cells))
        formats = [replace(unit, decimal=mark) for mark in self._marks]
        reads = [format.read_all(self.cells, self.missing) for format in formats]
        numbers, odd = min(reads, key=lambda read: len(read.odd))
        is_number = ~np.isnan(numbers)
        rows = sorted([*np.flatnonzero(is_number), *odd])
        n = int(is_number.sum())
        at_ends = {*odd} <= {rows[0], rows[-1]}
        if numeric or (n >= MIN_NUMBERS and (n >= MIN_SHARE * len(rows) or at_ends)):
            such = f", such as {self.cells[int(is_number.argmax())]!r}" if n else ""
            raise CellError(
                f"column {self.name!r} holds {self.cells[odd[0]]!r} in row {odd[0]}, which is not "
                f"a number as {n:,} of its {len(rows):,} cells are{such}. Correct the cell, mark "
                "it as missing (na_values, --na-values), declare the column categorical "
                "(--categorical) or drop it (--drop).",
                odd[0],
            )


def _without_missing(
    column: RawColumn, missing: MissingValues, as_categories: bool, numeric: bool
) -> RawColumn:
    """Return a column with NaN or None in place of the words and numbers for missing."""
    if column.numbers is not None:
        numbers = missing.remove_from(column.numbers)
        if not as_categories:
            return replace(column, numbers=numbers, numeric=numeric)
        values = (None if np.isnan(v) else int(v) if v.is_integer() else float(v) for v in numbers)
        return replace(column, numbers=None, values=object_array(values))
    assert column.values is not None
    if not column.from_text:
        own = missing.is_own
        kept = (None if isinstance(v, str) and own(v) else v for v in column.values)
        return replace(column, values=object_array(kept))
    cells = [cell.strip() for cell in column.values]
    signs = {"-", "--"} - missing.own if {"+", "++"} & {*cells} else set()  # beside "+", no gap
    kept = (c if c in signs or not missing.is_word(c) else None for c in cells)
    return replace(column, values=object_array(kept), from_text=False)


def _is_full(numbers: Array) -> bool:
    return not np.isnan(numbers).any()


def _warn_of_text(columns: Sequence[RawColumn]) -> None:
    """Warn of columns of a data frame whose text is read as numbers."""
    if names := [c.name for c in columns if c.format]:
        _warn(f"text in {_listed(names)} is read as numbers; for categories, use type 'category'.")


def _warn_of_units(texts: Sequence[_TextColumn]) -> None:
    """Warn of currency and percent signs that are left out."""
    if texts:
        first = next(c for c in texts[0].cells if not texts[0].missing.is_word(c)).strip()
        names, sign = _listed([text.name for text in texts]), texts[0].formats[0].unit
        _warn(f"in {names}, signs such as {sign!r} in {first!r} are left out.")


def _listed(names: Sequence[Any]) -> str:
    return ", ".join(map(repr, names[:5])) + ", ..." * (len(names) > 5)


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=4)
