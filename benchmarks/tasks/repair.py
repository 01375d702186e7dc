"""Fill in what is missing, beside the mean, nearest neighbours and iterative imputation.

    python benchmarks/tasks/repair.py --data-home DIR [--only pictures --seeds 0]
        [--only table --seeds 0 1 2] [--methods NAME ...] [--out FILE.json] [--picture FILE.png]

MNIST with the lower half, or a random half of the pixels missing in 200 test pictures; a table
(scikit-learn's wine) with 30% of its values missing at random, learned from with its gaps. Errors
are root mean squares over the missing values, of pixels in [0, 1] or in standard deviations of
each column. Times are of one processor core, training included.

Settings were chosen on other rows: of pictures the last 1,000 of the training set, of the table
other gaps (seeds 100 to 102). A seed draws gaps and test pictures, and begins the models.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_wine
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.linear_model import BayesianRidge, Ridge

from isthmus import VAE, DenoisingAutoencoder
from isthmus.applications.imputation import LatentImputer
from isthmus.data import load
from isthmus.nn.pyramid import Pyramid
from isthmus.plots import pictures as contact_sheet

TESTED = 200  # pictures repaired
FOR_RIDGE = 2000  # pictures that iterative imputation learns from
SHOWN = 12  # of each kind in the picture

Filled = np.ndarray
Methods = dict[str, Callable[[], Filled]]


@dataclass
class Task:
    """Data with gaps, what was there, and who is to tell it."""

    name: str
    truth: np.ndarray
    gaps: np.ndarray
    methods: Methods

    def run(self) -> Iterator[tuple[str, float, float, Filled]]:
        """Yield method, error, seconds of one core, and the filled data."""
        for method, fill in self.methods.items():
            start = time.process_time()
            filled = fill().reshape(self.truth.shape)
            seconds = time.process_time() - start
            error = np.sqrt(np.mean((filled - self.truth)[self.gaps] ** 2))
            yield method, float(error), seconds, filled


def table(seed: int) -> Iterator[Task]:
    """Yield a table that is learned from with its gaps."""
    X = load_wine().data
    X = (X - X.mean(0)) / X.std(0)
    gaps = np.random.default_rng(seed).random(X.shape) < 0.3
    trees = ExtraTreesRegressor(50, min_samples_leaf=3, random_state=seed)
    shared = {"likelihood": "gaussian-per-feature", "random_state": 1000 * seed}
    denoising = DenoisingAutoencoder(
        n_components=32,
        hidden=(256, 128),
        dropout=0.3,
        weight_decay=0.1,
        corruption_level=0.4,
        epochs=200,
        **shared,
    )
    vae = VAE(n_components=4, hidden=(128,), dropout=0.2, epochs=300, **shared)
    imputers = {
        "mean": SimpleImputer(),
        "5 nearest neighbours": KNNImputer(),
        "10 nearest neighbours": KNNImputer(n_neighbors=10),
        "iterative, ridge": IterativeImputer(BayesianRidge(), random_state=seed),
        "iterative, trees": IterativeImputer(trees, max_iter=5, random_state=seed),
        "isthmus, a VAE": LatentImputer(vae, random_state=seed),
        "isthmus, one denoising autoencoder": LatentImputer(denoising),
        "isthmus": LatentImputer(denoising, n_models=10),
    }
    holed = np.where(gaps, np.nan, X)
    methods = {k: lambda m=m: m.fit_transform(holed) for k, m in imputers.items()}
    yield Task("wine, 30% missing", X, gaps, methods)


def pictures(seed: int, data_home: str) -> Iterator[Task]:
    """Yield pictures with holes, and methods that learn from whole ones."""
    mnist = load("mnist", data_home=data_home)
    rng = np.random.default_rng(seed)
    X = mnist.X_test[rng.choice(len(mnist.X_test), TESTED, replace=False)] / np.float32(255)
    train = mnist.X / np.float32(255)
    some = train[rng.choice(len(train), FOR_RIDGE, replace=False)]
    lower = np.zeros(X.shape[1:], bool)
    lower[14:] = True
    pyramid = Pyramid()
    half_masked = DenoisingAutoencoder(
        n_components=pyramid.n_components(X.shape[1:]),
        backbone=pyramid,
        corruption_level=0.5,
        epochs=3,
        validation_fraction=0.02,
        random_state=seed,
    )
    lower_hidden = DenoisingAutoencoder(
        n_components=200,
        hidden=(),
        backbone="conv",
        epochs=6,
        validation_fraction=0.02,
        random_state=seed,
    )
    kinds = (
        (
            "MNIST, lower half",
            np.broadcast_to(lower, X.shape),
            LatentImputer(lower_hidden, train_mask=lower),
        ),
        ("MNIST, half the pixels", rng.random(X.shape) < 0.5, LatentImputer(half_masked)),
    )
    for name, gaps, imputer in kinds:
        yield Task(name, X, gaps, _of_pictures(imputer, train, some, X, gaps, seed))


def _of_pictures(
    imputer: LatentImputer,
    train: np.ndarray,
    some: np.ndarray,
    X: np.ndarray,
    gaps: np.ndarray,
    seed: int,
) -> Methods:
    holed = np.where(gaps, np.float32(np.nan), X).reshape(len(X), -1)
    flat, few = train.reshape(len(train), -1), some.reshape(len(some), -1)
    shared = {"skip_complete": True, "random_state": seed}
    shared |= {"min_value": 0, "max_value": 1}  # without bounds it diverges
    near = IterativeImputer(BayesianRidge(), n_nearest_features=50, **shared)
    wide = IterativeImputer(Ridge(alpha=100), max_iter=3, **shared)
    return {
        "mean": lambda: SimpleImputer().fit(flat).transform(holed),
        "5 nearest neighbours": lambda: KNNImputer().fit(flat).transform(holed),
        # They learn in rounds, from gaps: whole pictures alone would teach them one.
        "iterative, ridge": lambda: near.fit_transform(np.vstack([few, holed]))[len(few) :],
        "iterative, ridge on all": lambda: wide.fit_transform(np.vstack([few, holed]))[len(few) :],
        "isthmus": lambda: imputer.fit(train).impute(X, gaps).values,
    }


def draw(tasks: list[tuple[Task, dict[str, Filled]]], path: str) -> None:
    """Draw truth, gaps and repaired pictures, one task below another."""
    sheet: list[np.ndarray] = []
    labels: list[str] = []
    for task, filled in tasks:
        holed = np.where(task.gaps, 0.5, task.truth)
        lines = {"truth": task.truth, "given": holed}
        drawn = ("isthmus", "5 nearest neighbours", "iterative, ridge")
        lines |= {method: filled[method] for method in drawn if method in filled}
        for name, line in lines.items():
            sheet.append(np.clip(line[:SHOWN], 0, 1))
            labels += [name, *[""] * (SHOWN - 1)]
    contact_sheet(np.concatenate(sheet), columns=SHOWN, labels=labels).savefig(path, dpi=110)


def only(task: Task, methods: list[str] | None) -> Task:
    """Return the task with the methods of these names; None is all."""
    kept = {k: v for k, v in task.methods.items() if methods is None or k in methods}
    return replace(task, methods=kept)


def rows(tasks: Iterator[Task], shown: list[tuple[Task, dict[str, Filled]]]) -> list[dict]:
    """Return one row a method and kind of gap: the error of each seed, and their mean."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for task in tasks:
        filled = {}
        for method, error, seconds, filled[method] in task.run():
            print(f"{task.name:24} {method:36} {error:.4f}  {seconds:.1f} s", flush=True)
            row = {
                "use": "repair",
                "data": task.name,
                "method": method,
                "errors": [],
                "seconds": [],
            }
            row = found.setdefault((task.name, method), row)
            row["errors"].append(error)
            row["seconds"].append(seconds)
        shown.append((task, filled))
    for row in found.values():
        row["figure"], row["seconds"] = np.mean(row["errors"]), np.mean(row["seconds"])
    return list(found.values())


