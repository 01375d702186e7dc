"""What the numbers of a summary suggest to change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from isthmus.estimators.base import LatentEstimator
from isthmus.evaluation.baselines import MODES
from isthmus.evaluation.summary import (
    ERROR,
    KL,
    LOG_LIKELIHOOD,
    MIXTURE_KL,
    NORMAL,
    PCA_ERROR,
    SAME,
    USED,
)

__all__ = ["Advice", "advice"]

GAIN = 0.25  # nats from which a mixture prior is recommended
MIXTURE = {"prior": "mixture", "prior_modes": MODES}
MORE = 4  # times as many epochs


class Advice(NamedTuple):
    """A finding, and settings of the model that may improve it."""

    finding: str
    settings: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.finding}: try {', '.join(f'{k}={v!r}' for k, v in self.settings.items())}."


def advice(estimator: LatentEstimator, summary: Mapping[str, Any]) -> list[Advice]:
    """Return what a summary suggests to change, at most one line for each finding.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    summary : mapping of str to float
        Its numbers, from `held_out_summary`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> import isthmus
    >>> from isthmus.evaluation import held_out_summary
    >>> X = load_digits().images / 16
    >>> model = isthmus.VAE(likelihood="bernoulli", epochs=1, random_state=0).fit(X[:800])
    >>> for line in advice(model, held_out_summary(model, X[:800], X[800:])):
    ...     print(line)
    The squared error is above that of PCA with as many components (...): try likelihood='gaussian'.
    """
    found = []
    own, same, in_use = (
        _starting_with(summary, name)
        for name in (ERROR, f"{PCA_ERROR}, {SAME}", f"{PCA_ERROR}, {USED}")
    )
    pca, size = (in_use, " as it uses") if same is None else (same, "")
    if own is not None and pca is not None and own > pca:
        text = f"The squared error is above that of PCA with as many components{size}"
        found.append(Advice(f"{text} ({own:.3g} and {pca:.3g})", _for_errors(estimator)))
    bound, normal = summary.get(LOG_LIKELIHOOD), summary.get(NORMAL)
    if bound is not None and normal is not None and bound < normal:
        text = "The log-likelihood is below that of one normal distribution"
        found.append(Advice(f"{text} ({bound:.4g} and {normal:.4g})", _for_densities(estimator)))
    gain = summary.get(KL, 0.0) - summary.get(MIXTURE_KL, math.inf)
    if gain > GAIN:
        text = f"A mixture of normals fits the codes better than the prior does, by {gain:.2g} nats"
        found.append(Advice(text, MIXTURE))
    return found


def _starting_with(summary: Mapping[str, Any], start: str) -> Any:
    """Return the number whose name has this start, whatever its unit, or None."""
    return next((value for name, value in summary.items() if name.startswith(start)), None)


def _for_errors(estimator: LatentEstimator) -> dict[str, Any]:
    """Return settings that may reduce the squared error."""
    if estimator.beta > 1:
        return {"beta": 1.0}
    grey = estimator.likelihood_ in ("bernoulli", "continuous-bernoulli")
    if grey and estimator.likelihood != "auto":  # which takes it for nearly binary values only
        return {"likelihood": "gaussian"}
    return _longer(estimator)


def _for_densities(estimator: LatentEstimator) -> dict[str, Any]:
    """Return settings that may raise the log-likelihood of real numbers."""
    more = {"likelihood": "gaussian-per-feature"} if estimator.likelihood_ == "gaussian" else {}
    return more | _longer(estimator)


def _longer(estimator: LatentEstimator) -> dict[str, Any]:
    return {"epochs": MORE * estimator.n_iter_, "patience": None}
