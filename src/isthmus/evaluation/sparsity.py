"""Sparsity: how many units a code uses, which it never uses, and what that costs.

A unit is active on a row where its code is larger in magnitude than a threshold.
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
    """Return the mean number of active units an example.

    Parameters
    ----------
    codes : array-like (n, n_components)
    threshold : float, default=0.0
        A unit is active where |z| is larger.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Codes not a matrix, empty or not finite, or a negative threshold.

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
        A unit is active where |z| is larger.

    Returns
    -------
    ndarray (n_components,)

    Raises
    ------
    ValueError
        Codes not a matrix, empty or not finite, or a negative threshold.

    Examples
    --------
    >>> feature_density([[0.0, 2.0, 0.0], [1.0, -3.0, 0.0]])
    array([0.5, 1. , 0. ])
    """
    return _active(codes, threshold).mean(axis=0)


def live_share(codes: ArrayLike, threshold: float = 0.0) -> float:
    """Return the share of units that are active on some row.

    Parameters
    ----------
    codes : array-like (n, n_components)
    threshold : float, default=0.0
        A unit is active where |z| is larger.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Codes not a matrix, empty or not finite, or a negative threshold.

    Examples
    --------
    >>> live_share([[0.0, 2.0, 0.0, 0.0], [1.0, -3.0, 0.0, 0.0]])
    0.5
    """
    return float(_active(codes, threshold).any(axis=0).mean())


def dead_share(codes: ArrayLike, threshold: float = 0.0) -> float:
    """Return the share of units that are active on no row: 1 - `live_share`.

    Parameters
    ----------
    codes : array-like (n, n_components)
    threshold : float, default=0.0
        A unit is active where |z| is larger.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Codes not a matrix, empty or not finite, or a negative threshold.

    Examples
    --------
    >>> dead_share([[0.0, 2.0, 0.0, 0.0], [1.0, -3.0, 0.0, 1.0]])
    0.25
    """
    return 1.0 - live_share(codes, threshold)


def explained_variance(X: ArrayLike, reconstruction: ArrayLike) -> float:
    """Return 1 - SS_res / SS_tot, about the mean of each feature, all features together.

    Negative where the mean would reconstruct better. Where nothing varies: 1 for a perfect
    reconstruction, else 0.

    Parameters
    ----------
    X, reconstruction : array-like (n, *features)
        At least two rows; bytes are read as [0, 1].

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Shapes that differ, or values not finite.

    Examples
    --------
    >>> explained_variance([[0.0, 0.0], [4.0, 0.0]], [[1.0, 0.0], [3.0, 0.0]])
    0.75
    """
    x, r = _rows(X, reconstruction)
    if len(x) < 2:
        raise ValueError("explained variance needs at least two rows, got one.")
    return float(r2_score(x, r, multioutput="variance_weighted"))


def reconstruction_cosine(X: ArrayLike, reconstruction: ArrayLike) -> float:
    """Return the mean cosine between rows and their reconstructions.

    The cosine with a row of zeros counts as 0.

    Parameters
    ----------
    X, reconstruction : array-like (n, *features)
        Bytes are read as [0, 1].

    Returns
    -------
    float
        From -1 to 1.

    Raises
    ------
    ValueError
        Shapes that differ, or values not finite.

    Examples
    --------
    >>> reconstruction_cosine([[1.0, 0.0], [0.0, 2.0]], [[5.0, 0.0], [3.0, 4.0]])
    0.9
    """
    x, r = _rows(X, reconstruction)
    return float(np.sum(normalize(x) * normalize(r), axis=1).mean())


def active_units(means: ArrayLike, threshold: float = 0.01) -> int:
    """Return the number of units of a variational autoencoder that are in use.

    A unit is in use where the variance over the data of its posterior mean exceeds the
    threshold.
    Source: Importance weighted autoencoders (Burda, Grosse, Salakhutdinov, 2016).

    Parameters
    ----------
    means : array-like (n, n_components)
        Mean of q(z|x) of each row, in units of a prior of unit variance; two rows or more.
    threshold : float, default=0.01

    Returns
    -------
    int

    Raises
    ------
    ValueError
        Means not a matrix, empty or not finite, or a negative threshold.

    Examples
    --------
    >>> active_units([[0.0, 5.0, 0.1], [1.0, 5.0, 0.2]])
    1
    """
    return int(np.sum(_matrix(means, threshold).var(axis=0) > threshold))


def sparsity_table(
    codes: ArrayLike, X: ArrayLike, reconstruction: ArrayLike, threshold: float = 0.0
) -> dict[str, float]:
    """Return how sparse the codes are, and how faithful the reconstruction, by name.

    Parameters
    ----------
    codes : array-like (n, n_components)
    X, reconstruction : array-like (n, *features)
        Bytes are read as [0, 1].
    threshold : float, default=0.0
        A unit is active where |z| is larger.

    Returns
    -------
    dict of str to float

    Raises
    ------
    ValueError
        Shapes that do not fit together, values not finite, or a negative threshold.

    Examples
    --------
    >>> X = np.eye(2)
    >>> sparsity_table([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], X, X)["L0 (active units an example)"]
    1.0
    """
    if len(np.asarray(codes)) != len(np.asarray(X)):
        raise ValueError(
            f"expected codes and X of the same rows, got {len(np.asarray(codes))} and "
            f"{len(np.asarray(X))}."
        )
    return {
        "L0 (active units an example)": l0(codes, threshold),
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
        raise ValueError(f"expected an array (n, n_components) that is not empty, got {z.shape}.")
    if not np.isfinite(z).all():
        raise ValueError("the codes hold NaN or infinity; drop those rows first.")
    if threshold < 0:
        raise ValueError(f"expected a threshold of zero or more, got {threshold}.")
    return z


def _rows(X: ArrayLike, reconstruction: ArrayLike) -> tuple[Array, Array]:
    x, r = paired(X, reconstruction)
    return x.reshape(len(x), -1), r.reshape(len(r), -1)
