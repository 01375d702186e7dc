"""Disentanglement by prediction of the factors: DCI and SAP."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import entropy
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import recall_score
from sklearn.tree import DecisionTreeClassifier

from isthmus.evaluation.factors import Array, Seed, checked, gap, nonnegative

__all__ = ["DCI", "dci", "dci_from_importance", "sap"]

TREES, LEAF = 50, 20  # of a forest, and rows in a leaf at least


class DCI(NamedTuple):
    """Disentanglement, completeness and informativeness, each from 0 to 1."""

    disentanglement: float
    completeness: float
    informativeness: float


def dci(codes: ArrayLike, factors: ArrayLike, random_state: Seed = None) -> DCI:
    """Return disentanglement, completeness and informativeness.

    Importances are those of a random forest of 50 trees for each factor (decrease of impurity,
    every code tried at every split), learned on half of the rows: many times faster than the
    gradient boosting of Locatello and others, and of the same kind. Informativeness is
    its accuracy on the other half, the mean over factors; by chance it is the share of the
    commonest level.
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
        Wrong shapes, codes not finite, or a factor that never varies.

    Examples
    --------
    >>> factors = np.random.default_rng(0).integers(4, size=(500, 2))
    >>> [round(score, 3) for score in dci(factors, factors, random_state=0)]
    [1.0, 1.0, 1.0]
    """
    codes, factors = checked(codes, factors)
    rng = np.random.default_rng(random_state)
    learn, test = np.array_split(rng.permutation(len(codes)), 2)
    importances, accuracies = [], []
    for levels in factors.T:
        forest = RandomForestClassifier(
            TREES,
            max_features=None,
            min_samples_leaf=int(np.clip(len(learn) // (2 * levels.max() + 2), 1, LEAF)),
            random_state=int(rng.integers(2**31)),
        ).fit(codes[learn], levels[learn])
        importances.append(forest.feature_importances_)
        accuracies.append(forest.score(codes[test], levels[test]))
    return dci_from_importance(np.stack(importances, axis=1), float(np.mean(accuracies)))


def dci_from_importance(R: ArrayLike, informativeness: float = float("nan")) -> DCI:
    """Return disentanglement and completeness in closed form.

    The disentanglement of code i is 1 - H(R_i· / Σ_j R_ij), the entropy to the base of the
    number of factors; the mean weighs each code by its share of all importance. Completeness is
    the same of the columns. Where nothing is important both are 0.

    Parameters
    ----------
    R : array-like (n_components, n_factors)
        How important each code is for each factor, none negative.
    informativeness : float, default=nan
        Handed through: importances do not tell it.

    Returns
    -------
    DCI

    Raises
    ------
    ValueError
        If R is not a matrix of finite numbers from zero.

    Examples
    --------
    >>> dci_from_importance([[1, 0], [0, 1], [0, 1]], informativeness=1.0)
    DCI(disentanglement=1.0, completeness=0.579..., informativeness=1.0)
    """
    R = nonnegative(R)
    return DCI(_concentration(R), _concentration(R.T), informativeness)


def sap(codes: ArrayLike, factors: ArrayLike, random_state: Seed = None) -> float:
    """Return by how much the best code alone outdoes the next in predicting a factor.

    A code predicts a factor by thresholds (a decision tree with a leaf for each level), learned
    on half of the rows; its score is balanced accuracy on the other half, adjusted so that
    chance is 0 and perfection 1 whatever the number of levels. In the paper accuracy is not
    adjusted: there a gap is smaller by the factor 1 - 1 / levels. The mean over factors.
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
        Wrong shapes, codes not finite, or a factor that never varies.

    Examples
    --------
    >>> factors = np.random.default_rng(0).integers(2, size=(2000, 2))
    >>> round(sap(factors, factors, random_state=0), 1)
    1.0
    """
    codes, factors = checked(codes, factors)
    order = np.random.default_rng(random_state).permutation(len(codes))
    z, y = codes[order], factors[order]
    return float(np.mean(gap(np.array([[_predicts(c, f) for f in y.T] for c in z.T]))))


def _predicts(code: Array, levels: Array) -> float:
    """Return the adjusted balanced accuracy of thresholds learned on the first half."""
    half, present = len(code) // 2, np.unique(levels[len(code) // 2 :])
    tree = DecisionTreeClassifier(
        max_leaf_nodes=int(levels.max()) + 1, class_weight="balanced", random_state=0
    ).fit(code[:half, None], levels[:half])
    predicted = tree.predict(code[half:, None])
    accuracy = recall_score(levels[half:], predicted, labels=present, average="macro")
    chance = 1 / (int(levels.max()) + 1)
    return float((accuracy - chance) / (1 - chance))


def _concentration(weights: Array) -> float:
    """Return 1 - the entropy of each row, the mean weighted by the rows' shares."""
    live = weights[weights.sum(axis=1) > 0]
    if len(live) == 0:
        return 0.0
    base = max(weights.shape[1], 2)  # with one column the entropy is 0 to any base
    return float(np.average(1 - entropy(live, axis=1, base=base), weights=live.sum(axis=1)))
