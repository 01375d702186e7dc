"""Name the rows of a data set: by files, by a column of a table, or by their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus._messages import did_you_mean
from isthmus.data.tables import read_parquet
from isthmus.data.text_tables import open_text_table

__all__ = ["describe_row", "has_column", "read_ids"]

TABLES = (".csv", ".tsv", ".parquet")


def has_column(path: Path, name: str) -> bool:
    """Return whether a file is a table with a column of this name."""
    suffix = path.suffix.lower()
    if suffix not in TABLES or not path.is_file():
        return False
    if suffix == ".parquet":
        return name in map(str, read_parquet(path).columns)
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
