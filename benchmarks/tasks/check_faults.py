"""Whether `isthmus.evaluation.check` names planted faults first, and is silent on healthy models.

    python benchmarks/tasks/check_faults.py [--part faults|healthy] [--seeds 0 1 2]
        [--only NAME ...] [--data-home DIR] [--out FILE.json]

Twelve faults, each on two data sets; the first finding, a note or worse, must be one of those named
beside the fault. Healthy models train with their defaults; each warning or failure on one of them
is printed. MNIST and speech need --data-home. Results are kept in --out as they end, and not
repeated.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets

import isthmus
from isthmus.data import load
from isthmus.evaluation import check

RESULTS = Path(__file__).parents[1] / "results" / "check-faults.json"
ROWS = 6000  # of pictures and sound


# ------------------------------------------------------------------------ data


def digits(home: str | None) -> tuple[Any, Any]:
    """Return grey digits of 8 x 8 pixels and their labels."""
    bunch = datasets.load_digits()
    return bunch.images / 16, bunch.target


def cancer(home: str | None) -> tuple[Any, Any]:
    """Return the measurements of breast-cancer cells, and whether they are benign."""
    bunch = datasets.load_breast_cancer()
    return bunch.data, bunch.target


def linear(home: str | None) -> tuple[Any, Any]:
    """Return ten columns that depend linearly on four normal numbers, with noise."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 4)) @ rng.normal(size=(4, 10)) + 0.5 * rng.normal(size=(2000, 10))
    return X, (X[:, 0] > 0).astype(int)


def mixed(home: str | None) -> tuple[Any, Any]:
    """Return a table of numbers and categories that depend on two numbers and a class."""
    import pandas

    rng = np.random.default_rng(0)
    z, kind = rng.normal(size=(2000, 2)), rng.integers(0, 3, 2000)
    noise = rng.normal(size=(2000, 4))
    return (
        pandas.DataFrame(
            {
                "height": z[:, 0] + kind + 0.3 * noise[:, 0],
                "weight": 10 * z[:, 1] + noise[:, 1],
                "ratio": z[:, 0] - z[:, 1] + 0.2 * noise[:, 2],
                "smoker": np.where(z[:, 0] + 0.5 * noise[:, 3] > 0, "yes", "no"),
                "kind": np.array(["a", "b", "c"])[kind],
            }
        ),
        kind,
    )


def mnist(home: str | None) -> tuple[Any, Any]:
    """Return 6000 pictures of MNIST and their labels."""
    found = load("mnist", data_home=home)
    return np.array(found.X[:ROWS]), np.array(found.y[:ROWS])


def speech(home: str | None) -> tuple[Any, Any]:
    """Return 6000 windows of 256 samples of speech."""
    X = load(f"{home}/speech", size=256).X
    return np.array(X[np.random.default_rng(0).permutation(len(X))[:ROWS]]), None


DATA: dict[str, Callable[[str | None], tuple[Any, Any]]] = {
    each.__name__: each for each in (digits, cancer, linear, mixed, mnist, speech)
}


@dataclass
class Rows:
    """Training and test rows with their labels, and new rows."""

    train: Any
    test: Any
    y_train: Any = None
    y_test: Any = None
    new: Any = None


