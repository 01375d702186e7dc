"""Anomaly detection in time series against its rivals: VUS-PR and range-based F1.

    pip install aeon        # metrics, and the labelled series in its wheel
    python benchmarks/series.py [--seeds 10] [--keep FILE.json] [--table]

The suite plants three faults of one kind in each series of 3000 steps, of one channel or three:
spikes, shifts of the level, changed frequencies and amplitudes, missing cycles, and a channel that
is out of step with the others. Every method is fitted to the series that it scores, without labels,
with the same window. The two labelled series of aeon that have anomalies are scored by methods
fitted to their own training part, which has none.

Each (series, method) is kept in the file when it is done and not run again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest

from isthmus import Autoencoder
from isthmus.applications import SeriesDetector

Array = NDArray[Any]
KEPT = Path(__file__).parent / "results" / "series.json"
KINDS = ("spike", "level", "frequency", "amplitude", "missing cycle", "relation")
LENGTH, FAULTS = 3000, 3
BUFFERS = 40  # largest buffer around an anomaly that counts, in steps


class Labelled(NamedTuple):
    """A series (time, channels), its labels (1 is anomalous), and its training part if any."""

    name: str
    x: Array
    y: Array
    train: Array | None = None


def planted(kind: str, channels: int, seed: int) -> Labelled:
    """Return a quasi-periodic series with three faults of one kind."""
    rng = np.random.default_rng([seed, channels, KINDS.index(kind)])
    period = int(rng.integers(30, 80))
    phase = 2 * np.pi * np.arange(LENGTH) / period + rng.normal(0, 0.02, LENGTH).cumsum()
    places, labels = [], np.zeros(LENGTH, int)
    cuts = np.linspace(0.1, 0.95, FAULTS + 1)
    for begin, end in itertools.pairwise(cuts):
        size = int(period * rng.uniform(1, 2.5))
        size = {"spike": int(rng.integers(1, 4)), "missing cycle": period}.get(kind, size)
        at = int(rng.uniform(begin * LENGTH, end * LENGTH - size))
        places.append(slice(at, at + size))
        labels[places[-1]] = 1
    gain = np.ones(LENGTH)
    for place in places:
        if kind == "frequency":
            change = np.full(LENGTH, 0.0)
            change[place] = 2 * np.pi / period * rng.choice([-0.35, 0.5])
            phase = phase + change.cumsum()
        if kind == "amplitude":
            gain[place] = rng.choice([0.5, 1.6])
    waves = np.stack([f(k * phase) / k for k in (1, 2, 3) for f in (np.sin, np.cos)], 1)
    clean = waves @ rng.normal(0, 1, (6, channels))
    clean /= clean.std(0)
    slow = rng.normal(0, 1, (LENGTH, channels))
    for t in range(1, LENGTH):
        slow[t] += 0.9 * slow[t - 1]
    noise = 0.06 * slow + 0.08 * rng.normal(size=clean.shape)
    x = clean * gain[:, None]
    hit = rng.permutation(channels)[: max(1, channels // 2)]
    for place in places:
        if kind == "missing cycle":
            x[place] = clean.mean(0)
        if kind == "spike":
            x[place, hit] += rng.choice([-1, 1]) * rng.uniform(0.8, 1.8)
        if kind == "level":
            x[place, hit] += rng.choice([-1, 1]) * rng.uniform(0.5, 1.0)
        if kind == "relation":
            shift = period // 4 + int(rng.integers(0, period // 4))
            x[place, hit] = np.roll(clean[:, hit], shift, 0)[place]
    return Labelled(f"{kind}, {channels} channel{'s' * (channels > 1)}", x + noise, labels)


def labelled_by_aeon() -> Iterator[Labelled]:
    """Yield the labelled series in aeon's wheel; Daphnet_S06R02E0 has no anomaly there."""
    import aeon
    import pandas as pd

    root = Path(aeon.__file__).parent / "datasets" / "data"
    for name, path, train in (
        ("UCR 135", "KDD-TSAD_135/135_UCR_Anomaly_InternalBleeding16_TEST", "TRAIN"),
        ("ecg-diff-count-3", "UnitTest/ecg-diff-count-3_TEST", "TRAIN_NA"),
    ):
        test = pd.read_csv(root / f"{path}.csv")
        normal = pd.read_csv(root / f"{path.replace('TEST', train)}.csv").iloc[:, 1:-1]
        values = test.iloc[:, 1:-1].to_numpy(float)
        yield Labelled(name, values, test["is_anomaly"].to_numpy(int), normal.to_numpy(float))


# ---------------------------------------------------------------------------- methods


def network() -> Autoencoder:
    """Return the small network of the ensemble: 4 components, ten epochs."""
    recipe: dict[str, Any] = {"epochs": 10, "batch_size": 128, "validation_fraction": 0}
    return Autoencoder(
        n_components=4, hidden=(64,), likelihood="gaussian", random_state=0, **recipe
    )


def ours(**settings: Any) -> Callable[..., tuple[Array, Array | None]]:
    """Return a function that fits `SeriesDetector` and scores a series."""

    def score(x: Array, train: Array, window: int) -> tuple[Array, Array | None]:
        given = {k: v() if callable(v) else v for k, v in settings.items()}
        detector = SeriesDetector(window=window, **given).fit(train)
        return detector.anomaly_score(x), detector.predict(x) == -1

    return score


def spread(scores: Array, window: int) -> Array:
    """Return the mean over the windows around each step."""
    total, count = np.zeros(len(scores) + window - 1), np.zeros(len(scores) + window - 1)
    for place in range(window):
        total[place : place + len(scores)] += scores
        count[place : place + len(scores)] += 1
    return total / count


