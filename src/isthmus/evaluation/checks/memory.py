"""Whether the model repeats training rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu
from sklearn.neighbors import NearestNeighbors

from isthmus.evaluation.baselines import known_mean
from isthmus.evaluation.checks.claim import CannotCheckError, Claim
from isthmus.evaluation.checks.context import Context, Rows
from isthmus.evaluation.checks.finding import Evidence, Remedy

__all__ = ["memorisation"]

Array = NDArray[Any]
MOST_ROWS = 1_000
WORSE = 3.0  # times the median error of training rows
NEARER = 0.9  # probability that a sample is nearer to a training row than a test row is
LEAST_ERROR = 0.02  # of the error of the mean; smaller errors of training rows count as this


def memorisation(context: Context) -> Iterator[Claim]:
    """Check whether reconstructions or samples repeat training rows.

    Training rows that are learned by heart have much smaller errors than test rows; errors below 2%
    of the variance are small in either. Samples of the
    prior, with the noise of p(x|z), are as far from the nearest training row as test rows are if
    the model is right, and nearer if it copies.

    References
    ----------
    A non-parametric test to detect data-copying in generative models (Meehan, Chaudhuri, Dasgupta,
    2020).
    """
    train, test = context.train, context.test
    assert train is not None
    assert test is not None
    remedy = Remedy(
        {"hidden": tuple(max(8, width // 4) for width in context.estimator.hidden)},
        {"dropout": 0.2},
        advice="More training rows help most.",
    )
    own, other = (context.squared_errors(rows) for rows in (train, test))
    x, held_out = (context.numbers(rows) for rows in (train, test))
    of_mean = np.nansum((held_out - known_mean(x)) ** 2, axis=1)
    floor = LEAST_ERROR * float(np.median(of_mean))
    if not floor > 0:
        raise CannotCheckError("needs numbers that vary")
    ratio = float(np.median(other) / max(floor, float(np.median(own))))
    yield Claim(
        "memorisation",
        Evidence(
            "ratio of the median errors of test rows and of training rows",
            ratio,
            WORSE,
            p_value=float(mannwhitneyu(other, own, alternative="greater").pvalue),
            rows=len(test),
        ),
        f"The model has learned training rows by heart: the error of test rows is {ratio:.3g} "
        "times as large.",
        f"The error of test rows is {ratio:.3g} times that of training rows.",
        remedy,
    )
    if context.estimator.prior is not None:
        yield _copying(context, train.first(MOST_ROWS), test.first(MOST_ROWS), remedy)


def _copying(context: Context, train: Rows, test: Rows, remedy: Remedy) -> Claim:
    estimator, n = context.estimator, len(test)
    condition = test.condition
    drawn = estimator.sample(n, context.random_state, y=condition, noise=True)
    samples = Rows.draw(estimator, drawn, condition, "sampled", context.rng)
    assert samples is not None
    near = NearestNeighbors(n_neighbors=1).fit(_scaled(train))
    own, other = (near.kneighbors(_scaled(rows))[0][:, 0] for rows in (samples, test))
    statistic, p_value = mannwhitneyu(other, own, alternative="greater")
    nearer = float(statistic / len(own) / len(other))
    return Claim(
        "copying",
        Evidence(
            "probability that a sample is nearer to a training row than a test row is",
            nearer,
            NEARER,
            p_value=float(p_value),
            rows=n,
        ),
        "Samples of the model are nearly copies of training rows.",
        "Samples are as far from training rows as test rows are, or farther.",
        remedy,
    )


def _scaled(rows: Rows) -> Array:
    """Return rows as the model sees numbers, (n, features); missing values are 0."""
    scaled = rows.estimator.scaler_.transform(rows.values.reshape(rows.X.shape))
    return np.nan_to_num(scaled.reshape(len(rows), -1))
