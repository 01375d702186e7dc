"""``isthmus interpolate``: examples in, a sheet of what lies between them out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from isthmus.cli._options import add_data_options, add_run

__all__ = ["add_parser", "run"]

MOST = 40  # steps of a path, and paths of a sheet


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    interpolate = subparsers.add_parser(
        "interpolate",
        help="draw the way from one example to another through the latent space",
        description="Draw the decoded path between the codes of examples: from the first to the "
        "second, from the second to the third, and so on.",
        epilog="Examples:  isthmus interpolate RUN 17 25   isthmus interpolate RUN test:0 test:1 "
        "test:2 --spherical   isthmus interpolate RUN cat.png dog.png --data photos/",
    )
    add_run(interpolate)
    interpolate.add_argument(
        "query",
        metavar="QUERY",
        nargs="+",
        help="two or more: the number of a row, test:NUMBER, a picture, or .npy",
    )
    interpolate.add_argument(
        "--spherical",
        action="store_true",
        help="turn about the origin instead of going straight (for many latents under a normal "
        "prior)",
    )
    interpolate.add_argument(
        "--steps", type=int, default=9, metavar="N", help="examples of a path (default: 9)"
    )
    interpolate.add_argument(
        "--data", metavar="DATA", help="the data, as for `isthmus fit` (default: the run's own)"
    )
    add_data_options(interpolate)
    interpolate.add_argument(
        "--out", metavar="FILE", help="the sheet (default: RUN/interpolate.png)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Decode the paths, draw; return the exit code."""
    import numpy as np

    from isthmus.applications.latent_paths import interpolate
    from isthmus.cli._contact_sheet import (
        check_out,
        load_rows,
        path_sheet,
        read_queries,
        write_figure,
    )
    from isthmus.estimators import model_io

    out = check_out(arguments.out, Path(arguments.run) / "interpolate.png")
    if not 2 <= arguments.steps <= MOST:
        raise ValueError(f"--steps must be from 2 to {MOST}, got {arguments.steps}.")
    estimator = model_io.load(arguments.run)
    data = load_rows(arguments)
    queries = read_queries(arguments.query, data, estimator.feature_shape_)
    if not 2 <= len(queries.X) <= MOST:
        raise ValueError(f"a path needs at least two ends, got {len(queries.X)}; at most {MOST}.")
    starts, ends = queries.X[:-1], queries.X[1:]
    how = "spherical" if arguments.spherical else "linear"
    between = interpolate(estimator, starts, ends, arguments.steps, how)
    names = list(zip(queries.names[:-1], queries.names[1:], strict=True))
    heading = f"From one example to another by their codes, {how} path; ends as they are outside"
    write_figure(path_sheet(np.asarray(starts), between, np.asarray(ends), names, heading), out)
    return 0
