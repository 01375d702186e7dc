"""Disentanglement by mutual information: the gap (MIG), and modularity."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import mutual_info_score

from isthmus.evaluation.factors import Array, Seed, checked, gap, nonnegative

__all__ = ["modularity", "modularity_from_information", "mutual_information_gap"]

BINS = 20  # of equal width, into which a code is cut where information is measured


def mutual_information_gap(
    codes: ArrayLike, factors: ArrayLike, random_state: Seed = None, *, bins: int = BINS
) -> float:
    """Return by how much the best code outdoes the next in information on a factor.

    For each factor the gap between the two largest mutual informations, divided by the factor's
    entropy; the mean over factors. Codes are cut into bins of equal width, except those with no
    more distinct values than there are bins or levels of a factor, which stay as they are.
    Source: Isolating sources of disentanglement in variational autoencoders (Chen, Li, Grosse,
    Duvenaud, 2018).

    Parameters
    ----------
    codes : array-like (n, n_components)
    factors : array-like of int (n, n_factors)
    random_state : int, Generator or None
        Not used: nothing here is random. All scores are called alike.
    bins : int, default=20

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Wrong shapes, codes not finite, or a factor that never varies.

    Examples
    --------
    >>> factors = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> mutual_information_gap(factors, factors)
    1.0
    """
    codes, factors = checked(codes, factors)
    entropies = np.array([mutual_info_score(f, f) for f in factors.T])
    return float(np.mean(gap(_information(codes, factors, bins)) / entropies))


def modularity(
    codes: ArrayLike, factors: ArrayLike, random_state: Seed = None, *, bins: int = BINS
) -> float:
    """Return how far each code informs about one factor alone.

    It compares informations, however small: codes of noise reach 0.66 on the factors of sprites,
    by the bias of the estimate alone. Read it beside the gap.

    Parameters
    ----------
    codes : array-like (n, n_components)
    factors : array-like of int (n, n_factors)
    random_state : int, Generator or None
        Not used: nothing here is random. All scores are called alike.
    bins : int, default=20
        As for `mutual_information_gap`.

    Returns
    -------
    float
        `modularity_from_information` of the codes; a constant code counts 0.

    Raises
    ------
    ValueError
        Wrong shapes, codes not finite, or a factor that never varies.

    Examples
    --------
    >>> factors = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> modularity(factors, factors)
    1.0
    """
    return modularity_from_information(_information(*checked(codes, factors), bins))


def modularity_from_information(M: ArrayLike) -> float:
    """Return modularity in closed form.

    That of code i is 1 - Σ_{j≠b} M_ij² / ((n_factors - 1) M_ib²) with b its best factor, and 0
    where M_i is zero; the mean over codes.
    Source: Learning deep disentangled embeddings with the F-statistic loss (Ridgeway, Mozer,
    2018).

    Parameters
    ----------
    M : array-like (n_components, n_factors)
        Mutual information of each code with each factor, none negative, in any unit.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If M is not a matrix of finite numbers from zero.

    Examples
    --------
    >>> modularity_from_information([[2, 0, 0], [2, 1, 1]])
    0.875
    """
    squared = nonnegative(M) ** 2
    best = squared.max(axis=1)
    others = squared.sum(axis=1) - best
    live = best > 0
    deviation = others[live] / (max(squared.shape[1] - 1, 1) * best[live])
    return float(np.sum(1 - deviation) / len(squared))


def _information(codes: Array, factors: Array, bins: int) -> Array:
    """Return mutual information in nats, (n_components, n_factors)."""
    most = max(bins, int(factors.max()) + 1)
    cut = [_cut(code, bins, most) for code in codes.T]
    return np.array([[mutual_info_score(levels, code) for levels in factors.T] for code in cut])


def _cut(code: Array, bins: int, most: int) -> Array:
    values, index = np.unique(code, return_inverse=True)
    if len(values) <= most:
        return index
    return np.digitize(code, np.histogram_bin_edges(code, bins)[1:-1])
