"""Whether the components of the code carry information."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn.decomposition import PCA

from isthmus.estimators.base import LatentEstimator
from isthmus.evaluation.checks.claim import CannotCheckError, Claim
from isthmus.evaluation.checks.context import Context, Rows
from isthmus.evaluation.checks.finding import Evidence, Remedy
from isthmus.evaluation.components_in_use import count_in_use

__all__ = ["collapsed_units", "expected_components"]

COLLAPSED = 0.5  # of the components that a linear model would use


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
    used, n = count_in_use(estimator, rows.posterior), estimator.n_components_
    expected = expected_components(estimator, train)
    if expected == 0:
        raise CannotCheckError("the features of these rows are not correlated: nothing to encode")
    found = f"{used} of {n} components of the code carry information"
    linear = f"a linear model with the same noise would use {expected}"
    yield Claim(
        "collapsed units",
        Evidence("components in use", used, COLLAPSED * expected, rows=len(rows), worse="below"),
        f"{found}; {linear}.",
        f"{found}; {linear}.",
        Remedy(*_against_collapse(estimator)),
        severity="warning" if used else "failure",
    )


def expected_components(estimator: LatentEstimator, train: Rows) -> int:
    """Return the number of components that a linear model of these rows would use.

    With a normal likelihood of variance σ² it is the number of eigenvalues of the covariance that
    are above σ², at most `n_components`. They must also be above those of noise in as many rows.
    The variance of a likelihood without a scale of its own is taken to be that of each feature, so
    that the count is that of correlations that are not noise.

    References
    ----------
    Distribution of eigenvalues for some sets of random matrices (Marchenko, Pastur, 1967).
    """
    x = estimator.scaler_.transform(train.X).reshape(len(train), -1)
    x = np.nan_to_num(x - np.nanmean(x, axis=0))
    spread = x.std(axis=0)
    x, spread = x[:, spread > 0], spread[spread > 0]
    scale = getattr(estimator.model_.likelihood, "scale", None)
    noise = spread if scale is None else scale.detach().cpu().double().numpy()
    n, d = x.shape
    most = min(estimator.n_components_, n - 1, d)
    eigenvalues = PCA(most, random_state=0).fit(x / noise).explained_variance_
    return int(np.sum(eigenvalues > (1 + (d / n) ** 0.5) ** 2))


def _against_collapse(estimator: LatentEstimator) -> Iterator[dict[str, object]]:
    if estimator.beta > 1:
        yield {"beta": 1.0}
    if estimator.beta_schedule == "constant":
        yield {"beta_schedule": "linear", "beta_epochs": max(1, estimator.n_iter_ // 4)}
    if not estimator.free_bits:
        yield {"free_bits": 0.1}
