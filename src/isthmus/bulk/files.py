"""Apply a model to many files: prefetching, restartable, divided among processes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus._messages import did_you_mean
from isthmus._version import __version__
from isthmus.bulk.outputs import atomic_output, file_stamp, has_record, is_finished, remove_lock
from isthmus.data.chunked_reader import (
    ARRAY_SUFFIXES,
    SUFFIXES,
    TEXT_SUFFIXES,
    describe_error,
    is_known,
    read_chunks,
)
from isthmus.data.datasets import is_media, known_datasets
from isthmus.data.feature_columns import FeatureColumns
from isthmus.data.media_folders import inside_only, visible_files
from isthmus.data.prefetch import prefetch
from isthmus.data.text_files import stem_of, suffix_of
from isthmus.estimators.batched_inference import inference_batch_size
from isthmus.persistence.atomic import naming

__all__ = ["UNKNOWN_COLUMN", "FileResult", "FileTask", "output_paths", "process_files"]

Array = NDArray[Any]
UNKNOWN_COLUMN = "unknown"  # names the columns of a row that explain an infinite score
MODEL_BATCHES = 8  # per chunk of a file


@dataclass(frozen=True)
class FileTask:
    """What to compute for each file.

    Parameters
    ----------
    function : callable
        Maps rows X (n, ...) and the number of the first row to columns by name, each (n,).
    features : FeatureColumns
        The columns of tables that are features.
    about : dict
        What produced an output, as JSON data: it is recomputed if this changes.
    score : str, optional
        An output column that is infinite for rows that cannot be scored, which are counted.
    """

    function: Callable[[Array, int], dict[str, Array]]
    features: FeatureColumns
    about: dict[str, Any] = field(default_factory=dict)
    score: str | None = None

    def record(self, source: Path) -> dict[str, Any]:
        """Return the record of the output for a file."""
        columns: list[Any] = [self.features.column, [*self.features.keep]]
        columns += [self.features.options.to_json()] if self.features.options.to_json() else []
        made_by = {**self.about, "isthmus": __version__, "columns": columns}
        if is_media(source):
            shape, *others = self.features.media
            made_by["media"] = [[*(shape or ())], *others]
        return made_by | {"input": file_stamp(source)}


class FileResult(NamedTuple):
    """Result for one file: the number of rows, None if it was already finished; or an error.

    `n_unscored` rows hold no value or one that overflows, the first of them row `first_unscored`.
    """

    source: Path
    target: Path
    rows: int | None = None
    error: str = ""
    n_unscored: int = 0
    first_unscored: int = 0


def find_files(names: Sequence[str]) -> list[Path]:
    """Return the distinct files of names, patterns and folders; a ValueError for other files."""
    files = [Path(file) for name in names for file in _expand(name)]
    for file in files:
        if not (suffix_of(file) in SUFFIXES or is_media(file) or is_known(file)):
            raise ValueError(
                f"{file}: expected {', '.join(SUFFIXES)}, an image or an audio file; convert it."
            )
    return [*{file.resolve(): file for file in files}.values()]


def _expand(name: str) -> list[str]:
    if os.path.isdir(name):
        files = (Path(entry.path) for entry in os.scandir(name) if entry.is_file())
        tables = (file for file in files if suffix_of(file) in SUFFIXES)
        inside, notes = inside_only(tables, Path(name))
        if inside:
            for note in notes:
                warnings.warn(f"{name}: {note}", UserWarning, stacklevel=2)
            return [*map(str, inside)]
        if any(is_media(file) for file in visible_files(Path(name))):
            return [name]
        raise ValueError(
            f"{name} holds no file of type {', '.join(SUFFIXES)}, image or audio file; name "
            "another folder."
        )
    if os.path.exists(name) or is_known(Path(name)):
        return [name]
    if found := sorted(glob(name)):
        return [path for each in found for path in _expand(each)]
    raise ValueError(
        f"no file matches {name!r}; check the name.{did_you_mean(name, known_datasets())}"
    )


def output_paths(
    names: Sequence[str], out: Path, form: str, column: str | None = None
) -> dict[Path, Path]:
    """Return the output path in the folder `out` of each file, pattern or folder of inputs.

    `form` is "parquet", "npy", "csv", "tsv" or "auto": an array for an array, text for text, else
    Parquet. Raises a
    ValueError if two outputs would have the same path, or `out` is a file, or holds or is inside an
    input.
    """
    files = find_files(names)
    if column is not None and all(suffix_of(file) in ARRAY_SUFFIXES for file in files):
        raise ValueError("--column is for tables, but all inputs are arrays; omit it.")
    if not out.is_dir() and (out.exists() or out.suffix.lower() in SUFFIXES):
        named = "is" if out.exists() else "is the name of"
        raise ValueError(f"{out} {named} a file; name a folder for the results, such as codes/.")
    if around := [name for name in names if Path(name).resolve() in out.resolve().parents]:
        raise ValueError(f"{out} is inside the input {around[0]}; name another folder.")
    if inputs := [file for file in files if file.resolve().parent == out.resolve()]:
        raise ValueError(f"{out} holds the input {inputs[0].name}; name another folder.")
    targets: dict[Path, Path] = {}
    for file in files:
        auto = _form_of(file)
        stem = file.resolve().name if file.is_dir() else stem_of(file)
        target = out / f"{stem}.{auto if form == 'auto' else form}"
        if target in targets.values():
            other = next(f for f, taken in targets.items() if taken == target)
            raise ValueError(f"{other} and {file} have the same output {target}; rename one.")
        targets[file] = target
    return targets


def _form_of(file: Path) -> str:
    """Return the type of output that has the format of an input."""
    if suffix_of(file) in ARRAY_SUFFIXES or is_known(file):
        return "npy"
    if suffix_of(file) in TEXT_SUFFIXES:
        return "tsv" if suffix_of(file).startswith(".tsv") else "csv"
    return "parquet"


def process_files(
    targets: dict[Path, Path], files: Sequence[Path], task: FileTask, force: bool = False
) -> Iterator[FileResult]:
    """Process files one after another; a failure does not stop the others.

    `targets` holds the output path of each file. `force` recomputes finished outputs and replaces
    files that isthmus did not write.
    """
    for file in files:
        try:
            yield _process_file(file, targets[file], task, force)
        except (ValueError, OSError, ImportError, MemoryError) as error:
            yield FileResult(file, targets[file], error=describe_error(file, error, 0))


def _process_file(source: Path, target: Path, task: FileTask, force: bool) -> FileResult:
    record = task.record(source)
    if not force and is_finished(target, record):
        remove_lock(target)
        return FileResult(source, target)
    if not force and target.exists() and not has_record(target):
        raise ValueError(
            f"{target} exists, but isthmus did not write it; name another folder, or add --force "
            "to replace it."
        )
    rows, unscored = 0, []
    with atomic_output(target, record) as writer:
        for columns in prefetch(_compute(source, task), join_timeout=None):
            with naming(target):
                writer.write(columns)
            if task.score is not None:
                explained = np.asarray(columns.get(UNKNOWN_COLUMN, "")) != ""
                infinite = np.isinf(columns[task.score]) & ~explained
                unscored += (rows + np.flatnonzero(infinite)).tolist()
            rows += len(next(iter(columns.values())))
    first = unscored[0] if unscored else 0
    return FileResult(source, target, rows, n_unscored=len(unscored), first_unscored=first)


def _compute(source: Path, task: FileTask) -> Iterator[dict[str, Any]]:
    """Yield the output columns of each chunk of a file."""
    start = 0
    # Whole batches of the model, so that only the last one is padded.
    n_rows = MODEL_BATCHES * inference_batch_size(task.features.n_features)
    for chunk in prefetch(read_chunks(source, task.features, n_rows), join_timeout=None):
        # An empty file still has output columns: those of a row of zeros.
        X = chunk.X if len(chunk.X) else np.zeros((1, *chunk.X.shape[1:]), chunk.X.dtype)
        try:
            output = task.function(X, start)
        except ValueError as error:
            raise ValueError(describe_error(source, error, start)) from error
        if twice := [name for name in chunk.kept if name in output]:
            raise ValueError(f"column {twice[0]!r} is kept and also an output; rename it.")
        yield {**chunk.kept, **{name: column[: len(chunk.X)] for name, column in output.items()}}
        start += len(chunk.X)
