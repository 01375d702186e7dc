"""Convert tables of mixed columns to numbers for a model, and numbers back to data frames."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus._messages import one_line
from isthmus._optional import import_optional
from isthmus.data.limits import MAX_COLUMNS

__all__ = ["Column", "Columns", "RawColumn", "Table", "is_frame", "raw_columns"]

Array = NDArray[Any]
MAX_CATEGORIES = 256  # a column with more distinct texts holds names or free text
MAX_UNIQUE_ROWS = 10  # a column of more rows, all distinct, holds names or free text
LIBRARIES = ("pandas", "polars")  # a saved model must not name any other module to import
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

    @property
    def likelihood(self) -> str:
        """The likelihood of a column of this kind."""
        kinds = {"number": "gaussian-per-feature", "boolean": "bernoulli"}
        return kinds.get(self.kind, f"categorical:{len(self.categories)}")

    def to_numbers(self, cells: RawColumn) -> Array:
        """Encode a column, with NaN for missing values; a ValueError for unknown categories."""
        if self.kind == "number":
            if cells.numbers is None:
                raise ValueError(
                    f"column {self.name!r} held numbers when the model was fitted, but now holds "
                    f"{next((v for v in _objects(cells) if v is not None), None)!r}."
                )
            return cells.numbers
        values = _objects(cells)
        places = {value: float(i) for i, value in enumerate(self.categories)}
        missing = np.array([value is None for value in values], bool)
        out = np.array([places.get(value, np.nan) for value in values], float)
        unknown = np.isnan(out) & ~missing
        if unknown.any():
            row = int(unknown.argmax())
            known = ", ".join(map(str, self.categories[:20]))
            more = ", …" if len(self.categories) > 20 else ""
            raise ValueError(
                f"column {self.name!r} holds the unknown value {values[row]!r} in row {row}; "
                f"values seen during fit: {known}{more}. Correct it or mark it as missing."
            )
        return out

    def from_numbers(self, numbers: Array) -> Array:
        """Decode numbers (n,): clipped to the range seen, rounded if whole, or categories."""
        if self.kind == "number":
            low, high = self.low, self.high
            out = numbers if low is None else np.clip(numbers.astype(np.float64), low, high)
            return np.round(out) if self.whole else out
        last = max(len(self.categories) - 1, 0)
        values = np.array([*self.categories, None], object)
        index = np.where(np.isnan(numbers), last + 1, np.clip(np.round(numbers), 0, last))
        return values[index.astype(int)]

    def describe(self) -> str:
        """Return one line about the encoding."""
        if self.kind == "number":
            low, high = self.low or 0.0, self.high or 0.0
            return f"number, {low:g} to {high:g}"
        shown = ", ".join(map(str, self.categories[:5])) + ", …" * (len(self.categories) > 5)
        how = "yes or no" if self.kind == "boolean" else f"{len(self.categories)} categories"
        return f"{how}: {shown}"


ENTRIES = frozenset(field.name for field in fields(Column))


@dataclass(frozen=True)
class Columns:
    """The columns of a table, which convert data frames to numbers and back.

    Models take rows of numbers: categories as 0, 1, 2, …, missing values as NaN. Their output
    becomes a data frame of the same columns and types, with numbers clipped to the range seen, and
    rounded if the column held whole numbers.

    Parameters
    ----------
    columns : sequence of Column
    library : {"pandas", "polars"}
        The library of the data frames.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"age": [31, 40, 22], "pet": ["cat", "dog", "eel"]})
    >>> columns = Columns.learn(frame)
    >>> columns.to_numbers(frame).tolist()
    [[31.0, 0.0], [40.0, 1.0], [22.0, 2.0]]
    >>> columns.likelihood
    'gaussian-per-feature,categorical:3'
    >>> columns.to_frame(np.array([[30.7, 1.0]]))
       age  pet
    0   31  dog
    """

    columns: tuple[Column, ...]
    library: str = "pandas"

    @classmethod
    def learn(cls, frame: Any) -> Columns:
        """Infer the columns of a pandas or polars data frame.

        Raises
        ------
        ValueError
            If a column of text has too many categories or differs in every row.
        """
        return cls.from_raw(raw_columns(frame), _library(frame))

    @classmethod
    def from_raw(cls, cells: Sequence[RawColumn], library: str = "pandas") -> Columns:
        """Infer the columns from raw ones; see `learn`."""
        names = [c.name for c in cells]
        twice = next((name for name, n in Counter(names).items() if n > 1), None)
        if twice is not None and any(c.numbers is None for c in cells):
            raise ValueError(f"two columns are named {twice!r}; rename one of them.")
        # 0 and 1 are booleans in a mixed table, but numbers in a table of numbers.
        mixed = any(c.numbers is None for c in cells)
        return cls(tuple(_learn(c, mixed) for c in cells), library)

    @property
    def names(self) -> tuple[Any, ...]:
        """Names of the columns, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def mixed(self) -> bool:
        """Whether any column does not hold numbers."""
        return any(column.kind != "number" for column in self.columns)

    @property
    def likelihood(self) -> str:
        """One likelihood per column, for the parameter `likelihood`."""
        return ",".join(column.likelihood for column in self.columns)

    @property
    def summary(self) -> tuple[str, ...]:
        """One line per column about its encoding."""
        width = max((len(str(name)) for name in self.names), default=0)
        return tuple(f"{c.name!s:{width}}  {c.describe()}" for c in self.columns)

    def to_numbers(self, frame: Any) -> Array:
        """Encode a data frame as numbers (n, columns), in the order of these columns.

        Raises
        ------
        ValueError
            If columns are missing or unknown, or a value was not seen during fit.
        """
        return self.encode_raw(raw_columns(frame))

    def encode_raw(self, cells: Sequence[RawColumn]) -> Array:
        """Encode raw columns as numbers (n, columns); see `to_numbers`."""
        self.check_names([c.name for c in cells])
        if [c.name for c in cells] != [*self.names]:  # names are unique, then
            found = {c.name: c for c in cells}
            cells = [found[name] for name in self.names]
        both = zip(self.columns, cells, strict=True)
        return np.stack([column.to_numbers(c) for column, c in both], 1)

    def check_names(self, names: Sequence[Any]) -> None:
        """Raise a ValueError if columns are missing or unknown."""
        known, found = {*self.names}, {*names}
        missing = [str(n) for n in self.names if n not in found]
        extra = [str(n) for n in names if n not in known]
        if missing or extra or len(names) != len(self.names):
            problems = [f"missing: {', '.join(missing)}"] if missing else []
            problems += [f"unknown: {', '.join(extra)}"] if extra else []
            problems = problems or [f"{len(names)} columns instead of {len(self.names)}"]
            raise ValueError(
                f"the columns differ from those the model was fitted on; {'; '.join(problems)}."
            )

    def to_frame(self, X: Array, like: Any = None) -> Any:
        """Decode numbers (n, columns) to a data frame, with the index of the frame `like`.

        Raises
        ------
        ImportError
            If the library of the data frame is not installed.
        """
        library = _import(self.library)
        series = {
            column.name: _series(library, column, column.from_numbers(X[:, j]), like)
            for j, column in enumerate(self.columns)
        }
        return library.DataFrame(series)

    def fill(self, frame: Any, X: Array, gaps: Array) -> Any:
        """Return a copy of a data frame whose gaps are filled with the numbers X (n, columns).

        Other columns of the data frame stay as they are.
        """
        patch = _patched if _library(frame) == "pandas" else _patched_polars
        new = {}
        for j, column in enumerate(self.columns):
            if gaps[:, j].any():
                filled = column.from_numbers(X[:, j])
                new[column.name] = patch(frame[column.name], filled, gaps[:, j])
        if _library(frame) == "pandas":
            return frame.assign(**new)
        return frame.with_columns(**new)

    def to_json(self) -> dict[str, Any]:
        """Return lists and dictionaries for `from_json`."""
        return {"library": self.library, "columns": [asdict(c) for c in self.columns]}

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Columns:
        """Return the columns that `to_json` wrote.

        Raises
        ------
        ValueError
            For anything that `to_json` cannot have written, since the names of the library and
            of the types are used to import and to construct them.
        """
        if not isinstance(saved, dict) or saved.get("library") not in LIBRARIES:
            raise ValueError(f"columns: expected frames of {' or '.join(LIBRARIES)}.")
        columns = saved.get("columns")
        if not isinstance(columns, list) or not 0 < len(columns) <= MAX_COLUMNS:
            raise ValueError(f"columns: expected 1 to {MAX_COLUMNS:,} columns.")
        return cls(tuple(map(_column_of, columns)), saved["library"])


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of numbers with their columns, as read from a text file.

    Estimators accept a Table in place of a data frame.

    Parameters
    ----------
    X : ndarray of float64, (n, columns)
    columns : Columns
    """

    X: Array
    columns: Columns

    def __len__(self) -> int:
        return len(self.X)

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return self.X.shape

    def __getitem__(self, rows: Any) -> Table:
        return Table(self.X[rows], self.columns)


def _column_of(saved: Any) -> Column:
    """Return a saved column after checks of its entries."""
    if not isinstance(saved, dict) or not {"name", "kind", "dtype"} <= set(saved) <= ENTRIES:
        raise ValueError("columns: expected the entries name, kind, dtype and those of `Column`.")
    categories = saved.get("categories", [])
    name = tuple(saved["name"]) if isinstance(saved["name"], list) else saved["name"]
    values = [*(name if isinstance(name, tuple) else [name])]
    if isinstance(categories, list):
        values += categories
    bounds = [saved.get("low"), saved.get("high")]
    flags = [saved.get("ordered", False), saved.get("whole", False)]
    good = (
        isinstance(categories, list)
        and all(v is None or isinstance(v, str | int | float) for v in values)
        and saved["kind"] in ("number", "boolean", "category")
        and (saved["kind"] == "number") == (not categories)
        and isinstance(saved["dtype"], str)
        and re.fullmatch(DTYPE, saved["dtype"])
        and not re.search(r"\d{4}", saved["dtype"])  # "U100000000" takes that per cell
        and all(b is None or _is_finite(b) for b in bounds)
        and (bounds[0] is None) == (bounds[1] is None)
        and all(isinstance(flag, bool) for flag in flags)
    )
    if not good:
        raise ValueError(f"columns: the entry of column {one_line(repr(name))} is invalid.")
    return Column(**saved | {"name": name, "categories": tuple(categories)})


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 2**63 if isinstance(value, int) else math.isfinite(value)


def is_frame(X: Any) -> bool:
    """Return whether X is a pandas or polars data frame."""
    return type(X).__name__ == "DataFrame" and _library(X) in ("pandas", "polars")


def _library(frame: Any) -> str:
    return type(frame).__module__.partition(".")[0]


def _import(library: str) -> Any:
    extra = "tables" if library == "pandas" else None
    instead = "use decode, which returns numbers"
    return import_optional(library, extra=extra, what=f"a {library} data frame", instead=instead)


def raw_columns(frame: Any) -> list[RawColumn]:
    """Return the columns of a pandas or polars data frame before encoding."""
    read = _pandas_cells if _library(frame) == "pandas" else _polars_cells
    positions = range(frame.shape[1])
    return [read(name, _at(frame, j)) for j, name in zip(positions, frame.columns, strict=True)]


def _at(frame: Any, j: int) -> Any:
    return frame.iloc[:, j] if _library(frame) == "pandas" else frame.to_series(j)


def _pandas_cells(name: Any, series: Any) -> RawColumn:
    dtype = str(series.dtype)
    if series.dtype.kind in "iuf":
        return RawColumn(name, dtype, numbers=series.to_numpy(np.float64, na_value=np.nan))
    values = series.astype(object).where(series.notna(), None).to_numpy()
    if dtype == "category":
        categories = tuple(map(_plain, series.cat.categories))
        values = np.array([_plain(v) for v in values], object)
        return RawColumn(name, dtype, None, values, categories, bool(series.cat.ordered))
    return _object_cells(name, dtype, values)


def _polars_cells(name: Any, series: Any) -> RawColumn:
    dtype = type(series.dtype).__name__
    if series.dtype.is_numeric():
        return RawColumn(name, dtype, numbers=series.to_numpy().astype(np.float64))
    values = np.array([*series.to_list(), None], object)[:-1]
    if dtype == "Enum":
        return RawColumn(name, dtype, None, values, tuple(series.dtype.categories), True)
    return _object_cells(name, dtype, values)


def _object_cells(name: Any, dtype: str, values: Array) -> RawColumn:
    """Return a column of Python objects: numbers if all are numbers."""
    values = np.array([*map(_plain, values), None], object)[:-1]
    present = [v for v in values if v is not None]
    if all(isinstance(v, Real) and not isinstance(v, bool) for v in present):
        numbers = np.array([np.nan if v is None else float(v) for v in values], np.float64)
        return RawColumn(name, dtype, numbers=numbers)
    return RawColumn(name, dtype, None, values)


def _plain(value: Any) -> Any:
    """Return a Python number, string or boolean; None if the value is missing."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and np.isnan(value) else value


