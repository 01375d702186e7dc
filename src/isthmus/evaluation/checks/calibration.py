"""Whether the likelihood is as certain as it should be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, kstest, norm
from torch import Tensor

from isthmus.distributions.base import draw
from isthmus.evaluation.checks.claim import ALPHA, CannotCheckError, Claim
from isthmus.evaluation.checks.context import Context, Rows
from isthmus.evaluation.checks.finding import Evidence, Remedy
from isthmus.evaluation.checks.tables import is_table, listed, sentence

__all__ = ["calibration", "integral_transform"]

Array = NDArray[Any]
LEAST_ROWS, MOST_ROWS = 50, 1_000
DRAWS = 99
UNCALIBRATED, BADLY = 0.1, 0.4  # distance of Kolmogorov and Smirnov: a note, a warning
INTERVAL = 0.9  # whose coverage is stated


def calibration(context: Context) -> Iterator[Claim]:
    """Check whether the probability integral transform of test rows is uniform.

    Each value is compared with draws from p(x|z), where z is one draw from q(z|x). If the model and
    its posterior are right, row and code are a draw from p(x, z), so that the share of draws below
    the value is uniform: no value is used twice, as it would be with the mean of many codes. Ties
    are broken at random, which makes the transform of counts and categories uniform, too.

    Of images and signals one random pixel of each row is used, so that values are independent.

    References
    ----------
    Validation of software for Bayesian models using posterior quantiles (Cook, Gelman, Rubin,
    2006). Predictive model assessment for count data (Czado, Gneiting, Held, 2009).
    """
    test, estimator = context.test, context.estimator
    assert test is not None
    rows = test.first(MOST_ROWS)
    if len(rows) < LEAST_ROWS:
        raise CannotCheckError(f"needs at least {LEAST_ROWS} test rows")
    transform = integral_transform(rows, context.random_state)
    table = is_table(estimator)
    if not table:
        pixels = context.rng.integers(transform.shape[1], size=len(rows))
        transform = transform[np.arange(len(rows)), pixels][:, None]
    else:
        transform[:, ~_varies(rows.values)] = np.nan  # no distribution is like that of one value
    distance, p = np.array([_from_uniform(column) for column in transform.T]).T
    p = false_discovery_control(p)
    worst = int(np.argmax(distance))
    found = np.flatnonzero((p < ALPHA) & (distance > UNCALIBRATED))
    covered = float(np.nanmean(np.abs(transform[:, worst] - 0.5) < INTERVAL / 2))
    where = f"values of {listed(estimator, found, distance)}" if table else "values"
    of_worst = "the values of the worst column" if table else "them"
    yield Claim(
        "calibration",
        Evidence(
            f"distance of {of_worst} from the predicted distribution, from 0 to 1",
            float(distance[worst]),
            UNCALIBRATED,
            p_value=float(p[worst]),
            rows=len(rows),
        ),
        f"{sentence(where)} do not follow the distribution that the model predicts: its "
        f"{INTERVAL:.0%} intervals contain {covered:.0%} of {of_worst}.",
        f"Values follow the distribution that the model predicts: its {INTERVAL:.0%} intervals "
        f"contain {covered:.0%} of {of_worst}.",
        Remedy(*_likelihoods(estimator)),
        "warning" if distance[worst] > BADLY + _noise(len(rows)) else "note",
    )


def _varies(values: Array) -> Array:
    """Return which columns have two different values, (columns,)."""
    known = np.ma.masked_invalid(values)
    return np.ma.filled(known.max(axis=0) > known.min(axis=0), False)


def _from_uniform(column: Array) -> tuple[float, float]:
    """Return the distance of known values from a uniform distribution, and its p-value."""
    known = column[~np.isnan(column)]
    if not len(known):
        return 0.0, 1.0
    test = kstest(known, "uniform")
    return float(test.statistic), float(test.pvalue)


def _noise(n: int) -> float:
    """Return by how much chance may increase a distance of n values, with a probability of 1%."""
    return float(norm.isf(ALPHA) * 0.5 / n**0.5)


def integral_transform(rows: Rows, seed: int) -> Array:
    """Return the transform of each value, (n, features), in [0, 1]; NaN for missing values."""
    estimator = rows.estimator
    model, generator = estimator.model_, torch.Generator(estimator.device_).manual_seed(seed)

    def ranks(x: Tensor, c: Tensor | None) -> tuple[Tensor, ...]:
        z = draw(model.encode(x, c), generator)
        p = model.decode(z, c)
        if np.all(model.likelihood.binary):  # grey values are probabilities of 1
            x = torch.bernoulli(x, generator=generator)
        below, equal = torch.zeros_like(x), torch.zeros_like(x)
        for _ in range(DRAWS):
            value = draw(p, generator)
            below += value < x
            equal += value == x
        jitter = torch.empty_like(x).uniform_(generator=generator)
        share = (below + jitter * (equal + 1)) / (DRAWS + 1)
        return (share.where(~x.isnan(), torch.nan),)

    (transform,) = estimator.run_batched(ranks, rows.X, rows.condition)
    return transform.reshape(len(rows), -1).astype(np.float64)


def _likelihoods(estimator: Any) -> Iterator[dict[str, Any]]:
    """Return likelihoods that fit more kinds of values."""
    better = {
        "gaussian-fixed": "gaussian",
        "gaussian": "gaussian-per-feature",
        "gaussian-per-feature": "gaussian-network",
        "gaussian-network": "laplace",
        "poisson": "negative-binomial",
        "continuous-bernoulli": "gaussian",
        "laplace": "gaussian-network",
    }
    if other := better.get(estimator.likelihood_):
        yield {"likelihood": other}
