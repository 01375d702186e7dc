"""``isthmus map``: a run and data in, a map of their codes out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.cli._options import add_data_options, add_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from isthmus.data import Dataset

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    maps = subparsers.add_parser(
        "map",
        help="draw where data lie in the latent space, coloured by label",
        description="Draw a map of the codes of data (of their test set where they have one): of "
        "two latents as they are, of more by principal components, or by UMAP.",
        epilog="Examples:  isthmus map RUN digits --out map.png   isthmus map RUN digits "
        "--spread   isthmus map RUN-AE digits --beside RUN-KL RUN-VAE",
    )
    add_run(maps)
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


def run(arguments: argparse.Namespace) -> int:
    """Lay out, draw; return the exit code."""
    from isthmus.applications.maps import compare_latent_maps
    from isthmus.cli._contact_sheet import check_out, load_rows, write_figure
    from isthmus.estimators import model_io

    out = check_out(arguments.out, Path(arguments.run) / "map.png")
    if sum(map(bool, (arguments.spread, arguments.rows, arguments.beside))) > 1:
        raise ValueError("--spread, --rows and --beside exclude each other.")
    runs = [arguments.run, *(arguments.beside or [])]
    models = [model_io.load(run) for run in runs]
    data = load_rows(arguments)
    if arguments.rows:
        sheet = _distributions(arguments, models[0], data)
    elif arguments.beside:
        names = _names(runs, models)
        sheet = compare_latent_maps(dict(zip(names, models, strict=True)), *_shown(data))
    else:
        sheet = _map(arguments, models[0], data)
    write_figure(sheet, out)
    return 0


def _map(arguments: argparse.Namespace, estimator: Any, data: Dataset) -> Figure:
    from isthmus.applications.maps import LatentMap

    X, y = _shown(data)
    latent = LatentMap.from_fitted(estimator, method=arguments.method).fit(X)
    return latent.posterior_figure(X, y) if arguments.spread else latent.figure(X, y)


def _distributions(arguments: argparse.Namespace, estimator: Any, data: Dataset) -> Figure:
    from isthmus.applications.maps import latent_distributions
    from isthmus.cli._contact_sheet import read_queries

    chosen = read_queries(arguments.rows, data, estimator.feature_shape_)
    return latent_distributions(estimator, chosen.X, chosen.names)


def _shown(data: Dataset) -> tuple[Any, Any]:
    """Return the rows to draw: a test set where there is one."""
    return (data.X, data.y) if data.X_test is None else (data.X_test, data.y_test)


def _names(runs: list[str], models: list[Any]) -> list[str]:
    """Return a name for each run: its model, and its folder where models are of one kind."""
    kinds = [_kind(model) for model in models]
    names = kinds if len(set(kinds)) == len(kinds) else [Path(run).name for run in runs]
    if len(set(names)) < len(names):
        raise ValueError("two of the runs have one name; name each run once.")
    return names


def _kind(model: Any) -> str:
    from isthmus.estimators import BetaVAE

    name = type(model).__name__
    return f"{name}, β = {model.beta:,g}" if isinstance(model, BetaVAE) else name
