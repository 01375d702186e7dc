"""Choices of the user about how a table is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from isthmus._messages import check_choice, did_you_mean
from isthmus.data.limits import MAX_COLUMNS
from isthmus.data.number_format import DECIMAL_MARKS, MissingValues

__all__ = ["TableOptions"]

MAX_NAME = 10_000  # characters


@dataclass(frozen=True)
class TableOptions:
    """How a table is read, where this does not follow from its cells.

    Parameters
    ----------
    drop : sequence of str
        Columns to leave out.
    columns : sequence of str
        The only columns to read; by default all.
    categorical : sequence of str
        Columns of categories, even if their cells are numbers.
    numeric : sequence of str
        Columns of numbers, even if they hold only 0 and 1. A cell that is neither a number nor
        missing is an error.
    decimal : {"auto", ".", ","}
        The decimal mark of numbers in text.
    na_values : sequence of str
        Cells that are missing, besides the usual words; numbers also match numbers of equal value.

    Examples
    --------
    >>> options = TableOptions.of(drop="id", na_values=[-999])
    >>> options.to_json()
    {'drop': ['id'], 'na_values': ['-999']}
    >>> options.is_selected("id"), options.is_selected("height")
    (False, True)
    """

    drop: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    decimal: str = "auto"
    na_values: tuple[str, ...] = ()

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Return options from single words, sequences or None; a ValueError if they conflict."""
        decimal = given.pop("decimal", None) or "auto"
        lists = {name: _texts(value) for name, value in given.items()}
        options = cls(decimal=decimal, **lists)
        check_choice("decimal", decimal, ("auto", *DECIMAL_MARKS))
        if both := [name for name in options.categorical if name in options.numeric]:
            raise ValueError(f"column {both[0]!r} is both in categorical and in numeric.")
        return options

    @classmethod
    def from_json(cls, saved: Any) -> Self:
        """Return the options that `to_json` wrote; a ValueError for anything else."""
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(saved, dict) or not set(saved) <= names:
            raise ValueError("table options: expected a dictionary of known options.")
        for name, value in saved.items():
            if name != "decimal" and not _is_names(value):
                raise ValueError(f"table options: expected {name} to be a list of names.")
        return cls.of(**saved)

    def to_json(self) -> dict[str, Any]:
        """Return the options that differ from the defaults, fit for JSON."""
        values = dataclasses.asdict(self)
        given = {k: v for k, v in values.items() if v != getattr(TableOptions, k)}
        return {k: [*v] if isinstance(v, tuple) else v for k, v in given.items()}

    def __bool__(self) -> bool:
        """Return whether any option is given."""
        return self != TableOptions()

    @property
    def missing(self) -> MissingValues:
        """The cells that count as missing."""
        return MissingValues(self.na_values)

    def updated(self, other: TableOptions) -> TableOptions:
        """Return these options with those that the user gave for another table of this kind."""
        lists = {
            name: tuple(dict.fromkeys((*getattr(self, name), *getattr(other, name))))
            for name in ("drop", "categorical", "numeric", "na_values")
        }
        decimal = self.decimal if other.decimal == "auto" else other.decimal
        return TableOptions(columns=other.columns or self.columns, decimal=decimal, **lists)

    def check_names(self, names: Sequence[Any]) -> None:
        """Raise a ValueError if an option names a column that the table does not have."""
        known = [*map(str, names)]
        for option in ("drop", "columns", "categorical", "numeric"):
            for name in getattr(self, option):
                if name not in known:
                    listed = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
                    raise ValueError(
                        f"{option}: there is no column {name!r}; columns: {listed}."
                        f"{did_you_mean(name, known)}"
                    )

    def is_selected(self, name: Any) -> bool:
        """Return whether a column is to be read."""
        text = str(name)
        return text not in self.drop and (not self.columns or text in self.columns)

    def select(self, columns: Sequence[Any]) -> list[Any]:
        """Return the objects with a `name` that is to be read; a ValueError if there are none."""
        if kept := [column for column in columns if self.is_selected(column.name)]:
            return kept
        raise ValueError("no column is left: drop fewer columns, or name others to read.")


def _texts(value: Any) -> tuple[str, ...]:
    """Return a single value or several as texts."""
    if value is None:
        return ()
    single = isinstance(value, str) or not isinstance(value, Iterable)
    return tuple(map(str, [value] if single else value))


def _is_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= MAX_COLUMNS
        and all(isinstance(name, str) and len(name) <= MAX_NAME for name in value)
    )
