"""Flags of ``isthmus traverse``."""

from __future__ import annotations

from typing import Any

from isthmus.verbs.options import add_data_options

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the verb."""
    traverse = commands.add_parser(
        "traverse",
        help="show what becomes of an example as one latent, or an attribute, changes",
        description="Draw what each latent does: one row a latent, the most active first, from "
        "low to high. With --row from an example of the data; with --toward or --away along the "
        "direction of a class, a difference of mean codes; with --grid the plane of two latents.",
        epilog="Examples:  isthmus traverse RUN   isthmus traverse RUN --row 17 --latents 0 3   "
        "isthmus traverse RUN --row 17 --toward 3 --away 5   isthmus traverse RUN --grid 15",
        allow_abbrev=False,
    )
    traverse.add_argument("run", metavar="RUN", help="a folder that `isthmus fit` wrote")
    traverse.add_argument(
        "--row",
        nargs="+",
        metavar="QUERY",
        help="begin at these: the number of a row, test:NUMBER, a picture, or .npy",
    )
    traverse.add_argument(
        "--latents",
        nargs="+",
        type=int,
        metavar="D",
        help="latents to move along, from 1 (default: the ten most active)",
    )
    traverse.add_argument("--toward", metavar="CLASS", help="move toward this class; needs --row")
    traverse.add_argument("--away", metavar="CLASS", help="move away from this class; needs --row")
    traverse.add_argument(
        "--amount",
        type=float,
        default=1.0,
        metavar="X",
        help="how far along a direction, 1 being the whole difference of means (default: 1)",
    )
    traverse.add_argument(
        "--grid", type=int, metavar="N", help="decode a grid of N x N places of two latents"
    )
    traverse.add_argument(
        "--steps", type=int, default=9, metavar="N", help="examples in a row (default: 9)"
    )
    traverse.add_argument(
        "--data", metavar="DATA", help="the data, as for `isthmus fit` (default: the run's own)"
    )
    add_data_options(traverse)
    traverse.add_argument("--out", metavar="FILE", help="the sheet (default: RUN/traverse.png)")
