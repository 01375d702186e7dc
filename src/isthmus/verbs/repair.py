"""Flags of ``isthmus repair``."""

from __future__ import annotations

from typing import Any

from isthmus.verbs.options import add_data_options

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the verb."""
    repair = commands.add_parser(
        "repair",
        help="fill in what is missing in data, by a saved run",
        description="Fill in what is missing: the empty cells of a table, the NaN of an array, or "
        "what a mask marks. What was observed is written as it was.",
        epilog="Examples:  isthmus repair runs/table-vae table.csv   "
        "isthmus repair runs/digits-vae digits --mask lower-half.npy",
        allow_abbrev=False,
    )
    repair.add_argument("run", metavar="RUN", help="a folder that `isthmus fit` wrote")
    repair.add_argument("data", metavar="DATA", help="a name or path, as for `isthmus fit`")
    add_data_options(repair)
    repair.add_argument(
        "--mask",
        metavar="FILE",
        help=".npy of True and False, or a picture whose white parts are missing: of one "
        "example, or of each",
    )
    repair.add_argument(
        "--method",
        choices=("auto", "decode", "optimize", "predict", "sample"),
        default="auto",
        help="how: by encoding and decoding again, by the best code, by one pass with "
        "the gaps hidden as in training, or by draws, which also "
        "give an uncertainty (default: auto)",
    )
    repair.add_argument(
        "--draws", type=int, default=100, metavar="N", help="draws behind each value (default: 100)"
    )
    repair.add_argument("--rows", type=int, metavar="N", help="only the first N rows")
    repair.add_argument(
        "--out",
        metavar="FILE",
        help="where to write: .csv or .parquet for such tables, else .npz (default: "
        "NAME-repaired beside the run's other files)",
    )
    repair.add_argument("--force", action="store_true", help="replace an existing --out")
    repair.add_argument("--random-state", type=int, default=0, metavar="N", help="seed")
