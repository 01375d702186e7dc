"""Whether sparse codes are sparse, and all of their units are alive."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from isthmus.estimators.base import LatentEstimator
from isthmus.evaluation.checks.claim import Claim
from isthmus.evaluation.checks.context import Context
from isthmus.evaluation.checks.finding import Evidence, Remedy
from isthmus.evaluation.checks.remedies import default_rate
from isthmus.evaluation.sparsity import active_threshold, feature_density

__all__ = ["activity", "dead_units", "is_sparse"]

DEAD, MOSTLY_DEAD = 0.2, 0.8  # of the units
DENSE = 0.5  # mean share of active units


def is_sparse(estimator: LatentEstimator) -> bool:
    """Whether a model is meant to have sparse codes."""
    return estimator.posterior_family == "sparse"


def dead_units(context: Context) -> Iterator[Claim]:
    """Check for units that are active on no training row."""
    estimator, train = context.estimator, context.train
    assert train is not None
    density = feature_density(train.posterior.mean, active_threshold(estimator))
    dead, n = int(np.sum(density == 0)), len(density)
    share = dead / n
    yield Claim(
        "dead units",
        Evidence("share of units that are never active", share, DEAD, rows=len(train)),
        f"{dead:,} of {n:,} units are dead: they are active on no training row.",
        f"{dead:,} of {n:,} units are active on no training row.",
        Remedy(*_against_death(estimator, n - dead)),
        "failure" if share > MOSTLY_DEAD else "warning",
    )


def activity(context: Context) -> Iterator[Claim]:
    """Check whether most units are active on most rows.

    A code with fewer units than a row has features can hardly be sparse: then it is only a note.
    """
    estimator, rows = context.estimator, context.test or context.train
    assert rows is not None
    active = np.abs(rows.posterior.mean) > active_threshold(estimator)
    share = active.mean(axis=1)
    found = f"{active.sum(axis=1).mean():.3g} of {active.shape[1]:,} units are active per row"
    yield Claim(
        "dense code",
        Evidence.of_mean("share of units active per row", share, DENSE),
        f"The code is not sparse: {found}.",
        f"The code is sparse: {found}.",
        Remedy(*_against_density(estimator, active.shape[1])),
        "warning" if active.shape[1] > estimator.n_features_in_ else "note",
    )


def _against_death(estimator: LatentEstimator, alive: int) -> Iterator[dict[str, object]]:
    """Return settings that keep units alive."""
    if estimator.revive_every is None:
        yield {"revive_every": 250}
    if estimator.learning_rate > 2 * default_rate():
        yield {"learning_rate": default_rate()}
    if estimator.penalty_weight:
        yield {"penalty_weight": estimator.penalty_weight / 4}
    if alive:
        yield {"n_components": alive}


def _against_density(estimator: LatentEstimator, n_units: int) -> Iterator[dict[str, object]]:
    """Return settings that make a code sparser."""
    if estimator.n_active is not None:
        yield {"n_active": max(1, n_units // 8)}
    elif estimator.penalty_weight is not None:
        yield {"penalty_weight": 4 * estimator.penalty_weight}
    yield {"activation": "topk", "n_active": max(1, n_units // 8)}
