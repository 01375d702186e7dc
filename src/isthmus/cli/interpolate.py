"""``isthmus interpolate``: draw paths between examples through the latent space."""

from __future__ import annotations

import argparse
from pathlib import Path

from isthmus.cli._options import (
    EXAMPLES,
    MAX_STEPS,
    RUN,
    command,
    option,
    other_data,
    switch,
    whole_number,
)

MOST = 40  # steps of a path, and paths in an image


COMMAND = command(
    "draw the path from one example to another through the latent space",
    "Draw the decoded path between the codes of examples: from the first to the second, from the "
    "second to the third, and so on.",
    RUN,
    option(f"query QUERY+: two or more examples: {EXAMPLES}"),
    switch(
        "--spherical: rotate about the origin instead of a straight line (for many latents under a "
        "normal prior)"
    ),
    option("--steps N: examples per path", type=whole_number(2, MAX_STEPS), default=9),
    *other_data("the data, as for `isthmus fit` (default: the run's own)"),
    option("--out FILE: output image (default: RUN/interpolate.png)"),
    examples=(
        "isthmus interpolate RUN 17 25",
        "isthmus interpolate RUN test:0 test:1 test:2 --spherical",
        "isthmus interpolate RUN cat.png dog.png --data photos/",
    ),
)


def run(arguments: argparse.Namespace) -> int:
    """Decode the paths and draw them; return the exit code."""
    import numpy as np

    from isthmus.applications.latent_paths import interpolate
    from isthmus.cli._run_data import load_rows, read_queries
    from isthmus.cli._sheets import check_out, path_sheet, write_figure
    from isthmus.estimators import model_io

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
