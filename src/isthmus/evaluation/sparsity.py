"""Sparsity metrics. A unit is active on a row if the magnitude of its code exceeds a threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import r2_score
from sklearn.preprocessing import normalize

from isthmus.evaluation.reconstruction import paired

__all__ = [
    "active_units",
    "dead_share",
    "explained_variance",
    "feature_density",
    "l0",
    "live_share",
    "reconstruction_cosine",
    "sparsity_table",
]

Array = NDArray[Any]


def l0(codes: ArrayLike, threshold: float = 0.0) -> float:
    """Return the mean number of active units per example.

    Parameters
    ----------
    codes : array-like (n, n_components)
    threshold : float, default=0.0
        A unit is active if |z| exceeds it.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If codes are not a finite, non-empty matrix, or the threshold is negative.

    Examples
    --------
    >>> l0([[0.0, 2.0, 0.0], [1.0, -3.0, 0.0]])
    1.5
    """
    return float(_active(codes, threshold).sum(axis=1).mean())


def feature_density(codes: ArrayLike, threshold: float = 0.0) -> Array:
    """Return the share of rows on which each unit is active.

    Parameters
    ----------
    codes : array-like (n, n_components)
    threshold : float, default=0.0
        A unit is active if |z| exceeds it.

    Returns
    -------
    ndarray (n_components,)

    Raises
    ------
    ValueError
        If codes are not a finite, non-empty matrix, or the threshold is negative.

    Examples
    --------
    >>> feature_density([[0.0, 2.0, 0.0], [1.0, -3.0, 0.0]])
    array([0.5, 1. , 0. ])
    """
    return _active(codes, threshold).mean(axis=0)


def live_share(codes: ArrayLike, threshold: float = 0.0) -> float:
    """Return the share of units that are active on at least one row.

    Parameters
    ----------
    codes : array-like (n, n_components)
    threshold : float, default=0.0
        A unit is active if |z| exceeds it.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If codes are not a finite, non-empty matrix, or the threshold is negative.

    Examples
    --------
    >>> live_share([[0.0, 2.0, 0.0, 0.0], [1.0, -3.0, 0.0, 0.0]])
    0.5
    """
    return float(_active(codes, threshold).any(axis=0).mean())


def dead_share(codes: ArrayLike, threshold: float = 0.0) -> float:
    """Return the share of units that are never active: 1 - `live_share`.

    Parameters
    ----------
    codes : array-like (n, n_components)
    threshold : float, default=0.0
        A unit is active if |z| exceeds it.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If codes are not a finite, non-empty matrix, or the threshold is negative.

    Examples
    --------
    >>> dead_share([[0.0, 2.0, 0.0, 0.0], [1.0, -3.0, 0.0, 1.0]])
    0.25
    """
    return 1.0 - live_share(codes, threshold)


def explained_variance(X: ArrayLike, reconstruction: ArrayLike) -> float:
    """Return 1 - SS_res / SS_tot around the feature means, pooled over features.

    Negative if the mean reconstructs better. If nothing varies: 1 for a perfect reconstruction,
    else 0.

    Parameters
    ----------
    X, reconstruction : array-like (n, *features)
        At least two rows; bytes count as [0, 1].

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If shapes differ or values are not finite.

    Examples
    --------
    >>> explained_variance([[0.0, 0.0], [4.0, 0.0]], [[1.0, 0.0], [3.0, 0.0]])
    0.75
    """
    x, r = _rows(X, reconstruction)
    if len(x) < 2:
        raise ValueError("explained variance needs at least 2 rows, got 1.")
    return float(r2_score(x, r, multioutput="variance_weighted"))


def reconstruction_cosine(X: ArrayLike, reconstruction: ArrayLike) -> float:
    """Return the mean cosine between rows and their reconstructions.

    The cosine with a row of zeros counts as 0.

    Parameters
    ----------
    X, reconstruction : array-like (n, *features)
        Bytes count as [0, 1].

    Returns
    -------
    float
        From -1 to 1.

    Raises
    ------
    ValueError
        If shapes differ or values are not finite.

    Examples
    --------
    >>> reconstruction_cosine([[1.0, 0.0], [0.0, 2.0]], [[5.0, 0.0], [3.0, 4.0]])
    0.9
    """
    x, r = _rows(X, reconstruction)
    return float(np.sum(normalize(x) * normalize(r), axis=1).mean())


def active_units(means: ArrayLike, threshold: float = 0.01) -> int:
    """Return the number of active units of a variational autoencoder.

    A unit is active if the variance of its posterior mean over the data exceeds the threshold.
    Source: Importance weighted autoencoders (Burda, Grosse, Salakhutdinov, 2016).

    Parameters
    ----------
    means : array-like (n, n_components)
        Mean of q(z|x) for each row, relative to a prior with unit variance; at least two rows.
    threshold : float, default=0.01

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If means are not a finite, non-empty matrix, or the threshold is negative.

    Examples
    --------
    >>> active_units([[0.0, 5.0, 0.1], [1.0, 5.0, 0.2]])
    1
    """
    return int(np.sum(_matrix(means, threshold).var(axis=0) > threshold))


def sparsity_table(
    codes: ArrayLike, X: ArrayLike, reconstruction: ArrayLike, threshold: float = 0.0
) -> dict[str, float]:
    """Return sparsity and reconstruction metrics by name.

    Parameters
    ----------
    codes : array-like (n, n_components)
    X, reconstruction : array-like (n, *features)
        Bytes count as [0, 1].
    threshold : float, default=0.0
        A unit is active if |z| exceeds it.

    Returns
    -------
    dict of str to float

    Raises
    ------
    ValueError
        If shapes do not match, values are not finite, or the threshold is negative.

    Examples
    --------
    >>> X = np.eye(2)
    >>> sparsity_table([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], X, X)["L0 (active units per example)"]
    1.0
    """
    if len(np.asarray(codes)) != len(np.asarray(X)):
        raise ValueError(
            f"expected codes and X with the same number of rows, got {len(np.asarray(codes))} and "
            f"{len(np.asarray(X))}."
        )
    return {
        "L0 (active units per example)": l0(codes, threshold),
        "live units (share)": live_share(codes, threshold),
        "dead units (share)": dead_share(codes, threshold),
        "median feature density": float(np.median(feature_density(codes, threshold))),
        "explained variance": explained_variance(X, reconstruction),
        "cosine of reconstruction": reconstruction_cosine(X, reconstruction),
    }


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


def _rows(X: ArrayLike, reconstruction: ArrayLike) -> tuple[Array, Array]:
    x, r = paired(X, reconstruction)
    return x.reshape(len(x), -1), r.reshape(len(r), -1)
