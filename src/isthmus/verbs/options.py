"""Flags that several verbs have."""

from __future__ import annotations

import argparse

__all__ = ["add_data_options"]


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add where data lie and how they are read."""
    parser.add_argument(
        "--data-home",
        metavar="DIR",
        help="where mnist and fashion-mnist lie (default: the environment's ISTHMUS_DATA)",
    )
    parser.add_argument(
        "--size", type=int, metavar="N", help="make pictures N x N; windows of sound N samples"
    )
    parser.add_argument("--label", metavar="COLUMN", help="the column of a table that is a label")
