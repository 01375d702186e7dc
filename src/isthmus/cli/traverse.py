"""``isthmus traverse``: draw what each latent, or a difference between classes, does."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.cli._options import EXAMPLES, MAX_STEPS, RUN, command, option, other_data, whole_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from isthmus.data import Dataset

    Array = NDArray[Any]


MAX_ROWS = 10_000  # of data, encoded for ranges and activity
MAX_LATENTS = 10


COMMAND = command(
    "draw how an example changes along one latent, or towards a class",
    "Draw what each latent does: one row per latent, the most active first, from low to high. With "
    "--row, start from an example of the data; with --toward or --away, move along the difference "
    "of mean codes of a class; with --grid, decode the plane of two latents.",
    RUN,
    option(f"--row QUERY+: examples to start from: {EXAMPLES}"),
    option("--latents N+: latents to move along, counted from 1 (default: the ten most active)"),
    option("--toward CLASS: move toward this class; needs --row"),
    option("--away CLASS: move away from this class; needs --row"),
    option("--amount X: how far to move, in differences of means", default=1),
    option("--grid N: decode N x N codes of two latents", type=whole_number(2, MAX_STEPS)),
    option("--steps N: examples per row", type=whole_number(2, MAX_STEPS), default=9),
    *other_data("the data, as for `isthmus fit` (default: the run's own)"),
    option("--out FILE: output image (default: RUN/traverse.png)"),
    examples=(
        "isthmus traverse RUN",
        "isthmus traverse RUN --row 17 --latents 1 3",
        "isthmus traverse RUN --row 17 --toward 3 --away 5",
        "isthmus traverse RUN --grid 15",
    ),
)


def run(arguments: argparse.Namespace) -> int:
    """Decode and draw; return the exit code."""
    from isthmus.cli._run_data import load_rows
    from isthmus.cli._sheets import check_out, write_figure
    from isthmus.estimators import model_io
    from isthmus.plots.latent import traversals

    out = check_out(arguments.out, Path(arguments.run) / "traverse.png")
    directed = arguments.toward is not None or arguments.away is not None
    if directed and not arguments.row:
        raise ValueError("--toward and --away need --row, the example to start from.")
    estimator = model_io.load(arguments.run)
    data = load_rows(arguments)
    if arguments.grid:
        sheet = _grid(arguments, estimator, data)
    elif directed:
        sheet = _along_class(arguments, estimator, data)
    elif arguments.row or arguments.latents:
        sheet = _along_latents(arguments, estimator, data)
    else:
        sheet = traversals(estimator, _codes(estimator, data), MAX_LATENTS, arguments.steps)
    write_figure(sheet, out)
    return 0


def _codes(estimator: Any, data: Dataset) -> Array:
    """Return the codes of the data, or of every n-th row of large data."""
    from isthmus.applications.meta_estimator import encode_in_chunks

    return encode_in_chunks(estimator, data.X[:: -(-len(data.X) // MAX_ROWS)])


def _along_latents(arguments: argparse.Namespace, estimator: Any, data: Dataset) -> Figure:
    import numpy as np

    from isthmus.applications.latent_paths import REACH, traverse
    from isthmus.cli._run_data import read_queries
    from isthmus.cli._sheets import rows_of_cells
    from isthmus.plots.latent import has_standard_prior
    from isthmus.plots.style import signed

    codes, n, standard = _codes(estimator, data), arguments.steps, has_standard_prior(estimator)
    latents = _latents(arguments.latents, codes)
    values = [_values(codes[:, d], n, standard) for d in latents]
    names = [f"z{d + 1}" for d in latents]
    if arguments.row:
        start = read_queries(arguments.row, data, estimator.feature_shape_)
        paths = [traverse(estimator, start.X, *each) for each in zip(latents, values, strict=True)]
        cells = np.stack(paths, axis=1)  # (queries, latents, steps, *shape)
        cells = cells.reshape(-1, *cells.shape[3:])
        names = [
            f"{query}  {name}" if name == names[0] else name
            for query in start.names
            for name in names
        ]
        ends = f"from −{REACH:g} to {REACH:g}" if standard else "over its range"
        heading = f"One latent per row, {ends}, the others as in the example"
    else:
        centre = np.zeros(codes.shape[1]) if standard else np.median(codes, axis=0)
        z = np.tile(centre, (len(latents), n, 1))
        for i, d in enumerate(latents):
            z[i, :, d] = values[i]
        cells = estimator.decode(z.reshape(-1, len(centre)))
        heading = "One latent per row, from low to high, the others at the centre"
    ticks = ["lowest", *[""] * (n - 2), "highest"]
    if standard:
        ticks = [signed(v, ".2g") for v in np.linspace(-REACH, REACH, n)]
    return rows_of_cells(cells, n, names, heading, ticks)


def _values(codes: Array, n: int, standard: bool) -> Array:
    """Return n values of a latent: over the range of a normal prior, or of its codes."""
    import numpy as np

    from isthmus.applications.latent_paths import EDGE, REACH

    low, high = (-REACH, REACH) if standard else np.quantile(codes, [EDGE, 1 - EDGE])
    return np.linspace(low, high, n)


def _latents(wanted: list[int] | None, codes: Array) -> list[int]:
    """Return the latents to show, counted from 0; they are shown as z1, z2, ..."""
    if wanted is None:
        return (-codes.var(0)).argsort(kind="stable")[:MAX_LATENTS].tolist()
    for d in wanted:
        if not 1 <= d <= codes.shape[1]:
            raise ValueError(f"there is no latent {d}: this model has 1 to {codes.shape[1]}.")
    return [d - 1 for d in wanted]


def _along_class(arguments: argparse.Namespace, estimator: Any, data: Dataset) -> Figure:
    import numpy as np

    from isthmus.applications.latent_paths import AttributeVectors
    from isthmus.cli._run_data import as_class, read_queries
    from isthmus.cli._sheets import beside_sheet
    from isthmus.plots.style import signed

    if data.y is None:
        raise ValueError(f"{data.name} has no labels; --toward and --away need them.")
    start = read_queries(arguments.row, data, estimator.feature_shape_)
    known = np.unique(data.y)
    ends = [None if c is None else as_class(c, known) for c in (arguments.toward, arguments.away)]
    vectors = AttributeVectors.from_fitted(estimator).fit(data.X, data.y)
    amounts = np.linspace(0, arguments.amount, arguments.steps)
    moved = vectors.apply(start.X, ends[0], ends[1], amounts)
    parts = [("toward", arguments.toward), ("away from", arguments.away)]
    direction = " and ".join(f"{word} {name}" for word, name in parts if name is not None)
    notes = [[signed(a, ".2g") for a in amounts]] * len(moved)
    heading = f"Moved {direction}, in multiples of the difference of mean codes"
    return beside_sheet(start.X, moved, start.names, heading, notes)


def _grid(arguments: argparse.Namespace, estimator: Any, data: Dataset) -> Figure:
    from isthmus.applications.latent_paths import decode_grid
    from isthmus.cli._sheets import rows_of_cells
    from isthmus.plots.latent import has_standard_prior, latent_grid

    codes = None if has_standard_prior(estimator) else _codes(estimator, data)
    if estimator.n_components_ == 2:
        return latent_grid(estimator, arguments.grid, codes)
    if estimator.n_components_ == 1:
        raise ValueError("--grid needs two latents, and this model has one.")
    shown = _latents(arguments.latents, _codes(estimator, data))[:2]
    if len(shown) < 2:
        raise ValueError("--grid needs two --latents.")
    grid = decode_grid(estimator, arguments.grid, (shown[0], shown[1]), codes)
    flat = grid[::-1].reshape(-1, *grid.shape[2:])  # upwards, as axes go
    rest = "0" if codes is None else "their medians"
    heading = f"z{shown[0] + 1} upwards, z{shown[1] + 1} to the right, the others at {rest}"
    return rows_of_cells(flat, arguments.grid, [], heading)
