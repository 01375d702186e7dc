"""One column of a table: how its values are encoded as numbers, and decoded."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus._messages import one_line

__all__ = ["Column", "RawColumn", "object_array"]

Array = NDArray[Any]
MAX_CATEGORIES = 256  # a column with more distinct texts holds names or free text
MAX_UNIQUE_ROWS = 10  # a column of more rows, all distinct, holds names or free text
DTYPE = r"[\w\[\], /:<>|=()+.-]{1,100}"  # such as "datetime64[ns, Europe/Berlin]"
SPELLED_BOOLEANS = (("false", "true"), ("no", "yes"))


@dataclass(frozen=True)
class RawColumn:
    """A column before encoding: numbers (n,) with NaN or values (n,) with None, and its dtype."""

    name: Any
    dtype: str
    numbers: Array | None = None
    values: Array | None = None
    categories: tuple[Any, ...] | None = None
    ordered: bool = False

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
    """

    name: Any
    kind: str
    dtype: str
    categories: tuple[Any, ...] = ()
    ordered: bool = False
    low: float | None = None
    high: float | None = None
    whole: bool = False

    @classmethod
    def learn(cls, raw: RawColumn, mixed: bool) -> Column:
        """Infer the encoding of a column; in a mixed table, one of 0 and 1 only is boolean."""
        if raw.numbers is not None and not (mixed and _is_binary(raw.numbers)):
            seen = raw.numbers[np.isfinite(raw.numbers)]
            low, high = (float(seen.min()), float(seen.max())) if len(seen) else (None, None)
            whole = bool((seen == np.rint(seen)).all())
            return cls(raw.name, "number", raw.dtype, low=low, high=high, whole=whole)
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
            and (entry["kind"] == "number") == (not categories)
            and isinstance(dtype, str)
            and re.fullmatch(DTYPE, dtype)
            and not re.search(r"\d{4}", dtype)  # "U100000000" takes that per cell
            and ((low is None and high is None) or (_is_finite(low) and _is_finite(high)))
            and all(isinstance(entry[flag], bool) for flag in ("ordered", "whole"))
        )
        if not valid:
            raise ValueError(f"columns: the entry of column {one_line(repr(name))} is invalid.")
        return cls(**entry | {"name": name, "categories": tuple(categories)})

    @property
    def likelihood(self) -> str:
        """The likelihood of a column of this kind."""
        kinds = {"number": "gaussian-per-feature", "boolean": "bernoulli"}
        return kinds.get(self.kind, f"categorical:{len(self.categories)}")

    @property
    def is_text(self) -> bool:
        """Whether categories are texts, so that cells such as "20" are texts too."""
        return any(isinstance(value, str) for value in self.categories)

    def to_numbers(self, raw: RawColumn) -> Array:
        """Encode a column, with NaN for missing values; a ValueError for unknown categories."""
        if self.kind == "number":
            if raw.numbers is None:
                raise ValueError(
                    f"column {self.name!r} held numbers when the model was fitted, but now holds "
                    f"{next((v for v in raw.objects if v is not None), None)!r}."
                )
            return raw.numbers
        codes: dict[Any, float] = {value: i for i, value in enumerate(self.categories)}
        values = raw.objects
        numbers = np.array([codes.get(value, np.nan) for value in values], float)
        missing = np.array([value is None for value in values], bool)
        unknown = np.isnan(numbers) & ~missing
        if unknown.any():
            row = int(unknown.argmax())
            raise ValueError(
                f"column {self.name!r} holds the unknown value {values[row]!r} in row {row}; "
                f"values seen during fit: {self._listed(20)}. Correct it or mark it as missing."
            )
        return numbers

    def from_numbers(self, numbers: Array) -> Array:
        """Decode numbers (n,): clipped to the range seen, rounded if whole, or categories."""
        if self.kind == "number":
            low, high = self.low, self.high
            out = numbers if low is None else np.clip(numbers.astype(np.float64), low, high)
            return np.round(out) if self.whole else out
        last = max(len(self.categories) - 1, 0)
        index = np.where(np.isnan(numbers), last + 1, np.clip(np.round(numbers), 0, last))
        return object_array([*self.categories, None])[index.astype(int)]

    def describe(self) -> str:
        """Return one line about the encoding."""
        if self.kind == "number":
            return f"number, {self.low or 0:g} to {self.high or 0:g}"
        n = len(self.categories)
        how = "yes or no" if self.kind == "boolean" else f"{n} categories"
        return f"{how}: {self._listed(5)}"

    def _listed(self, n: int) -> str:
        return ", ".join(map(str, self.categories[:n])) + ", …" * (len(self.categories) > n)


def object_array(values: Iterable[Any]) -> Array:
    """Return any values, nested or not, as an array of objects (n,)."""
    return np.array([*values, None], object)[:-1]


def _is_finite(value: Any) -> bool:
    if type(value) is int:
        return abs(value) < 2**63
    return type(value) is float and math.isfinite(value)


def _is_binary(numbers: Array) -> bool:
    seen = numbers[~np.isnan(numbers)]
    return len(seen) > 0 and bool(np.isin(seen, (0, 1)).all())


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
    if n > MAX_CATEGORIES or n == len(present) > MAX_UNIQUE_ROWS:
        raise ValueError(
            f"column {raw.name!r} has {n:,} different texts in {len(present):,} rows, such as "
            f"{present[0]!r}: names, dates or free text rather than categories. Drop the column, "
            "convert it to numbers, or use it as the label."
        )
    return categories
