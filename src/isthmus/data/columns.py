"""Convert tables of mixed columns to numbers for a model, and numbers back to data frames."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus._messages import one_line
from isthmus.data.cells import interpret
from isthmus.data.column import UNKNOWN, Column, RawColumn
from isthmus.data.frames import LIBRARIES, build_frame, fill_frame, library_of, raw_columns
from isthmus.data.limits import MAX_COLUMNS
from isthmus.data.number_format import NumberFormat
from isthmus.data.table_options import TableOptions
from isthmus.models.specs import HANDLE_UNKNOWN

__all__ = ["Columns", "Table"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Columns:
    """The columns of a table, which convert data frames to numbers and back.

    Models take rows of numbers: categories as 0, 1, 2, …, missing values as NaN. Their output
    becomes a data frame of the same columns and types, with numbers clipped to the range seen and
    rounded to the decimals seen.

    Parameters
    ----------
    columns : sequence of Column
    library : {"pandas", "polars"}
        The library of the data frames.
    options : TableOptions
        How the table was read, for reading others in the same way.
    handle_unknown : {"error", "missing", "flag"}
        What becomes of a category that was not seen during fit: an error, a missing value, or the
        number -1, which `find_unknown` finds again.

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
    options: TableOptions = field(default_factory=TableOptions)
    handle_unknown: str = "error"

    @classmethod
    def learn(cls, frame: Any, options: TableOptions | None = None) -> Columns:
        """Infer the columns of a pandas or polars data frame.

        Raises
        ------
        ValueError
            If a column of text has too many categories, differs in every row, or holds numbers in
            almost every row.
        """
        options, raw, library = options or TableOptions(), raw_columns(frame), library_of(frame)
        options.check_names([c.name for c in raw])
        read = interpret(options.select(raw), options, library=library)
        if texts := [repr(c.name) for c in read if c.as_text]:
            warnings.warn(
                f"the names or categories of {', '.join(texts[:5])}{', ...' * (len(texts) > 5)} "
                "are kept as text, because saved models hold only text, numbers and booleans.",
                UserWarning,
                stacklevel=2,
            )
        return cls.from_raw(read, options, library)

    @classmethod
    def from_raw(
        cls, raw: Sequence[RawColumn], options: TableOptions, library: str = "pandas"
    ) -> Columns:
        """Infer the columns from raw ones that `interpret` returned; see `learn`."""
        mixed = any(c.numbers is None for c in raw)
        for name, n in Counter(c.name for c in raw).items():
            if mixed and n > 1:
                raise ValueError(f"two columns are named {name!r}; rename one of them.")
        return cls(tuple(Column.learn(c, mixed) for c in raw), library, options)

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

    def with_likelihoods(self, names: str) -> Columns:
        """Return columns of 0 and 1 as numbers if their likelihood is one of numbers.

        `names` is the parameter `likelihood`: one name for all columns, or one per column,
        separated by commas. "auto", "bernoulli" and "categorical" change nothing.
        """
        each = [name.strip().partition(":")[0] for name in names.split(",")]
        each = each * len(self.columns) if len(each) == 1 else each
        if len(each) != len(self.columns):
            return self
        columns = tuple(
            column if name in ("auto", "bernoulli", "categorical") else column.as_number()
            for column, name in zip(self.columns, each, strict=True)
        )
        return replace(self, columns=columns)

    def to_numbers(self, frame: Any) -> Array:
        """Encode a data frame as numbers (n, columns), in the order of these columns.

        Raises
        ------
        ValueError
            If columns are missing or unknown, or a value was not seen during fit, unless
            `handle_unknown` allows it.
        """
        return self.encode_raw(raw_columns(frame))

    def encode_raw(self, raw: Sequence[RawColumn]) -> Array:
        """Encode raw columns as numbers (n, columns); see `to_numbers`."""
        raw = self.options.select(raw)
        self.check_names([c.name for c in raw])
        if [c.name for c in raw] != [*self.names]:  # names are unique, then
            found = {c.name: c for c in raw}
            raw = [found[name] for name in self.names]
        both, missing = zip(self.columns, raw, strict=True), self.options.missing
        return np.stack(
            [column.to_numbers(c, missing, self.handle_unknown) for column, c in both], 1
        )

    def updated(self, options: TableOptions) -> Columns:
        """Return these columns with more options of the user for reading another table."""
        columns = self.columns
        for kind, names in (("categories", options.numeric), ("numbers", options.categorical)):
            for c in columns:
                if str(c.name) in names and (c.kind == "number") == (kind == "numbers"):
                    raise ValueError(
                        f"column {c.name!r} held {kind} when the model was fitted; to change "
                        "this, fit the model again."
                    )
        if options.decimal != "auto":
            columns = tuple(
                replace(c, format=replace(c.format or NumberFormat(), decimal=options.decimal))
                if c.kind == "number"
                else c
                for c in columns
            )
        return replace(self, columns=columns, options=self.options.updated(options))

    def handling(self, handle_unknown: str) -> Columns:
        """Return columns that treat unknown categories in another way."""
        if handle_unknown not in HANDLE_UNKNOWN:
            known = ", ".join(map(repr, HANDLE_UNKNOWN))
            raise ValueError(f"handle_unknown must be one of {known}, got {handle_unknown!r}.")
        return replace(self, handle_unknown=handle_unknown)

    def find_unknown(self, X: Array) -> NDArray[np.bool_]:
        """Return which encoded cells (n, columns) hold an unknown category that is flagged."""
        if self.handle_unknown != "flag":
            return np.zeros(X.shape, bool)
        return (X == UNKNOWN) & np.array([column.kind != "number" for column in self.columns])

    def check_names(self, names: Sequence[Any]) -> None:
        """Raise a ValueError if columns are missing or unknown."""
        known, found = {*self.names}, {*names}
        missing = [str(n) for n in self.names if n not in found]
        extra = [str(n) for n in names if n not in known]
        if missing or extra or len(names) != len(self.names):
            problems = [f"missing: {one_line(', '.join(missing))}"] if missing else []
            problems += [f"unknown: {one_line(', '.join(extra))}"] if extra else []
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
        return build_frame(self.library, self.columns, X, like)

    def fill(self, frame: Any, X: Array, gaps: Array) -> Any:
        """Return a copy of a data frame whose gaps are filled with the numbers X (n, columns).

        Other columns of the data frame stay as they are.
        """
        return fill_frame(frame, self.columns, X, gaps)

    def to_json(self) -> dict[str, Any]:
        """Return lists and dictionaries for `from_json`."""
        columns = [asdict(c) for c in self.columns]
        return {"library": self.library, "columns": columns, "options": self.options.to_json()}

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
        options = TableOptions.from_json(saved.get("options", {}))
        return cls(tuple(map(Column.from_json, columns)), saved["library"], options)


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

    @property
    def raw_columns(self) -> list[RawColumn]:
        """The columns before encoding, for a model with another encoding or order."""
        return [c.to_raw(self.X[:, j]) for j, c in enumerate(self.columns.columns)]

    def __getitem__(self, rows: Any) -> Table:
        return Table(self.X[rows], self.columns)
