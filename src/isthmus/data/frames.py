"""Read and build data frames of pandas and polars."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus._messages import one_line
from isthmus._optional import import_optional
from isthmus.data.column import Column, RawColumn, as_saved, object_array

__all__ = [
    "LIBRARIES",
    "build_frame",
    "dtype_names",
    "fill_frame",
    "is_frame",
    "library_of",
    "raw_columns",
]

Array = NDArray[Any]
# Types whose names the libraries do not read: decimals (of objects or polars, or of Arrow with the
# number of bits), and dictionaries of Arrow.
_DECIMAL = re.compile(
    r"(?:Decimal|decimal(?P<bits>32|64|128|256))\((?P<digits>\d{1,2}), (?P<scale>-?\d{1,2})\)"
    r"(?:\[pyarrow\])?"
)
_DICTIONARY = re.compile(
    r"dictionary<values=(?P<values>\w+), indices=(?P<indices>\w+), ordered=(?P<ordered>[01])>"
    r"\[pyarrow\]"
)
_NULLABLE = {  # NumPy's whole numbers, and pandas' that may be missing
    f"{kind}int{bits}": f"{kind.upper()}Int{bits}" for kind in ("", "u") for bits in (8, 16, 32, 64)
}
LIBRARIES = ("pandas", "polars")  # a saved model must not name any other module to import


def is_frame(X: Any) -> bool:
    """Return whether X is a pandas or polars data frame, or of a subclass such as geopandas'."""
    return any(c.__name__ == "DataFrame" and _library(c) in LIBRARIES for c in type(X).__mro__)


def library_of(X: Any) -> str:
    """Return the name of the library of an object; of a data frame, one of `LIBRARIES`."""
    found = (_library(c) for c in type(X).__mro__)
    return next((name for name in found if name in LIBRARIES), _library(type(X)))


