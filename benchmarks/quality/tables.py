"""Tables with outliers, to train without labels.

After the sets of ODDS (Rayana, 2016): one class of a table of scikit-learn is thinned out and
becomes the outliers; half of all rows, outliers among them, are for training. "factors" is made:
rows depend on four numbers, and in outliers each column comes from another row, so that only the
dependence is broken. "generated" is what pyod generates for its examples. In "benign" the training
rows are all normal: benign cases of breast cancer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.model_selection import train_test_split
from speed.rivals import installed

Array = NDArray[np.float64]


class Split(NamedTuple):
    """Training rows, held-out rows, and which of these are outliers."""

    train: Array
    test: Array
    outlier: NDArray[np.bool_]


def thinned(load: Callable[..., tuple[Array, Array]], outliers: int, kept: int) -> Split:
    """Return a table in which `kept` rows of class `outliers` remain, as outliers."""
    X, y = load(return_X_y=True)
    others = np.flatnonzero(y != outliers)
    few = np.random.default_rng(0).choice(np.flatnonzero(y == outliers), kept, replace=False)
    return split(X[np.r_[others, few]], np.arange(len(others) + kept) >= len(others))


def factors(n: int = 4000, columns: int = 30, share: float = 0.1) -> Split:
    """Return a made table; a share of the rows are outliers."""
    rng = np.random.default_rng(0)
    X = np.tanh(rng.normal(size=(n, 4)) @ rng.normal(size=(4, columns)))
    X += rng.normal(0, 0.2, X.shape)
    few = round(share * n)
    X[:few] = np.stack([rng.permutation(column)[:few] for column in X.T], 1)
    return split(X, np.arange(n) < few)


def split(X: Array, outlier: NDArray[np.bool_]) -> Split:
    """Return two halves with the same share of outliers."""
    train, test, _, labels = train_test_split(
        X, outlier, test_size=0.5, stratify=outlier, random_state=0
    )
    return Split(train, test, labels)


def normal_rows(load: Callable[..., tuple[Array, Array]], normal: int) -> Split:
    """Return 60% of the rows of one class for training, held out are all others."""
    X, y = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(np.flatnonzero(y == normal))
    cut = int(0.6 * len(order))
    test = np.r_[order[cut:], np.flatnonzero(y != normal)]
    return Split(X[order[:cut]], X[test], y[test] != normal)


def generated() -> Split:
    """Return the table that pyod generates for its examples, with 20 columns."""
    data = installed("pyod.utils.data", "pyod numba")
    train, test, _, outlier = data.generate_data(
        n_train=1000, n_test=1000, n_features=20, contamination=0.1, random_state=0
    )
    return Split(train, test, outlier == 1)


TABLES: dict[str, Callable[[], Split]] = {
    "breast-cancer": lambda: thinned(load_breast_cancer, 0, 21),
    "wine": lambda: thinned(load_wine, 0, 10),
    "digits": lambda: thinned(load_digits, 0, 50),
    "factors": factors,
    "generated": generated,
    "benign": lambda: normal_rows(load_breast_cancer, 1),
}
