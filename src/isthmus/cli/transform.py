"""``isthmus transform``: write the codes of many files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from isthmus.cli._options import add_file_options, add_run

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "transform",
        help="write the codes of the rows of many files",
        description="Encode files of any length: for each a file of the same name in OUT, with one "
        "row for each row. Finished files are skipped, so that the same command continues after an "
        "interruption. Under torchrun the files are divided among the processes.",
        epilog="Examples:  isthmus transform RUN in/*.parquet out/   "
        "torchrun --nproc-per-node 4 -m isthmus transform RUN in/*.parquet out/",
    )
    add_run(parser)
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="files (.parquet, .npy, .npz, .csv, .tsv), patterns, or folders of files",
    )
    parser.add_argument("out", metavar="OUT", help="output folder")
    parser.add_argument(
        "--format",
        default="auto",
        choices=("auto", "parquet", "npy"),
        help="output format (default: auto, .npy for arrays, else Parquet)",
    )
    add_file_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Encode each file; return the exit code."""
    from isthmus.applications.meta_estimator import model_digest
    from isthmus.bulk.files import FileTask, output_paths
    from isthmus.bulk.maps import code_columns
    from isthmus.bulk.worker_rank import WorkerRank
    from isthmus.cli._files import process_and_report
    from isthmus.data.feature_columns import FeatureColumns
    from isthmus.estimators import model_io

    rank = WorkerRank.from_environment()
    targets = output_paths(
        arguments.inputs, Path(arguments.out), arguments.format, arguments.column
    )
    model = model_io.load(arguments.run, device=arguments.device)
    task = FileTask(
        lambda X, start: code_columns(model, X),
        FeatureColumns.for_model(model, arguments.column, arguments.keep),
        {"verb": "transform", "model": model_digest(model)},
    )
    return process_and_report(task, rank, targets, arguments.force)
