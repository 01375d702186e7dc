"""Disentanglement: whether each code follows one known factor of variation.

All scores compare codes (n, n_components) with factors (n, n_factors), which are integer levels;
1 is best. They do not depend on the scale of a code, except for the rule by which two of them
ignore collapsed codes. Mutual information is biased upwards for few rows: use thousands.
Settings follow Challenging common assumptions in the unsupervised learning of disentangled
representations (Locatello, Bauer, Lucic, Rätsch, Gelly, Schölkopf, Bachem, 2019) unless a
function states otherwise. All functions raise a ValueError if shapes do not match, values are not
finite, or a factor never varies.
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

BINS = 20  # of equal width, for the mutual information of a continuous code
TREES, LEAF = 50, 20  # of a forest, and minimum rows in a leaf
GROUP = 64  # rows that share one factor level, for one vote or one difference
GROUPS = 1000  # per factor, for training; as many again for testing
COLLAPSED = 0.05  # standard deviation of a code that counts as collapsed


def disentanglement_table(
    codes: ArrayLike, factors: ArrayLike, random_state: Seed = None
) -> dict[str, float]:
    """Return every score of this module by name.

    Parameters
    ----------
    codes : array-like (n, n_components)
        Deterministic codes: posterior means, not samples.
    factors : array-like of int (n, n_factors)
        With a single factor the BetaVAE and FactorVAE scores are left out.
    random_state : int, Generator or None

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
    groups = {"BetaVAE score": beta_vae_score, "FactorVAE score": factor_vae_score}
    several = np.ndim(factors) == 2 and np.shape(factors)[1] > 1
    return {
        **{name: score(codes, factors, rng) for name, score in groups.items() if several},
        "MIG": mutual_information_gap(codes, factors),
        **{f"DCI {name}": v for name, v in dci(codes, factors, rng)._asdict().items()},
        "SAP": sap(codes, factors, rng),
        "modularity": modularity(codes, factors),
    }


def beta_vae_score(codes: ArrayLike, factors: ArrayLike, random_state: Seed = None) -> float:
    """Return the test accuracy of a linear classifier of the factor that two groups of rows share.

    A data point is the mean of |z - z'| over 64 pairs of rows that share the level of one factor;
    levels with a single row are skipped. Codes are scaled to unit variance first. The score is 0
    if all codes are collapsed (chance would be 1 / n_factors).
    Source: β-VAE: learning basic visual concepts with a constrained variational framework
    (Higgins, Matthey, Pal, Burgess, Glorot, Botvinick, Mohamed, Lerchner, 2017).

    Parameters as for `disentanglement_table`, with at least two factors.

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
    train, test = (
        np.concatenate([_differences(codes, levels, rng) for levels in factors.T]) for _ in range(2)
    )
    return float(LogisticRegression(max_iter=1000).fit(train, which).score(test, which))


def factor_vae_score(codes: ArrayLike, factors: ArrayLike, random_state: Seed = None) -> float:
    """Return the test accuracy of naming the shared factor of a group by its least variable code.

    A vote is the code with the least variance, relative to its variance over all rows, among 64
    rows that share the level of one factor (levels with a single row are skipped); the majority
    assigns a factor to each code. Collapsed codes (standard deviation below 0.05, or below 0.05
    times the largest if no code reaches 1) are ignored; if all are, the score is 0.
    Source: Disentangling by factorising (Kim, Mnih, 2018).

    Parameters as for `disentanglement_table`, with at least two factors.

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
    train, test = (np.stack([_votes(codes, levels, rng) for levels in factors.T]) for _ in range(2))
    right = test[train.argmax(axis=0), np.arange(codes.shape[1])].sum()
    return float(right / test.sum())


def mutual_information_gap(
    codes: ArrayLike, factors: ArrayLike, random_state: Seed = None, *, bins: int = BINS
) -> float:
    """Return the mutual information gap (MIG).

    The gap between the two codes with the most information about a factor, divided by the entropy
    of the factor; the mean over factors. Codes are binned with equal widths unless they have no
    more distinct values than there are bins or levels of a factor.
    Source: Isolating sources of disentanglement in variational autoencoders (Chen, Li, Grosse,
    Duvenaud, 2018).

    Parameters
    ----------
    codes, factors
        As for `disentanglement_table`.
    random_state : int, Generator or None
        Ignored; present so that all scores have the same signature.
    bins : int, default=20

    Examples
    --------
    >>> factors = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> mutual_information_gap(factors, factors)
    1.0
    """
    codes, factors = _checked(codes, factors)
    entropies = np.array([mutual_info_score(f, f) for f in factors.T])
    return float(np.mean(_gap(_information(codes, factors, bins)) / entropies))


def modularity(
    codes: ArrayLike, factors: ArrayLike, random_state: Seed = None, *, bins: int = BINS
) -> float:
    """Return the modularity: whether each code informs about a single factor.

    The mean of `modularity_from_information`, to which a constant code contributes 0. It is
    relative, so even tiny amounts of information count: random codes reach 0.66 on the factors of
    sprites through estimation bias alone. Read it together with the MIG.

    Parameters as for `mutual_information_gap`.

    Examples
    --------
    >>> factors = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> modularity(factors, factors)
    1.0
    """
    return modularity_from_information(_information(*_checked(codes, factors), bins))