def _learn(cells: RawColumn, mixed: bool) -> Column:
    if cells.numbers is not None and not (mixed and _is_binary(cells.numbers)):
        seen, finite = cells.numbers, np.isfinite(cells.numbers)
        seen = seen if finite.all() else seen[finite]
        low, high = (float(seen.min()), float(seen.max())) if len(seen) else (None, None)
        whole = bool((seen == np.rint(seen)).all())
        return Column(cells.name, "number", cells.dtype, low=low, high=high, whole=whole)
    categories = cells.categories or _categories(cells)
    kind = "boolean" if len(categories) <= 2 else "category"
    return Column(cells.name, kind, cells.dtype, categories, cells.ordered)


def _is_binary(numbers: Array) -> bool:
    seen = numbers[~np.isnan(numbers)]
    return len(seen) > 0 and bool(np.isin(seen, (0, 1)).all())


def _categories(cells: RawColumn) -> tuple[Any, ...]:
    if cells.numbers is not None:
        return (0, 1)
    present = [value for value in _objects(cells) if value is not None]
    odd = next((v for v in present if not isinstance(v, str | bool | int | float)), None)
    if odd is not None:
        raise ValueError(
            f"column {cells.name!r} holds {odd!r} ({type(odd).__name__}); convert it to numbers, "
            "text or booleans, or drop it."
        )
    if {*present} <= {True, False}:
        return (False, True)
    categories = tuple(sorted({*present}, key=lambda value: (str(type(value)), value)))
    for spelled in SPELLED_BOOLEANS:
        if tuple(sorted(str(v).lower() for v in categories)) == tuple(sorted(spelled)):
            return tuple(sorted(categories, key=lambda v: spelled.index(str(v).lower())))
    n = len(categories)
    if n > MAX_CATEGORIES or n == len(present) > MAX_UNIQUE_ROWS:
        raise ValueError(
            f"column {cells.name!r} has {n:,} different texts in {len(present):,} rows, such as "
            f"{present[0]!r}: names, dates or free text rather than categories. Drop the column, "
            "convert it to numbers, or use it as the label."
        )
    return categories