def rows(x: Array, train: Array, window: int) -> Array:
    x = (x - train.mean(0)) / train.std(0)
    return sliding_window_view(x, window, 0).reshape(len(x) - window + 1, -1)


def windowed_pca(x: Array, train: Array, window: int) -> tuple[Array, None]:
    pca = PCA(0.9).fit(rows(train, train, window))
    given = rows(x, train, window)
    error = ((given - pca.inverse_transform(pca.transform(given))) ** 2).mean(1)
    return spread(error, window), None


def isolation_forest(x: Array, train: Array, window: int) -> tuple[Array, None]:
    forest = IsolationForest(random_state=0).fit(rows(train, train, window))
    return spread(-forest.score_samples(rows(x, train, window)), window), None


def pyod_pca(x: Array, train: Array, window: int) -> tuple[Array, None]:
    from pyod.models.ts_od import TimeSeriesOD

    model = TimeSeriesOD("PCA", window_size=window, score_aggregation="mean").fit(train)
    return model.decision_function(x), None


def matrix_profile(x: Array, train: Array, window: int) -> tuple[Array, None]:
    """Score by pyod's STOMP, which compares a series with itself."""
    from pyod.models.ts_matrix_profile import MatrixProfile

    return MatrixProfile(window_size=window).fit(x).decision_scores_, None


METHODS: dict[str, Callable[..., tuple[Array, Array | None]]] = {
    "SeriesDetector()": ours(),
    "SeriesDetector(Autoencoder)": ours(estimator=network),
    "windowed PCA (scikit-learn)": windowed_pca,
    "isolation forest on windows": isolation_forest,
    "pyod TimeSeriesOD(PCA)": pyod_pca,
    "pyod MatrixProfile (STOMP)": matrix_profile,
}


def evaluate(data: Labelled, method: str, window: int) -> dict[str, Any]:
    """Return VUS-PR, the best range F1 over thresholds, and that of the method's own threshold."""
    from aeon.benchmarking.metrics.anomaly_detection import range_f_score, range_pr_vus_score

    train = data.x if data.train is None else data.train
    start = time.process_time()
    score, flagged = METHODS[method](data.x, train, window)
    seconds = time.process_time() - start
    score = np.asarray(score, float)
    if len(score) < len(data.x):  # a matrix profile has one number per window
        score = spread(score, len(data.x) - len(score) + 1)
    score = np.nan_to_num(score, nan=np.nanmin(score))
    levels = np.quantile(score, [0.8, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998])
    best = max(range_f_score(data.y, (score > level).astype(int)) for level in levels)
    record = {"data": data.name, "method": method, "window": window, "seconds": round(seconds, 2)}
    record |= {"vus_pr": float(range_pr_vus_score(data.y, score, max_buffer_size=BUFFERS))}
    record |= {"best_range_f1": float(best)}
    if flagged is not None:
        f1 = range_f_score(data.y, flagged.astype(int)) if flagged.any() else 0.0
        record["range_f1"] = float(f1)
    return record


def table(records: list[dict[str, Any]]) -> str:
    """Return the means over seeds as Markdown."""
    names = list(dict.fromkeys(r["data"] for r in records))
    methods = [m for m in METHODS if any(r["method"] == m for r in records)]
    mean = np.full((len(names), len(methods)), np.nan)
    best = mean.copy()
    for i, name in enumerate(names):
        for j, method in enumerate(methods):
            found = [r for r in records if (r["data"], r["method"]) == (name, method)]
            mean[i, j] = np.mean([r["vus_pr"] for r in found])
            best[i, j] = np.mean([r["best_range_f1"] for r in found])
    keys = list(dict.fromkeys((r["data"], r["seed"]) for r in records))
    ranks = []
    for key in keys:
        each = {r["method"]: r["vus_pr"] for r in records if (r["data"], r["seed"]) == key}
        if len(each) == len(methods):
            values = np.array([each[m] for m in methods])
            ranks.append([(values > v).sum() + ((values == v).sum() + 1) / 2 for v in values])
    lines = ["| VUS-PR | " + " | ".join(methods) + " |", "| --- |" + " --- |" * len(methods)]
    shown = [*zip(names, mean, strict=True), ("**mean**", mean.mean(0))]
    shown += [("mean rank", np.mean(ranks, 0)), ("mean of the best range F1", best.mean(0))]
    for name, values in shown:
        top = np.nanmin(values) if name == "mean rank" else np.nanmax(values)
        cells = [f"**{v:.2f}**" if v.round(2) == top.round(2) else f"{v:.2f}" for v in values]
        lines.append(f"| {name} | " + " | ".join(c.replace("0.", ".") for c in cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--keep", type=Path, default=KEPT)
    parser.add_argument("--table", action="store_true", help="print the table of what is kept")
    arguments = parser.parse_args()
    records = json.loads(arguments.keep.read_text()) if arguments.keep.is_file() else []
    if arguments.table:
        print(table(records))
        return
    warnings.simplefilter("ignore")
    data = [(-1, each) for each in labelled_by_aeon()]
    for seed in range(arguments.seeds):
        for channels in (1, 3):
            kinds = KINDS if channels > 1 else KINDS[:-1]
            data += [(seed, planted(kind, channels, seed)) for kind in kinds]
    for seed, each in data:
        train = each.x if each.train is None else each.train
        window = SeriesDetector().fit(train).window_
        for method in METHODS:
            if any(
                (r["data"], r["method"], r["seed"]) == (each.name, method, seed) for r in records
            ):
                continue
            record = {"seed": seed, **evaluate(each, method, window)}
            print(json.dumps(record), flush=True)
            records.append(record)
            arguments.keep.write_text(json.dumps(records, indent=0) + "\n")


if __name__ == "__main__":
    main()