def modularity_from_information(M: ArrayLike) -> float:
    """Return the modularity for given mutual information.

    The modularity of code i is 1 - Σ_{j≠b} M_ij² / ((n_factors - 1) M_ib²), where b is its best
    factor, and 0 if M_i is zero; the result is the mean over codes.
    Source: Learning deep disentangled embeddings with the F-statistic loss (Ridgeway, Mozer,
    2018).

    Parameters
    ----------
    M : array-like (n_components, n_factors)
        Non-negative mutual information of each code with each factor, in any unit.

    Examples
    --------
    >>> modularity_from_information([[2, 0, 0], [2, 1, 1]])
    0.875
    """
    squared = _nonnegative(M) ** 2
    best = squared.max(axis=1)
    others = squared.sum(axis=1) - best
    live = best > 0
    deviation = others[live] / (max(squared.shape[1] - 1, 1) * best[live])
    return float(np.sum(1 - deviation) / len(squared))


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

    Parameters as for `disentanglement_table`.

    Examples
    --------
    >>> factors = np.random.default_rng(0).integers(4, size=(500, 2))
    >>> [round(score, 3) for score in dci(factors, factors, random_state=0)]
    [1.0, 1.0, 1.0]
    """
    codes, factors = _checked(codes, factors)
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

    Examples
    --------
    >>> dci_from_importance([[1, 0], [0, 1], [0, 1]], informativeness=1.0)
    DCI(disentanglement=1.0, completeness=0.579..., informativeness=1.0)
    """
    R = _nonnegative(R)
    return DCI(_concentration(R), _concentration(R.T), informativeness)


def sap(codes: ArrayLike, factors: ArrayLike, random_state: Seed = None) -> float:
    """Return the separated attribute predictability (SAP).

    The mean over factors of the gap between the two most predictive codes. A single code predicts
    a factor by thresholds (a decision tree with one leaf per level) fitted to half of the rows;
    its score is the balanced accuracy on the other half, adjusted so that chance is 0. The paper
    does not adjust: its gaps are smaller by the factor 1 - 1 / levels.
    Source: Variational inference of disentangled latent concepts from unlabeled observations
    (Kumar, Sattigeri, Balakrishnan, 2018).

    Parameters as for `disentanglement_table`.

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


def _checked(codes: ArrayLike, factors: ArrayLike, at_least: int = 1) -> tuple[Array, Array]:
    """Return codes as float64 (constant ones as zeros), and factors as levels from 0."""
    z, f = np.asarray(codes, dtype=np.float64), np.asarray(factors)
    if z.ndim != 2 or f.ndim != 2 or len(z) != len(f) or len(z) < 2 or 0 in z.shape:
        raise ValueError(
            "expected codes (n, n_components) and factors (n, n_factors) of the same rows, at "
            f"least two, got {z.shape} and {f.shape}."
        )
    if f.shape[1] < at_least:
        raise ValueError(f"expected at least {at_least} factors, got {f.shape[1]}.")
    if not np.isfinite(z).all():
        raise ValueError("codes contain NaN or infinity; drop those rows first.")
    if f.dtype.kind not in "biu":
        raise ValueError(
            f"factors must be integer levels, got {f.dtype}; bin continuous factors first."
        )
    levels = np.stack([np.unique(column, return_inverse=True)[1] for column in f.T], axis=1)
    if not levels.any(axis=0).all():
        fixed = int(np.argmin(levels.any(axis=0)))
        raise ValueError(f"factor {fixed} has the same level in every row; drop its column.")
    return np.where(np.ptp(z, axis=0) > 1e-6 * np.abs(z).max(axis=0), z, 0.0), levels


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


def _information(codes: Array, factors: Array, bins: int) -> Array:
    """Return the mutual information in nats, (n_components, n_factors)."""
    most = max(bins, int(factors.max()) + 1)
    cut = [_cut(code, bins, most) for code in codes.T]
    return np.array([[mutual_info_score(levels, code) for levels in factors.T] for code in cut])


def _cut(code: Array, bins: int, most: int) -> Array:
    values, index = np.unique(code, return_inverse=True)
    if len(values) <= most:
        return index
    return np.digitize(code, np.histogram_bin_edges(code, bins)[1:-1])


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


def _nonnegative(values: ArrayLike) -> Array:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or matrix.size == 0 or not np.isfinite(matrix).all() or matrix.min() < 0:
        raise ValueError(
            "expected a matrix (n_components, n_factors) of non-negative numbers, got shape "
            f"{matrix.shape}."
        )
    return matrix


def _gap(scores: Array) -> Array:
    """Return the largest score minus the second largest (0 for one code), per factor."""
    ranked = np.sort(scores, axis=0)
    return ranked[-1] - (ranked[-2] if len(ranked) > 1 else 0)
