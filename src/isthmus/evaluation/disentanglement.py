"""Disentanglement: whether each code follows one known factor of variation.

All scores compare codes (n, n_components) with factors (n, n_factors), which are integer levels;
1 is best. They do not depend on the scale of a code, except for the rule by which two of them
ignore collapsed codes. Mutual information is biased upwards for few rows: use thousands.
Settings follow Challenging common assumptions in the unsupervised learning of disentangled
representations (Locatello, Bauer, Lucic, Rätsch, Gelly, Schölkopf, Bachem, 2019) unless a
function states otherwise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from isthmus.evaluation.factors import Seed
from isthmus.evaluation.groups import beta_vae_score, factor_vae_score
from isthmus.evaluation.information import (
    modularity,
    modularity_from_information,
    mutual_information_gap,
)
from isthmus.evaluation.prediction import DCI, dci, dci_from_importance, sap

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

    Returns
    -------
    dict of str to float

    Raises
    ------
    ValueError
        If shapes do not match, codes are not finite, or a factor never varies or never repeats.

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
