"""Sparsity metrics. A unit is active on a row if the magnitude of its code exceeds a threshold.

All functions raise a ValueError if shapes do not match, values are not finite, or the threshold is
negative.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import r2_score
from sklearn.preprocessing import normalize

from isthmus.evaluation.reconstruction import paired

__all__ = [
    "active_units",
    "explained_variance",
    "feature_density",
    "l0",
    "live_share",
    "reconstruction_cosine",
]

Array = NDArray[Any]


def l0(codes: ArrayLike, threshold: float = 0.0) -> float:
    """Return the mean number of active units per example.

    Parameters
    ----------
    codes : array-like (n, n_components)
    threshold : float
        A unit is active if |z| exceeds it.

    Examples
    --------
    >>> l0([[0.0, 2.0, 0.0], [1.0, -3.0, 0.0]])
    1.5
    """
    return float(_active(codes, threshold).sum(axis=1).mean())


def feature_density(codes: ArrayLike, threshold: float = 0.0) -> Array:
    """Return the share of rows on which each unit is active; parameters as for `l0`.

    Examples
    --------
    >>> feature_density([[0.0, 2.0, 0.0], [1.0, -3.0, 0.0]])
    array([0.5, 1. , 0. ])
    """
    return _active(codes, threshold).mean(axis=0)


def active_threshold(estimator: Any) -> float:
    """Return the magnitude above which a unit of a fitted model counts as active.

    A sigmoid is never 0: its units are active above one half.
    """
    sigmoid = getattr(estimator.model_.posterior, "activation", None) == "sigmoid"
    return 0.5 if sigmoid else 0.0


def live_share(codes: ArrayLike, threshold: float = 0.0) -> float:
    """Return the share of units active on at least one row; parameters as for `l0`.

    Examples
    --------
    >>> live_share([[0.0, 2.0, 0.0, 0.0], [1.0, -3.0, 0.0, 0.0]])
    0.5
    """
    return float(_active(codes, threshold).any(axis=0).mean())


def explained_variance(X: ArrayLike, reconstruction: ArrayLike) -> float:
    """Return 1 - SS_res / SS_tot around the feature means, pooled over features.

    Negative if the mean reconstructs better. If nothing varies: 1 for a perfect reconstruction,
    else 0.

    Parameters
    ----------
    X, reconstruction : array-like (n, *features)
        At least two rows; bytes count as [0, 1].

    Examples
    --------
    >>> explained_variance([[0.0, 0.0], [4.0, 0.0]], [[1.0, 0.0], [3.0, 0.0]])
    0.75
    """
    x, r = paired(X, reconstruction)
    if len(x) < 2:
        raise ValueError("explained variance needs at least 2 rows, got 1.")
    rows = (len(x), -1)
    return float(r2_score(x.reshape(rows), r.reshape(rows), multioutput="variance_weighted"))


def reconstruction_cosine(X: ArrayLike, reconstruction: ArrayLike) -> float:
    """Return the mean cosine between rows and their reconstructions, from -1 to 1.

    The cosine with a row of zeros counts as 0.

    Parameters
    ----------
    X, reconstruction : array-like (n, *features)
        Bytes count as [0, 1].

    Examples
    --------
    >>> reconstruction_cosine([[1.0, 0.0], [0.0, 2.0]], [[5.0, 0.0], [3.0, 4.0]])
    0.9
    """
    x, r = (normalize(values.reshape(len(values), -1)) for values in paired(X, reconstruction))
    return float(np.sum(x * r, axis=1).mean())


def active_units(means: ArrayLike, threshold: float = 0.01) -> int:
    """Return the number of active units of a variational autoencoder.

    A unit is active if the variance of its posterior mean over the data exceeds the threshold.
    Source: Importance weighted autoencoders (Burda, Grosse, Salakhutdinov, 2016).

    Parameters
    ----------
    means : array-like (n, n_components)
        Mean of q(z|x) for each row, relative to a prior with unit variance; at least two rows.
    threshold : float, default=0.01

    Examples
    --------
    >>> active_units([[0.0, 5.0, 0.1], [1.0, 5.0, 0.2]])
    1
    """
    return int(np.sum(_matrix(means, threshold).var(axis=0) > threshold))


def _active(codes: ArrayLike, threshold: float) -> Array:
    return np.abs(_matrix(codes, threshold)) > threshold


def _matrix(codes: ArrayLike, threshold: float) -> Array:
    z = np.asarray(codes, dtype=np.float64)
    if z.ndim != 2 or z.size == 0:
        raise ValueError(f"expected a non-empty array (n, n_components), got {z.shape}.")
    if not np.isfinite(z).all():
        raise ValueError("the codes contain NaN or infinity; drop those rows first.")
    if threshold < 0:
        raise ValueError(f"expected a threshold of at least 0, got {threshold}.")
    return z
