"""Synthetic rows of mixed tables, and whether a forest tells them from the real ones.

    python benchmarks/tasks/tables.py [--seeds 0]

The figure is the AUROC, cross-validated, of a random forest that is shown real rows and as many
sampled ones; .5 means that it cannot tell. Beside it, the mean gap between the correlations of the
columns. Needs isthmus[tables].
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score

from isthmus import VAE

MODELS: dict[str, dict[str, Any]] = {
    "VAE()": {},
    "4 components": {"n_components": 4},
    "4 components, mixture prior": {"n_components": 4, "prior": "mixture", "prior_modes": 20},
    "6 components, VampPrior": {"n_components": 6, "prior": "vamp", "prior_modes": 30},
}


def wine() -> pd.DataFrame:
    """Return six numbers, a text, the class and a boolean of 178 wines."""
    bunch = load_wine(as_frame=True)
    frame = bunch.data.iloc[:, :6].copy()
    red, rose = frame["alcohol"] > 13, frame["malic_acid"] > 2.5
    frame["colour"] = np.where(red, "red", np.where(rose, "rose", "white"))
    frame["kind"] = np.array(["a", "b", "c"])[bunch.target]
    return frame.assign(sweet=bunch.target.to_numpy() > 0)


def people(n: int = 3000) -> pd.DataFrame:
    """Return made rows of columns that hang on one hidden class."""
    rng = np.random.default_rng(0)
    kind = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    return pd.DataFrame(
        {
            "age": (20 + 15 * kind + rng.gamma(2, 3, n)).round().astype(int),
            "income": np.exp(7 + 0.5 * kind + 0.3 * rng.normal(size=n)),
            "job": np.array(["clerk", "nurse", "boss"])[kind],
            "city": rng.choice(["a", "b", "c", "d"], n),
            "member": rng.random(n) < 0.2 + 0.3 * kind,
            "score": rng.normal(size=n) + 2 * (kind == 1),
        }
    )


def compare(frame: pd.DataFrame, settings: dict[str, Any], seed: int) -> tuple[float, float]:
    """Return the forest's AUROC and the mean gap of correlations."""
    model = VAE(**settings, random_state=seed, progress="none").fit(frame)
    made = model.sample(len(frame), random_state=seed + 1)
    real, fake = (model.columns_.to_numbers(f) for f in (frame, made))
    forest = RandomForestClassifier(200, min_samples_leaf=5, random_state=seed)
    is_real = np.repeat([1, 0], len(frame))
    auroc = cross_val_score(forest, np.r_[real, fake], is_real, scoring="roc_auc").mean()
    gap = np.abs(np.corrcoef(real.T) - np.corrcoef(fake.T)).mean()
    return float(auroc), float(gap)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    seeds = parser.parse_args().seeds
    for data, frame in {"wine": wine(), "people": people()}.items():
        for name, settings in MODELS.items():
            auroc, gap = np.mean([compare(frame, settings, seed) for seed in seeds], axis=0)
            print(f"{data:8} {name:30} AUROC {auroc:.3f}  correlation gap {gap:.3f}", flush=True)


if __name__ == "__main__":
    main()