def split(X: Any, y: Any, seed: int) -> Rows:
    """Hold out a fifth of the rows."""
    order = np.random.default_rng(seed).permutation(len(X))
    test, train = np.split(order, [len(X) // 5])
    take = (lambda rows: X.iloc[rows]) if hasattr(X, "iloc") else (lambda rows: X[rows])
    labels = (None, None) if y is None else (y[train], y[test])
    return Rows(take(train), take(test), *labels)


# ---------------------------------------------------------------------- faults


@dataclass(frozen=True)
class Fault:
    """A planted fault.

    Parameters
    ----------
    expected : tuple of str
        Findings that name it.
    model : callable
        Returns the unfitted estimator.
    data : tuple of str
    spoil : callable
        Changes rows, given a random generator, before the model is fitted.
    """

    expected: tuple[str, ...]
    model: Callable[[], Any]
    data: tuple[str, ...] = ("digits", "cancer")
    spoil: Callable[[Rows, np.random.Generator], None] = lambda rows, rng: None


def repeat_rows(rows: Rows, rng: np.random.Generator) -> None:
    """Replace a third of the test rows by training rows."""
    third = len(rows.test) // 3
    rows.test = rows.test.copy()
    rows.test[:third] = rows.train[rng.permutation(len(rows.train))[:third]]


def drift(rows: Rows, rng: np.random.Generator) -> None:
    """Make new rows of test rows, whose first third of features moves by a standard deviation."""
    rows.new = rows.test.copy()
    flat = rows.new.reshape(len(rows.new), -1)
    k = flat.shape[1] // 3
    flat[:, :k] += flat[:, :k].std(0)


def keep_60(rows: Rows, rng: np.random.Generator) -> None:
    """Keep 60 training rows."""
    rows.train, rows.y_train = rows.train[:60], rows.y_train[:60]


def enlarge_column(rows: Rows, rng: np.random.Generator) -> None:
    """Give one column a unit a million times smaller."""
    rows.train, rows.test = rows.train.copy(), rows.test.copy()
    for part in (rows.train, rows.test):
        part[:, 0] *= 1e6


def to_clusters(rows: Rows, rng: np.random.Generator) -> None:
    """Move rows into eight groups that lie apart."""
    scale = rows.train.std(0) + 1e-9
    centers = 8 * rng.normal(size=(8, *rows.train.shape[1:]))
    rows.train, rows.test = (
        x / scale + centers[rng.integers(8, size=len(x))] for x in (rows.train, rows.test)
    )


def to_unit(rows: Rows, rng: np.random.Generator) -> None:
    """Scale the columns of a table to [0, 1]."""
    low, high = rows.train.min(0), rows.train.max(0)
    span = np.where(high > low, high - low, 1)
    rows.train, rows.test = (((x - low) / span).clip(0, 1) for x in (rows.train, rows.test))


def dead_dictionary() -> isthmus.SparseAutoencoder:
    """Return a sparse autoencoder whose penalty closes most units."""
    return isthmus.SparseAutoencoder(
        hidden=(),
        n_components=256,
        activation="relu",
        penalty="l1",
        penalty_weight=2.0,
        learning_rate=0.02,
        revive_every=None,
    )


FAULTS: dict[str, Fault] = {
    "collapsed VAE": Fault(("collapsed units",), lambda: isthmus.BetaVAE(beta=50.0)),
    "learning rate too low": Fault(
        ("unconverged training",), lambda: isthmus.VAE(learning_rate=1e-6)
    ),
    "too few epochs": Fault(("unconverged training",), lambda: isthmus.VAE(epochs=1)),
    "too narrow a code": Fault(("narrow code",), lambda: isthmus.VAE(n_components=1)),
    "wrong likelihood": Fault(
        ("likelihood", "reconstruction"),
        lambda: isthmus.VAE(likelihood="bernoulli"),
        spoil=to_unit,
    ),
    "copied rows": Fault(("copied rows",), isthmus.VAE, spoil=repeat_rows),
    "drifted data": Fault(("drift", "drifted columns"), isthmus.VAE, spoil=drift),
    "memorising model": Fault(
        ("overfitting", "memorisation"),
        lambda: isthmus.Autoencoder(
            n_components=40, hidden=(512,), validation_fraction=0.0, epochs=3000
        ),
        spoil=keep_60,
    ),
    "deaf condition": Fault(
        ("ignored condition",), lambda: isthmus.ConditionalVAE(condition_dropout=0.99)
    ),
    "dead dictionary": Fault(("dead units",), dead_dictionary),
    "badly scaled column": Fault(
        ("dominant column",),
        lambda: isthmus.VAE(scaling="global"),
        ("cancer", "linear"),
        enlarge_column,
    ),
    "hole in the prior": Fault(
        ("holes in the prior",),
        lambda: isthmus.Autoencoder(n_components=2),
        ("cancer", "linear"),
        to_clusters,
    ),
}
HEALTHY: dict[str, tuple[Callable[[], Any], str]] = {
    "VAE, digits": (isthmus.VAE, "digits"),
    "VAE, cancer": (isthmus.VAE, "cancer"),
    "VAE, linear": (isthmus.VAE, "linear"),
    "VAE, mixed": (isthmus.VAE, "mixed"),
    "VAE, MNIST": (isthmus.VAE, "mnist"),
    "Autoencoder, speech": (isthmus.Autoencoder, "speech"),
}


# ------------------------------------------------------------------------ runs


def fit(model: Any, rows: Rows, seed: int) -> Any:
    """Return the model fitted to the training rows."""
    model.set_params(random_state=seed)
    return model.fit(rows.train, rows.y_train if model.conditional else None)


def findings(model: Any, rows: Rows, seed: int) -> Any:
    """Return what `check` says."""
    labels = {"y_train": rows.y_train, "y_test": rows.y_test} if model.conditional else {}
    return check(model, rows.train, rows.test, rows.new, **labels, random_state=seed)


def run(name: str, seed: int, data: str, home: str | None) -> dict[str, Any]:
    """Return what is found in one model, and what should be found first."""
    rows = split(*DATA[data](home), seed)
    fault = FAULTS.get(name)
    if fault is not None:
        fault.spoil(rows, np.random.default_rng(seed))
    start = time.process_time()
    model = fit((fault.model if fault else HEALTHY[name][0])(), rows, seed)
    fitted = time.process_time()
    found = findings(model, rows, seed)
    levels = ("failure", "warning", "note") if fault else ("failure", "warning")
    wrong = [each.name for each in found if each.severity in levels]
    right = (wrong[:1] and wrong[0] in fault.expected) if fault else not wrong
    return {
        "name": name,
        "data": data,
        "seed": seed,
        "right": bool(right),
        "found": wrong,
        "verdicts": [each.verdict for each in found if each.name in wrong],
        "seconds to fit": round(fitted - start, 2),
        "seconds to check": round(time.process_time() - fitted, 2),
    }


def main() -> None:
    """Do the runs that are not in the file, and print what they found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=("faults", "healthy"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=[*FAULTS, *HEALTHY], metavar="NAME")
    parser.add_argument("--data-home", help="folder with mnist/ and speech/")
    parser.add_argument("--out", type=Path, default=RESULTS)
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    done = json.loads(a.out.read_text()) if a.out.is_file() else []
    faults = [(name, data) for name, fault in FAULTS.items() for data in fault.data]
    healthy = [(name, data) for name, (_, data) in HEALTHY.items()]
    planned = {"faults": faults, "healthy": healthy, None: faults + healthy}[a.part]
    for seed in a.seeds:
        for name, data in planned:
            known = {(each["name"], each["data"], each["seed"]) for each in done}
            if (a.only and name not in a.only) or (name, data, seed) in known:
                continue
            if data in ("mnist", "speech") and a.data_home is None:
                continue
            result = run(name, seed, data, a.data_home)
            done.append(result)
            a.out.write_text("[\n" + ",\n".join(map(json.dumps, done)) + "\n]\n")
            mark = "ok   " if result["right"] else "WRONG"
            print(mark, name, data, seed, result["found"], result["seconds to check"], flush=True)
    for part, names in (("faults", FAULTS), ("healthy", HEALTHY)):
        own = [each for each in done if each["name"] in names]
        print(f"{part}: {sum(each['right'] for each in own)} of {len(own)} right")


if __name__ == "__main__":
    main()
