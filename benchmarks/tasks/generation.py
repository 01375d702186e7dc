"""Generate MNIST digits of each class; a classifier trained on real ones says what it reads.

    python benchmarks/tasks/generation.py --data-home DIR [--seeds 0 1 2]

The figure is the share of 10,000 generated digits, 1,000 of each class, that are read as the
digit that was asked for: of a conditional VAE from its prior, standard normal or a flow told the
class (isthmus[flows]); of the former, and of a plain autoencoder, from a mixture of ten normals
fitted to the codes of each class. The classifier, a network of one hidden layer, has seen real
training digits alone; what it reads of real test digits stands beside.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

from isthmus import Autoencoder, ConditionalVAE
from isthmus.data import load
from isthmus.uses.generation import LatentSampler

EACH = 1_000
SETTINGS: dict[str, Any] = {"n_components": 10, "hidden": (500,), "epochs": 10}


def models(seed: int) -> dict[str, Any]:
    """Return the models, not fitted."""
    return {
        "ConditionalVAE, normal prior": ConditionalVAE(**SETTINGS, random_state=seed),
        "ConditionalVAE, flow prior": ConditionalVAE(**SETTINGS, prior="flow", random_state=seed),
        "Autoencoder": Autoencoder(**SETTINGS, random_state=seed),
    }


def samplers(name: str, model: Any, seed: int) -> dict[str, LatentSampler]:
    """Return what is sampled of a fitted model."""
    mixture = LatentSampler.from_fitted(model, source="mixture", random_state=seed)
    if name == "Autoencoder":
        return {f"{name}, mixtures": mixture}
    own = {name: LatentSampler.from_fitted(model)}
    return own if model.prior == "flow" else own | {f"{name}, mixtures": mixture}


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


def rows(data_home: str, seeds: list[int]) -> list[dict[str, Any]]:
    """Return one row a method: share read as asked and seconds, means over the seeds."""
    mnist = load("mnist", data_home=data_home)
    start = time.perf_counter()
    network = reader(mnist.X, mnist.y)
    real = float(network.score(flat(mnist.X_test), mnist.y_test))
    found = {"real test digits": [(real, time.perf_counter() - start)]}
    for seed in seeds:
        for kind, model in models(seed).items():
            start = time.perf_counter()
            model.fit(mnist.X, mnist.y)
            for name, sampler in samplers(kind, model, seed).items():
                share = as_asked(sampler.fit(mnist.X, mnist.y), network, seed)
                found.setdefault(name, []).append((share, time.perf_counter() - start))
    return [
        {
            "use": "generation: share read as asked",
            "data": "mnist",
            "method": name,
            "figure": float(np.mean([figure for figure, _ in pairs])),
            "seconds": float(np.mean([seconds for _, seconds in pairs])),
        }
        for name, pairs in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    for row in rows(arguments.data_home, arguments.seeds):
        print(f"{row['method']:40} {row['figure']:.4f}  {row['seconds']:7.1f} s")


if __name__ == "__main__":
    main()
