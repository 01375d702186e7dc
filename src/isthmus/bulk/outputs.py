"""Write one output file per input atomically, with a record of what produced it.

Records, partial files and locks are kept in a hidden folder beside the outputs. A record contains
the model and input of an output, and its size and time of change: an output that was changed
later, or interrupted by a crash, does not count as finished.
"""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from isthmus._optional import import_optional
from isthmus.persistence.atomic import inner_folder, naming, open_atomic, write_atomic
from isthmus.persistence.integrity import read_json
from isthmus.persistence.locks import exclusive
from isthmus.persistence.run_folder import to_json

__all__ = ["Writer", "atomic_output", "file_stamp", "has_record", "is_finished", "remove_lock"]

RECORDS = ".isthmus"  # hidden: programs that read all files of a folder skip it
MAX_EXACT = 2**53  # largest whole number up to which float64 is exact
GROUP_SIZE = 2**22  # approximate numbers per row group of Parquet


class ParquetWriter:
    """Write columns of rows as Parquet, in row groups whose size depends on the columns only."""

    def __init__(self, file: BinaryIO) -> None:
        self.pa = import_optional(
            "pyarrow", extra="tables", what="writing .parquet", instead="use --format csv or npy"
        )
        self.file = file
        self.writer: Any = None
        self.pending: list[Any] = []

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append rows."""
        self.pending.append(self.pa.table(dict(columns)))
        if sum(map(len, self.pending)) * len(columns) >= GROUP_SIZE:
            self._flush()

    def _flush(self) -> None:
        from pyarrow import parquet  # type: ignore[import-untyped]

        table = self.pa.concat_tables(self.pending).combine_chunks()
        self.writer = self.writer or parquet.ParquetWriter(self.file, table.schema)
        self.writer.write_table(table)
        self.pending = []

    def close(self) -> None:
        """Write the remaining rows."""
        if self.pending:
            self._flush()
        if self.writer is not None:
            self.writer.close()


class ArrayWriter:
    """Write columns as one .npy array (n, columns) whose number of rows is known at the end."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.rows = file, 0

    def write(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Append rows."""
        block = np.stack([_check_exact(*column) for column in columns.items()], 1)
        if not self.rows:
            self.dtype, self.width = block.dtype, block.shape[1]
            self._write_header()
        # Missing values turn whole numbers into wider floats; the type in the header is final.
        self.file.write(block.astype(self.dtype, copy=False).data)
        self.rows += len(block)

    def close(self) -> None:
        """Write the number of rows."""
        if self.rows:
            self.file.seek(0)  # NumPy pads the header for a longer number of rows
            self._write_header()

    def _write_header(self) -> None:
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.rows, self.width)}
        np.lib.format.write_array_header_1_0(self.file, header)


class TextWriter:
    """Write columns of rows as text, with a header and all digits of numbers."""

    def __init__(self, file: BinaryIO, delimiter: str) -> None:
        self.text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        self.rows = csv.writer(self.text, delimiter=delimiter, lineterminator="\n")
        self.has_header = False

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append rows."""
        if not self.has_header:
            self.rows.writerow(columns)
            self.has_header = True
        cells = [c.tolist() if hasattr(c, "tolist") else [*c] for c in columns.values()]
        self.rows.writerows(zip(*cells, strict=True))

    def close(self) -> None:
        """Leave the file open, as it was given."""
        self.text.flush()
        self.text.detach()


Writer = ParquetWriter | ArrayWriter | TextWriter
DELIMITERS = {".csv": ",", ".tsv": "\t"}


def _writer(target: Path, file: BinaryIO) -> Writer:
    """Return what writes a file of the type that the name of the output says."""
    if target.suffix in DELIMITERS:
        return TextWriter(file, DELIMITERS[target.suffix])
    return (ParquetWriter if target.suffix == ".parquet" else ArrayWriter)(file)


def _check_exact(name: str, column: Any) -> NDArray[Any]:
    """Return a column of numbers that an array of floats can hold exactly."""
    values = np.asarray(column)
    problem = ""
    if values.dtype.kind not in "biuf":
        problem = "does not hold numbers, as .npy requires"
    elif values.dtype.kind in "iu" and np.any(np.abs(values) > MAX_EXACT):
        problem = "has whole numbers above 2^53, which .npy would round"
    if problem:
        raise ValueError(f"column {name!r} {problem}; use --format parquet.")
    return values


@contextlib.contextmanager
def atomic_output(target: Path, record: Mapping[str, Any]) -> Iterator[Writer]:
    """Open an output that gets its name once it is complete and synced, under a lock."""
    folder = inner_folder(target.parent, RECORDS)
    busy = f"another process is writing {target}: wait for it."

    def write_record(draft: Path) -> None:
        write_atomic(_beside(target), to_json({**record, "output": file_stamp(draft)}).encode())

    with exclusive(_lock_of(target), busy), open_atomic(target, folder, write_record) as file:
        writer = _writer(target, file)
        try:
            yield writer
        finally:
            with naming(target):
                writer.close()


def is_finished(target: Path, record: Mapping[str, Any]) -> bool:
    """Return whether an output is complete and was produced by the same input and model."""
    if not target.is_file():
        return False
    return bool(_read_record(target) == {**record, "output": file_stamp(target)})


def has_record(target: Path) -> bool:
    """Return whether isthmus wrote an output."""
    return _read_record(target) is not None


def file_stamp(path: Path) -> list[int]:
    """Return a file's size in bytes and the nanosecond of its last change; of a folder in all."""
    if not path.exists():  # a dataset known by name, which never changes
        return [0, 0]
    states = [path.stat(), *(entry.lstat() for entry in path.rglob("*"))]  # of a file only its own
    return [sum(s.st_size for s in states), max(s.st_mtime_ns for s in states)]


def _read_record(target: Path) -> Any:
    try:
        return read_json(_beside(target))
    except (ValueError, OSError):
        return None


def remove_lock(target: Path) -> None:
    """Remove the lock file of a finished output that a killed process has left."""
    path = _lock_of(target)
    if path.is_file():
        with contextlib.suppress(ValueError, OSError), exclusive(path, "it is in use", wait=0):
            pass


def _lock_of(target: Path) -> Path:
    return _beside(target, ".lock")


def _beside(target: Path, end: str = ".json") -> Path:
    return target.parent / RECORDS / (target.name + end)
