"""Name the rows of a data set: by files, by a column of a table, or by their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus._messages import did_you_mean
from isthmus.data.parquet_rows import is_parquet_folder, parquet_files, parquet_names
from isthmus.data.table_options import TableOptions
from isthmus.data.tables import load_table, read_parquet
from isthmus.data.text_files import TEXT_SUFFIXES, suffix_of
from isthmus.data.text_tables import open_text_table

__all__ = ["check_weights", "describe_row", "has_column", "read_ids", "read_weights"]

TABLES = (*TEXT_SUFFIXES, ".parquet")


def has_column(path: Path, name: str) -> bool:
    """Return whether a table, a file or a folder of Parquet files, has a column of this name."""
    suffix = suffix_of(path)
    if is_parquet_folder(path):
        return name in parquet_names(parquet_files(path)[0][0])
    if suffix not in TABLES or not path.is_file():
        return False
    if suffix == ".parquet":
        return name in parquet_names(path)
    with open_text_table(path) as table:
        return name in table.names


def read_ids(path: Path, name: str, what: str = "id") -> NDArray[Any]:
    """Return the column of a table that names each row: texts, or what a Parquet file holds."""
    if path.suffix.lower() == ".parquet":
        frame = read_parquet(path)
        names, columns = [*map(str, frame.columns)], dict(enumerate(frame.items()))
        cells: Any = [pair[1].to_numpy() for pair in columns.values()]
    else:
        with open_text_table(path) as table:
            names = [*table.names]
            cells = [*zip(*table.rows, strict=True)]
    if names.count(name) != 1:
        listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise ValueError(
            f"{path}: expected the {what} to be the name of one column, got {name!r}; columns: "
            f"{listed}.{did_you_mean(name, names)}"
        )
    found = cells[names.index(name)]
    if isinstance(found, tuple):
        return np.array([cell.strip() for cell in found])
    return found.astype(str) if found.dtype.kind in "mM" else found  # times, as a table has them


def read_weights(path: Path, name: str, options: TableOptions) -> NDArray[np.float64]:
    """Return the column of a table that holds sample weights."""
    if not has_column(path, name):
        read_ids(path, name, "weight column")  # raises an error that lists the columns
    own = TableOptions.of(
        columns=name, numeric=name, decimal=options.decimal, na_values=options.na_values
    )
    return check_weights(path, name, load_table(path, None, None, own)[0][:, 0])


def check_weights(path: Path, name: str, weights: NDArray[Any]) -> NDArray[np.float64]:
    """Return sample weights as float64; a ValueError if one is missing, negative or infinite."""
    try:
        weights = weights.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{path}: expected numbers in the weight column {name!r}.") from None
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        row, value = int(wrong[0]), weights[wrong[0]]
        found = "missing" if np.isnan(value) else f"{value:g}"
        raise ValueError(
            f"{path}: expected numbers of at least 0 in the weight column {name!r}, but the one of "
            f"row {row} is {found}."
        )
    return weights


def describe_row(ids: Mapping[str, NDArray[Any]] | None, row: int) -> str:
    """Return what names a row for a person: its file or id if there is one, else its number.

    Examples
    --------
    >>> describe_row({"file": np.array(["a.wav"]), "start": np.array([1.28])}, 0)
    'a.wav at 1.28 s'
    >>> describe_row(None, 7)
    'row 7'
    """
    if not ids:
        return f"row {row}"
    parts = []
    for name, values in ids.items():
        value = values[row]
        parts.append({"start": f"at {value} s", "page": f"page {value}"}.get(name, str(value)))
    return " ".join(parts)
