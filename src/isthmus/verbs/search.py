"""Flags of ``isthmus search``."""

from __future__ import annotations

from typing import Any

from isthmus.verbs.options import add_data_options

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the verb."""
    search = commands.add_parser(
        "search",
        help="find the examples most like a query: a contact sheet of results",
        description="Find the rows of a data set whose codes are nearest to those of a query. "
        "The first search encodes the data and keeps the index in the run; later ones use it.",
        epilog="Examples:  isthmus search runs/digits-vae 17   isthmus search RUN test:3 test:9 "
        "--data mnist   isthmus search RUN photo.jpg --data photos/",
        allow_abbrev=False,
    )
    search.add_argument("run", metavar="RUN", help="a folder that `isthmus fit` wrote")
    search.add_argument(
        "query",
        metavar="QUERY",
        nargs="+",
        help="the number of a row (it does not find itself), test:NUMBER, a picture, or .npy",
    )
    search.add_argument(
        "--data",
        metavar="DATA",
        help="what to search, as for `isthmus fit` (default: what was indexed last, else what the "
        "run was fitted on)",
    )
    add_data_options(search)
    search.add_argument(
        "-k", "--n-neighbors", type=int, default=10, metavar="N", help="results (default: 10)"
    )
    search.add_argument(
        "--metric",
        choices=("euclidean", "cosine", "scaled"),
        default="euclidean",
        help="distance of codes; scaled: each latent divided by its standard deviation",
    )
    search.add_argument(
        "--backend",
        choices=("auto", "exact", "approximate"),
        default="auto",
        help="auto is exact up to 200,000 rows, beyond that approximate where faiss is installed",
    )
    search.add_argument("--out", metavar="FILE", help="the sheet (default: RUN/search.png)")
