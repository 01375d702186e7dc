"""Generate MNIST digits of each class; a classifier trained on real ones says what it reads.

    python benchmarks/tasks/generation.py --data-home DIR [--seeds 0 1 2] [--out FILE.json]

The figure is the share of 10,000 generated digits, 1,000 of each class, that are read as the
digit that was asked for: of a conditional VAE from its prior, standard normal, or told the class:
a mixture or a flow (isthmus[flows]); of the first, and of a plain autoencoder, from a mixture of
ten normals fitted to the codes of each class. The classifier, a network of one hidden layer, has
seen real training digits alone; what it reads of real test digits stands beside. The bound is
that of 2,000 test digits, told their class, in nats.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

from isthmus import Autoencoder, ConditionalVAE
from isthmus.applications.generation import LatentSampler
from isthmus.data import load

EACH = 1_000
SCORED = 2_000  # test digits
USE = "generation: share read as asked"
SETTINGS: dict[str, Any] = {"n_components": 10, "hidden": (500,), "epochs": 10}


def models(seed: int) -> dict[str, Any]:
    """Return the models, not fitted."""
    return {
        "ConditionalVAE, normal prior": ConditionalVAE(**SETTINGS, random_state=seed),
        "ConditionalVAE, mixture prior": ConditionalVAE(
            **SETTINGS, prior="mixture", random_state=seed
        ),
        "ConditionalVAE, flow prior": ConditionalVAE(**SETTINGS, prior="flow", random_state=seed),
        "Autoencoder": Autoencoder(**SETTINGS, random_state=seed),
    }


def samplers(name: str, model: Any, seed: int) -> dict[str, LatentSampler]:
    """Return what is sampled of a fitted model."""
    mixture = LatentSampler.from_fitted(model, source="mixture", random_state=seed)
    if name == "Autoencoder":
        return {f"{name}, mixtures": mixture}
    own = {name: LatentSampler.from_fitted(model)}
    return own | {f"{name}, mixtures": mixture} if model.prior == "standard" else own


def reader(X: np.ndarray, y: np.ndarray) -> MLPClassifier:
    """Return a classifier trained on real digits."""
    network = MLPClassifier(
        (256,), batch_size=256, max_iter=30, early_stopping=True, random_state=0
    )
    return network.fit(flat(X), y)


def flat(X: np.ndarray) -> np.ndarray:
    """Return rows of pixels in [0, 1]."""
    return X.reshape(len(X), -1).astype(np.float32) / (255 if X.dtype == np.uint8 else 1)


def as_asked(sampler: LatentSampler, network: MLPClassifier, seed: int) -> float:
    """Return the share of generated digits that are read as what was asked for."""
    asked = np.repeat(np.arange(10), EACH)
    made = sampler.sample(len(asked), random_state=seed, y=asked)
    return float((network.predict(flat(made)) == asked).mean())


def bound(model: Any, X: np.ndarray, y: np.ndarray) -> float | None:
    """Return the mean bound of some test digits in nats; none of a model without a prior."""
    return float(model.score(X[:SCORED], condition=y[:SCORED])) if model.conditional else None


def trials(data_home: str, seeds: list[int]) -> Iterator[dict[str, Any]]:
    """Yield one row a method and seed: share read as asked, bound, seconds with training."""
    mnist = load("mnist", data_home=data_home)
    start = time.perf_counter()
    network = reader(mnist.X, mnist.y)
    real = float(network.score(flat(mnist.X_test), mnist.y_test))
    yield _row("real test digits", None, real, None, time.perf_counter() - start)
    for seed in seeds:
        for kind, model in models(seed).items():
            start = time.perf_counter()
            model.fit(mnist.X, mnist.y)
            trained = time.perf_counter() - start
            nats = bound(model, mnist.X_test, mnist.y_test)
            for name, sampler in samplers(kind, model, seed).items():
                start = time.perf_counter()
                share = as_asked(sampler.fit(mnist.X, mnist.y), network, seed)
                yield _row(name, seed, share, nats, trained + time.perf_counter() - start)


def _row(
    method: str, seed: int | None, figure: float, nats: float | None, seconds: float
) -> dict[str, Any]:
    row = {"use": USE, "data": "mnist", "method": method, "seed": seed, "figure": figure}
    return row | {"bound": nats, "seconds": seconds}


def rows(data_home: str, seeds: list[int]) -> list[dict[str, Any]]:
    """Return one row a method: means over the seeds."""
    return means(list(trials(data_home, seeds)))


def means(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row for the rows of each method: means over their seeds."""
    out = []
    for method in dict.fromkeys(row["method"] for row in found):
        mine = [row for row in found if row["method"] == method]
        values = {
            key: None if mine[0][key] is None else float(np.mean([row[key] for row in mine]))
            for key in ("figure", "bound", "seconds")
        }
        out.append({"use": USE, "data": "mnist", "method": method, "seeds": len(mine), **values})
    return out


def line(row: dict[str, Any]) -> str:
    """Return a row as it is printed."""
    nats = "" if row["bound"] is None else f"{row['bound']:.2f}"
    return f"{row['method']:40} {row['figure']:.4f} {nats:>9}  {row['seconds']:7.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", help="a .json file for the rows, written as they come")
    arguments = parser.parse_args()
    found = []
    for row in trials(arguments.data_home, arguments.seeds):
        found.append(row)
        print(line(row), flush=True)
        if arguments.out:
            record = {"settings": SETTINGS, "trials": found, "means": means(found)}
            Path(arguments.out).write_text(json.dumps(record, indent=1) + "\n")
    print("means over the seeds", *map(line, means(found)), sep="\n")


if __name__ == "__main__":
    main()
