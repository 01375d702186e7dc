"""Read the cells of a text table: as numbers, missing values or text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isthmus.data.column import RawColumn, object_array

__all__ = ["to_column", "to_labels", "to_number"]

_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})


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
        texts = object_array(None if _is_missing(cell) else cell.strip() for cell in cells)
        return RawColumn(name, "str", values=texts)
    whole = not any(mark in c for c in cells if not _is_missing(c) for mark in ".eEnN")
    return RawColumn(name, "int64" if whole else "float64", np.array(numbers))


def to_labels(cells: Sequence[str]) -> np.ndarray:
    """Return cells as int64 if all are whole numbers, float64 if all are numbers, else as text."""
    numbers = _to_numbers(cells)
    if numbers is None:
        return np.array([cell.strip() for cell in cells])
    try:
        return np.array([int(cell) for cell in cells], np.int64)
    except (ValueError, OverflowError):
        return np.array(numbers, np.float64)


def _is_missing(cell: str) -> bool:
    return cell.strip().lower() in _MISSING


def _to_numbers(cells: Sequence[str]) -> list[float] | None:
    """Return cells as numbers; None if any is text."""
    try:
        if "_" not in "".join(cells):
            return list(map(float, cells))  # several times faster than cell by cell
    except ValueError:
        pass
    numbers = [number for cell in cells if (number := to_number(cell)) is not None]
    return numbers if len(numbers) == len(cells) else None
