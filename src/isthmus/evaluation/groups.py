"""Disentanglement scores from groups of rows that share a factor level: β-VAE and FactorVAE."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression

from isthmus.evaluation.factors import Array, Seed, check_codes_and_factors

__all__ = ["beta_vae_score", "factor_vae_score"]

GROUP = 64  # rows that share one factor level, for one vote or one difference
GROUPS = 1000  # per factor, for training; as many again for testing
COLLAPSED = 0.05  # standard deviation of a code that counts as collapsed


def beta_vae_score(codes: ArrayLike, factors: ArrayLike, random_state: Seed = None) -> float:
    """Return the accuracy of a linear classifier of the factor that two groups of rows share.

    A data point is the mean of |z - z'| over 64 pairs of rows that share the level of one factor;
    levels with a single row are skipped. Codes are scaled to unit variance first. The score is 0
    if all codes are collapsed (chance would be 1 / n_factors).
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
        Accuracy on test points.

    Examples
    --------
    >>> factors = np.random.default_rng(0).integers(4, size=(500, 3))
    >>> round(beta_vae_score(factors, factors, random_state=0), 2)
    1.0
    """
    codes, factors = check_codes_and_factors(codes, factors, at_least=2)
    codes = _scaled_live(codes)
    if codes.shape[1] == 0:
        return 0.0
    rng = np.random.default_rng(random_state)
    which = np.repeat(np.arange(factors.shape[1]), GROUPS)
    train, test = (
        np.concatenate([_differences(codes, levels, rng) for levels in factors.T]) for _ in range(2)
    )
    return float(LogisticRegression(max_iter=1000).fit(train, which).score(test, which))


def factor_vae_score(codes: ArrayLike, factors: ArrayLike, random_state: Seed = None) -> float:
    """Return the accuracy of naming the shared factor of a group by its least variable code.

    A vote is the code with the least variance, relative to its variance over all rows, among 64
    rows that share the level of one factor (levels with a single row are skipped); the majority
    assigns a factor to each code. Collapsed codes (standard deviation below 0.05, or below 0.05
    times the largest if no code reaches 1) are ignored; if all are, the score is 0.
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
        Accuracy of the majority on test votes.

    Examples
    --------
    >>> factors = np.random.default_rng(0).integers(4, size=(500, 3))
    >>> factor_vae_score(factors, factors, random_state=0)
    1.0
    """
    codes, factors = check_codes_and_factors(codes, factors, at_least=2)
    codes = _scaled_live(codes)
    if codes.shape[1] == 0:
        return 0.0
    rng = np.random.default_rng(random_state)
    train, test = (np.stack([_votes(codes, levels, rng) for levels in factors.T]) for _ in range(2))
    right = test[train.argmax(axis=0), np.arange(codes.shape[1])].sum()
    return float(right / test.sum())


def _scaled_live(codes: Array) -> Array:
    """Return the codes that are not collapsed, each divided by its standard deviation."""
    deviation = codes.std(axis=0)
    # 0.05 assumes a unit prior; codes with a smaller scale must not all count as collapsed.
    live = deviation > COLLAPSED * min(1.0, deviation.max())
    return codes[:, live] / deviation[live]


def _repeated(levels: Array) -> Array:
    """Return the rows whose level occurs more than once."""
    rows = np.flatnonzero(np.bincount(levels)[levels] > 1)
    if len(rows) == 0:
        raise ValueError("a factor has a different level in every row; bin it, or use more rows.")
    return rows


def _partners(levels: Array, rows: Array, rng: np.random.Generator) -> Array:
    """Return a random row with the same level for each of the rows."""
    counts = np.bincount(levels)
    starts = np.cumsum(counts) - counts
    place = rng.integers(counts[levels[rows]])
    return np.argsort(levels, kind="stable")[starts[levels[rows]] + place]


def _differences(codes: Array, levels: Array, rng: np.random.Generator) -> Array:
    rows = rng.choice(_repeated(levels), size=(GROUPS, GROUP))
    return np.abs(codes[rows] - codes[_partners(levels, rows, rng)]).mean(axis=1)


def _votes(codes: Array, levels: Array, rng: np.random.Generator) -> Array:
    """Return how often each code was the least variable when this factor was fixed."""
    rows = np.repeat(rng.choice(_repeated(levels), size=(GROUPS, 1)), GROUP, axis=1)
    least_variable = codes[_partners(levels, rows, rng)].var(axis=1).argmin(axis=1)
    return np.bincount(least_variable, minlength=codes.shape[1])
