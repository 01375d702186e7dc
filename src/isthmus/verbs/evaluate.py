"""Flags of ``isthmus evaluate``."""

from __future__ import annotations

from typing import Any

from isthmus.verbs.options import add_data_options

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the verb."""
    evaluate = commands.add_parser(
        "evaluate",
        help="measure a saved run on data: one table, and JSON",
        description="Measure a saved run on data: bounds, importance-weighted likelihood, "
        "reconstruction, sparsity; on request annealed importance sampling, sample quality and "
        "disentanglement. Prints a table and writes evaluation.json into the run.",
        allow_abbrev=False,
    )
    evaluate.add_argument("run", metavar="RUN", help="a folder that `isthmus fit` wrote")
    evaluate.add_argument("data", metavar="DATA", help="a name or path, as for `isthmus fit`")
    add_data_options(evaluate)
    evaluate.add_argument(
        "--samples", type=int, default=500, metavar="S", help="importance samples (default: 500)"
    )
    evaluate.add_argument(
        "--rows", type=int, metavar="N", help="measure on N rows drawn at random, not on all"
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
