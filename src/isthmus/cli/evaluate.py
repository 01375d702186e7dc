"""``isthmus evaluate``: a run and data in, one table of numbers and JSON out."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus._version import __version__
from isthmus.cli._options import add_data_options, add_run

if TYPE_CHECKING:
    from isthmus.data import Dataset
    from isthmus.estimators import LatentEstimator

__all__ = ["add_parser", "run"]

SEEN = "the model was trained on most of these rows; on rows it never saw it does worse."


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    evaluate = subparsers.add_parser(
        "evaluate",
        help="measure a saved run on data: one table, and JSON",
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
    """Measure, print, write; return the exit code."""
    from isthmus.cli._console import print_table
    from isthmus.data import load as load_data
    from isthmus.estimators import model_io
    from isthmus.evaluation.model_evaluation import evaluate_model
    from isthmus.persistence.atomic import write_atomic
    from isthmus.persistence.run_folder import to_json

    out = Path(arguments.json or Path(arguments.run) / "evaluation.json")
    _check(arguments)
    estimator = model_io.load(arguments.run)
    _check_place(out)
    data = load_data(
        arguments.data,
        data_home=arguments.data_home,
        size=arguments.size,
        label=arguments.label,
        columns=estimator.columns_,
    )
    X, y, factors = _rows(data, arguments)
    _check_fit(estimator, y, data, arguments)
    numbers = evaluate_model(
        estimator,
        X,
        y,
        n_samples=arguments.samples,
        factors=factors,
        features=arguments.quality,
        annealed=arguments.annealed,
        random_state=arguments.random_state,
    )
    which = "test rows" if data.X_test is not None else "rows"
    print_table(f"{type(estimator).__name__} on {which} of {data.name}", numbers)
    write_atomic(out, to_json(_record(estimator, data, arguments, numbers)).encode())
    if _trained_on(arguments.run, data):
        print(f"note: {SEEN}")
    print(f"written to {out}")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Say what is wrong with the flags before any work."""
    for name, least in (("samples", 1), ("rows", 2), ("random_state", 0)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, got {value}.")


def _check_place(out: Path) -> None:
    if out.is_dir() or not out.parent.is_dir():
        raise ValueError(f"cannot write {out}: --json names a file in a folder that exists.")


def _check_fit(
    estimator: LatentEstimator, y: Any, data: Dataset, arguments: argparse.Namespace
) -> None:
    """Say what was asked for that the model or the data cannot give."""
    if estimator.conditional and y is None:
        raise ValueError(
            f"{arguments.run} is conditional, but {data.name} has no labels (in a table, --label "
            "names their column)."
        )
    asked = {"--annealed": arguments.annealed, "--quality": arguments.quality}
    for flag, value in asked.items():
        if value and estimator.prior is None:
            raise ValueError(
                f"{flag} is for models with a prior; {type(estimator).__name__} has none."
            )


def _record(
    estimator: LatentEstimator,
    data: Dataset,
    arguments: argparse.Namespace,
    numbers: dict[str, float],
) -> dict[str, Any]:
    """Return what is written: JSON has no infinity and no NaN, they become null."""
    return {
        "isthmus": __version__,
        "model": type(estimator).__name__,
        "data": data.name,
        "samples": arguments.samples,
        "random_state": arguments.random_state,
        "trained_on_these_rows": _trained_on(arguments.run, data),
        "numbers": {k: v if math.isfinite(v) else None for k, v in numbers.items()},
    }


def _trained_on(folder: str, data: Dataset) -> bool:
    """Whether the rows measured are those of training: the same bytes, and no test set."""
    from isthmus.persistence.run_folder import read_config

    config = read_config(Path(folder))
    same: bool = config["data"].get("sha256") == data.fingerprint["sha256"]
    return same and data.X_test is None


def _rows(data: Dataset, arguments: argparse.Namespace) -> tuple[Any, Any, Any]:
    """Return the rows to measure on: a test set where there is one."""
    import numpy as np

    factors = _factors(data, arguments)
    X, y = (data.X, data.y) if data.X_test is None else (data.X_test, data.y_test)
    if factors is not None and len(factors) != len(X):
        raise ValueError(f"--factors has {len(factors)} rows, the data have {len(X)}.")
    if arguments.rows is None or arguments.rows >= len(X):
        return X, y, factors
    chosen = np.random.default_rng(arguments.random_state).choice(
        len(X), arguments.rows, replace=False
    )
    chosen.sort()
    return X[chosen], *(None if a is None else a[chosen] for a in (y, factors))


def _factors(data: Dataset, arguments: argparse.Namespace) -> Any:
    """Return the factors of a file, or those that data bring."""
    import numpy as np

    if arguments.factors is None:
        return data.factors
    path = Path(arguments.factors)
    try:
        factors = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # NumPy fails in many ways on what is no array
        raise ValueError(f"--factors: {path} is no .npy file of whole numbers.") from error
    if not isinstance(factors, np.ndarray) or factors.ndim != 2 or factors.dtype.kind not in "iu":
        kind = getattr(factors, "dtype", "several arrays"), getattr(factors, "shape", "")
        raise ValueError(
            "--factors must be a matrix of whole numbers (rows, factors), got "
            f"{' '.join(map(str, kind)).strip()}."
        )
    return factors
