"""One column of a table: how its values are encoded as numbers, and decoded."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus._messages import one_line, times_error
from isthmus.data.number_format import MissingValues, NumberFormat

__all__ = [
    "UNKNOWN",
    "CellError",
    "Column",
    "RawColumn",
    "as_saved",
    "check_no_times",
    "labels_as_saved",
    "object_array",
]

Array = NDArray[Any]
MAX_CATEGORIES = 256  # a column with more distinct texts holds names or free text
MAX_DECIMALS = 6  # digits after the point; columns with more are measurements
MAX_RARE = 10  # so many different texts that occur less than twice on average are free text
DTYPE = r"[\w\[\], /:<>|=()+.-]{1,100}"  # such as "datetime64[ns, Europe/Berlin]"
UNKNOWN = -1.0  # the number of a category that was not seen during fit and is to be flagged
SPELLED_BOOLEANS = (("false", "true"), ("no", "yes"))


def as_saved(value: Any) -> Any:
    """Return a name or category in the form in which JSON keeps it; as text if it has none.

    Examples
    --------
    >>> import datetime
    >>> as_saved(datetime.date(2026, 1, 31)), as_saved(("a", np.int64(3)))
    ('2026-01-31', ('a', 3))
    """
    if isinstance(value, tuple) and not any(isinstance(each, tuple) for each in value):
        return tuple(map(as_saved, value))
    value = value.item() if isinstance(value, np.generic) else value
    is_json = value is None or isinstance(value, str | int) or _is_finite(value)
    return value if is_json else str(value)


def labels_as_saved(labels: Array) -> Array:
    """Return labels as they are, or as text if JSON has no form for them."""
    if labels.dtype.kind not in "SmMO":
        return labels
    kinds: dict[str, Any] = {"O": object, "S": str, "M": "M8[us]", "m": "m8[us]"}
    objects = labels.astype(kinds[labels.dtype.kind]).astype(object)
    saved = [as_saved(label) for label in objects.reshape(-1)]
    if all(new == old for new, old in zip(saved, labels.reshape(-1), strict=True)):
        return labels
    return np.array([*map(str, saved)]).reshape(labels.shape)


class CellError(ValueError):
    """A cell that cannot be read, in a row counted from 0."""

    def __init__(self, message: str, row: int = 0) -> None:
        super().__init__(message)
        self.row = row


@dataclass(frozen=True)
class RawColumn:
    """A column before encoding: numbers (n,) with NaN or values (n,) with None, and its dtype.

    Parameters
    ----------
    name : str or int
    dtype : str
    numbers, values : ndarray (n,)
        One of them.
    categories : tuple, optional
        The categories, if the type of the column defines them.
    ordered : bool
        Whether the categories are ordered.
    from_text : bool
        Whether `values` are the cells of a text file, in which words stand for missing values.
    format : NumberFormat, optional
        How the numbers were spelled.
    numeric : bool
        Whether the user wants numbers even if there are only 0 and 1.
    as_text : bool
        Whether JSON has no form for the name or the categories, which are text therefore.
    """

    name: Any
    dtype: str
    numbers: Array | None = None
    values: Array | None = None
    categories: tuple[Any, ...] | None = None
    ordered: bool = False
    from_text: bool = False
    format: NumberFormat | None = None
    numeric: bool = False
    as_text: bool = False

    @property
    def cells(self) -> list[str] | None:
        """The values as text, with "" for missing ones; None unless some are text, others numbers.

        Categories that the type of the column defines are not cells.
        """
        if self.from_text and self.values is not None:
            return [*self.values]
        if self.values is None or self.categories is not None:
            return None
        kinds = {type(value) for value in self.values} - {type(None)}
        if str not in kinds or not kinds <= {str, int, float}:
            return None
        return ["" if value is None else str(value) for value in self.values]

    @property
    def objects(self) -> Array:
        """The values of a column of either kind, with None for missing ones."""
        if self.values is not None:
            return self.values
        assert self.numbers is not None
        return np.array([None if np.isnan(v) else v for v in self.numbers], object)


@dataclass(frozen=True)
class Column:
    """How one column of a table is encoded.

    Parameters
    ----------
    name : str or int
    kind : {"number", "boolean", "category"}
        A column of at most two distinct values is boolean.
    dtype : str
        Type in the original table.
    categories : tuple
        The values encoded as 0, 1, 2, …
    ordered : bool
        Whether the categories are ordered; data frames keep this, but models ignore it.
    low, high : float, optional
        Smallest and largest number seen.
    whole : bool
        Whether all numbers seen were whole.
    format : NumberFormat, optional
        How numbers were spelled, if they were read from text.
    decimals : int, optional
        Digits after the point of all numbers seen; None if there are more than six.
    """

    name: Any
    kind: str
    dtype: str
    categories: tuple[Any, ...] = ()
    ordered: bool = False
    low: float | None = None
    high: float | None = None
    whole: bool = False
    format: NumberFormat | None = None
    decimals: int | None = None

    @classmethod
    def learn(cls, raw: RawColumn, mixed: bool) -> Column:
        """Infer the encoding of a column; in a mixed table, one of 0 and 1 only is boolean.

        A column of floats without gaps is not: libraries store whole numbers as such only if
        values are missing.
        """
        check_no_times(raw.name, raw.dtype)
        is_flag = mixed and not raw.numeric and raw.numbers is not None and _is_flag(raw)
        if raw.numbers is not None and not is_flag:
            seen = raw.numbers[np.isfinite(raw.numbers)]
            low, high = (float(seen.min()), float(seen.max())) if len(seen) else (None, None)
            whole = bool((seen == np.rint(seen)).all())
            numbers = cls(raw.name, "number", raw.dtype, low=low, high=high, whole=whole)
            return replace(numbers, format=raw.format, decimals=_decimals(seen))
        categories = raw.categories or _categories(raw)
        kind = "boolean" if len(categories) <= 2 else "category"
        return cls(raw.name, kind, raw.dtype, categories, raw.ordered)

    @classmethod
    def from_json(cls, saved: Any) -> Column:
        """Return a column saved as a dictionary of its fields; a ValueError if one is invalid."""
        known = {field.name for field in fields(cls)}
        if not isinstance(saved, dict) or not {"name", "kind", "dtype"} <= set(saved) <= known:
            raise ValueError(
                "columns: expected the entries name, kind, dtype and those of `Column`."
            )
        entry = asdict(cls("", "", "")) | saved
        name, dtype, categories = entry["name"], entry["dtype"], entry["categories"]
        name = tuple(name) if isinstance(name, list) else name
        names = name if isinstance(name, tuple) else (name,)
        low, high = entry["low"], entry["high"]
        valid = (
            isinstance(categories, list | tuple)
            and all(v is None or isinstance(v, str | int | float) for v in (*names, *categories))
            and entry["kind"] in ("number", "boolean", "category")
            and (entry["kind"] != "number" or not categories)
            and isinstance(dtype, str)
            and re.fullmatch(DTYPE, dtype)
            and not re.search(r"\d{4}", dtype)  # "U100000000" takes that per cell
            and ((low is None and high is None) or (_is_finite(low) and _is_finite(high)))
            and all(isinstance(entry[flag], bool) for flag in ("ordered", "whole"))
            and (entry["decimals"] is None or _is_decimals(entry["decimals"]))
        )
        if not valid:
            raise ValueError(f"columns: the entry of column {one_line(repr(name))} is invalid.")
        spelling = None if entry["format"] is None else NumberFormat.from_json(entry["format"])
        return cls(**entry | {"name": name, "categories": tuple(categories), "format": spelling})

    @property
    def likelihood(self) -> str:
        """The likelihood of a column of this kind."""
        kinds = {"number": "gaussian-per-feature", "boolean": "bernoulli"}
        return kinds.get(self.kind, f"categorical:{len(self.categories)}")

    @property
    def digits(self) -> int | None:
        """Digits after the point to which numbers are rounded; None if they are not."""
        return 0 if self.whole else self.decimals

    @property
    def limits(self) -> tuple[float, float]:
        """Least and greatest number that decoding leaves in the range seen, by rounding at most.

        Examples
        --------
        >>> Column("age", "number", "int64", low=18.0, high=90.0, whole=True).limits
        (17.5, 90.5)
        """
        if self.kind != "number" or self.low is None or self.high is None:
            return -math.inf, math.inf
        half = 0.0 if self.digits is None else 0.5 * 10.0**-self.digits
        return self.low - half, self.high + half

    def to_numbers(
        self,
        raw: RawColumn,
        missing: MissingValues | None = None,
        handle_unknown: str = "error",
    ) -> Array:
        """Encode a column, with NaN for missing values; for unknown categories see `Columns`."""
        missing = missing or MissingValues()
        if self.kind == "number":
            return self._numbers(raw, missing)
        codes: dict[Any, float] = {value: i for i, value in enumerate(self.categories)}
        values = self._values(raw, missing)
        numbers = np.array([codes.get(value, np.nan) for value in values], float)
        unknown = np.isnan(numbers) & np.array([value is not None for value in values], bool)
        if unknown.any() and handle_unknown != "error":
            numbers[unknown] = UNKNOWN if handle_unknown == "flag" else np.nan
            self._warn_of_unknown(values[unknown], handle_unknown)
        elif unknown.any():
            row = int(unknown.argmax())
            counts = " If these are counts, fit with likelihood 'poisson' for this column."
            raise CellError(
                f"column {self.name!r} holds the unknown value {values[row]!r} in row {row}; "
                f"values seen during fit: {self._listed(20)}. Correct it, mark it as missing, or "
                "set handle_unknown='missing' (--handle-unknown missing)."
                f"{counts if self._is_binary_number else ''}",
                row,
            )
        return numbers

    def _numbers(self, raw: RawColumn, missing: MissingValues) -> Array:
        """Return the numbers of a raw column; a ValueError that names the first other cell."""
        if raw.numbers is not None:
            return missing.remove_from(raw.numbers)
        if (cells := raw.cells) is None:
            value = next((v for v in raw.objects if v is not None), None)
            raise ValueError(
                f"column {self.name!r} held numbers when the model was fitted, but now holds "
                f"{value!r}."
            )
        spelling = self.format or NumberFormat()
        read = spelling.read_all(cells, missing)
        if not read.odd:
            return read.numbers
        row = read.odd[0]
        such = "" if spelling.is_plain else f" such as {spelling.write('1.5')!r}"
        raise CellError(
            f"column {self.name!r} held numbers{such} when the model was fitted, but now holds "
            f"{cells[row]!r} in row {row}. Correct the cell, or describe the table by na_values or "
            "decimal (--na-values, --decimal).",
            row,
        )

    def _values(self, raw: RawColumn, missing: MissingValues) -> Array:
        """Return the values of a raw column as categories are, None for missing ones."""
        if raw.numbers is not None:
            raw = replace(raw, numbers=missing.remove_from(raw.numbers))
        known, is_missing = {*self.categories}, missing.is_own
        values: Iterable[Any] = raw.objects
        if raw.from_text:
            is_missing = missing.is_word
            values = (cell.strip() for cell in raw.objects)
        # A category seen during fit is never a word for a missing value.
        present = [
            None if isinstance(v, str) and v not in known and is_missing(v) else v for v in values
        ]
        return object_array(v if v is None or v in known else self._matched(v) for v in present)

    def _matched(self, value: Any) -> Any:
        """Return the category that a value spells in another type, or the value."""
        if not isinstance(value, str):
            whole = isinstance(value, float) and value.is_integer()
            texts = (str(value), str(int(value)) if whole else "")
            return next((text for text in texts if text in self.categories), value)
        cell = value
        words = {str(value).lower(): value for value in self.categories}
        number = NumberFormat().read(cell)
        return words.get(cell.lower(), cell if number is None else number)

    def _warn_of_unknown(self, values: Array, handle_unknown: str) -> None:
        n, result = len(values), "flagged" if handle_unknown == "flag" else "treated as missing"
        which = "1 value was" if n == 1 else f"{n:,} values were"
        warnings.warn(
            f"column {self.name!r}: {which} not seen during fit, such as {values[0]!r}; {result}.",
            stacklevel=2,
        )

    def from_numbers(self, numbers: Array) -> Array:
        """Decode numbers (n,): rounded to the decimals and clipped to the range seen; categories.

        Rounding takes place in float64, so that 18590.494140625 becomes 18590.49.
        """
        if self.kind == "number":
            if self.low is None:  # no value was seen
                return np.full(len(numbers), np.nan)
            out = np.clip(numbers.astype(np.float64), self.low, self.high)
            return out if self.digits is None else np.round(out, self.digits)
        last = max(len(self.categories) - 1, 0)
        index = np.where(np.isnan(numbers), last + 1, np.clip(np.round(numbers), 0, last))
        return object_array([*self.categories, None])[index.astype(int)]

    def spell(self, numbers: Array) -> list[str]:
        """Decode numbers (n,) as text: in the fewest digits that read back, in their format."""
        values = self.from_numbers(numbers)
        if self.kind != "number":
            return ["" if value is None else str(value) for value in values]
        spelling = self.format or NumberFormat()
        plain = (str(int(v)) if self.whole and np.isfinite(v) else repr(float(v)) for v in values)
        return [*map(spelling.write, plain)]

    def to_raw(self, numbers: Array) -> RawColumn:
        """Return encoded numbers (n,) as the column before encoding."""
        if self.kind == "number" or self._is_binary_number:
            return RawColumn(self.name, self.dtype, numbers, format=self.format)
        values = self.from_numbers(numbers)
        return RawColumn(self.name, self.dtype, None, values, self.categories, self.ordered)

    def as_number(self) -> Column:
        """Return a column of 0 and 1 as one of whole numbers; others as they are."""
        if not self._is_binary_number:
            return self
        number = {"kind": "number", "categories": (), "low": 0.0, "high": 1.0, "whole": True}
        return replace(self, **number)  # type: ignore[arg-type]

    @property
    def _is_binary_number(self) -> bool:
        is_bool = any(isinstance(value, bool) for value in self.categories)
        return self.kind == "boolean" and self.categories == (0, 1) and not is_bool

    def describe(self) -> str:
        """Return one line about the encoding."""
        if self.kind == "number" and self.low is None:
            return "number, without a value"
        if self.kind == "number":
            high = np.array([self.high or 0.0])
            (text,), (plain,) = self.spell(high), replace(self, format=None).spell(high)
            such = "" if text == plain else f", such as {text}"
            return f"number, {self.low:g} to {self.high or 0:g}{such}"
        n = len(self.categories)
        how = "yes or no" if self.kind == "boolean" else f"{n} categories"
        return f"{how}: {self._listed(5)}"

    def _listed(self, n: int) -> str:
        return ", ".join(map(str, self.categories[:n])) + ", …" * (len(self.categories) > n)


def object_array(values: Iterable[Any]) -> Array:
    """Return any values, nested or not, as an array of objects (n,)."""
    return np.array([*values, None], object)[:-1]


def check_no_times(name: Any, dtype: str) -> None:
    """Raise a ValueError if a column has a type of times, in any library of data frames."""
    if dtype.lower().startswith(("date", "time", "duration")):
        raise ValueError(times_error(f"column {name!r}", dtype))


def _is_finite(value: Any) -> bool:
    if type(value) is int:
        return abs(value) < 2**63
    return type(value) is float and math.isfinite(value)


def _is_decimals(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_DECIMALS


def _decimals(seen: Array) -> int | None:
    """Return the digits after the point with which all numbers are exact, in their precision.

    Examples
    --------
    >>> _decimals(np.array([18590.49, 0.5])), _decimals(np.array([0.1], np.float32).astype(float))
    (2, 1)
    >>> _decimals(np.array([1 / 3]))
    """
    single = seen.astype(np.float32)
    kinds = (np.float64, np.float32) if (single == seen).all() else (np.float64,)
    for kind in kinds if len(seen) else ():
        for digits in range(MAX_DECIMALS + 1):
            with np.errstate(over="ignore", invalid="ignore"):
                rounded = np.round(seen, digits)
            if (rounded.astype(kind) == seen.astype(kind)).all():
                return digits
    return None


def _is_flag(raw: RawColumn) -> bool:
    """Whether a column of numbers is one of 0 and 1 that is not meant to be of floats."""
    assert raw.numbers is not None
    gaps = np.isnan(raw.numbers)
    if raw.dtype.lower().startswith("float") and not gaps.any():
        return False
    return not gaps.all() and bool(np.isin(raw.numbers[~gaps], (0, 1)).all())


def _categories(raw: RawColumn) -> tuple[Any, ...]:
    """Return the distinct values of a column in order, false before true."""
    if raw.numbers is not None:
        return (0, 1)
    present = [value for value in raw.objects if value is not None]
    odd = next((v for v in present if not isinstance(v, str | bool | int | float)), None)
    if odd is not None:
        raise ValueError(
            f"column {raw.name!r} holds {odd!r} ({type(odd).__name__}); convert it to numbers, "
            "text or booleans, or drop it."
        )
    if {*present} <= {True, False}:
        return (False, True)
    categories = tuple(sorted({*present}, key=lambda value: (str(type(value)), value)))
    for spelled in SPELLED_BOOLEANS:
        if sorted(str(v).lower() for v in categories) == [*spelled]:
            return tuple(sorted(categories, key=lambda v: str(v).lower()))
    n = len(categories)
    if n > MAX_CATEGORIES or (2 * n > len(present) and n > MAX_RARE):
        raise ValueError(
            f"column {raw.name!r} has {n:,} different texts in {len(present):,} rows, such as "
            f"{present[0]!r}: names, dates or free text rather than categories. Drop the column, "
            "convert it to numbers, or use it as the label."
        )
    return categories
