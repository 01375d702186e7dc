"""Disentanglement: whether each code follows one known factor of variation.

Every score looks at codes (n, n_components) and factors (n, n_factors), whole numbers that name
levels. At best it is 1. No score depends on the unit of a code, but for the rule by which two of
them leave out collapsed codes. Mutual information is biased upwards on few rows: use thousands.
Settings follow Challenging common assumptions in the unsupervised learning of disentangled
representations (Locatello, Bauer, Lucic, Rätsch, Gelly, Schölkopf, Bachem, 2019); where a
function departs from them, it says so.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import entropy
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mutual_info_score, recall_score
from sklearn.tree import DecisionTreeClassifier

__all__ = [
    "DCI",
    "beta_vae_score",
    "dci",
    "dci_from_importance",
    "disentanglement_table",
    "factor_vae_score",
    "modularity",
    "modularity_from_information",
    "mutual_information_gap",
    "sap",
]

Array = NDArray[Any]
Seed = int | np.random.Generator | None

BINS = 20  # of equal width, into which a code is cut where information is measured
GROUP = 64  # rows with one factor held fixed, behind one vote or one difference
GROUPS = 1000  # for each factor, to learn from; as many again to test
DEAD = 0.05  # standard deviation of a code that counts as collapsed
TREES, LEAF = 50, 20


class DCI(NamedTuple):
    """Disentanglement, completeness and informativeness, each from 0 to 1."""

    disentanglement: float
    completeness: float
    informativeness: float


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
    codes, factors = _checked(codes, factors, at_least=2)
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
    codes, factors = _checked(codes, factors, at_least=2)
    codes = _scaled_live(codes)
    if codes.shape[1] == 0:
        return 0.0
    rng = np.random.default_rng(random_state)
    learn, test = (np.stack([_votes(codes, levels, rng) for levels in factors.T]) for _ in range(2))
    right = test[learn.argmax(axis=0), np.arange(codes.shape[1])].sum()
    return float(right / test.sum())


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
    codes, factors = _checked(codes, factors)
    entropies = np.array([mutual_info_score(f, f) for f in factors.T])
    return float(np.mean(_gap(_information(codes, factors, bins)) / entropies))


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
    codes, factors = _checked(codes, factors)
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
    R = _matrix(R)
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
    codes, factors = _checked(codes, factors)
    order = np.random.default_rng(random_state).permutation(len(codes))
    z, y = codes[order], factors[order]
    return float(np.mean(_gap(np.array([[_predicts(c, f) for f in y.T] for c in z.T]))))


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
    return modularity_from_information(_information(*_checked(codes, factors), bins))


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
    squared = _matrix(M) ** 2
    best = squared.max(axis=1)
    others = squared.sum(axis=1) - best
    live = best > 0
    deviation = others[live] / (max(squared.shape[1] - 1, 1) * best[live])
    return float(np.sum(1 - deviation) / len(squared))


def disentanglement_table(
    codes: ArrayLike, factors: ArrayLike, random_state: Seed = None
) -> dict[str, float]:
    """Return every score of this module by name.

    Parameters
    ----------
    codes : array-like (n, n_components)
    factors : array-like of int (n, n_factors)
        At least two factors.
    random_state : int, Generator or None

    Returns
    -------
    dict of str to float

    Raises
    ------
    ValueError
        Wrong shapes, codes not finite, a factor that never varies or never repeats.

    Examples
    --------
    >>> factors = np.random.default_rng(0).integers(3, size=(1000, 2))
    >>> for name, score in disentanglement_table(factors, factors, random_state=0).items():
    ...     print(f"{name}: {score:.1f}")
    BetaVAE score: 1.0
    FactorVAE score: 1.0
    MIG: 1.0
    DCI disentanglement: 1.0
    DCI completeness: 1.0
    DCI informativeness: 1.0
    SAP: 1.0
    modularity: 1.0
    """
    rng = np.random.default_rng(random_state)
    return {
        "BetaVAE score": beta_vae_score(codes, factors, rng),
        "FactorVAE score": factor_vae_score(codes, factors, rng),
        "MIG": mutual_information_gap(codes, factors),
        **{f"DCI {name}": v for name, v in dci(codes, factors, rng)._asdict().items()},
        "SAP": sap(codes, factors, rng),
        "modularity": modularity(codes, factors),
    }


def _checked(codes: ArrayLike, factors: ArrayLike, at_least: int = 1) -> tuple[Array, Array]:
    """Return codes as float64, those constant but for rounding as zeros, and levels from 0."""
    z, f = np.asarray(codes, dtype=np.float64), np.asarray(factors)
    if z.ndim != 2 or f.ndim != 2 or len(z) != len(f) or len(z) < 2 or 0 in z.shape:
        raise ValueError(
            "expected codes (n, n_components) and factors (n, n_factors) of the same rows, at "
            f"least two, got {z.shape} and {f.shape}."
        )
    if f.shape[1] < at_least:
        raise ValueError(f"expected at least {at_least} factors to tell apart, got {f.shape[1]}.")
    if not np.isfinite(z).all():
        raise ValueError("codes hold NaN or infinity; drop those rows first.")
    if f.dtype.kind not in "biu":
        raise ValueError(
            f"factors must be whole numbers that name levels, got {f.dtype}; bin them."
        )
    levels = np.stack([np.unique(column, return_inverse=True)[1] for column in f.T], axis=1)
    if not levels.any(axis=0).all():
        fixed = int(np.argmin(levels.any(axis=0)))
        raise ValueError(f"factor {fixed} is the same in every row; leave its column out.")
    return np.where(np.ptp(z, axis=0) > 1e-6 * np.abs(z).max(axis=0), z, 0.0), levels


def _matrix(values: ArrayLike) -> Array:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or matrix.size == 0 or not np.isfinite(matrix).all() or matrix.min() < 0:
        raise ValueError(
            "expected a matrix (n_components, n_factors) of finite numbers from zero, got shape "
            f"{matrix.shape}."
        )
    return matrix


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


def _gap(scores: Array) -> Array:
    """Return for each factor the largest score less the second; with one code, less zero."""
    padded = np.vstack([scores, np.zeros_like(scores[:1])]) if len(scores) == 1 else scores
    ranked = np.sort(padded, axis=0)
    return ranked[-1] - ranked[-2]


def _concentration(weights: Array) -> float:
    """Return 1 - the entropy of each row, the mean weighted by the rows' shares."""
    live = weights[weights.sum(axis=1) > 0]
    if len(live) == 0:
        return 0.0
    base = max(weights.shape[1], 2)  # with one column the entropy is 0 to any base
    return float(np.average(1 - entropy(live, axis=1, base=base), weights=live.sum(axis=1)))
