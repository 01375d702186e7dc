"""``isthmus evaluate``: measure a run on data; print a table and write JSON."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from isthmus.cli._options import add_data_options, add_run

__all__ = ["add_parser", "run"]

SEEN = "the model was trained on most of these rows; --test-rows measures those it never saw."


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    evaluate = subparsers.add_parser(
        "evaluate",
        help="measure a saved run on data; prints a table and writes JSON",
        description="Measure a saved run on data: bounds, importance-weighted likelihood, "
        "reconstruction, sparsity; on request annealed importance sampling, sample quality and "
        "disentanglement. Prints a table and writes evaluation.json into the run.",
    )
    add_run(evaluate)
    evaluate.add_argument("data", metavar="DATA", help="a name or path, as for `isthmus fit`")
    add_data_options(evaluate)
    evaluate.add_argument(
        "--samples", type=int, default=500, metavar="S", help="importance samples (default: 500)"
    )
    evaluate.add_argument(
        "--rows", type=int, metavar="N", help="measure on N rows drawn at random, not on all"
    )
    evaluate.add_argument(
        "--test-rows",
        action="store_true",
        help="measure only the test rows recorded in the run, which its model has not seen",
    )
    evaluate.add_argument(
        "--annealed",
        action="store_true",
        help="annealed importance sampling on 100 rows drawn at random",
    )
    evaluate.add_argument(
        "--quality",
        choices=("values", "codes"),
        help="quality of samples from the prior, in raw values or in the run's own codes",
    )
    evaluate.add_argument(
        "--factors",
        metavar="FILE",
        help=".npy of whole numbers (rows, factors): adds the disentanglement scores; data "
        "'sprites' bring their own",
    )
    evaluate.add_argument("--json", metavar="FILE", help="where to write the numbers")
    evaluate.add_argument("--random-state", type=int, default=0, metavar="N", help="seed")


def run(arguments: argparse.Namespace) -> int:
    """Measure the run, print and write the numbers; return the exit code."""
    from isthmus.cli._console import print_table
    from isthmus.persistence.atomic import write_atomic
    from isthmus.persistence.run_folder import to_json
    from isthmus.runs import DataArguments, evaluate_run

    out = Path(arguments.json or Path(arguments.run) / "evaluation.json")
    _check(arguments)
    if out.is_dir() or not out.parent.is_dir():
        raise ValueError(f"cannot write {out}: --json names a file in a folder that exists.")
    evaluation = evaluate_run(
        arguments.run,
        DataArguments(arguments.data, arguments.data_home, arguments.size, arguments.label),
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
        print(f"note: {SEEN}")
    print(f"written to {out}")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Check the numbers among the flags."""
    for name, least in (("samples", 1), ("rows", 2), ("random_state", 0)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, got {value}.")


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
