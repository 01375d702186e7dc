"""Flags of ``isthmus studio``."""

from __future__ import annotations

import argparse
from typing import Any

from isthmus.verbs.options import add_data_options

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the verb."""
    studio = commands.add_parser(
        "studio",
        help="look at a run in the browser: its map, sliders, samples, repair, training",
        description="Look at a run in the browser, with its model behind every picture. Runs that "
        "are being trained can be followed.",
        epilog="Examples:  isthmus studio runs/digits-vae   isthmus studio runs/   "
        "isthmus studio RUN --data photos/ --port 9000",
        allow_abbrev=False,
    )
    studio.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        help="folders that `isthmus fit` wrote, or a folder of such: the first one's model is "
        "shown, and the training of all",
    )
    studio.add_argument(
        "--data",
        metavar="DATA",
        help="the data to show, as for `isthmus fit` (default: what the run was fitted on)",
    )
    add_data_options(studio)
    studio.add_argument(
        "--rows",
        type=int,
        default=100_000,
        metavar="N",
        help="rows to show, at most (default: 100000)",
    )
    studio.add_argument(
        "--port",
        type=port,
        metavar="N",
        help="port (default: 8631, or a free one where it is in use)",
    )
    studio.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to answer at (default: 127.0.0.1, for this machine alone)",
    )
    studio.add_argument("--no-browser", action="store_true", help="print the address alone")


def port(text: str) -> int:
    """Return the number of a port; the parser's error for another."""
    if not 0 <= (number := int(text)) < 2**16:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to {2**16 - 1}, got {text}")
    return number
