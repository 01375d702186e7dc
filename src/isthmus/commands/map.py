"""``isthmus map``: a run and data in, a map of their codes out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from isthmus.applications.maps import LatentMap, latent_distributions, side_by_side
from isthmus.commands.contact_sheet import check_out, load_rows, read_queries, write_figure
from isthmus.data import Dataset
from isthmus.estimators import BetaVAE, model_io

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Lay out, draw; return the exit code."""
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
        sheet = side_by_side(dict(zip(names, models, strict=True)), *_shown(data))
    else:
        sheet = _map(arguments, models[0], data)
    write_figure(sheet, out)
    return 0


def _map(arguments: argparse.Namespace, estimator: Any, data: Dataset) -> Figure:
    X, y = _shown(data)
    latent = LatentMap.from_fitted(estimator, method=arguments.method).fit(X)
    return latent.posteriors(X, y) if arguments.spread else latent.figure(X, y)


def _distributions(arguments: argparse.Namespace, estimator: Any, data: Dataset) -> Figure:
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
    name = type(model).__name__
    return f"{name}, β = {model.beta:,g}" if isinstance(model, BetaVAE) else name
