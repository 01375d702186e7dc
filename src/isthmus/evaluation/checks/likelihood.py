"""Whether the likelihood suits the values."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from isthmus.estimators.base import LatentEstimator
from isthmus.estimators.defaults import MOST_GREY, greyness
from isthmus.evaluation.checks.claim import Claim
from isthmus.evaluation.checks.context import Context
from isthmus.evaluation.checks.finding import Evidence, Remedy

__all__ = ["has_one_likelihood", "wrong_likelihood"]

BINARY = 0.99  # share of values 0 or 1 from which a density is unbounded


def has_one_likelihood(estimator: LatentEstimator) -> bool:
    """Whether all features of a model have one likelihood: Bernoulli, or of real numbers."""
    scalable = estimator.model_.likelihood.scalable
    return estimator.likelihood_ == "bernoulli" or (np.ndim(scalable) == 0 and bool(scalable))


def wrong_likelihood(context: Context) -> Iterator[Claim]:
    """Check for grey values of a Bernoulli likelihood, and binary values of a density."""
    train, estimator = context.train, context.estimator
    assert train is not None
    if estimator.likelihood_ == "bernoulli":
        grey = 0.0 if estimator.binarize else greyness(train.values)
        evidence = Evidence(
            "greyness, 0 if all values are 0 or 1", grey, MOST_GREY, rows=len(train)
        )
        wrong = "The likelihood expects values that are 0 or 1, but most values lie between."
        remedy = Remedy({"likelihood": "gaussian"}, {"binarize": True})
    else:
        binary = float(np.mean(np.isin(train.values, (0, 1))))
        evidence = Evidence("share of values 0 or 1", binary, BINARY, rows=len(train))
        wrong = "Nearly all values are 0 or 1, but the likelihood expects real numbers."
        remedy = Remedy({"likelihood": "bernoulli"})
    right = "The likelihood suits the values."
    yield Claim("likelihood", evidence, wrong, right, remedy, "failure")
