"""Dependence between columns of generated tables, for two likelihoods of numbers.

    python benchmarks/tasks/dependence.py [--seeds 0 1 2] [--tables people wine] [--epochs 20]

"Strength" is the slope of the dependences of generated rows (rank correlations, Cramér's V and
correlation ratios) on those of the data; 1 if none is weaker. "mixture" draws codes from a mixture
fitted to the codes of the rows. Beside it: the log-likelihood of held-out rows in nats, the error
of imputed numbers in standard deviations, and the AUROC of rows whose columns are shuffled. Needs
isthmus[tables].
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.metrics import roc_auc_score

from isthmus import VAE
from isthmus.applications import AnomalyDetector, LatentImputer, LatentSampler
from isthmus.data.columns import Columns
from isthmus.evaluation.likelihood import importance_weighted

N = 1000
GENERATED = 4000


def people() -> pd.DataFrame:
    """Return age, income and job, of which income depends on both others."""
    r = np.random.default_rng(0)
    job = r.choice(["clerk", "nurse", "smith"], N, p=[0.5, 0.3, 0.2])
    age = np.clip(r.normal(42, 13, N), 18, 75).round().astype(int)
    mean = 9.6 + 0.02 * (age - 42) + np.select([job == "clerk", job == "nurse"], [0, 0.4], 0.8)
    income = np.exp(mean + r.normal(0, 0.45, N)).round(2)
    return pd.DataFrame({"age": age, "income": income, "job": job})


def spread() -> pd.DataFrame:
    """Return columns whose spread depends on a category, and whole numbers with many zeros."""
    r = np.random.default_rng(0)
    k = r.choice(4, N, p=[0.4, 0.3, 0.2, 0.1])
    x = r.normal(size=N) + 0.5 * k
    y = 0.6 * x + (0.2 + 0.5 * k) * r.normal(size=N)
    hours = np.where(
        r.random(N) < 0.4 - 0.08 * k, 0, r.normal(38 - 3 * k, 6, N).round().clip(1, 60)
    )
    member = r.random(N) < 1 / (1 + np.exp(0.5 - x))
    kind = np.array([*"abcd"])[k]
    numbers = {"x": x.round(3), "y": y.round(3), "hours": hours.astype(int)}
    return pd.DataFrame({**numbers, "kind": kind, "member": member})


def sums() -> pd.DataFrame:
    """Return a sum and its parts, a heavy tail, a constant column and a binned one."""
    r = np.random.default_rng(0)
    a, b = r.gamma(2, 2, N), r.normal(5, 1, N)
    group = np.where(a + b > 10, "high", np.where(a + b > 7, "mid", "low"))
    tail = r.standard_t(3, N) * (1 + a)
    columns = {"a": a, "b": b, "total": a + b, "tail": tail, "one": np.full(N, 3.0)}
    return pd.DataFrame(columns).round(2).assign(group=group)


def wine() -> pd.DataFrame:
    """Return seven numbers, the class and a boolean."""
    bunch = load_wine(as_frame=True)
    frame = bunch.data.iloc[:, :7]
    return frame.assign(kind=np.array([*"abc"])[bunch.target], strong=bunch.data["alcohol"] > 13)


def cancer() -> pd.DataFrame:
    """Return eight numbers, the diagnosis and a binned number."""
    bunch = load_breast_cancer(as_frame=True)
    size = pd.qcut(bunch.data["mean area"], 4, labels=[*"smlx"]).astype(str)
    frame = bunch.data.iloc[:, [0, 1, 4, 5, 6, 8, 13, 24]]
    return frame.assign(diagnosis=np.array(["m", "b"])[bunch.target], size=size)


def diabetes() -> pd.DataFrame:
    """Return ten numbers, the sex and a binned number."""
    bunch = load_diabetes(as_frame=True, scaled=False)
    weight = pd.cut(bunch.data["bmi"], [0, 22, 27, 32, 99], labels=[*"smlx"]).astype(str)
    sex = np.where(bunch.data["sex"] == 1, "f", "m")
    return bunch.data.assign(sex=sex, target=bunch.target, weight=weight)


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    each.__name__: each for each in (people, spread, sums, wine, cancer, diabetes)
}


def dependence(frame: pd.DataFrame, columns: Columns) -> np.ndarray:
    """Return the dependence of each pair of columns."""
    numbers = [c.name for c in columns.columns if c.kind == "number" and c.low != c.high]
    groups = [frame[c.name].astype(str) for c in columns.columns if c.kind != "number"]
    ranks = frame[numbers].rank()
    found = [*ranks.corr().to_numpy()[np.triu_indices(len(numbers), 1)]]
    for i, group in enumerate(groups):
        for other in groups[:i]:
            table = pd.crosstab(group, other).to_numpy(float)
            expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
            chi = ((table - expected) ** 2 / expected).sum()
            found.append(np.sqrt(chi / table.sum() / max(1, min(table.shape) - 1)))
        between = ranks.groupby(group.to_numpy()).transform("mean").var()
        found += [*np.sqrt(between / ranks.var())]
    return np.nan_to_num(np.array(found))


def measure(frame: pd.DataFrame, network: bool, seed: int, epochs: int | None) -> list[float]:
    """Return the five figures of one model."""
    rng = np.random.default_rng(100 + seed)
    order, n = rng.permutation(len(frame)), len(frame) // 4
    test, train = (frame.iloc[rows].reset_index(drop=True) for rows in (order[:n], order[n:]))
    columns = Columns.learn(frame)
    settings: dict[str, Any] = {"missing": "ignore", "epochs": epochs, "random_state": seed}
    if network:
        kinds = [c.kind == "number" for c in columns.columns]
        names = [c.likelihood for c in columns.columns]
        each = ["gaussian-network" if k else name for k, name in zip(kinds, names, strict=True)]
        settings["likelihood"] = ",".join(each)
    model = VAE(**settings).fit(train)
    real = dependence(frame, columns)
    mixture = LatentSampler(model, source="mixture", random_state=0).fit(train)
    made = [source.sample(GENERATED, random_state=1) for source in (model, mixture)]
    strength = [real @ dependence(rows, columns) / (real @ real) for rows in made]
    log_p = importance_weighted(model, test, 100).log_likelihood.mean()
    X = model.columns_.to_numbers(test)
    gaps = rng.random(X.shape) < 0.2
    filled = LatentImputer(model, n_draws=50, random_state=0).fit(X).impute(X, gaps).values
    numeric = gaps & np.array([c.kind == "number" and c.low != c.high for c in columns.columns])
    error = ((np.asarray(filled) - X) / np.maximum(X.std(0), 1e-9))[numeric]
    detector = AnomalyDetector(model, score_method="likelihood").fit(test)
    shuffled = pd.DataFrame({name: rng.permutation(test[name].to_numpy()) for name in test})
    rows = test, shuffled.astype(test.dtypes)
    scores = np.concatenate([detector.anomaly_score(each) for each in rows])
    auroc = roc_auc_score(np.repeat([0, 1], len(test)), scores)
    return [*strength, log_p, np.sqrt((error**2).mean()), auroc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=[*TABLES])
    parser.add_argument("--epochs", type=int, help="by default as many as a VAE trains")
    arguments = parser.parse_args()
    for name in arguments.tables:
        for network in (False, True):
            runs = [
                measure(TABLES[name](), network, seed, arguments.epochs) for seed in arguments.seeds
            ]
            strength, mixture, log_p, error, auroc = np.mean(runs, 0)
            print(
                f"{name:9}{'gaussian-network' if network else 'default':18}strength {strength:.2f}"
                f"  mixture {mixture:.2f}  log-likelihood {log_p:.2f}  imputation {error:.2f}"
                f"  AUROC {auroc:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
