"""``isthmus evaluate``: a run and data in, one table of numbers and JSON out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from isthmus import io
from isthmus.commands.show import print_table
from isthmus.data import Dataset
from isthmus.data import load as load_data
from isthmus.metrics.evaluation import evaluation

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, write; return the exit code."""
    if arguments.samples < 1:
        raise ValueError(f"--samples must be at least 1, got {arguments.samples}.")
    estimator = io.load(arguments.run)
    data = load_data(
        arguments.data, data_home=arguments.data_home, size=arguments.size, label=arguments.label
    )
    X, y, factors = _rows(data, arguments)
    if estimator.conditional and y is None:
        raise ValueError(f"{arguments.run} is conditional, but {data.name} has no labels.")
    numbers = evaluation(
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
    out = Path(arguments.json or Path(arguments.run) / "evaluation.json")
    record = {"data": data.name, "samples": arguments.samples, "numbers": numbers}
    io.write(out, io.to_json(record).encode())
    print(f"written to {out}")
    return 0


def _rows(data: Dataset, arguments: argparse.Namespace) -> tuple[Any, Any, Any]:
    """Return the rows to measure on: a test set where there is one."""
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
    if arguments.factors is None:
        return data.factors
    factors = np.load(arguments.factors, allow_pickle=False)
    if factors.ndim != 2 or factors.dtype.kind not in "iu":
        raise ValueError(
            f"--factors must be a matrix of whole numbers, got {factors.dtype} {factors.shape}."
        )
    return factors
