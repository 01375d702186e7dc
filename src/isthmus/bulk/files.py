"""Files in, an answer for each row out: read ahead, restartable, divided among processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus._version import __version__
from isthmus.bulk.outputs import atomic_output, file_stamp, has_record, is_finished
from isthmus.data.chunked_reader import ARRAY_SUFFIXES, SUFFIXES, describe_error, read_chunks
from isthmus.data.feature_columns import FeatureColumns
from isthmus.data.prefetch import prefetch
from isthmus.estimators.batched_inference import inference_batch_size

__all__ = ["FileResult", "FileTask", "output_paths", "process_files"]

Array = NDArray[Any]
CHUNKS = 8  # of the model's own, in one part of a file: its padding is seldom more than a chunk


@dataclass(frozen=True)
class FileTask:
    """What is done to each file.

    Parameters
    ----------
    answer : callable
        Takes rows X (n, ...) and the number of the first, returns columns by name, each (n,).
    features : FeatureColumns
        What is taken of tables.
    about : dict
        What made an output, fit to be written as JSON: of another it is made anew.
    form : {"auto", "parquet", "npy"}
        What is written; "auto" is an array for an array, else a table.
    """

    answer: Callable[[Array, int], dict[str, Array]]
    features: FeatureColumns
    about: dict[str, Any] = field(default_factory=dict)
    form: str = "parquet"

    @property
    def rows(self) -> int:
        """Rows in a part: whole chunks of the model, so that only the last is padded."""
        return CHUNKS * inference_batch_size(self.features.n_features)

    def about_file(self, source: Path) -> dict[str, Any]:
        """Return what a record is to say of the output for a file."""
        asked = [self.features.column, [*self.features.keep]]
        made = {**self.about, "isthmus": __version__, "columns": asked}
        return made | {"input": file_stamp(source)}


class FileResult(NamedTuple):
    """What became of one file: how many rows, or None where it was finished before, or an error."""

    source: Path
    target: Path
    rows: int | None = None
    error: str = ""


def find_files(names: Sequence[str]) -> list[Path]:
    """Return the files of names, patterns and folders, each once.

    Raises
    ------
    ValueError
        Where there is none, or one is of a kind that is not read.
    """
    files = [Path(file) for name in names for file in _files_of(name)]
    for file in files:
        if file.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{file}: expected {', '.join(SUFFIXES)}; convert it.")
    return [*{file.resolve(): file for file in files}.values()]


def _files_of(name: str) -> list[str]:
    if os.path.isdir(name):
        inside = sorted(entry.path for entry in os.scandir(name) if entry.is_file())
        found = [path for path in inside if Path(path).suffix.lower() in SUFFIXES]
        if not found:
            raise ValueError(f"{name} holds no file of {', '.join(SUFFIXES)}; name another folder.")
        return found
    if os.path.exists(name):
        return [name]
    found = sorted(glob(name))
    if not found:
        raise ValueError(f"no file matches {name!r}; check the name.")
    return [path for each in found for path in _files_of(each)]


def output_paths(
    names: Sequence[str], out: Path, form: str, column: str | None = None
) -> dict[Path, Path]:
    """Return where each answer goes, by its file: see `find_files` for the names.

    Raises
    ------
    ValueError
        Where two would go to one name, `out` is no folder, or one that is read, or none of the
        files has columns.
    """
    files = find_files(names)
    if column is not None and all(file.suffix.lower() in ARRAY_SUFFIXES for file in files):
        raise ValueError("--column is for tables, and all of these are arrays; omit it.")
    if not out.is_dir() and (out.exists() or out.suffix.lower() in SUFFIXES):
        named = "is" if out.exists() else "is the name of"
        raise ValueError(f"{out} {named} a file; name a folder for the results, such as codes/.")
    if around := [name for name in names if Path(name).resolve() in out.resolve().parents]:
        raise ValueError(f"{out} lies in {around[0]}, which is read; name another folder.")
    if holding := [file for file in files if file.resolve().parent == out.resolve()]:
        raise ValueError(f"{out} holds {holding[0].name}, which is read; name another folder.")
    targets: dict[Path, Path] = {}
    for file in files:
        target = out / f"{file.stem}.{_format(file, form)}"
        if target in targets.values():
            other = next(f for f, taken in targets.items() if taken == target)
            raise ValueError(f"{other} and {file} would both go to {target}; rename one of them.")
        targets[file] = target
    return targets


def _format(file: Path, form: str) -> str:
    if form != "auto":
        return form
    return "npy" if file.suffix.lower() in ARRAY_SUFFIXES else "parquet"


def process_files(
    targets: dict[Path, Path], files: Sequence[Path], job: FileTask, force: bool = False
) -> Iterator[FileResult]:
    """Answer files one after another; one that fails does not keep others from being done.

    Parameters
    ----------
    targets : dict
        Where each answer goes.
    files : sequence of Path
        Those to be done here.
    job : FileTask
    force : bool
        Do again what is finished, and replace files that something else made.

    Yields
    ------
    FileResult
    """
    for file in files:
        try:
            yield _answer_file(file, targets[file], job, force)
        except (ValueError, OSError, ImportError, MemoryError) as error:
            yield FileResult(file, targets[file], error=describe_error(file, error, 0))


def _answer_file(source: Path, target: Path, job: FileTask, force: bool) -> FileResult:
    about = job.about_file(source)
    if not force and is_finished(target, about):
        return FileResult(source, target)
    if not force and target.exists() and not has_record(target):
        raise ValueError(
            f"{target} is there and was made by something else; name another folder, or add "
            "--force to replace it."
        )
    rows = 0
    with atomic_output(target, about) as writer:
        for columns in prefetch(_answers(source, job), grace=None):
            writer.write(columns)
            rows += len(next(iter(columns.values())))
    return FileResult(source, target, rows)


def _answers(source: Path, job: FileTask) -> Iterator[dict[str, Any]]:
    """Yield the columns of the answers to the parts of a file."""
    start = 0
    for part in prefetch(read_chunks(source, job.features, job.rows), grace=None):
        try:
            answer = _answered(job, part.X, start)
        except ValueError as error:
            raise ValueError(describe_error(source, error, start)) from error
        if twice := [name for name in part.kept if name in answer]:
            raise ValueError(
                f"column {twice[0]!r} to keep has the name of one of the answer; rename it."
            )
        yield {**part.kept, **answer}
        start += len(part.X)


def _answered(job: FileTask, X: Array, start: int) -> dict[str, Array]:
    """Return the answer to rows; to none of them, that to a made-up one without its row."""
    if len(X):
        return job.answer(X, start)
    made_up = job.answer(np.zeros((1, *X.shape[1:]), X.dtype), start)
    return {name: column[:0] for name, column in made_up.items()}
