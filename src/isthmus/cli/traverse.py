"""``isthmus traverse``: a run in, a sheet of what its latents or attributes do out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.cli._options import add_data_options, add_run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    from matplotlib.figure import Figure

    from isthmus.cli._contact_sheet import Queries
    from isthmus.data import Dataset

__all__ = ["add_parser", "run"]

MOST_ROWS = 10_000  # of data, encoded for ranges and activity
MOST_LATENTS = 10
MOST_STEPS = 40


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    traverse = subparsers.add_parser(
        "traverse",
        help="show what becomes of an example as one latent, or an attribute, changes",
        description="Draw what each latent does: one row a latent, the most active first, from "
        "low to high. With --row from an example of the data; with --toward or --away along the "
        "direction of a class, a difference of mean codes; with --grid the plane of two latents.",
        epilog="Examples:  isthmus traverse RUN   isthmus traverse RUN --row 17 --latents 0 3   "
        "isthmus traverse RUN --row 17 --toward 3 --away 5   isthmus traverse RUN --grid 15",
    )
    add_run(traverse)
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


def run(arguments: argparse.Namespace) -> int:
    """Decode, draw; return the exit code."""
    from isthmus.cli._contact_sheet import check_out, load_rows, write_figure
    from isthmus.estimators import model_io
    from isthmus.plots.latent import traversals

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
    from isthmus.applications.meta_estimator import encode_in_chunks

    return encode_in_chunks(estimator, data.X[:: -(-len(data.X) // MOST_ROWS)])


def _along_latents(arguments: argparse.Namespace, estimator: Any, data: Dataset) -> Figure:
    import numpy as np

    from isthmus.applications.latent_paths import REACH, traverse
    from isthmus.cli._contact_sheet import read_queries, rows_of_cells
    from isthmus.plots.latent import has_standard_prior

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
    import numpy as np

    from isthmus.applications.latent_paths import REACH
    from isthmus.plots.latent import has_standard_prior
    from isthmus.plots.style import signed

    if has_standard_prior(estimator):
        return [signed(v, ".2g") for v in np.linspace(-REACH, REACH, n)]
    return ["least", *[""] * (n - 2), "greatest"]


def _from_centre(estimator: Any, codes: Array, latents: list[int], n_steps: int) -> Figure:
    import numpy as np

    from isthmus.cli._contact_sheet import rows_of_cells
    from isthmus.plots.latent import has_standard_prior

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
    import numpy as np

    if asked is None:
        return np.argsort(-codes.var(0), kind="stable")[:MOST_LATENTS].tolist()
    for d in asked:
        if not 1 <= d <= codes.shape[1]:
            raise ValueError(f"there is no latent {d}: this model has 1 to {codes.shape[1]}.")
    return [d - 1 for d in asked]


def _steps(estimator: Any, codes: Array, latent: int, n: int) -> Array:
    import numpy as np

    from isthmus.applications.latent_paths import EDGE, REACH
    from isthmus.plots.latent import has_standard_prior

    if has_standard_prior(estimator):
        return np.linspace(-REACH, REACH, n)
    low, high = np.quantile(codes[:, latent], [EDGE, 1 - EDGE])
    return np.linspace(low, high, n)


def _along_class(arguments: argparse.Namespace, estimator: Any, data: Dataset) -> Figure:
    import numpy as np

    from isthmus.applications.latent_paths import AttributeVectors
    from isthmus.cli._contact_sheet import as_class, beside_sheet, read_queries
    from isthmus.plots.style import signed

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
    from isthmus.applications.latent_paths import decode_grid
    from isthmus.cli._contact_sheet import rows_of_cells
    from isthmus.plots.latent import has_standard_prior, latent_grid

    codes = None if has_standard_prior(estimator) else _codes(estimator, data)
    if estimator.n_components_ == 2:
        return latent_grid(estimator, arguments.grid, codes)
    if estimator.n_components_ == 1:
        raise ValueError("a grid needs two latents, this model has one; leave --grid away.")
    shown = _latents(arguments.latents, _codes(estimator, data))[:2]
    if len(shown) < 2:
        raise ValueError("--grid needs two --latents.")
    grid = decode_grid(estimator, arguments.grid, (shown[0], shown[1]), codes)
    flat = grid[::-1].reshape(-1, *grid.shape[2:])  # upwards, as axes go
    rest = "0" if codes is None else "their medians"
    heading = f"z{shown[0] + 1} upwards, z{shown[1] + 1} to the right; the others at {rest}"
    return rows_of_cells(flat, arguments.grid, [], heading)