def _library(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def dtype_names(frame: Any) -> list[tuple[Any, str]]:
    """Return the name and the type of each column of a data frame."""
    if library_of(frame) == "pandas":
        return [(name, str(dtype)) for name, dtype in zip(frame.columns, frame.dtypes, strict=True)]
    return [(name, type(dtype).__name__) for name, dtype in frame.schema.items()]


def raw_columns(frame: Any) -> list[RawColumn]:
    """Return the columns of a pandas or polars data frame before encoding."""
    if library_of(frame) == "polars":
        return [_from_polars(series.name, series) for series in frame.iter_columns()]
    # By position, since names may repeat.
    return [_from_pandas(name, frame.iloc[:, j]) for j, name in enumerate(frame.columns)]


def _from_pandas(name: Any, series: Any) -> RawColumn:
    saved, dtype = as_saved(name), str(series.dtype)
    raw = RawColumn(saved, dtype, as_text=_became_text(saved, name))
    if series.dtype.kind in "iuf":
        numbers = series.to_numpy(np.float64, na_value=np.nan)
        return replace(raw, numbers=numbers, dtype=_buildable(dtype, "float64"))
    values = series.astype(object).where(series.notna(), None)
    if dtype == "category":
        categories = _saved_categories(series)
        values = object_array([*categories, None])[series.cat.codes.to_numpy()]
        as_text = raw.as_text or any(map(_became_text, categories, series.cat.categories))
        raw = replace(raw, values=values, categories=categories, as_text=as_text)
        return replace(raw, ordered=bool(series.cat.ordered))
    raw = _from_objects(raw, values)
    if not dtype.startswith("dictionary"):
        return raw
    texts = None if raw.values is None else tuple(sorted({*raw.values} - {None}, key=str))
    return replace(raw, categories=texts, dtype=_buildable(dtype, "object"))


def _saved_categories(series: Any) -> tuple[Any, ...]:
    """Return the categories of a series of pandas, all as text if JSON has no form for one."""
    originals = [*series.cat.categories]
    saved = tuple(str(v) if isinstance(v, tuple) else as_saved(v) for v in originals)
    return tuple(map(str, originals)) if any(map(_became_text, saved, originals)) else saved


def _became_text(saved: Any, value: Any) -> bool:
    return saved is not value and saved != value


def _from_polars(name: str, series: Any) -> RawColumn:
    kind = type(series.dtype).__name__
    raw = RawColumn(name, kind)
    if series.dtype.is_numeric():
        polars = importlib.import_module("polars")
        numbers = series.cast(polars.Float64).to_numpy().astype(np.float64)
        if kind == "Decimal":
            kind = f"Decimal({series.dtype.precision or 38}, {series.dtype.scale})"
        return replace(raw, numbers=numbers, dtype=kind)
    if kind == "Object":  # from which polars builds no column
        raw = _from_objects(replace(raw, dtype="object"), series)
        types = {"object": "String" if raw.numbers is None else "Float64"}
        return replace(raw, dtype=types.get(raw.dtype, raw.dtype))
    if kind == "Categorical":
        categories = tuple(sorted({*series} - {None}))
        return replace(raw, values=object_array(series), categories=categories)
    if kind != "Enum":
        return _from_objects(raw, series)
    categories = tuple(series.dtype.categories)
    return replace(raw, values=object_array(series), categories=categories, ordered=True)


def _from_objects(raw: RawColumn, objects: Iterable[Any]) -> RawColumn:
    """Return a column of Python objects: numbers if all are numbers."""
    objects = [*objects]
    values = object_array(map(_plain, objects))
    if not all(v is None or (isinstance(v, Real) and not isinstance(v, bool)) for v in values):
        return replace(raw, values=values)
    decimals = [v for v in objects if isinstance(v, Decimal) and v.is_finite()]
    if decimals and raw.dtype == "object":
        places = max(-int(v.as_tuple().exponent) for v in decimals)
        raw = replace(raw, dtype=f"Decimal(38, {max(places, 0)})")
    return replace(raw, numbers=values.astype(np.float64))


def _plain(value: Any) -> Any:
    """Return a Python number, string or boolean; None if the value is missing."""
    value = value.item() if isinstance(value, np.generic) else value
    value = float(value) if isinstance(value, Decimal) else value
    return None if isinstance(value, float) and np.isnan(value) else value


def build_frame(library: str, columns: Sequence[Column], X: Array, like: Any = None) -> Any:
    """Decode numbers (n, columns) to a data frame, with the index of the pandas frame `like`."""
    extra = "tables" if library == "pandas" else None
    instead = "use decode, which returns numbers"
    module = import_optional(library, extra=extra, what=f"a {library} data frame", instead=instead)
    index = like.index if is_frame(like) and library_of(like) == "pandas" else None
    series = {}
    for j, column in enumerate(columns):
        values = column.from_numbers(X[:, j])
        try:
            series[column.name] = (
                _to_polars(module, column, values)
                if library == "polars"
                else _to_pandas(module, column, values, index)
            )
        except ImportError:
            raise
        except Exception as error:  # of many types, if a saved type does not exist
            raise ValueError(
                f"column {column.name!r}: {library} has no type {column.dtype!r}, or not for these "
                f"values ({one_line(error)})."
            ) from error
    return module.DataFrame([*series.values()] if library == "polars" else series)


def _to_pandas(pandas: Any, column: Column, values: Array, index: Any) -> Any:
    dtype: Any = column.dtype
    if dtype == "category":
        dtype = pandas.CategoricalDtype([*column.categories], ordered=column.ordered)
        return pandas.Series(values, index=index, dtype=dtype)
    if decimal := _DECIMAL.fullmatch(dtype):
        values = _to_decimals(values, int(decimal["scale"]))
    if dtype == "object" or (decimal and not decimal["bits"]):
        return pandas.Series([*values], index=index, dtype=object)
    if decimal or _DICTIONARY.fullmatch(dtype):
        return pandas.Series(pandas.arrays.ArrowExtensionArray(_to_arrow(dtype, values)), index)
    if dtype in _NULLABLE and pandas.isna(values).any():  # a column without values in training
        dtype = _NULLABLE[dtype]
    return pandas.Series(values, index=index).astype(dtype)


def _to_decimals(values: Array, scale: int) -> Array:
    """Return numbers as decimals with digits after the point, None for missing ones."""
    return object_array(
        None if v is None or np.isnan(v) else Decimal(f"{round(float(v), scale):.{max(scale, 0)}f}")
        for v in values
    )


def _to_arrow(dtype: str, values: Array) -> Any:
    """Return an Arrow array of decimals or of a dictionary, by the name of its type in pandas."""
    arrow = import_optional("pyarrow", extra="tables", what=f"a column of type {dtype}")
    cells = [None if v is None or v != v else v for v in values.tolist()]
    if decimal := _DECIMAL.fullmatch(dtype):
        digits, scale = int(decimal["digits"]), int(decimal["scale"])
        return arrow.array(cells, type=getattr(arrow, f"decimal{decimal['bits']}")(digits, scale))
    found = _DICTIONARY.fullmatch(dtype)
    assert found is not None
    encoded = arrow.array(cells, type=arrow.type_for_alias(found["values"])).dictionary_encode()
    indices = encoded.indices.cast(arrow.type_for_alias(found["indices"]))
    ordered = found["ordered"] == "1"
    return arrow.DictionaryArray.from_arrays(indices, encoded.dictionary, ordered=ordered)


def _buildable(dtype: str, other: str) -> str:
    """Return the name of a type of pandas if a column can be built from it, else another name."""
    if _DICTIONARY.fullmatch(dtype) or _DECIMAL.fullmatch(dtype):
        return dtype
    pandas = importlib.import_module("pandas")
    try:
        pandas.api.types.pandas_dtype(dtype)
    except TypeError:
        return other
    return dtype


def _to_polars(polars: Any, column: Column, values: Array) -> Any:
    if column.dtype == "Enum":
        dtype = polars.Enum(column.categories)
        return polars.Series(column.name, values.tolist(), dtype=dtype)
    if column.dtype == "Null":  # a column without values
        return polars.Series(column.name, [None] * len(values))
    if decimal := _DECIMAL.fullmatch(column.dtype):
        dtype = polars.Decimal(int(decimal["digits"]), int(decimal["scale"]))
        return polars.Series(column.name, values.tolist(), strict=False).cast(dtype)
    dtype = getattr(polars, column.dtype, None)
    if not (isinstance(dtype, type) and issubclass(dtype, polars.DataType)):
        raise TypeError("unknown type")
    return polars.Series(column.name, values.tolist(), strict=False).cast(dtype)


def fill_frame(frame: Any, columns: Sequence[Column], X: Array, gaps: Array) -> Any:
    """Return a copy of a data frame whose gaps are filled with the decoded numbers X."""
    names = {as_saved(name): name for name in frame.columns}
    fill = _fill_pandas if library_of(frame) == "pandas" else _fill_polars
    new = {
        names[column.name]: fill(frame[names[column.name]], column, X[:, j], gaps[:, j])
        for j, column in enumerate(columns)
        if gaps[:, j].any()
    }
    if library_of(frame) == "polars":
        return frame.with_columns(**new)
    filled = frame.copy()
    for name, series in new.items():
        filled[name] = series
    return filled


def _fill_pandas(old: Any, column: Column, numbers: Array, gap: Array) -> Any:
    values, dtype = column.from_numbers(numbers), str(old.dtype)
    if column.format and _holds(old, str):
        values = object_array(column.spell(numbers))
    elif dtype == "category":  # whose categories may be kept as text
        originals = dict(zip(_saved_categories(old), old.cat.categories, strict=True))
        values = object_array(originals.get(value, value) for value in values)
    elif (decimal := _DECIMAL.fullmatch(column.dtype)) and _holds(old, Decimal):
        values = _to_decimals(values, int(decimal["scale"]))
    filled = old.copy()
    if not dtype.startswith(("dictionary", "Sparse")):  # which cannot be changed in place
        filled.iloc[np.flatnonzero(gap)] = values[gap]
        return filled
    present = object_array(old.astype(object).where(old.notna(), None))
    pandas = importlib.import_module("pandas")
    return _to_pandas(
        pandas, replace(column, dtype=dtype), np.where(gap, values, present), old.index
    )


def _fill_polars(old: Any, column: Column, numbers: Array, gap: Array) -> Any:
    values = column.from_numbers(numbers)
    if column.format and _holds(old, str):
        values = object_array(column.spell(numbers))
    if type(old.dtype).__name__ == "Null":
        return old
    if type(old.dtype).__name__ == "Object":
        merged = [new if hole else kept for new, hole, kept in zip(values, gap, old, strict=True)]
        return type(old)(old.name, merged, dtype=old.dtype)
    filled = type(old)(values.tolist(), strict=False).cast(old.dtype)
    return filled.zip_with(type(old)(gap), old)


def _holds(series: Any, kind: type) -> bool:
    """Return whether the first value of a series is of a type."""
    present = series.dropna() if library_of(series) == "pandas" else series.drop_nulls()
    return len(present) > 0 and isinstance(next(iter(present)), kind)
