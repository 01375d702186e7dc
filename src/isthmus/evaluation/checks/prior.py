"""Whether samples of the prior are like rows, and the codes of rows like samples of the prior."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from isthmus.distributions.base import draw
from isthmus.estimators.base import LatentEstimator
from isthmus.evaluation.baselines import MODES, allows_mixture_gain, mixture_gain
from isthmus.evaluation.checks.claim import CannotCheckError, Claim
from isthmus.evaluation.checks.context import Context, Rows
from isthmus.evaluation.checks.finding import Evidence, Remedy
from isthmus.evaluation.checks.two_sample import LEAST_ROWS, separation

__all__ = ["can_sample", "holes", "mismatch"]

Array = NDArray[Any]
MOST_ROWS = 2_000
GAIN = 0.25  # nats from which another prior is worth it
SEPARABLE = 0.75  # area under the ROC curve
FAR = 0.99  # quantile of the distances of test rows, beyond which a sample is far from all rows
MANY, MANY_OF_NORMAL = 0.7, 0.5  # of the samples; default VAEs on digits have up to 0.56


def can_sample(estimator: LatentEstimator) -> bool:
    """Whether a model has a prior, or codes to which a normal distribution can be fitted."""
    return estimator.prior is not None or estimator.activation == "identity"


def holes(context: Context) -> Iterator[Claim]:
    """Check whether decoded samples of the prior are like decoded rows.

    The prior of a model without one is the normal distribution fitted to the codes of training
    rows. A decoded sample is far from all rows if it is farther from the nearest decoded training
    row than 99% of the decoded test rows.

    References
    ----------
    Improved precision and recall metric for assessing generative models
    (Kynkäänniemi, Karras, Laine, Lehtinen, Aila, 2019).
    """
    estimator = context.estimator
    train, test = _compared(context)
    codes, held_out = (_codes(rows, context.rng) for rows in (train, test))
    samples = _samples(estimator, train, codes, context.random_state)
    prior = "the prior" if estimator.prior is not None else "a normal distribution of the codes"
    near = NearestNeighbors(n_neighbors=1).fit(_decoded(train, codes))
    own, drawn = (
        near.kneighbors(_decoded(rows, z))[0][:, 0]
        for rows, z in ((test, held_out), (train, samples))
    )
    share = float(np.mean(drawn > np.quantile(own, FAR)))
    yield Claim(
        "holes in the prior",
        Evidence(
            "share of decoded samples that are far from all rows",
            share,
            MANY_OF_NORMAL if estimator.prior is None else MANY,
            standard_error=(share * (1 - share) / len(drawn)) ** 0.5,
            rows=len(drawn),
        ),
        f"{share:.0%} of the samples of {prior} are unlike any row: they come from regions between "
        "the codes.",
        f"Most samples of {prior} are like rows; {share:.0%} are unlike any.",
        _better_samples(estimator),
        "note" if estimator.prior is None else "warning",  # codes need not be normal
    )


def mismatch(context: Context) -> Iterator[Claim]:
    """Check whether the codes of rows follow the prior that the model was trained with.

    A standard normal prior is compared with a mixture of normals fitted to the codes, other priors
    by a classifier of codes and samples.

    References
    ----------
    ELBO surgery: yet another way to carve up the variational evidence lower bound (Hoffman,
    Johnson, 2016).
    """
    estimator = context.estimator
    remedy = _better_samples(estimator)
    if allows_mixture_gain(estimator):
        assert context.train is not None
        assert context.test is not None
        gain = mixture_gain(estimator, context.train.X, context.test.posterior)
        if gain is None:
            raise CannotCheckError("needs more training rows without missing values")
        evidence = Evidence(
            "gain of a mixture as the prior", gain, GAIN, "nats", rows=len(context.test)
        )
        found = f"a mixture of normals would fit them better, by {gain:.2g} nats per row"
        wrong = f"The codes of rows do not follow the prior: {found}."
    else:
        train, _ = _compared(context)
        codes = _codes(train, context.rng)
        area, p_value = separation(codes, _samples(estimator, train, codes, context.random_state))
        evidence = Evidence(
            "area under the ROC curve of a classifier of codes and samples of the prior, 0.5 by "
            "chance",
            area,
            SEPARABLE,
            p_value=p_value,
            rows=len(codes),
        )
        wrong = "The codes of rows do not follow the prior: a classifier tells them from samples."
    right = "The codes of rows roughly follow the prior."
    yield Claim("prior mismatch", evidence, wrong, right, remedy, "note")


def _compared(context: Context) -> tuple[Rows, Rows]:
    """Return the training rows and test rows that are compared with samples."""
    assert context.train is not None
    assert context.test is not None
    train, test = (rows.first(MOST_ROWS) for rows in (context.train, context.test))
    if min(len(train), len(test)) < LEAST_ROWS:
        raise CannotCheckError(f"needs at least {LEAST_ROWS} training rows and test rows")
    return train, test


def _better_samples(estimator: LatentEstimator) -> Remedy:
    return Remedy(
        *([{"prior": "mixture", "prior_modes": MODES}] if estimator.prior == "standard" else []),
        advice="LatentSampler(model, source='mixture') samples from a mixture fitted to the codes.",
    )


def _codes(rows: Rows, rng: np.random.Generator) -> Array:
    """Return one draw from q(z|x) for each row; of a model without a prior, the code."""
    mean, std = rows.posterior
    codes: Array = mean + std * rng.standard_normal(mean.shape)
    return codes.astype(np.float32)


def _samples(estimator: LatentEstimator, rows: Rows, codes: Array, seed: int) -> Array:
    """Return as many samples of the prior as there are rows, under their conditions."""
    n = len(rows)
    if estimator.prior is None:
        rng = np.random.default_rng(seed)
        covariance = np.cov(codes, rowvar=False).reshape(2 * codes.shape[1:])
        return rng.multivariate_normal(codes.mean(axis=0), covariance, n).astype(np.float32)
    c = estimator.encode_condition(rows.condition, n)
    device = estimator.device_
    with torch.no_grad():
        p = estimator.model_.prior_given(None if c is None else torch.from_numpy(c).to(device))
        one_for_all = len(p.batch_shape + p.event_shape) == 1
        generator = torch.Generator(device).manual_seed(seed)
        return draw(p, generator, (n,) if one_for_all else ()).cpu().numpy()


def _decoded(rows: Rows, codes: Array) -> Array:
    """Return the means of p(x|z) under the conditions of rows, as the model sees numbers."""
    estimator = rows.estimator
    decoded = estimator.scaler_.transform(estimator.decode(codes, condition=rows.condition))
    ordered = np.asarray(estimator.model_.likelihood.ordered)
    flat = decoded.reshape(len(decoded), -1)
    return flat[:, ordered] if ordered.ndim and ordered.any() else flat
