"""Search MNIST by code: of the ten nearest training digits, how many bear the query's label.

    python benchmarks/tasks/search.py --data-home DIR [--seeds 0 1 2]

The queries are 2,000 digits of the test set, the same for all methods; the collection is the
training set. Labels are seen by no method. Nearest are those by Euclidean distance of raw pixels,
of principal components, and of the codes, as many numbers, of models with the same networks.
Seconds are those of training and indexing, and of all queries.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.preprocessing import FunctionTransformer

from isthmus import VAE, Autoencoder, DenoisingAutoencoder
from isthmus.applications.retrieval import LatentIndex
from isthmus.data import load

SIZE = 20  # numbers of a code
QUERIES = 2_000
K = 10
FIXED = ("raw pixels", f"PCA {SIZE}")  # the same for every seed


def contenders(seed: int) -> dict[str, Any]:
    """Return what turns rows into the points that are compared."""
    networks: dict[str, Any] = {"n_components": SIZE, "hidden": (500, 250), "epochs": 12}
    networks["random_state"] = seed
    return {
        "raw pixels": FunctionTransformer(),
        f"PCA {SIZE}": PCA(SIZE, random_state=seed),
        f"Autoencoder {SIZE}": Autoencoder(**networks),
        f"DenoisingAutoencoder {SIZE}": DenoisingAutoencoder(**networks),
        f"VAE {SIZE}": VAE(**networks),
    }


def precision(method: Any, X: np.ndarray, y: np.ndarray, Q: np.ndarray, asked: np.ndarray) -> float:
    """Return the share of the ten nearest rows that bear the query's label."""
    rows = LatentIndex(method).fit(X).kneighbors(Q, K, return_distance=False)
    return float((y[rows] == asked[:, None]).mean())


def rows(data_home: str, seeds: list[int]) -> list[dict[str, Any]]:
    """Return one row a method: precision at ten and seconds, means over the seeds."""
    mnist = load("mnist", data_home=data_home)
    X, T = (a.reshape(len(a), -1).astype(np.float32) / 255 for a in (mnist.X, mnist.X_test))
    chosen = np.random.default_rng(0).choice(len(T), QUERIES, replace=False)
    out = []
    for name in contenders(0):
        figures, seconds = [], []
        for seed in seeds[:1] if name in FIXED else seeds:
            start = time.perf_counter()
            method = contenders(seed)[name]
            figures.append(precision(method, X, mnist.y, T[chosen], mnist.y_test[chosen]))
            seconds.append(time.perf_counter() - start)
        out.append(
            {
                "use": "search: precision at 10 by label",
                "data": "mnist",
                "method": name,
                "figure": float(np.mean(figures)),
                "seconds": float(np.mean(seconds)),
            }
        )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    for row in rows(arguments.data_home, arguments.seeds):
        print(f"{row['method']:24} {row['figure']:.4f}  {row['seconds']:7.1f} s")


if __name__ == "__main__":
    main()
