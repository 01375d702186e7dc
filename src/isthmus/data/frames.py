"""Read and build data frames of pandas and polars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus._optional import import_optional
from isthmus.data.column import Column, RawColumn, object_array

__all__ = ["LIBRARIES", "build_frame", "fill_frame", "is_frame", "library_of", "raw_columns"]

Array = NDArray[Any]
LIBRARIES = ("pandas", "polars")  # a saved model must not name any other module to import


def is_frame(X: Any) -> bool:
    """Return whether X is a pandas or polars data frame."""
    return type(X).__name__ == "DataFrame" and library_of(X) in LIBRARIES


def library_of(frame: Any) -> str:
    """Return the name of the library of a data frame."""
    return type(frame).__module__.partition(".")[0]


def raw_columns(frame: Any) -> list[RawColumn]:
    """Return the columns of a pandas or polars data frame before encoding."""
    if library_of(frame) == "pandas":  # by position, since names may repeat
        return [_from_pandas(name, frame.iloc[:, j]) for j, name in enumerate(frame.columns)]
    return [_from_polars(series.name, series) for series in frame.iter_columns()]


def _from_pandas(name: Any, series: Any) -> RawColumn:
    dtype = str(series.dtype)
    if series.dtype.kind in "iuf":
        return RawColumn(name, dtype, series.to_numpy(np.float64, na_value=np.nan))
    values = series.astype(object).where(series.notna(), None)
    if dtype != "category":
        return _from_objects(name, dtype, values)
    categories = tuple(map(_plain, series.cat.categories))
    ordered = bool(series.cat.ordered)
    return RawColumn(name, dtype, None, object_array(map(_plain, values)), categories, ordered)


def _from_polars(name: str, series: Any) -> RawColumn:
    dtype = type(series.dtype).__name__
    if series.dtype.is_numeric():
        return RawColumn(name, dtype, series.to_numpy().astype(np.float64))
    if dtype != "Enum":
        return _from_objects(name, dtype, series)
    return RawColumn(name, dtype, None, object_array(series), tuple(series.dtype.categories), True)


def _from_objects(name: Any, dtype: str, objects: Iterable[Any]) -> RawColumn:
    """Return a column of Python objects: numbers if all are numbers."""
    values = object_array(map(_plain, objects))
    if all(v is None or (isinstance(v, Real) and not isinstance(v, bool)) for v in values):
        return RawColumn(name, dtype, values.astype(np.float64))
    return RawColumn(name, dtype, None, values)


def _plain(value: Any) -> Any:
    """Return a Python number, string or boolean; None if the value is missing."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and np.isnan(value) else value


def build_frame(library: str, columns: Sequence[Column], X: Array, like: Any = None) -> Any:
    """Decode numbers (n, columns) to a data frame, with the index of the pandas frame `like`."""
    extra = "tables" if library == "pandas" else None
    instead = "use decode, which returns numbers"
    module = import_optional(library, extra=extra, what=f"a {library} data frame", instead=instead)
    decoded = {c.name: (c, c.from_numbers(X[:, j])) for j, c in enumerate(columns)}
    if library == "polars":
        return module.DataFrame([_to_polars(module, *each) for each in decoded.values()])
    index = like.index if is_frame(like) else None
    return module.DataFrame({n: _to_pandas(module, *e, index) for n, e in decoded.items()})


def _to_pandas(pandas: Any, column: Column, values: Array, index: Any) -> Any:
    if column.dtype == "category":
        dtype = pandas.CategoricalDtype([*column.categories], ordered=column.ordered)
        return pandas.Series(values, index=index, dtype=dtype)
    if column.dtype == "object":
        return pandas.Series([*values], index=index, dtype=object)
    return pandas.Series(values, index=index).astype(column.dtype)


def _to_polars(polars: Any, column: Column, values: Array) -> Any:
    if column.dtype == "Enum":
        dtype = polars.Enum(column.categories)
        return polars.Series(column.name, values.tolist(), dtype=dtype)
    dtype = getattr(polars, column.dtype, None)
    if not (isinstance(dtype, type) and issubclass(dtype, polars.DataType)):
        raise ValueError(f"column {column.name!r}: polars has no type {column.dtype!r}.")
    return polars.Series(column.name, values.tolist(), strict=False).cast(dtype)


def fill_frame(frame: Any, columns: Sequence[Column], X: Array, gaps: Array) -> Any:
    """Return a copy of a data frame whose gaps are filled with the decoded numbers X."""
    is_pandas, new = library_of(frame) == "pandas", {}
    for j, column in enumerate(columns):
        if (gap := gaps[:, j]).any():
            old, values = frame[column.name], column.from_numbers(X[:, j])
            if column.format and _holds_text(old):
                values = object_array(column.spell(X[:, j]))
            if is_pandas:
                filled = old.copy()
                filled.iloc[np.flatnonzero(gap)] = values[gap]
            else:
                filled = type(old)(values.tolist(), strict=False).cast(old.dtype)
                filled = filled.zip_with(type(old)(gap), old)
            new[column.name] = filled
    return frame.assign(**new) if is_pandas else frame.with_columns(**new)


def _holds_text(series: Any) -> bool:
    """Return whether the first value of a series is text."""
    present = series.dropna() if library_of(series) == "pandas" else series.drop_nulls()
    return len(present) > 0 and isinstance(next(iter(present)), str)