def records(data_home: str, seed: int) -> list[dict]:
    """Return one row a method and kind of gap, of one seed."""
    return rows(itertools.chain(table(seed), pictures(seed, data_home)), [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", help="for the pictures")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", choices=("table", "pictures"))
    parser.add_argument("--methods", nargs="+", help="only these, by their names in the table")
    parser.add_argument("--out", help="where to write the figures as JSON")
    parser.add_argument("--picture", help="where to draw repaired pictures, .png")
    arguments = parser.parse_args()
    if arguments.only != "table" and arguments.data_home is None:
        parser.error("--data-home says where MNIST lies; or ask for the table alone: --only table")

    def tasks() -> Iterator[Task]:
        for seed in arguments.seeds:
            if arguments.only != "pictures":
                yield from table(seed)
            if arguments.only != "table":
                yield from pictures(seed, arguments.data_home)

    shown: list[tuple[Task, dict[str, Filled]]] = []
    results = rows((only(task, arguments.methods) for task in tasks()), shown)
    for row in results:
        print("{data:24} {method:36} {figure:.4f}  {seconds:.1f} s, the mean".format(**row))
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(results, indent=1) + "\n")
    if arguments.picture:
        draw([each for each in shown if each[0].truth.ndim == 3][:2], arguments.picture)


if __name__ == "__main__":
    main()
