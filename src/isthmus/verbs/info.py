"""Flags of ``isthmus info``."""

from __future__ import annotations

from typing import Any

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the verb."""
    info = commands.add_parser(
        "info", help="describe a saved run", description="Describe a saved run."
    )
    info.add_argument("run", metavar="RUN", help="a folder that `isthmus fit` wrote")
