"""Flags of ``isthmus detect``."""

from __future__ import annotations

from typing import Any

from isthmus.verbs.options import add_data_options
from isthmus.verbs.transform import add_file_options

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the verb."""
    detect = commands.add_parser(
        "detect",
        help="say which rows are anomalous, by a saved run",
        description="Score the rows of data by a saved run: how strange each is, its p-value and "
        "whether it is flagged. The cut and the p-values come from the rows of --normal, which "
        "the run should not have been trained on; without it, from the data themselves. Of many "
        "files those that are finished are passed over, and under torchrun they are divided among "
        "the processes.",
        allow_abbrev=False,
    )
    detect.add_argument("run", metavar="RUN", help="a folder that `isthmus fit` wrote")
    detect.add_argument(
        "data",
        metavar="DATA",
        nargs="+",
        help="a name or path, as for `isthmus fit`; or many files, patterns and folders of such",
    )
    add_data_options(detect)
    detect.add_argument(
        "--normal", metavar="DATA", help="normal rows, not trained on: a name or path of their own"
    )
    detect.add_argument(
        "--score",
        default="reconstruction",
        choices=("reconstruction", "likelihood", "nap", "latent", "paths", "whitened"),
        help="what is strange (default: reconstruction)",
    )
    detect.add_argument(
        "--contamination",
        metavar="SHARE",
        type=float,
        help="flag this share of the normal rows, over 0 and at most 0.5 (default: p-values of "
        "at most --false-alarms)",
    )
    detect.add_argument(
        "--false-alarms",
        metavar="SHARE",
        type=float,
        default=0.05,
        help="share of normal rows that may be flagged (default: 0.05)",
    )
    detect.add_argument(
        "--out",
        metavar="FILE",
        help="a table .parquet or .csv, a row for each row (default: scores.csv); of many files a "
        "folder, such as scores/, for a table each",
    )
    detect.add_argument("--random-state", type=int, default=0, metavar="N", help="seed")
    add_file_options(detect)
