"""What is written for one file of input: whole or not at all, with a record of what made it.

Beside the outputs lies a folder of records, drafts and locks. A record says by what and of what an
output was made, and the size and time of the output itself: one that was changed since, or that
took its name just before a crash, does not pass for finished.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from isthmus._optional import import_optional
from isthmus.persistence.atomic import PARTIAL, write_atomic
from isthmus.persistence.integrity import read_json
from isthmus.persistence.locks import exclusive
from isthmus.persistence.run_folder import to_json

__all__ = ["Writer", "atomic_output", "file_stamp", "has_record", "is_finished"]

RECORDS = ".isthmus"  # the folder of records, which those who read all of a folder pass over
LARGEST = 2**53  # whole numbers up to here have a float64 of their own
GROUP = 2**22  # numbers in a group of rows of Parquet, about


class Writer(Protocol):
    """What takes columns of rows, as dictionaries of arrays, and writes them."""

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append rows."""

    def close(self) -> None:
        """Write what is left."""


class ParquetWriter:
    """A table in Parquet, in groups of rows whose size depends on nothing but the columns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writer: Any = None
        self.pending: list[Any] = []

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append rows."""
        import pyarrow as pa  # type: ignore[import-untyped]

        self.pending.append(pa.table(dict(columns)))
        if sum(map(len, self.pending)) * len(columns) >= GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        table = pa.concat_tables(self.pending).combine_chunks()
        self.writer = self.writer or pq.ParquetWriter(self.path, table.schema)
        self.writer.write_table(table)
        self.pending = []

    def close(self) -> None:
        """Write what is left."""
        if self.pending:
            self._flush()
        if self.writer is not None:
            self.writer.close()


class ArrayWriter:
    """One array (n, columns) in NumPy's format, of whatever number of rows comes."""

    def __init__(self, path: Path) -> None:
        self.file, self.rows = path.open("wb"), 0

    def write(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Append rows."""
        block = np.stack([_exact(*column) for column in columns.items()], 1)
        if not self.rows:
            self.dtype, self.width = block.dtype, block.shape[1]
            self._header()
        # Missing values make wider floats of whole numbers; the header has said which are meant.
        self.file.write(block.astype(self.dtype, copy=False).data)
        self.rows += len(block)

    def close(self) -> None:
        """Write how many rows there are."""
        with self.file:
            if self.rows:
                self.file.seek(0)  # NumPy leaves room for a longer number of rows
                self._header()

    def _header(self) -> None:
        about = {"descr": self.dtype.str, "fortran_order": False}
        shape = (self.rows, self.width)
        np.lib.format.write_array_header_1_0(self.file, about | {"shape": shape})


def _exact(name: str, column: Any) -> NDArray[Any]:
    """Return a column as numbers that an array of floats holds to the last digit."""
    values = np.asarray(column)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"column {name!r} holds no numbers, as .npy has to; use --format parquet.")
    if values.dtype.kind in "iu" and np.any(np.abs(values) > LARGEST):
        raise ValueError(
            f"column {name!r} has whole numbers beyond 2^53, which .npy would round beside codes; "
            "use --format parquet."
        )
    return values


def open_writer(path: Path, form: str) -> Writer:
    """Return what writes one of the formats; one line where a library lacks."""
    if form != "parquet":
        return ArrayWriter(path)
    import_optional("pyarrow", extra="tables", what="writing .parquet", instead="use --format npy")
    return ParquetWriter(path)


@contextlib.contextmanager
def atomic_output(target: Path, about: Mapping[str, Any]) -> Iterator[Writer]:
    """Open an output that takes its name when it is whole and on the disk; for one process alone.

    Parameters
    ----------
    target : Path
        A ``.parquet`` or ``.npy`` file.
    about : mapping
        What the record is to say.
    """
    draft = _beside(target, PARTIAL)
    draft.parent.mkdir(parents=True, exist_ok=True)
    busy = f"another process is writing {target}: wait for it."
    with exclusive(_beside(target, ".lock"), busy):
        try:
            writer = open_writer(draft, target.suffix[1:])
            try:
                yield writer
            finally:
                writer.close()
            with draft.open("rb+") as file:
                os.fsync(file.fileno())
            write_atomic(_beside(target), to_json({**about, "output": file_stamp(draft)}).encode())
            os.replace(draft, target)
        finally:
            draft.unlink(missing_ok=True)


def is_finished(target: Path, about: Mapping[str, Any]) -> bool:
    """Whether an output is there, whole, and made by the same of the same."""
    if not target.is_file() or (record := _record(target)) is None:
        return False
    return record == {**about, "output": file_stamp(target)}


def has_record(target: Path) -> bool:
    """Whether there is a record of an output."""
    return _record(target) is not None


def file_stamp(path: Path) -> list[int]:
    """Return a file's size in bytes and the nanosecond of its last change."""
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]


def _record(target: Path) -> Any:
    try:
        return read_json(_beside(target))
    except (ValueError, OSError):
        return None


def _beside(target: Path, end: str = ".json") -> Path:
    return target.parent / RECORDS / (target.name + end)
