"""Time models trained together against the same models trained in turn.

    python benchmarks/sweep.py [--data-home DIR] [--models 16] [--rounds 5] [--out FILE.json]

One process, A B A B; medians of the rounds after one warm-up. Both sides make the same models from
the same seeds and take the same optimiser steps; their losses are printed beside the times, and
the greatest difference between them. Workloads: a 784-400-20 VAE at batch 128 on 10,000 pictures
of Fashion-MNIST (without --data-home, random bytes of the same shape), and a 30-64-8 VAE at batch
256 on 10,000 rows of a made table. The time is that of training: data are read before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np
import torch

from isthmus import VAE
from isthmus.data import load
from isthmus.estimators.sample_weight import WeightedRows
from isthmus.search.candidates import make_candidates, prepare
from isthmus.search.sequential import SequentialRun
from isthmus.search.stacked import StackedRun

SPECS = 10_000
SETTINGS = {"validation_fraction": 0.0, "random_state": 0}


def pictures(data_home: str | None) -> np.ndarray:
    if data_home:
        return np.array(load("fashion-mnist", data_home=data_home).X[:SPECS])
    return np.random.default_rng(0).integers(0, 256, (SPECS, 28, 28), dtype=np.uint8)


def table() -> np.ndarray:
    """Make rows of 30 numbers that depend on 8."""
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(SPECS, 8))
    return np.tanh(codes @ rng.normal(size=(8, 30))) + 0.1 * rng.normal(size=(SPECS, 30))


def train(model: VAE, X: np.ndarray, models: int, *, stacked: bool) -> tuple[float, list[float]]:
    """Train all; return the seconds it took, and the losses of the last epoch."""
    candidates = make_candidates(model, {"random_state": list(range(models))})
    prepare(candidates, WeightedRows(X), lambda estimator: None)
    start = time.perf_counter()
    if stacked:
        StackedRun(candidates).advance(1.0)
    else:
        for candidate in candidates:
            SequentialRun(candidate).advance(1.0)
    seconds = time.perf_counter() - start
    return seconds, [c.outcome.history[-1]["loss"] for c in candidates]


def race(model: VAE, X: np.ndarray, models: int, rounds: int) -> dict[str, Any]:
    """Let the two ways take turns."""
    out: dict[str, Any] = {"together": [], "in turn": []}
    losses = {}
    for _ in range(rounds + 1):
        for name in out:
            seconds, losses[name] = train(model, X, models, stacked=name == "together")
            out[name].append(seconds)
    median = {name: statistics.median(seconds[1:]) for name, seconds in out.items()}
    difference = np.abs(np.subtract(losses["together"], losses["in turn"]))
    return {
        "seconds": out,
        "median": median,
        "ratio": median["together"] / median["in turn"],
        "mean_loss": {name: statistics.mean(each) for name, each in losses.items()},
        "greatest_difference": float(difference.max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home")
    parser.add_argument("--models", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="of each model (default: 3 dense, 20 table)")
    parser.add_argument("--only", choices=("dense", "table"))
    parser.add_argument("--out")
    a = parser.parse_args()
    dense = {"n_components": 20, "hidden": (400,), "batch_size": 128, "epochs": a.epochs or 3}
    small = {"n_components": 8, "hidden": (64,), "batch_size": 256, "epochs": a.epochs or 20}
    works = {
        "dense 784-400-20, batch 128": (VAE(**dense, **SETTINGS), pictures(a.data_home)),
        "table 30-64-8, batch 256": (VAE(**small, **SETTINGS), table()),
    }
    print(f"{a.models} models, {torch.get_num_threads()} threads, torch {torch.__version__}")
    results = {}
    for name, (model, X) in works.items():
        if a.only and not name.startswith(a.only):
            continue
        r = results[name] = race(model, X, a.models, a.rounds)
        print(
            f"{name:28} together {r['median']['together']:7.2f} s, in turn "
            f"{r['median']['in turn']:7.2f} s: {r['ratio']:.2f}x; mean loss "
            f"{r['mean_loss']['together']:.3f} and {r['mean_loss']['in turn']:.3f}, greatest "
            f"difference {r['greatest_difference']:.1e}"
        )
    if a.out:
        with open(a.out, "w") as file:
            json.dump({"threads": torch.get_num_threads(), "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
