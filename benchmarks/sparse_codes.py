"""Train overcomplete sparse codes on real activations; show how sparse, how faithful, how alive.

    python benchmarks/sparse_codes.py --data-home DIR [--data fashion-mnist] [--epochs 20]
        [--only topk jumprelu] [--no-revival] [--out FILE.json]

The activations are codes of 64 numbers that an autoencoder (784-400-64) makes of pictures, and
the sparse codes have 32 times as many units: 2048. Figures are of held-out activations, except
the dead share: units that are active on no row of all, trained on or not. Without --data-home,
the activations are the 64 pixels of scikit-learn's digits.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from sklearn.datasets import load_digits

from isthmus import Autoencoder, SparseAutoencoder
from isthmus.data import load
from isthmus.evaluation import sparsity

TIMES = 32
SETTINGS = {"hidden": (), "likelihood": "gaussian", "batch_size": 256, "random_state": 0}
CODES = {
    "relu": {"penalty_weight": 2.0},
    "sigmoid": {"penalty": "kl", "sparsity_target": 16 / 2048},
    "topk": {"n_active": 16},
    "batchtopk": {"n_active": 16},
    "jumprelu": {"penalty_weight": 0.5},
    "gated": {"penalty_weight": 2.0},
}


def activations(name: str, data_home: str | None) -> np.ndarray:
    """Return real activations (n, 64) in random order."""
    if data_home is None:
        X = load_digits().data
    else:
        pictures = load(name, data_home=data_home).X
        X = Autoencoder(n_components=64, epochs=4, random_state=0).fit_transform(pictures)
    return X[np.random.default_rng(0).permutation(len(X))].astype(np.float32)


def figures(model: SparseAutoencoder, X: np.ndarray, held: np.ndarray) -> dict[str, float]:
    """Return the figures of a trained model."""
    threshold = 0.1 if model.model_.posterior.activation == "sigmoid" else 0.0
    z = model.transform(held)
    alive = (z > threshold).any(0)
    for start in range(0, len(X), 4096):
        alive |= (model.transform(X[start : start + 4096]) > threshold).any(0)
    return {
        "L0": sparsity.l0(z, threshold),
        "explained variance": sparsity.explained_variance(held, model.reconstruct(held)),
        "dead share": 1 - float(alive.mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--only", nargs="+", default=list(CODES), choices=list(CODES))
    parser.add_argument("--weight", type=float, help="instead of the penalty weights above")
    parser.add_argument("--no-revival", action="store_true")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    X = activations(arguments.data, arguments.data_home)
    held, X = X[: len(X) // 10], X[len(X) // 10 :]
    print(f"{len(X)} rows of {X.shape[1]} numbers, {TIMES * X.shape[1]} units", flush=True)
    results = {}
    for name in arguments.only:
        settings = SETTINGS | CODES[name]
        if arguments.weight is not None:
            settings["penalty_weight"] = arguments.weight
        if arguments.no_revival:
            settings["revive_every"] = None
        model = SparseAutoencoder(
            activation=name, n_components=TIMES * X.shape[1], epochs=arguments.epochs, **settings
        )
        start = time.perf_counter()
        model.fit(X)
        results[name] = figures(model, X, held) | {"seconds": time.perf_counter() - start}
        print(f"{name:10}", "  ".join(f"{k} {v:.3f}" for k, v in results[name].items()), flush=True)
    if arguments.out:
        with open(arguments.out, "w") as file:
            json.dump({"settings": CODES, "results": results}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
