"""Flags of ``isthmus transform``, and those that all verbs of many files have."""

from __future__ import annotations

from typing import Any

__all__ = ["add", "add_file_options"]


def add(commands: Any) -> None:
    """Add the verb."""
    transform = commands.add_parser(
        "transform",
        help="write the codes of the rows of many files, by a saved run",
        description="Encode files of any length by a saved run: for each a file of the same name "
        "in OUT, a row for each row. Files that are finished are passed over, so that the same "
        "command goes on after a break. Under torchrun the files are divided among the processes.",
        epilog="Examples:  isthmus transform RUN in/*.parquet out/   "
        "torchrun --nproc-per-node 4 -m isthmus transform RUN in/*.parquet out/",
        allow_abbrev=False,
    )
    transform.add_argument("run", metavar="RUN", help="a folder that `isthmus fit` wrote")
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


def add_file_options(parser: Any) -> None:
    """Add how many files are read and written."""
    parser.add_argument(
        "--keep",
        metavar="COLUMN",
        action="append",
        default=[],
        help="a column of tables that is no feature and goes to the output as it is; may be "
        "repeated",
    )
    parser.add_argument(
        "--column",
        metavar="COLUMN",
        help="the one column of tables that holds whole rows, as lists",
    )
    parser.add_argument(
        "--device",
        default="auto",
        metavar="DEVICE",
        help="where to compute (default: a GPU where there is one, under torchrun each its own)",
    )
    parser.add_argument(
        "--force", action="store_true", help="do finished files again, replace what is there"
    )
