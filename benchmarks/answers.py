"""How long an answer takes, to one row and to each of many, by dense and convolutional models.

    python benchmarks/answers.py [--rounds 5]

Codes, decoded codes and scores (ELBO, ten draws) of models that were trained for one epoch: medians
over the rounds, in which the questions take turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import isthmus

MODELS = [
    ("mlp", (30,)),
    ("mlp", (28, 28)),
    ("mlp", (3, 64, 64)),
    ("conv", (8, 8)),
    ("conv", (28, 28)),
    ("conv", (3, 64, 64)),
    ("resnet", (28, 28)),
    ("conv1d", (1, 1024)),
]
MANY = 512


def seconds(answer: Callable[[Any], Any], rows: Any) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    answer(rows)
    return time.perf_counter() - start


def measure(backbone: str, shape: tuple[int, ...], rounds: int) -> None:
    """Print a line for each kind of answer."""
    X = np.random.default_rng(0).random((MANY, *shape), np.float32)
    model = isthmus.VAE(backbone=backbone, epochs=1, random_state=0).fit(X[:64])
    codes = model.transform(X)
    asked = {
        "transform": (model.transform, X),
        "inverse_transform": (model.inverse_transform, codes),
        "score_samples": (model.score_samples, X),
    }
    times: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds):
        for name, (answer, rows) in asked.items():
            for n in (1, MANY):
                times.setdefault((name, n), []).append(seconds(answer, rows[:n]))
    for name in asked:
        one, many = (statistics.median(times[name, n]) for n in (1, MANY))
        print(
            f"{backbone:7} {'x'.join(map(str, shape)):8} {name:17} one {1e3 * one:7.1f} ms"
            f"   each of {MANY} {1e6 * many / MANY:8.1f} us",
            flush=True,
        )


def main() -> None:
    """Measure every model."""
    parser = argparse.ArgumentParser(description="How long an answer takes.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    for backbone, shape in MODELS:
        measure(backbone, shape, rounds)


if __name__ == "__main__":
    main()
