"""``isthmus transform``: a run and files in, a file of codes for each out."""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.cli._exit_codes import FAILED
from isthmus.cli._options import add_file_options, add_run

if TYPE_CHECKING:
    from isthmus.bulk.files import FileResult, FileTask
    from isthmus.bulk.worker_rank import WorkerRank

__all__ = ["add_parser", "run"]

MOST_LINES = 3  # about files that failed for one reason


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    transform = subparsers.add_parser(
        "transform",
        help="write the codes of the rows of many files, by a saved run",
        description="Encode files of any length by a saved run: for each a file of the same name "
        "in OUT, a row for each row. Files that are finished are passed over, so that the same "
        "command goes on after a break. Under torchrun the files are divided among the processes.",
        epilog="Examples:  isthmus transform RUN in/*.parquet out/   "
        "torchrun --nproc-per-node 4 -m isthmus transform RUN in/*.parquet out/",
    )
    add_run(transform)
    transform.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="files (.parquet, .npy, .npz, .csv, .tsv), patterns, or folders of such",
    )
    transform.add_argument("out", metavar="OUT", help="a folder for the codes")
    transform.add_argument(
        "--format",
        default="auto",
        choices=("auto", "parquet", "npy"),
        help="what is written (default: arrays for arrays, else Parquet)",
    )
    add_file_options(transform)


def run(arguments: argparse.Namespace) -> int:
    """Encode each file, say so; return the exit code."""
    from isthmus.applications.meta_estimator import model_digest
    from isthmus.bulk.files import FileTask, output_paths
    from isthmus.bulk.maps import code_columns
    from isthmus.bulk.worker_rank import WorkerRank
    from isthmus.data.feature_columns import FeatureColumns
    from isthmus.estimators import model_io

    rank = WorkerRank.from_environment()
    targets = output_paths(
        arguments.inputs, Path(arguments.out), arguments.format, arguments.column
    )
    model = model_io.load(arguments.run, device=arguments.device)
    job = FileTask(
        lambda X, start: code_columns(model, X),
        FeatureColumns.for_model(model, arguments.column, arguments.keep),
        {"verb": "transform", "model": model_digest(model)},
        arguments.format,
    )
    return work(job, rank, targets, arguments.force)


def work(job: FileTask, rank: WorkerRank, targets: dict[Path, Path], force: bool) -> int:
    """Do the files of this process, say what became of each; return the exit code."""
    from isthmus.bulk.files import process_files

    prefix = f"rank {rank.number} of {rank.world_size}: " if rank.world_size > 1 else ""
    mine = rank.assign([*targets])
    _make_folders({target.parent for target in targets.values()})
    start, done = time.perf_counter(), []
    for each in process_files(targets, mine, job, force):
        done.append(each)
        if each.rows is not None:
            print(f"{prefix}{each.source} -> {each.target}: {each.rows:,} rows", flush=True)
    print(prefix + _summary(done, time.perf_counter() - start), flush=True)
    failed = [each for each in done if each.error]
    rank.wait_for_others(bool(failed))
    for line in _failures(failed):
        print(f"isthmus: {prefix}failed: {line}", file=sys.stderr, flush=True)
    return FAILED if failed else 0


def _failures(failed: list[FileResult]) -> list[str]:
    """Return a line for each file that failed, or one for many that failed alike.

    Their reasons are alike that differ in numbers alone, as of rows; that of the first is told.
    """
    alike: dict[str, list[FileResult]] = {}
    for each in failed:
        alike.setdefault(re.sub(r"[-+.\d]+", "0", _reason(each)), []).append(each)
    lines = []
    for files in alike.values():
        few, rest = files[:MOST_LINES], len(files) - MOST_LINES
        if rest > 0:
            names = ", ".join(str(each.source) for each in few)
            lines.append(f"{names} and {rest:,} more: {_reason(files[0])}")
        else:
            lines += [each.error for each in files]
    return lines


def _reason(done: FileResult) -> str:
    return done.error.removeprefix(f"{done.source}: ")


def _make_folders(folders: set[Path]) -> None:
    """Make the folders of the results, or say at once that it cannot be done."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"{folder} cannot be made: {error}; name another folder.") from None


def _summary(done: list[FileResult], seconds: float) -> str:
    """Return one line: what was done, what had been done before, what failed."""
    if not done:
        return "no file is left for this process: there are fewer files than processes"
    rows = sum(each.rows or 0 for each in done)
    now = sum(each.rows is not None for each in done)
    failed = sum(bool(each.error) for each in done)
    said = [f"{now} done, {rows:,} rows, {rows / seconds:,.0f} rows/s"] * bool(now)
    said += [f"{len(done) - now - failed} finished before"] * (now + failed < len(done))
    said += [f"{failed} failed"] * bool(failed)
    return f"of {len(done)} file{'s' * (len(done) > 1)} " + "; ".join(said)
