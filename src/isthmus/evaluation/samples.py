"""Sample quality: whether generated examples look real and cover the real data.

All scores compare two sets of features (n, d) and (m, d) chosen by the user: pixels, codes or
activations of a network. Scores are comparable only for the same features. All functions raise a
ValueError if shapes do not match, there are too few rows, or features are not finite.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from sklearn.metrics import pairwise_distances_chunked
from sklearn.neighbors import NearestNeighbors

__all__ = [
    "density_coverage",
    "frechet_distance",
    "frechet_distance_from_moments",
    "precision_recall",
    "sample_quality",
]

Array = NDArray[Any]
ROUNDING = 1e-7  # of a distance, as a share of the spread of the features


def frechet_distance(real: ArrayLike, generated: ArrayLike) -> float:
    """Return the squared Fréchet distance between normal distributions fitted to both sets.

    With the activations of an Inception network as features this is the FID. It is biased upwards
    for few rows: compare only sets of equal size.
    Source: GANs trained by a two time-scale update rule converge to a local Nash equilibrium
    (Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter, 2017).

    Parameters
    ----------
    real, generated : array-like (n, d) and (m, d)
        At least two rows each.

    Examples
    --------
    >>> real = np.random.default_rng(0).normal(size=(100, 2))
    >>> round(frechet_distance(real, real + [3.0, 4.0]), 6)
    25.0
    """
    x, y = _checked(real, generated, 2)
    a, b = (np.atleast_2d(np.cov(features, rowvar=False)) for features in (x, y))
    return frechet_distance_from_moments(x.mean(axis=0), a, y.mean(axis=0), b)


def frechet_distance_from_moments(
    mean: ArrayLike, covariance: ArrayLike, other_mean: ArrayLike, other_covariance: ArrayLike
) -> float:
    """Return ‖μ - μ'‖² + tr(Σ + Σ' - 2 (Σ Σ')^½), the squared Fréchet distance.

    The trace of the root is computed as the sum of the singular values of Σ^½ Σ'^½, which stays
    real and works for singular covariances.
    Source: The Fréchet distance between multivariate normal distributions (Dowson, Landau, 1982).

    Parameters
    ----------
    mean, other_mean : array-like (d,)
    covariance, other_covariance : array-like (d, d)
        Symmetric positive semi-definite.

    Examples
    --------
    >>> frechet_distance_from_moments([0.0], [[1.0]], [3.0], [[4.0]])
    10.0
    """
    mu, nu = np.asarray(mean, dtype=np.float64), np.asarray(other_mean, dtype=np.float64)
    a, b = np.asarray(covariance, np.float64), np.asarray(other_covariance, np.float64)
    if mu.ndim != 1 or nu.shape != mu.shape or not a.shape == b.shape == 2 * mu.shape:
        raise ValueError(
            "expected means (d,) and covariances (d, d), got "
            f"{mu.shape}, {a.shape}, {nu.shape} and {b.shape}."
        )
    cross = np.linalg.norm(_root(a) @ _root(b), "nuc")
    return max(0.0, float(np.sum((mu - nu) ** 2) + np.trace(a) + np.trace(b) - 2 * cross))


def precision_recall(real: ArrayLike, generated: ArrayLike, k: int = 3) -> tuple[float, float]:
    """Return precision (share of realistic samples) and recall (share of covered real rows).

    Precision is the share of generated rows inside the ball of some real row, whose radius is the
    distance to the k-th nearest other real row; recall swaps the two sets.
    Source: Improved precision and recall metric for assessing generative models (Kynkäänniemi,
    Karras, Laine, Lehtinen, Aila, 2019).

    Parameters as for `sample_quality`.

    Examples
    --------
    >>> real = [[0.0], [1.0], [2.0], [3.0]]
    >>> precision_recall(real, [[0.4], [0.5], [0.6], [9.0]], k=1)
    (0.75, 0.75)
    """
    x, y = _checked(real, generated, k + 1)
    return _in_balls(x, y, k)[0], _in_balls(y, x, k)[0]


def density_coverage(real: ArrayLike, generated: ArrayLike, k: int = 5) -> tuple[float, float]:
    """Return density (samples per real ball) and coverage (share of balls with a sample).

    Density is the mean number of real balls that contain a generated row, divided by k: 1 if the
    distributions agree, more if samples concentrate in dense regions. Coverage is the share of
    real rows with a sample in their ball. Unlike recall, neither is sensitive to outliers among
    the samples. Parameters as for `sample_quality`.

    Notes
    -----
    Balls are closed, as in `precision_recall`, except for density, as in the authors' code, so that
    identical sets without repeated rows have density 1.
    Source: Reliable fidelity and diversity metrics for generative models (Naeem, Oh, Uh, Choi,
    Yoo, 2020).

    Examples
    --------
    >>> real = [[0.0], [1.0], [2.0], [3.0]]
    >>> density_coverage(real, [[0.4], [0.5], [0.6], [9.0]], k=1)
    (1.5, 0.5)
    """
    x, y = _checked(real, generated, k + 1)
    return _in_balls(x, y, k)[1:]


def sample_quality(real: ArrayLike, generated: ArrayLike, k: int = 5) -> dict[str, float]:
    """Return every score of this module by name.

    Parameters
    ----------
    real, generated : array-like (n, d) and (m, d)
        More than k rows each.
    k : int
        Number of neighbours.

    Examples
    --------
    >>> real = np.random.default_rng(0).normal(size=(100, 2))
    >>> {name: round(score, 6) for name, score in sample_quality(real, real).items()}
    {'Fréchet distance': 0.0, 'precision': 1.0, 'recall': 1.0, 'density': 1.0, 'coverage': 1.0}
    """
    x, y = _checked(real, generated, k + 1)
    precision, density, coverage = _in_balls(x, y, k)
    return {
        "Fréchet distance": frechet_distance(x, y),
        "precision": precision,
        "recall": _in_balls(y, x, k)[0],
        "density": density,
        "coverage": coverage,
    }


def _checked(real: ArrayLike, generated: ArrayLike, rows: int) -> tuple[Array, Array]:
    x, y = np.asarray(real, dtype=np.float64), np.asarray(generated, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or x.shape[1] == 0:
        raise ValueError(
            "expected features (n, d) and (m, d), one row per example, got "
            f"{x.shape} and {y.shape}; flatten images first."
        )
    if rows < 2 or min(len(x), len(y)) < rows:
        raise ValueError(
            f"expected k of 1 or more and at least {max(rows, 2)} rows in each set, got "
            f"{len(x)} and {len(y)}; use more rows or a smaller k."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("the features contain NaN or infinity; drop those rows first.")
    return x, y


def _root(covariance: Array) -> Array:
    values, vectors = eigh(covariance)
    return vectors * np.sqrt(values.clip(min=0)) @ vectors.T


def _in_balls(centres: Array, points: Array, k: int) -> tuple[float, float, float]:
    """Return the share of points in a ball, their density, and the share of balls with a point."""
    mean = centres.mean(axis=0)  # distances subtract squares: a large offset would lose digits
    centres, points = centres - mean, points - mean
    neighbours = NearestNeighbors(n_neighbors=k).fit(centres)
    radii = neighbours.kneighbors()[0][:, -1]
    slack = ROUNDING * np.sqrt(np.mean(np.sum(centres**2, axis=1)))
    inside, crowd, full, start = np.zeros(len(points), dtype=bool), 0, 0, 0
    for distances in pairwise_distances_chunked(centres, points):
        radius = radii[start : start + len(distances), None]
        within = distances <= radius + slack
        inside |= within.any(axis=0)
        full += int(within.any(axis=1).sum())
        crowd += int((distances < radius - slack).sum())
        start += len(distances)
    return float(inside.mean()), crowd / (k * len(points)), full / len(centres)
