"""``isthmus interpolate``: examples in, a sheet of what lies between them out."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from isthmus.applications.latent_paths import interpolate
from isthmus.commands.contact_sheet import (
    check_out,
    load_rows,
    path_sheet,
    read_queries,
    write_figure,
)
from isthmus.estimators import model_io

__all__ = ["run"]

MOST = 40  # steps of a path, and paths of a sheet


def run(arguments: argparse.Namespace) -> int:
    """Decode the paths, draw; return the exit code."""
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
