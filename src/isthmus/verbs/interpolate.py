"""Flags of ``isthmus interpolate``."""

from __future__ import annotations

from typing import Any

from isthmus.verbs.options import add_data_options

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the verb."""
    interpolate = commands.add_parser(
        "interpolate",
        help="draw the way from one example to another through the latent space",
        description="Draw the decoded path between the codes of examples: from the first to the "
        "second, from the second to the third, and so on.",
        epilog="Examples:  isthmus interpolate RUN 17 25   isthmus interpolate RUN test:0 test:1 "
        "test:2 --spherical   isthmus interpolate RUN cat.png dog.png --data photos/",
        allow_abbrev=False,
    )
    interpolate.add_argument("run", metavar="RUN", help="a folder that `isthmus fit` wrote")
    interpolate.add_argument(
        "query",
        metavar="QUERY",
        nargs="+",
        help="two or more: the number of a row, test:NUMBER, a picture, or .npy",
    )
    interpolate.add_argument(
        "--spherical",
        action="store_true",
        help="turn about the origin instead of going straight (for many latents under a normal "
        "prior)",
    )
    interpolate.add_argument(
        "--steps", type=int, default=9, metavar="N", help="examples of a path (default: 9)"
    )
    interpolate.add_argument(
        "--data", metavar="DATA", help="the data, as for `isthmus fit` (default: the run's own)"
    )
    add_data_options(interpolate)
    interpolate.add_argument(
        "--out", metavar="FILE", help="the sheet (default: RUN/interpolate.png)"
    )
