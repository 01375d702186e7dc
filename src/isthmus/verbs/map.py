"""Flags of ``isthmus map``."""

from __future__ import annotations

from typing import Any

from isthmus.verbs.options import add_data_options

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the verb."""
    maps = commands.add_parser(
        "map",
        help="draw where data lie in the latent space, coloured by label",
        description="Draw a map of the codes of data (of their test set where they have one): of "
        "two latents as they are, of more by principal components, or by UMAP.",
        epilog="Examples:  isthmus map RUN digits --out map.png   isthmus map RUN digits "
        "--spread   isthmus map RUN-AE digits --beside RUN-KL RUN-VAE",
        allow_abbrev=False,
    )
    maps.add_argument("run", metavar="RUN", help="a folder that `isthmus fit` wrote")
    maps.add_argument("data", metavar="DATA", help="a name or path, as for `isthmus fit`")
    add_data_options(maps)
    kinds = maps.add_mutually_exclusive_group()
    kinds.add_argument(
        "--method",
        choices=("auto", "pca", "umap"),
        default="auto",
        help="how codes become places; umap needs isthmus[maps] (default: auto)",
    )
    kinds.add_argument(
        "--beside",
        nargs="+",
        metavar="RUN",
        help="draw these runs side by side with the first: one draw from q(z|x) an example",
    )
    maps.add_argument(
        "--spread",
        action="store_true",
        help="draw q(z|x) of each example as an ellipse of one standard deviation",
    )
    maps.add_argument(
        "--rows",
        nargs="+",
        metavar="QUERY",
        help="draw q(z|x) of these instead, latent by latent: row numbers, test:NUMBER, or files",
    )
    maps.add_argument("--out", metavar="FILE", help="the picture (default: RUN/map.png)")
