"""Detect outliers in the tables of ADBench, trained with and without outliers among the rows.

    python benchmarks/tasks/adbench.py --data-home DIR [--half development|confirmation]
        [--protocols contaminated normal] [--methods isthmus pyod-autoencoder ...]
        [--seeds 0 ...] [--out FILE.json]

DIR holds the "Classical" files of ADBench (Han, Hu, Huang, Jiang, Zhao, 2022): 6_cardio.npz and the
like, with X and y, which is 1 for outliers. Of larger tables, 1500 rows are drawn, with the same
share of outliers (at least 10). "contaminated": trained on all rows without labels, and the same
rows are scored. "normal": trained on 70% of the normal rows, all others are scored. Every method
has its defaults; KNN and PCA see columns of mean 0 and variance 1, the others scale by themselves.
The default of isthmus was chosen on the development half: every other file, by number.

Records in --out are kept, so that a run that was stopped goes on. pip install pyod numba.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from isthmus import Autoencoder
from isthmus.applications import AnomalyDetector

Array = NDArray[np.float64]
Record = dict[str, Any]
Detect = Callable[[Array, Array, int], Array]
MOST_ROWS, LEAST_OUTLIERS = 1500, 10
PROTOCOLS = ("contaminated", "normal")
HALVES = ("development", "confirmation")


def names(data_home: Path, half: str | None) -> list[str]:
    """Return the names of the tables, ordered by number."""
    found = [path.stem for path in data_home.glob("[0-9]*_*.npz")]
    found.sort(key=lambda name: int(name.partition("_")[0]))
    return found if half is None else found[HALVES.index(half) :: 2]


def problem(path: Path, protocol: str, seed: int) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return training rows, the rows to score, and which of these are outliers."""
    data = np.load(path)
    X, outlier = data["X"].astype(float), data["y"].astype(bool)
    draws = np.random.default_rng(seed)
    if len(X) > MOST_ROWS:
        n = min(outlier.sum(), max(LEAST_OUTLIERS, round(MOST_ROWS * outlier.mean())))
        few = draws.choice(np.flatnonzero(outlier), n, replace=False)
        others = draws.choice(np.flatnonzero(~outlier), MOST_ROWS - n, replace=False)
        rows = np.sort(np.r_[few, others])
        X, outlier = X[rows], outlier[rows]
    if protocol == "contaminated":
        return X, X, outlier
    normal = np.random.default_rng(seed).permutation(np.flatnonzero(~outlier))
    cut = int(0.7 * len(normal))
    test = np.r_[normal[cut:], np.flatnonzero(outlier)]
    return X[normal[:cut]], X[test], outlier[test]


def isthmus(former: bool = False) -> Detect:
    """Return our default; or the former one, trained to convergence."""

    def detect(train: Array, test: Array, seed: int) -> Array:
        model = Autoencoder(n_components=int(np.clip(train.shape[1] // 4, 1, 20)))
        detector = AnomalyDetector(model if former else None, random_state=seed)
        return detector.fit(train).anomaly_score(test)

    return detect


def pyod(module: str, name: str) -> Detect:
    """Return a method of pyod with its defaults."""

    def detect(train: Array, test: Array, seed: int) -> Array:
        kind = getattr(import_module(f"pyod.models.{module}"), name)
        options: Record = {"random_state": seed} if name not in ("ECOD", "KNN") else {}
        if module in ("auto_encoder", "vae"):
            # It drops a last batch that is not full, and so must not have fewer rows than one.
            options |= {"verbose": 0, "device": "cpu", "batch_size": min(32, len(train))}
        if name in ("KNN", "PCA"):
            scaler = StandardScaler().fit(train)
            train, test = scaler.transform(train), scaler.transform(test)
        scores = kind(**options).fit(train).decision_function(test)
        return np.nan_to_num(scores, nan=0.0, posinf=1e30)

    return detect


METHODS: dict[str, Detect] = {
    "isthmus": isthmus(),
    "isthmus-former": isthmus(former=True),
    "pyod-autoencoder": pyod("auto_encoder", "AutoEncoder"),
    "pyod-vae": pyod("vae", "VAE"),
    "pyod-pca": pyod("pca", "PCA"),
    "ecod": pyod("ecod", "ECOD"),
    "isolation-forest": pyod("iforest", "IForest"),
    "knn": pyod("knn", "KNN"),
}


def key(record: Record) -> tuple[Any, ...]:
    """Return what identifies a run."""
    return tuple(record[name] for name in ("data", "protocol", "method", "seed"))


def measure(a: argparse.Namespace, done: set[tuple[Any, ...]]) -> Iterator[Record]:
    """Yield a record for each run that is not done."""
    for seed in a.seeds:
        for data in names(a.data_home, a.half):
            for protocol in a.protocols:
                train, test, outlier = problem(a.data_home / f"{data}.npz", protocol, seed)
                for method in a.methods:
                    run: Record = {"data": data, "protocol": protocol, "method": method}
                    run["seed"] = seed
                    if key(run) in done:
                        continue
                    start = time.process_time()
                    scores = METHODS[method](train, test, seed)
                    run["seconds"] = round(time.process_time() - start, 3)
                    run["auroc"] = round(float(roc_auc_score(outlier, scores)), 4)
                    precision = float(average_precision_score(outlier, scores))
                    yield run | {"average precision": round(precision, 4)}


def tables(records: list[Record], a: argparse.Namespace) -> list[str]:
    """Return AUROC per data set, then means and mean ranks, as lines to read."""
    lines, chosen = [], names(a.data_home, a.half)
    for protocol in a.protocols:
        found: dict[tuple[str, str], list[Record]] = defaultdict(list)
        for r in records:
            if r["protocol"] == protocol and r["method"] in a.methods and r["seed"] in a.seeds:
                found[r["data"], r["method"]].append(r)

        def mean(data: str, measure: str, found: Any = found) -> list[float]:
            return [float(np.mean([r[measure] for r in found[data, m]])) for m in a.methods]

        complete = [data for data in chosen if all(found[data, m] for m in a.methods)]
        lines.append(f"{protocol:22}" + "".join(f"{m[:17]:>18}" for m in a.methods))
        auroc = np.array([mean(data, "auroc") for data in complete])
        lines += [_line(data, row) for data, row in zip(complete, auroc, strict=True)]
        ranks = [(row > row[:, None]).sum(1) + (row == row[:, None]).sum(1) / 2 for row in auroc]
        lines.append(_line("mean AUROC", auroc.mean(0)))
        lines.append(_line("mean rank", np.mean(ranks, 0) + 0.5))
        for measure in ("average precision", "seconds"):
            row = np.mean([mean(data, measure) for data in complete], 0)
            lines.append(_line(f"mean {measure}", row))
        lines.append("")
    return lines


def _line(title: str, row: Any) -> str:
    return f"{title:22}" + "".join(f"{value:18.3f}" for value in row)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-home", type=Path, required=True)
    parser.add_argument("--half", choices=HALVES, help="by default all tables")
    parser.add_argument("--protocols", nargs="+", default=[*PROTOCOLS], choices=PROTOCOLS)
    parser.add_argument("--methods", nargs="+", default=[*METHODS], choices=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    records: list[Record] = []
    if a.out and a.out.exists():
        records = json.loads(a.out.read_text())
    for record in measure(a, {key(r) for r in records}):
        records.append(record)
        if a.out:
            rows = ",\n".join(json.dumps(r) for r in records)
            a.out.write_text(f"[\n{rows}\n]\n")
    print("\n".join(tables(records, a)))


if __name__ == "__main__":
    main()
