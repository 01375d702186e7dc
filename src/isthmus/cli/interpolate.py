"""``isthmus interpolate``: draw paths between examples through the latent space."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from isthmus.applications.latent_paths import interpolate
from isthmus.cli._run_data import load_rows, read_queries
from isthmus.cli._sheets import check_out, path_sheet, write_figure
from isthmus.estimators import model_io

MOST = 40  # steps of a path, and paths in an image


def run(arguments: argparse.Namespace) -> int:
    """Decode the paths and draw them; return the exit code."""
    out = check_out(arguments.out, Path(arguments.run) / "interpolate.png")
    estimator = model_io.load(arguments.run)
    queries = read_queries(arguments.query, load_rows(arguments), estimator.feature_shape_)
    if not 2 <= len(queries.X) <= MOST:
        raise ValueError(f"expected 2 to {MOST} examples, got {len(queries.X)}.")
    starts, ends = np.asarray(queries.X[:-1]), np.asarray(queries.X[1:])
    kind = "spherical" if arguments.spherical else "linear"
    between = interpolate(estimator, starts, ends, arguments.steps, kind)
    names = list(zip(queries.names[:-1], queries.names[1:], strict=True))
    heading = f"From one example to another by their codes, {kind} path; outside: the inputs"
    write_figure(path_sheet(starts, between, ends, names, heading), out)
    return 0
