"""Whether two sets of rows have the same distribution."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, ks_2samp, mannwhitneyu
from sklearn.ensemble import ExtraTreesClassifier

from isthmus.evaluation.checks.claim import CannotCheckError

__all__ = ["LEAST_ROWS", "Moved", "Separation", "moved_columns", "separation"]

Array = NDArray[Any]
LEAST_ROWS = 20  # of each set
TREES = 50


class Separation(NamedTuple):
    """How well a classifier tells two sets apart: the area under its ROC curve, and the p-value."""

    area: float
    p_value: float


def separation(a: Array, b: Array) -> Separation:
    """Train a classifier to tell two sets of rows apart, on half of each; test it on the rest.

    The area under the ROC curve is 0.5 if the distributions are equal and 1 if they do not
    overlap. It is the statistic of Mann and Whitney, which gives the p-value.

    Parameters
    ----------
    a, b : ndarray (n, features) and (m, features)

    References
    ----------
    Revisiting classifier two-sample tests (Lopez-Paz, Oquab, 2017).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> near, far = rng.normal(size=(200, 2)), rng.normal(2, size=(200, 2))
    >>> area, p_value = separation(near, far)
    >>> area > 0.9, bool(p_value < 1e-9)
    (True, True)
    """
    if min(len(a), len(b)) < LEAST_ROWS:
        raise CannotCheckError(f"needs at least {LEAST_ROWS} rows of each kind")
    rng = np.random.default_rng(0)
    a, b = rng.permutation(a), rng.permutation(b)
    x = np.concatenate([a[::2], b[::2]])
    y = np.repeat([0, 1], [len(a[::2]), len(b[::2])])
    trees = ExtraTreesClassifier(TREES, min_samples_leaf=5, random_state=0).fit(x, y)
    first, second = (trees.predict_proba(rows[1::2])[:, 1] for rows in (a, b))
    statistic, p_value = mannwhitneyu(second, first, alternative="greater")
    return Separation(float(statistic / len(first) / len(second)), float(p_value))


class Moved(NamedTuple):
    """The distance of the distributions of each column, and its corrected p-value; (columns,)."""

    distance: Array
    p_value: Array


def moved_columns(a: Array, b: Array) -> Moved:
    """Compare the distributions of each column, by Kolmogorov and Smirnov.

    The distance is the largest difference between the shares of rows up to a value, from 0 to 1.
    Missing values count as one more value. The p-values are corrected for the number of columns.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(200, 2)), rng.normal([0, 1], size=(200, 2))
    >>> (moved_columns(a, b).p_value < 0.01).tolist()
    [False, True]
    """
    a, b = (np.where(np.isnan(each), -np.inf, each) for each in (a, b))
    tests = [ks_2samp(x, y, method="asymp") for x, y in zip(a.T, b.T, strict=True)]
    p_values = np.array([test.pvalue for test in tests])
    return Moved(np.array([test.statistic for test in tests]), false_discovery_control(p_values))
