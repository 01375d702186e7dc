"""How numbers and missing values are spelled in the cells of a table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["DECIMAL_MARKS", "MissingValues", "NumberFormat", "ReadCells", "common_unit"]

Array = NDArray[Any]
DECIMAL_MARKS = (".", ",")
#: Cells without a value, in lower case: the words of pandas, and marks that stand for no value.
MISSING = frozenset(
    (
        *("", "#n/a", "#n/a n/a", "#na", "-1.#ind", "-1.#qnan", "-nan", "1.#ind", "1.#qnan"),
        *("<na>", "n/a", "na", "nan", "none", "null", "?", "-", "--", "."),
    )
)
CURRENCIES = (*"$€£¥₹₩₽₺₪₴฿₫₱¢", "US$", "R$", "kr", "zł", "Kč", "Ft", "Fr.")
CODES = ("USD", "EUR", "GBP", "JPY", "CHF", "CNY", "INR", "CAD", "AUD", "SEK", "NOK", "DKK", "PLN")
UNITS = frozenset(("%", "‰", *CURRENCIES, *CODES))
_UNIT = "|".join(map(re.escape, sorted(UNITS, key=len, reverse=True)))
_CELL = re.compile(
    rf"(?P<sign>[-+]?)(?P<prefix>(?:(?:{_UNIT}) ?)?)(?P<inner>[-+]?)"
    rf"(?P<number>[\d.,](?:[\d., ']*[\d.,])?(?:[eE][-+]?\d+)?)(?P<suffix>(?: ?(?:{_UNIT}))?)"
)
_GROUPS = r"[1-9]\d{{0,2}}(?P<mark>[{others}])\d{{3}}(?:(?P=mark)\d{{3}})*"
_NUMBER = {
    decimal: re.compile(
        rf"(?=\D?\d)(?:\d*|{_GROUPS.format(others=others)})(?:{re.escape(decimal)}\d*)?"
        r"(?:[eE][-+]?\d+)?"
    )
    for decimal, others in ((".", ", '"), (",", ". '"))
}
_TYPOGRAPHY = str.maketrans(
    dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\u2014\ufe63\uff0d", "-")
    | dict.fromkeys("\u00a0\u202f\u2009\u2007", " ")
    | {"\u2019": "'"}
)


class MissingValues:
    """The cells that count as missing: `MISSING`, and words or numbers of the user's.

    Examples
    --------
    >>> missing = MissingValues(["none given", "-999"])
    >>> [missing.is_word(cell) for cell in ("NA", "None given", "0")]
    [True, True, False]
    >>> missing.remove_from(np.array([1.0, -999.0]))
    array([ 1., nan])
    """

    def __init__(self, more: Iterable[str] = ()) -> None:
        self.own = frozenset(word.strip().lower() for word in more)
        self.words = MISSING | self.own
        numbers = (NumberFormat(mark).read(word) for word in self.own for mark in DECIMAL_MARKS)
        self.numbers = [number for number in numbers if number is not None]

    def is_word(self, cell: str) -> bool:
        """Return whether a cell of a text file is a word for missing."""
        return _plain_text(cell).lower() in self.words

    def is_own(self, cell: str) -> bool:
        """Return whether the user declared this text missing."""
        return _plain_text(cell).lower() in self.own

    def remove_from(self, numbers: Array) -> Array:
        """Return numbers with NaN in place of those that stand for missing."""
        found = np.isin(numbers, self.numbers) if self.numbers else np.zeros(1, bool)
        return np.where(found, np.nan, numbers) if found.any() else numbers


class ReadCells(NamedTuple):
    """Cells as numbers (n,), NaN for missing ones, and the indices of those that are text."""

    numbers: Array
    odd: list[int]


@dataclass(frozen=True)
class NumberFormat:
    """How the numbers of a column are spelled.

    Besides a plain number, a cell may have groups of three digits separated by a comma or point
    (whichever is not the decimal mark), a space or an apostrophe, and a typographical minus.

    Parameters
    ----------
    decimal : {".", ","}
    prefix, suffix : str
        The currency or percent sign of every cell, with a space if there is one. It is a unit: "5%"
        is read as 5.

    Examples
    --------
    >>> euros = NumberFormat(",", suffix=" €")
    >>> euros.read("−1.234,50 €"), euros.read("1.5"), euros.write("20.63")
    (-1234.5, None, '20,63 €')
    """

    decimal: str = "."
    prefix: str = ""
    suffix: str = ""

    @classmethod
    def from_json(cls, saved: Any) -> NumberFormat:
        """Return a format that was saved as a dictionary; a ValueError if it is invalid."""
        valid = (
            isinstance(saved, dict)
            and set(saved) == {"decimal", "prefix", "suffix"}
            and all(isinstance(value, str) for value in saved.values())
            and saved["decimal"] in DECIMAL_MARKS
            and {saved["prefix"].strip(), saved["suffix"].strip()} <= UNITS | {""}
            and max(map(len, saved.values())) < 8
        )
        if not valid:
            raise ValueError("expected decimal, prefix and suffix of numbers.")
        return cls(**saved)

    @property
    def unit(self) -> str:
        """The currency or percent sign."""
        return (self.prefix or self.suffix).strip()

    @cached_property
    def is_plain(self) -> bool:
        """Whether Python's `float` reads these numbers."""
        return self == NumberFormat()

    def read(self, cell: str) -> float | None:
        """Return the number in a cell; None if it does not hold one."""
        if self.is_plain and (number := _to_float(cell)) is not None:
            return number
        found = _CELL.fullmatch(_plain_text(cell))
        if found is None:
            return None if any(map(str.isdigit, cell)) else _to_float(cell)  # infinity
        signs, text = found["sign"] + found["inner"], found["number"]
        if _unit(found) != self.unit or len(signs) > 1 or not _NUMBER[self.decimal].fullmatch(text):
            return None
        digits = re.sub(rf"[^\deE+{self.decimal}-]", "", text).replace(",", ".")
        return float(signs + digits)

    def read_all(self, cells: Sequence[str], missing: MissingValues) -> ReadCells:
        """Return cells as numbers, with the indices of those that are neither that nor missing."""
        if (numbers := self._read_plain(cells)) is not None:
            return ReadCells(missing.remove_from(numbers), [])
        seen: dict[str, float | None] = {}
        for cell in cells:
            if cell not in seen:
                seen[cell] = float("nan") if missing.is_word(cell) else self.read(cell)
        odd = [i for i, cell in enumerate(cells) if seen[cell] is None]
        numbers = np.array([seen[cell] for cell in cells], np.float64)  # None becomes NaN
        return ReadCells(missing.remove_from(numbers), odd)

    def first_odd(self, cells: Sequence[str], missing: MissingValues) -> int | None:
        """Return the index of the first cell that is neither a number nor missing, if any."""
        if self._read_plain(cells) is not None:
            return None
        seen: set[str] = set()
        for i, cell in enumerate(cells):
            if cell not in seen and not missing.is_word(cell) and self.read(cell) is None:
                return i
            seen.add(cell)
        return None

    def _read_plain(self, cells: Sequence[str]) -> Array | None:
        """Return plain numbers several times faster than cell by cell; None if some are not."""
        text = "\n".join(cells)
        if self.unit or "_" in text or (self.decimal == "," and "." in text):
            return None
        lines = cells if self.decimal == "." else text.replace(",", ".").split("\n")
        try:
            numbers = [float(line or "nan") for line in lines]
            return np.array(numbers) if len(lines) == len(cells) else None
        except ValueError:
            return None

    def write(self, number: str) -> str:
        """Return a plain number, such as "-1.5", in this format."""
        sign, digits = ("-", number[1:]) if number[:1] == "-" else ("", number)
        return f"{sign}{self.prefix}{digits.replace('.', self.decimal)}{self.suffix}"


def common_unit(cells: Iterable[str]) -> NumberFormat:
    """Return a format with the currency or percent sign that most cells have, none for none."""
    found = (_CELL.fullmatch(_plain_text(cell)) for cell in cells)
    kinds = Counter((_unit(each), each["prefix"], each["suffix"]) for each in found if each)
    units = Counter[str]()
    for (unit, _, _), n in kinds.items():
        units[unit] += n
    if not units or not (unit := units.most_common(1)[0][0]):
        return NumberFormat()
    prefix, suffix = next((p, s) for (u, p, s), _ in kinds.most_common() if u == unit)
    return NumberFormat(prefix=prefix, suffix=suffix)


def _unit(found: re.Match[str]) -> str:
    """Return the unit of a cell; one before and one after the number are no known unit."""
    return found["prefix"].strip() + found["suffix"].strip()


def _plain_text(cell: str) -> str:
    """Return a cell with a plain minus, space and apostrophe."""
    return cell.translate(_TYPOGRAPHY).strip()


def _to_float(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)  # only Python reads 20_01 as a number
    except ValueError:
        return None
