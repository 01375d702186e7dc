"""Fill in what is missing, beside the mean, nearest neighbours and iterative imputation.

    python benchmarks/tasks/repair.py --data-home DIR [--seeds 0 1 2]

MNIST with the lower half, or a random half of the pixels missing; a table (scikit-learn's wine)
with 30% of its values missing at random. Errors are root mean squares over the missing values, of
pixels in [0, 1] or in standard deviations of each column. Rivals that learn from complete pictures
learn from the same ones as the model; their rows are fewer where they take hours on all.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.datasets import load_wine
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.linear_model import BayesianRidge

from isthmus import VAE
from isthmus.data import load
from isthmus.uses.imputation import LatentImputer

TESTED, KNOWN = 200, 5000  # pictures repaired, and pictures that neighbours are looked for among


def rmse(filled: np.ndarray, truth: np.ndarray, gaps: np.ndarray) -> float:
    """Return the root mean square error over the gaps."""
    return float(np.sqrt(np.mean((filled - truth)[gaps] ** 2)))


def timed(repair: Callable[[], np.ndarray], truth: np.ndarray, gaps: np.ndarray) -> tuple:
    start = time.perf_counter()
    return rmse(repair(), truth, gaps), time.perf_counter() - start


def table(seed: int) -> Iterator[tuple[str, str, float, float]]:
    """Yield the errors on a table that is learned from with its gaps."""
    X = load_wine().data
    X = (X - X.mean(0)) / X.std(0)
    gaps = np.random.default_rng(seed).random(X.shape) < 0.3
    holed = np.where(gaps, np.nan, X)
    model = VAE(
        n_components=4,
        hidden=(128,),
        dropout=0.2,
        likelihood="gaussian-per-feature",
        epochs=600,
        validation_fraction=0.2,
        random_state=seed,
    )
    methods = {
        "mean": SimpleImputer(),
        "nearest neighbours": KNNImputer(n_neighbors=5),
        "iterative, ridge": IterativeImputer(BayesianRidge(), random_state=seed),
        "isthmus": LatentImputer(model, n_draws=200, random_state=seed),
    }
    for name, method in methods.items():
        yield (
            "wine, 30% missing",
            name,
            *timed(lambda m=method: m.fit_transform(holed), X, gaps),
        )


def pictures(seed: int, data_home: str) -> Iterator[tuple[str, str, float, float]]:
    """Yield the errors on pictures with holes, by models that learned from whole ones."""
    mnist = load("mnist", data_home=data_home)
    rng = np.random.default_rng(seed)
    X = mnist.X_test[rng.choice(len(mnist.X_test), TESTED, replace=False)] / 255.0
    train = mnist.X.astype(np.float32) / 255
    model = VAE(n_components=40, hidden=(500, 250), epochs=15, random_state=seed).fit(train)
    ours = LatentImputer(FrozenEstimator(model), n_draws=50, random_state=seed).fit(train)
    flat = train[rng.choice(len(train), KNOWN, replace=False)].reshape(KNOWN, -1)
    lower = np.zeros(X.shape, bool)
    lower[:, 14:] = True
    kinds = {"MNIST, lower half": lower, "MNIST, half the pixels": rng.random(X.shape) < 0.5}
    for data, gaps in kinds.items():
        holed = np.where(gaps, np.nan, X).reshape(len(X), -1)
        for name, rival in {"mean": SimpleImputer(), "nearest neighbours": KNNImputer()}.items():
            rival.set_params(keep_empty_features=True).fit(flat)
            yield (
                data,
                name,
                *timed(lambda r=rival, h=holed: r.transform(h).reshape(X.shape), X, gaps),
            )
        yield data, "isthmus", *timed(lambda g=gaps: ours.complete(X, g).values, X, gaps)


def rows(data_home: str, seeds: list[int]) -> list[dict[str, Any]]:
    """Return one row a method and kind of gap: the mean error over the seeds."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for seed in seeds:
        for data, method, *figures in (*table(seed), *pictures(seed, data_home)):
            found.setdefault((data, method), []).append(tuple(figures))
    return [
        {
            "use": "repair",
            "data": data,
            "method": method,
            "figure": float(np.mean([error for error, _ in each])),
            "seconds": float(np.mean([seconds for _, seconds in each])),
        }
        for (data, method), each in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    for row in rows(arguments.data_home, arguments.seeds):
        print("{data:24} {method:20} {figure:.4f}  {seconds:.1f} s".format(**row))


if __name__ == "__main__":
    main()
