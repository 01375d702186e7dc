"""Thresholds of anomaly detectors: conformal, by fraction and by F1. Higher scores are normal."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluation.reconstruction import f1_from_counts

__all__ = ["best_f1_threshold", "conformal_pvalues", "conformal_threshold", "fraction_threshold"]

Array = NDArray[Any]


def conformal_pvalues(calibration: Array, scores: Array) -> Array:
    """Return (1 + number of calibration scores <= score) / (1 + number of calibration scores).

    Parameters
    ----------
    calibration : ndarray (n_calibration,)
        Sorted.
    scores : ndarray (n,)

    Examples
    --------
    >>> conformal_pvalues(np.arange(3.0), np.array([-1.0, 1.0, 9.0]))
    array([0.25, 0.75, 1.  ])
    """
    return (1 + np.searchsorted(calibration, scores, side="right")) / (1 + len(calibration))


def conformal_threshold(calibration: Array, level: float) -> float:
    """Return the threshold below which conformal p-values are at most `level`.

    With too few calibration scores for such a p-value it is the lowest of them.

    Examples
    --------
    >>> conformal_threshold(np.arange(99.0), 0.05)
    4.0
    """
    k = int(level * (len(calibration) + 1) + 1e-9)  # 0.05 * 100 may round below 5
    return float(calibration[max(k, 1) - 1])


def fraction_threshold(scores: Array, fraction: float) -> float:
    """Return the midpoint between two sorted scores below which the given fraction lies.

    Examples
    --------
    >>> fraction_threshold(np.arange(10.0), 0.2)
    1.5
    """
    k = round(fraction * len(scores))
    return float(scores[0] if k == 0 else (scores[k - 1] + scores[k]) / 2)


def best_f1_threshold(scores: Array, anomalous: NDArray[np.bool_]) -> float:
    """Return the threshold with the highest F1; of equal ones, that which flags fewest rows.

    Examples
    --------
    >>> best_f1_threshold(np.array([0.0, 1.0, 2.0, 3.0]), np.array([True, True, False, False]))
    1.5
    """
    values, place = np.unique(scores, return_inverse=True)
    tp = np.bincount(place, anomalous).cumsum()
    fp = np.bincount(place, ~anomalous).cumsum()
    best = int(np.argmax(f1_from_counts(tp, fp, anomalous.sum() - tp)))
    if best + 1 == len(values):
        return float(np.nextafter(values[-1], np.inf))
    return float((values[best] + values[best + 1]) / 2)