def _objects(cells: RawColumn) -> Array:
    """Return values, with None for missing ones."""
    if cells.values is not None:
        return cells.values
    assert cells.numbers is not None
    return np.array([None if np.isnan(v) else v for v in cells.numbers], object)


def _series(library: Any, column: Column, values: Array, like: Any) -> Any:
    """Return a series of the column's type."""
    if library.__name__ == "polars":
        if column.dtype == "Enum":
            return library.Series(
                column.name, values.tolist(), dtype=library.Enum(column.categories)
            )
        dtype = getattr(library, column.dtype, None)
        if not (isinstance(dtype, type) and issubclass(dtype, library.DataType)):
            raise ValueError(f"column {column.name!r}: polars has no type {column.dtype!r}.")
        return library.Series(column.name, values.tolist(), strict=False).cast(dtype)
    index = like.index if is_frame(like) else None
    if column.dtype == "category":
        kind = library.CategoricalDtype([*column.categories], ordered=column.ordered)
        return library.Series(values, index=index, dtype=kind)
    if column.dtype == "object":
        return library.Series([*values], index=index, dtype=object)
    return library.Series(values, index=index).astype(column.dtype)


def _patched(old: Any, values: Array, gap: Array) -> Any:
    """Return a pandas series of the same type with the gaps filled."""
    new = old.copy()
    new.iloc[np.flatnonzero(gap)] = values[gap]
    return new


def _patched_polars(old: Any, values: Array, gap: Array) -> Any:
    """Return a polars series of the same type with the gaps filled."""
    series = type(old)
    put = series(values.tolist(), strict=False).cast(old.dtype)
    return put.zip_with(series(gap), old).alias(old.name)
