"""Detect anomalies: one class normal, the others strange; mean AUROC over the classes.

    python benchmarks/tasks/anomalies.py [--data-home DIR] [--data fashion-mnist breast-cancer ...]
        [--methods isthmus-nap pca ...] [--classes 0 1 ...] [--seeds 0 1 ...] [--out FILE.json]

Fashion-MNIST by the protocol of RaPP (Kim, Shim, Lim, Jeon, Choi, Kim, Yoon, 2020): trained on the
training pictures of one class, tested on its test pictures and as many of the other classes.
The tables of scikit-learn: trained on 60% of the rows of one class, tested on its other rows and
all of the other classes; of breast cancer the benign rows are normal. Each method has one fixed
setting for pictures and one for tables. pyod's methods are measured where pyod is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from isthmus import VAE, DenoisingAutoencoder
from isthmus.applications.anomaly_detection import AnomalyDetector
from isthmus.data import load
from isthmus.estimators import LatentEstimator

TABLES = {
    "breast-cancer": (load_breast_cancer, (1,)),
    "wine": (load_wine, (0, 1, 2)),
    "digits": (load_digits, tuple(range(10))),
}
Problem = tuple[np.ndarray, np.ndarray, np.ndarray]  # training rows, test rows, is strange


def pictures(data_home: str, label: int, seed: int) -> Problem:
    """Return a class of Fashion-MNIST, its test pictures and as many others."""
    data = load("fashion-mnist", data_home=data_home)
    strange = data.y_test != label
    others = np.random.default_rng(seed).choice(
        np.flatnonzero(strange), np.sum(~strange), replace=False
    )
    rows = np.r_[np.flatnonzero(~strange), others]
    return data.X[data.y == label], data.X_test[rows], strange[rows]


def table(name: str, label: int, seed: int) -> Problem:
    """Return 60% of a class of a table, and all other rows."""
    X, y = TABLES[name][0](return_X_y=True)
    X = X / 16 if name == "digits" else X  # grey values in [0, 1]
    normal = np.random.default_rng(seed).permutation(np.flatnonzero(y == label))
    cut = int(0.6 * len(normal))
    test = np.r_[normal[cut:], np.flatnonzero(y != label)]
    return X[normal[:cut]], X[test], y[test] != label


def isthmus(score: str | None = None) -> Callable[..., np.ndarray]:
    """Return a detector of isthmus, trained on all rows: AUROC needs no cut.

    Without a score its one setting: "paths" for pictures, "whitened" for tables.
    """

    def detect(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        detector = AnomalyDetector(
            estimators(train.shape[1:]),
            score_method=score or ("paths" if train.ndim > 2 else "whitened"),
            contamination=0.1,
            calibration_fraction=0,
            random_state=seed,
        )
        return detector.fit(train).anomaly_score(test)

    return detect


def estimators(shape: tuple[int, ...]) -> LatentEstimator | list[LatentEstimator]:
    """Return the one setting for pictures, a shallow and a deep network, or for tables."""
    if len(shape) > 1:
        noise = {"corruption": "gaussian", "corruption_level": 0.1, "epochs": 30}
        return [DenoisingAutoencoder(hidden=h, **noise) for h in ((400,), (400, 200, 100))]
    return VAE(n_components=max(1, min(20, shape[0] // 4)), epochs=150)


def flat(X: np.ndarray) -> np.ndarray:
    """Return rows of numbers, bytes as [0, 1]."""
    return X.reshape(len(X), -1) / (255.0 if X.dtype == np.uint8 else 1.0)


def scaled(method: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Return a rival that sees flat rows; columns of tables with mean 0 and variance 1."""

    def detect(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        a, b = flat(train), flat(test)
        if train.ndim == 2:
            scaler = StandardScaler().fit(a)
            a, b = scaler.transform(a), scaler.transform(b)
        return method(a, b, seed)

    return detect


def pca(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """Return the squared error of components that explain 90% of the variance."""
    model = PCA(0.9, svd_solver="full").fit(train)
    return ((test - model.inverse_transform(model.transform(test))) ** 2).sum(1)


def forest(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """Return the anomaly of an isolation forest."""
    return -IsolationForest(random_state=seed).fit(train).score_samples(test)


def svm(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """Return the anomaly of a one-class SVM."""
    return -OneClassSVM(nu=0.1).fit(train).decision_function(test)


def pyod(name: str) -> Callable[..., np.ndarray]:
    """Return a neural network of pyod with its own settings; it scales by itself."""

    def detect(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        from pyod.models.auto_encoder import AutoEncoder
        from pyod.models.vae import VAE as PyodVAE

        kind = {"autoencoder": AutoEncoder, "vae": PyodVAE}[name]
        # It drops a last batch that is not full, and so must not have fewer rows than one.
        size = min(32, len(train))
        model = kind(random_state=seed, batch_size=size, verbose=0).fit(flat(train))
        return model.decision_function(flat(test))

    return detect


METHODS: dict[str, Callable[..., np.ndarray]] = {
    "isthmus": isthmus(),
    "isthmus-nap": isthmus("nap"),
    "isthmus-reconstruction": isthmus("reconstruction"),
    "isthmus-likelihood": isthmus("likelihood"),
    "pca": scaled(pca),
    "isolation-forest": scaled(forest),
    "one-class-svm": scaled(svm),
} | (
    {"pyod-autoencoder": pyod("autoencoder"), "pyod-vae": pyod("vae")}
    if importlib.util.find_spec("pyod")
    else {}
)


def measure(
    data_home: str | None, data: str, methods: list[str], classes: list[int], seeds: list[int]
) -> Iterator[dict[str, Any]]:
    """Yield AUROC and seconds of each method, class and seed."""
    for label in classes:
        for seed in seeds:
            if data == "fashion-mnist":
                train, test, strange = pictures(str(data_home), label, seed)
            else:
                train, test, strange = table(data, label, seed)
            for method in methods:
                start = time.perf_counter()
                found = METHODS[method](train, test, seed)
                yield {
                    "data": data,
                    "method": method,
                    "class": label,
                    "seed": seed,
                    "auroc": float(roc_auc_score(strange, found)),
                    "seconds": time.perf_counter() - start,
                }


def summary(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean AUROC and the seconds of one fit of each method on each set."""
    out = []
    for data, method in dict.fromkeys((r["data"], r["method"]) for r in records):
        found = [r for r in records if (r["data"], r["method"]) == (data, method)]
        figure, seconds = (float(np.mean([r[k] for r in found])) for k in ("auroc", "seconds"))
        out.append(
            {
                "use": "anomalies",
                "data": data,
                "method": method,
                "figure": figure,
                "seconds": seconds,
            }
        )
    return out


def rows(data_home: str | None, seeds: list[int]) -> list[dict[str, Any]]:
    """Return use, data, method, figure (mean AUROC) and seconds (of one fit and scoring)."""
    names = [*TABLES] + ["fashion-mnist"] * (data_home is not None)
    return summary(
        [r for n in names for r in measure(data_home, n, [*METHODS], [*classes_of(n)], seeds)]
    )


def classes_of(data: str) -> tuple[int, ...]:
    """Return the classes that are normal in turn."""
    return TABLES[data][1] if data in TABLES else tuple(range(10))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home")
    parser.add_argument("--data", nargs="+", default=[*TABLES], help="also: fashion-mnist")
    parser.add_argument("--methods", nargs="+", default=[*METHODS], choices=[*METHODS])
    parser.add_argument("--classes", nargs="+", type=int)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out")
    arguments = parser.parse_args()
    records = []
    for name in arguments.data:
        classes = arguments.classes or [*classes_of(name)]
        for record in measure(
            arguments.data_home, name, arguments.methods, classes, arguments.seeds
        ):
            print(json.dumps(record), flush=True)
            records.append(record)
    for row in summary(records):
        print(f"{row['data']:16}{row['method']:26}{row['figure']:.4f}  {row['seconds']:.1f} s")
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
