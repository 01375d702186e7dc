"""``isthmus traverse``: a run in, a sheet of what its latents or attributes do out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from isthmus.applications.latent_paths import EDGE, REACH, AttributeVectors, decoded_grid, traverse
from isthmus.applications.retrieval import encode_rows
from isthmus.commands.contact_sheet import (
    Queries,
    as_class,
    beside_sheet,
    check_out,
    load_rows,
    read_queries,
    rows_of_cells,
    write_figure,
)
from isthmus.data import Dataset
from isthmus.estimators import model_io
from isthmus.plots.latent import has_standard_prior, latent_grid, traversals
from isthmus.plots.style import signed

__all__ = ["run"]

Array = NDArray[Any]

MOST_ROWS = 10_000  # of data, encoded for ranges and activity
MOST_LATENTS = 10
MOST_STEPS = 40


def run(arguments: argparse.Namespace) -> int:
    """Decode, draw; return the exit code."""
    out = check_out(arguments.out, Path(arguments.run) / "traverse.png")
    for name, value in (("--steps", arguments.steps), ("--grid", arguments.grid)):
        if value is not None and not 2 <= value <= MOST_STEPS:
            raise ValueError(f"{name} must be from 2 to {MOST_STEPS}, got {value}.")
    directed = arguments.toward is not None or arguments.away is not None
    if directed and not arguments.row:
        raise ValueError("--toward and --away need --row: an example to begin with.")
    estimator = model_io.load(arguments.run)
    data = load_rows(arguments)
    if arguments.grid:
        sheet = _grid(arguments, estimator, data)
    elif directed:
        sheet = _along_class(arguments, estimator, data)
    elif arguments.row or arguments.latents:
        sheet = _along_latents(arguments, estimator, data)
    else:
        sheet = traversals(estimator, _codes(estimator, data), MOST_LATENTS, arguments.steps)
    write_figure(sheet, out)
    return 0


def _codes(estimator: Any, data: Dataset) -> Array:
    """Return codes of the data, or of an even part of many."""
    return encode_rows(estimator, data.X[:: -(-len(data.X) // MOST_ROWS)])


def _along_latents(arguments: argparse.Namespace, estimator: Any, data: Dataset) -> Figure:
    codes = _codes(estimator, data)
    latents = _latents(arguments.latents, codes)
    if not arguments.row:
        return _from_centre(estimator, codes, latents, arguments.steps)
    start = read_queries(arguments.row, data, estimator.feature_shape_)
    paths = [
        traverse(estimator, start.X, d, _steps(estimator, codes, d, arguments.steps))
        for d in latents
    ]
    moved = np.stack(paths, axis=1)  # (queries, latents, steps, *shape)
    names = [
        f"{name}  z{d + 1}" if i == 0 else f"z{d + 1}"
        for name in start.names
        for i, d in enumerate(latents)
    ]
    ends = f"from −{REACH:g} to {REACH:g}" if has_standard_prior(estimator) else "over its range"
    heading = f"One latent a row, {ends}, the others as the example has them"
    shape = moved.shape[3:]
    ticks = _ticks(estimator, arguments.steps)
    return rows_of_cells(moved.reshape(-1, *shape), arguments.steps, names, heading, ticks)


def _ticks(estimator: Any, n: int) -> list[str]:
    if has_standard_prior(estimator):
        return [signed(v, ".2g") for v in np.linspace(-REACH, REACH, n)]
    return ["least", *[""] * (n - 2), "greatest"]


def _from_centre(estimator: Any, codes: Array, latents: list[int], n_steps: int) -> Figure:
    centre = np.zeros(codes.shape[1])
    if not has_standard_prior(estimator):
        centre = np.median(codes, axis=0)
    z = np.tile(centre, (len(latents), n_steps, 1))
    for i, d in enumerate(latents):
        z[i, :, d] = _steps(estimator, codes, d, n_steps)
    decoded = estimator.decode(z.reshape(-1, len(centre)))
    heading = "One latent a row, from low to high, the others at the centre"
    names = [f"z{d + 1}" for d in latents]
    return rows_of_cells(decoded, n_steps, names, heading, _ticks(estimator, n_steps))


def _latents(asked: list[int] | None, codes: Array) -> list[int]:
    """Return which latents to show, counted from 0; in the sheet as z1, z2, ..."""
    if asked is None:
        return np.argsort(-codes.var(0), kind="stable")[:MOST_LATENTS].tolist()
    for d in asked:
        if not 1 <= d <= codes.shape[1]:
            raise ValueError(f"there is no latent {d}: this model has 1 to {codes.shape[1]}.")
    return [d - 1 for d in asked]


def _steps(estimator: Any, codes: Array, latent: int, n: int) -> Array:
    if has_standard_prior(estimator):
        return np.linspace(-REACH, REACH, n)
    low, high = np.quantile(codes[:, latent], [EDGE, 1 - EDGE])
    return np.linspace(low, high, n)


def _along_class(arguments: argparse.Namespace, estimator: Any, data: Dataset) -> Figure:
    if data.y is None:
        raise ValueError(f"{data.name} has no labels, and so no directions of classes.")
    start: Queries = read_queries(arguments.row, data, estimator.feature_shape_)
    known = np.unique(data.y)
    ends = [None if c is None else as_class(c, known) for c in (arguments.toward, arguments.away)]
    moves = AttributeVectors.from_fitted(estimator).fit(data.X, data.y)
    amounts = np.linspace(0, arguments.amount, arguments.steps)
    moved = moves.apply(start.X, ends[0], ends[1], amounts)
    parts = [("toward", arguments.toward), ("away from", arguments.away)]
    way = " and ".join(f"{word} {name}" for word, name in parts if name is not None)
    notes = [[signed(a, ".2g") for a in amounts]] * len(moved)
    heading = f"Moved {way}: multiples of the difference of mean codes"
    return beside_sheet(start.X, moved, start.names, heading, notes)


def _grid(arguments: argparse.Namespace, estimator: Any, data: Dataset) -> Figure:
    codes = None if has_standard_prior(estimator) else _codes(estimator, data)
    if estimator.n_components_ == 2:
        return latent_grid(estimator, arguments.grid, codes)
    if estimator.n_components_ == 1:
        raise ValueError("a grid needs two latents, this model has one; leave --grid away.")
    shown = _latents(arguments.latents, _codes(estimator, data))[:2]
    if len(shown) < 2:
        raise ValueError("--grid needs two --latents.")
    grid = decoded_grid(estimator, arguments.grid, (shown[0], shown[1]), codes)
    flat = grid[::-1].reshape(-1, *grid.shape[2:])  # upwards, as axes go
    rest = "0" if codes is None else "their medians"
    heading = f"z{shown[0] + 1} upwards, z{shown[1] + 1} to the right; the others at {rest}"
    return rows_of_cells(flat, arguments.grid, [], heading)
