"""``isthmus evaluate``: measure a run on data; print a table and write JSON."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from isthmus._messages import say
from isthmus.cli._options import (
    DATA,
    RESIZE,
    RUN,
    SEED,
    UNKNOWN,
    command,
    option,
    switch,
    whole_number,
)

SEEN = "the model was trained on most of these rows; --test-rows measures those it never saw."


COMMAND = command(
    "measure a saved run on data; prints a table and writes JSON",
    "Measure a saved run on data: bounds, importance-weighted likelihood, reconstruction, "
    "sparsity; on request annealed importance sampling, sample quality and disentanglement. Prints "
    "a table and writes evaluation.json into the run.",
    RUN,
    *DATA,
    RESIZE,
    UNKNOWN,
    option("--samples N: importance samples", type=whole_number(1), default=500),
    option("--rows N: measure on N rows drawn at random, not on all", type=whole_number(2)),
    switch(
        "--test-rows: measure only the test rows recorded in the run, which its model has not seen"
    ),
    switch("--annealed: annealed importance sampling on 100 rows drawn at random"),
    option(
        "--quality values|codes: quality of samples from the prior, in raw values or in the run's "
        "own codes",
        default=None,
    ),
    option(
        "--factors FILE: .npy of whole numbers (rows, factors): adds the disentanglement scores; "
        "data 'sprites' bring their own"
    ),
    option("--json FILE: where to write the numbers"),
    SEED,
)


def run(arguments: argparse.Namespace) -> int:
    """Measure the run, print and write the numbers; return the exit code."""
    from isthmus.cli._console import print_table
    from isthmus.cli._run_data import data_arguments
    from isthmus.persistence.atomic import write_atomic
    from isthmus.persistence.run_folder import to_json
    from isthmus.runs import evaluate_run

    out = Path(arguments.json or Path(arguments.run) / "evaluation.json")
    if out.is_dir() or not out.parent.is_dir():
        raise ValueError(f"cannot write {out}: --json names a file in a folder that exists.")
    evaluation = evaluate_run(
        arguments.run,
        data_arguments(arguments),
        test_rows_only=arguments.test_rows,
        n_rows=arguments.rows,
        n_samples=arguments.samples,
        annealed=arguments.annealed,
        quality=arguments.quality,
        factors=_factors(arguments),
        random_state=arguments.random_state,
    )
    print_table(evaluation.title, evaluation.numbers)
    write_atomic(out, to_json(evaluation.record).encode())
    if evaluation.trained_on_these_rows:
        say(f"note: {SEEN}")
    say(f"written to {out}")
    return 0


def _factors(arguments: argparse.Namespace) -> Any:
    """Return the factors in the file of --factors, or None."""
    import numpy as np

    if arguments.factors is None:
        return None
    path = Path(arguments.factors)
    try:
        factors = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # NumPy raises many types of errors for other files
        raise ValueError(f"--factors: {path} is not an .npy file of whole numbers.") from error
    if not isinstance(factors, np.ndarray) or factors.ndim != 2 or factors.dtype.kind not in "iu":
        kind = getattr(factors, "dtype", "several arrays"), getattr(factors, "shape", "")
        raise ValueError(
            "--factors must be a matrix of whole numbers (rows, factors), got "
            f"{' '.join(map(str, kind)).strip()}."
        )
    return factors
