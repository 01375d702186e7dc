"""Disentanglement by groups of rows that share a factor: the scores of β-VAE and FactorVAE."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression

from isthmus.evaluation.factors import Array, Seed, checked

__all__ = ["beta_vae_score", "factor_vae_score"]

GROUP = 64  # rows with one factor held fixed, behind one vote or one difference
GROUPS = 1000  # for each factor, to learn from; as many again to test
DEAD = 0.05  # standard deviation of a code that counts as collapsed


def beta_vae_score(codes: ArrayLike, factors: ArrayLike, random_state: Seed = None) -> float:
    """Return how well a linear classifier tells which factor two groups of rows share.

    A point is the mean of |z - z'| over 64 pairs of rows of the data that share one factor's
    level; levels with one row are passed over. Codes are scaled to unit variance first, and
    without a live code the score is 0 (it would be chance, 1 / n_factors).
    Source: β-VAE: learning basic visual concepts with a constrained variational framework
    (Higgins, Matthey, Pal, Burgess, Glorot, Botvinick, Mohamed, Lerchner, 2017).

    Parameters
    ----------
    codes : array-like (n, n_components)
    factors : array-like of int (n, n_factors)
        At least two factors.
    random_state : int, Generator or None

    Returns
    -------
    float
        Accuracy on points not learned from.

    Raises
    ------
    ValueError
        Wrong shapes, codes not finite, a factor that never varies or never repeats.

    Examples
    --------
    >>> factors = np.random.default_rng(0).integers(4, size=(500, 3))
    >>> round(beta_vae_score(factors, factors, random_state=0), 2)
    1.0
    """
    codes, factors = checked(codes, factors, at_least=2)
    codes = _scaled_live(codes)
    if codes.shape[1] == 0:
        return 0.0
    rng = np.random.default_rng(random_state)
    which = np.repeat(np.arange(factors.shape[1]), GROUPS)
    learn, test = (
        np.concatenate([_differences(codes, levels, rng) for levels in factors.T]) for _ in range(2)
    )
    return float(LogisticRegression(max_iter=1000).fit(learn, which).score(test, which))


def factor_vae_score(codes: ArrayLike, factors: ArrayLike, random_state: Seed = None) -> float:
    """Return how well the steadiest code tells which factor a group of rows shares.

    A vote is the code of least variance, relative to its variance over all rows, among 64 rows
    of the data that share one factor's level (levels with one row are passed over); a majority
    names the factor of each code. Collapsed codes (standard deviation below 0.05, or below 0.05
    of the largest where no code reaches 1) have no vote; without any live code the score is 0.
    Source: Disentangling by factorising (Kim, Mnih, 2018).

    Parameters
    ----------
    codes : array-like (n, n_components)
    factors : array-like of int (n, n_factors)
        At least two factors.
    random_state : int, Generator or None

    Returns
    -------
    float
        Accuracy of the majority on votes not learned from.

    Raises
    ------
    ValueError
        Wrong shapes, codes not finite, a factor that never varies or never repeats.

    Examples
    --------
    >>> factors = np.random.default_rng(0).integers(4, size=(500, 3))
    >>> factor_vae_score(factors, factors, random_state=0)
    1.0
    """
    codes, factors = checked(codes, factors, at_least=2)
    codes = _scaled_live(codes)
    if codes.shape[1] == 0:
        return 0.0
    rng = np.random.default_rng(random_state)
    learn, test = (np.stack([_votes(codes, levels, rng) for levels in factors.T]) for _ in range(2))
    right = test[learn.argmax(axis=0), np.arange(codes.shape[1])].sum()
    return float(right / test.sum())


def _scaled_live(codes: Array) -> Array:
    """Return the codes that are not collapsed, each divided by its standard deviation."""
    deviation = codes.std(axis=0)
    # 0.05 is meant for a unit prior; codes of a smaller scale must not all count as dead.
    live = deviation > DEAD * min(1.0, deviation.max())
    return codes[:, live] / deviation[live]


def _repeated(levels: Array) -> Array:
    """Return the rows whose level another row shares."""
    rows = np.flatnonzero(np.bincount(levels)[levels] > 1)
    if len(rows) == 0:
        raise ValueError("a factor has another level in every row; bin it, or use more rows.")
    return rows


def _company(levels: Array, rows: Array, rng: np.random.Generator) -> Array:
    """Return for each of the rows one drawn among those that share its level."""
    counts = np.bincount(levels)
    starts = np.cumsum(counts) - counts
    place = rng.integers(counts[levels[rows]])
    return np.argsort(levels, kind="stable")[starts[levels[rows]] + place]


def _differences(codes: Array, levels: Array, rng: np.random.Generator) -> Array:
    rows = rng.choice(_repeated(levels), size=(GROUPS, GROUP))
    return np.abs(codes[rows] - codes[_company(levels, rows, rng)]).mean(axis=1)


def _votes(codes: Array, levels: Array, rng: np.random.Generator) -> Array:
    """Return how often each code was the steadiest where this factor was fixed."""
    rows = np.repeat(rng.choice(_repeated(levels), size=(GROUPS, 1)), GROUP, axis=1)
    steadiest = codes[_company(levels, rows, rng)].var(axis=1).argmin(axis=1)
    return np.bincount(steadiest, minlength=codes.shape[1])
