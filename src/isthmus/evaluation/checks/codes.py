"""Whether the components of the code carry information."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.estimators.base import LatentEstimator
from isthmus.evaluation.checks.claim import CannotCheckError, Claim
from isthmus.evaluation.checks.context import Context
from isthmus.evaluation.checks.finding import Evidence, Remedy

__all__ = ["collapsed_units"]

COLLAPSED = 0.5  # of the components that a linear model would use
CHOSEN = 0.25  # the same if β is above 1, which is chosen to use fewer


def collapsed_units(context: Context) -> Iterator[Claim]:
    """Check whether far fewer components carry information than in a linear model.

    References
    ----------
    Don't blame the ELBO! A linear VAE perspective on posterior collapse (Lucas, Tucker, Grosse,
    Norouzi, 2019).
    """
    estimator, train = context.estimator, context.train
    assert train is not None
    rows = context.test or train
    used, n = rows.in_use, estimator.n_components_
    expected = min(n, context.signal_components)
    if expected == 0:
        raise CannotCheckError("the features of these rows are not correlated: nothing to encode")
    share = COLLAPSED if estimator.beta <= 1 else CHOSEN
    found = f"{used} of {n} components of the code carry information"
    linear = f"a linear model with the same noise would use {expected}"
    yield Claim(
        "collapsed units",
        Evidence("components in use", used, share * expected, rows=len(rows), worse="below"),
        f"{found}; {linear}.",
        f"{found}; {linear}.",
        Remedy(*_against_collapse(estimator)),
        severity="warning" if used else "failure",
    )


def _against_collapse(estimator: LatentEstimator) -> Iterator[dict[str, object]]:
    if estimator.beta > 1:
        yield {"beta": 1.0}
    if estimator.beta_schedule == "constant":
        yield {"beta_schedule": "linear", "beta_epochs": max(1, estimator.n_iter_ // 4)}
    if not estimator.free_bits:
        yield {"free_bits": 0.1}
