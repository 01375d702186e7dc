"""Disentanglement scores from predicting the factors: DCI and SAP."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import entropy
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import recall_score
from sklearn.tree import DecisionTreeClassifier

from isthmus.evaluation.factors import Array, Seed, check_codes_and_factors, gap, nonnegative

__all__ = ["DCI", "dci", "dci_from_importance", "sap"]

TREES, LEAF = 50, 20  # of a forest, and minimum rows in a leaf


class DCI(NamedTuple):
    """Disentanglement, completeness and informativeness, each from 0 to 1."""

    disentanglement: float
    completeness: float
    informativeness: float


def dci(codes: ArrayLike, factors: ArrayLike, random_state: Seed = None) -> DCI:
    """Return disentanglement, completeness and informativeness.

    Importances are those of a random forest of 50 trees per factor (impurity decrease, all codes
    considered at each split), fitted to half of the rows; this is much faster than the gradient
    boosting of Locatello et al. and of the same kind. Informativeness is the mean accuracy on the
    other half; chance is the share of the most common level.
    Source: A framework for the quantitative evaluation of disentangled representations
    (Eastwood, Williams, 2018).

    Parameters
    ----------
    codes : array-like (n, n_components)
    factors : array-like of int (n, n_factors)
    random_state : int, Generator or None

    Returns
    -------
    DCI

    Raises
    ------
    ValueError
        If shapes do not match, codes are not finite, or a factor never varies.

    Examples
    --------
    >>> factors = np.random.default_rng(0).integers(4, size=(500, 2))
    >>> [round(score, 3) for score in dci(factors, factors, random_state=0)]
    [1.0, 1.0, 1.0]
    """
    codes, factors = check_codes_and_factors(codes, factors)
    rng = np.random.default_rng(random_state)
    train, test = np.array_split(rng.permutation(len(codes)), 2)
    importances, accuracies = [], []
    for levels in factors.T:
        forest = RandomForestClassifier(
            TREES,
            max_features=None,
            min_samples_leaf=int(np.clip(len(train) // (2 * levels.max() + 2), 1, LEAF)),
            random_state=int(rng.integers(2**31)),
        ).fit(codes[train], levels[train])
        importances.append(forest.feature_importances_)
        accuracies.append(forest.score(codes[test], levels[test]))
    return dci_from_importance(np.stack(importances, axis=1), float(np.mean(accuracies)))


def dci_from_importance(R: ArrayLike, informativeness: float = float("nan")) -> DCI:
    """Return disentanglement and completeness for given importances.

    The disentanglement of code i is 1 - H(R_i· / Σ_j R_ij), with the entropy to base n_factors;
    the mean weights each code by its share of the total importance. Completeness is the same for
    columns. Both are 0 if all importances are 0.

    Parameters
    ----------
    R : array-like (n_components, n_factors)
        Non-negative importance of each code for each factor.
    informativeness : float, default=nan
        Returned unchanged; it does not follow from importances.

    Returns
    -------
    DCI

    Raises
    ------
    ValueError
        If R is not a finite, non-negative matrix.

    Examples
    --------
    >>> dci_from_importance([[1, 0], [0, 1], [0, 1]], informativeness=1.0)
    DCI(disentanglement=1.0, completeness=0.579..., informativeness=1.0)
    """
    R = nonnegative(R)
    return DCI(_concentration(R), _concentration(R.T), informativeness)


def sap(codes: ArrayLike, factors: ArrayLike, random_state: Seed = None) -> float:
    """Return the separated attribute predictability (SAP).

    The mean over factors of the gap between the two most predictive codes. A single code predicts
    a factor by thresholds (a decision tree with one leaf per level) fitted to half of the rows;
    its score is the balanced accuracy on the other half, adjusted so that chance is 0. The paper
    does not adjust: its gaps are smaller by the factor 1 - 1 / levels.
    Source: Variational inference of disentangled latent concepts from unlabeled observations
    (Kumar, Sattigeri, Balakrishnan, 2018).

    Parameters
    ----------
    codes : array-like (n, n_components)
    factors : array-like of int (n, n_factors)
    random_state : int, Generator or None

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If shapes do not match, codes are not finite, or a factor never varies.

    Examples
    --------
    >>> factors = np.random.default_rng(0).integers(2, size=(2000, 2))
    >>> round(sap(factors, factors, random_state=0), 1)
    1.0
    """
    codes, factors = check_codes_and_factors(codes, factors)
    order = np.random.default_rng(random_state).permutation(len(codes))
    z, y = codes[order], factors[order]
    return float(np.mean(gap(np.array([[_predicts(c, f) for f in y.T] for c in z.T]))))


def _predicts(code: Array, levels: Array) -> float:
    """Return the adjusted balanced accuracy of thresholds fitted to the first half."""
    half, present = len(code) // 2, np.unique(levels[len(code) // 2 :])
    tree = DecisionTreeClassifier(
        max_leaf_nodes=int(levels.max()) + 1, class_weight="balanced", random_state=0
    ).fit(code[:half, None], levels[:half])
    predicted = tree.predict(code[half:, None])
    accuracy = recall_score(levels[half:], predicted, labels=present, average="macro")
    chance = 1 / (int(levels.max()) + 1)
    return float((accuracy - chance) / (1 - chance))


def _concentration(weights: Array) -> float:
    """Return 1 - the entropy of each row, averaged with the rows' shares as weights."""
    live = weights[weights.sum(axis=1) > 0]
    if len(live) == 0:
        return 0.0
    base = max(weights.shape[1], 2)  # with one column the entropy is 0 to any base
    return float(np.average(1 - entropy(live, axis=1, base=base), weights=live.sum(axis=1)))
