"""Default settings against baselines that cost nothing, on held-out rows.

    python benchmarks/tasks/first_contact.py [--data-home DATA] [--seeds 0 1 2] [--only wine digits]

A fifth of the rows is held out. "se" is the squared error per row, of tables in standard
deviations; "PCA" has as many components as the code. "nats" is the importance-weighted
log-likelihood of 50 samples in the units of the data, "FA" that of factor analysis with as many
factors (tables) or of probabilistic PCA (pictures and sound).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.decomposition import PCA, FactorAnalysis

import isthmus
from isthmus.data import load
from isthmus.evaluation.likelihood import importance_weighted

MODELS = ("VAE", "Autoencoder")
FILES = {"mnist": "mnist", "fashion": "fashion-mnist"}
MOST_ROWS = 7500
FIXED = ("likelihood",)


def rows_of(name: str, home: Path | None) -> Any:
    """Return the rows of a data set."""
    if name == "digits":
        return datasets.load_digits().images / 16
    if name == "curved":  # a nonlinear function of three numbers, with noise
        r = np.random.default_rng(9)
        x = 3 * np.tanh(r.normal(size=(3000, 3)) @ r.normal(size=(3, 12)))
        return x + 0.3 * r.normal(size=x.shape)
    if name in FILES:
        return load(FILES[name], data_home=home).X
    if name == "speech":
        return load(f"{home}/speech", size=256).X
    if name == "pictures":
        return load(f"{home}/emoji", size=32).X
    return getattr(datasets, f"load_{name}")().data


def flat(model: Any, X: Any) -> Any:
    """Return rows as the model sees them, in standard deviations or pixels in [0, 1]."""
    x = np.asarray(model.scaler_.transform(X), float).reshape(len(X), -1)
    return x / 255 if X.dtype == np.uint8 and model.scaler_.identity else x


def compare(kind: str, X: Any, seed: int) -> dict[str, Any]:
    """Return the numbers of a model with default settings and of its baselines."""
    order = np.random.default_rng(seed).permutation(len(X))[:MOST_ROWS]
    train, test = X[order[len(order) // 5 :]], X[order[: len(order) // 5]]
    start = time.process_time()
    model = getattr(isthmus, kind)(random_state=seed).fit(train)
    seconds = time.process_time() - start
    known, new = flat(model, train), flat(model, test)
    pca = PCA(model.n_components_, random_state=0).fit(known)
    out = {
        "likelihood": model.likelihood_,
        "components": model.n_components_,
        "se": np.square(new - flat(model, model.reconstruct(test))).sum(1).mean(),
        "PCA": np.square(new - pca.inverse_transform(pca.transform(new))).sum(1).mean(),
        "epochs": model.n_iter_,
        "seconds": seconds,
    }
    if kind == "VAE":
        out["nats"] = float(importance_weighted(model, test, 50).log_likelihood.mean())
        if model.likelihood_ != "bernoulli":
            factors = FactorAnalysis(model.n_components_) if train.ndim == 2 else pca
            unit = np.broadcast_to(np.log(model.scaler_.scale), new.shape[1]).sum()
            out["FA"] = factors.fit(known).score(new) - unit
    return out


def main() -> None:
    """Print a row per data set, model and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-home", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    names = ["wine", "breast_cancer", "diabetes", "curved", "digits"]
    more = ["mnist", "fashion", "pictures", "speech"]
    parser.add_argument("--only", nargs="+", choices=names + more)
    chosen = parser.parse_args()
    for name in chosen.only or (names + more if chosen.data_home else names):
        X = rows_of(name, chosen.data_home)
        for kind in MODELS:
            for seed in chosen.seeds:
                found = compare(kind, X, seed)
                shown = [f"{k} {round(v, 3) if k not in FIXED else v}" for k, v in found.items()]
                print(name, kind, f"seed {seed}", *shown, sep="  ", flush=True)


if __name__ == "__main__":
    main()
