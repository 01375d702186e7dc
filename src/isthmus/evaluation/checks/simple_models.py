"""Whether the model is at least as good as models that cost nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from isthmus.evaluation.baselines import (
    independent_log_density,
    normal_log_density,
    pca_errors,
    pca_log_density,
)
from isthmus.evaluation.checks.claim import CannotCheckError, Claim
from isthmus.evaluation.checks.context import Context, Rows
from isthmus.evaluation.checks.finding import Evidence, Remedy, error_of_mean, percent
from isthmus.evaluation.checks.remedies import improvements

__all__ = [
    "likelihood_of_simple_models",
    "narrow_code",
    "pca_reconstruction",
]

EXPLAINED = 0.1  # of the variance, by which PCA explains more
NARROW = 0.25  # of the variance, by which a longer code of a linear model explains more
MISSED = 0.1  # of the gain of a normal distribution over independent features
LEAST_GAIN = 1.0  # nats; smaller gains of the normal distribution count as this
WORSE = 0.1  # nats per row below independent features


def pca_reconstruction(context: Context) -> Iterator[Claim]:
    """Check whether PCA with as many components explains more of the variance.

    A model with a prior is compared with probabilistic PCA, whose reconstructions are shrunk, too.
    """
    estimator, test = context.estimator, context.test
    assert test is not None
    variational = estimator.prior is not None
    n = estimator.n_components_
    if n >= np.sum(context.ordered) and not variational:
        raise CannotCheckError("the code is as long as a row")
    more, error, own = _explained_more(context, test, n, probabilistic=variational)
    name = "probabilistic PCA" if variational else "PCA"
    numbers = f"it explains {percent(own)} of their variance, PCA {percent(own + more)}"
    yield Claim(
        "reconstruction",
        Evidence(
            "share of the variance that PCA explains and the model does not",
            more,
            EXPLAINED,
            "",
            error,
            rows=len(test),
        ),
        f"The model reconstructs test rows worse than {name} with as many components: {numbers}.",
        f"The model reconstructs test rows about as well as {name} with as many components, or "
        f"better: {numbers}.",
        Remedy(*improvements(context)),
    )


def narrow_code(context: Context) -> Iterator[Claim]:
    """Check whether the code has too few components, and all of them are in use."""
    estimator, train = context.estimator, context.train
    assert train is not None
    n, used = estimator.n_components_, train.in_use
    signal = context.signal_components
    if used < n or signal <= n:
        evidence = Evidence("components of a linear model", min(signal, n), n)
        yield Claim("narrow code", evidence, "", "The code has as many components as it needs.")
        return
    more, error, own = _explained_more(context, train, signal, probabilistic=True)
    numbers = (
        f"with {n} of them the model explains {percent(own)} of the variance of training rows, a "
        f"linear model with {signal} explains {percent(own + more)}"
    )
    yield Claim(
        "narrow code",
        Evidence(
            "share of the variance that a longer code would explain",
            more,
            NARROW,
            standard_error=error,
            rows=len(train),
        ),
        f"The code has too few components: {numbers}.",
        f"The code has enough components: {numbers}.",
        Remedy({"n_components": min(signal, 4 * n)}),
    )


def _explained_more(
    context: Context, rows: Rows, n_components: int, *, probabilistic: bool
) -> tuple[float, float, float]:
    """Return the share of variance that PCA explains and the model does not, and its error.

    The third number is the share that the model explains.
    """
    assert context.train is not None
    x, own = context.numbers(context.train), context.squared_errors(rows)
    known = x if rows is context.train else context.numbers(rows)
    total = float(np.mean(pca_errors(0, x, known)))
    if not total > 0:
        raise CannotCheckError("needs numbers that vary")
    more = (own - pca_errors(n_components, x, known, probabilistic=probabilistic)) / total
    return float(more.mean()), error_of_mean(more), 1 - float(own.mean()) / total


def likelihood_of_simple_models(context: Context) -> Iterator[Claim]:
    """Check whether test rows are likelier under independent features or a normal distribution."""
    estimator, train, test = context.estimator, context.train, context.test
    assert train is not None
    assert test is not None
    own, scored = test.log_likelihood, test.scored
    independent = independent_log_density(estimator, train.X, scored.X)
    worse = independent - own
    remedy = Remedy(*improvements(context, density=True))
    numbers = f"{own.mean():.4g} against {independent.mean():.4g} nats per row"
    yield Claim(
        "independent features",
        Evidence.of_mean("gap to independent features", worse, WORSE, "nats"),
        f"Test rows have a lower likelihood than if features were independent: {numbers}.",
        f"Test rows have about the likelihood that they would have if features were independent, "
        f"or a higher one: {numbers}.",
        remedy,
        "failure",
    )
    if not np.all(estimator.model_.likelihood.scalable):
        return
    candidates = {
        "one normal distribution": normal_log_density(train.values, scored.values),
        "probabilistic PCA": pca_log_density(estimator, train.X, scored.X),
    }
    known = {name: density for name, density in candidates.items() if density is not None}
    if not known:
        return
    name = max(known, key=lambda each: float(known[each].mean()))
    normal = known[name]
    gain = max(LEAST_GAIN, float((normal - independent).mean()))
    missed = (normal - own) / gain
    numbers = f"{own.mean():.4g} against {normal.mean():.4g} nats per row"
    yield Claim(
        "normal distribution",
        Evidence.of_mean(
            "share of the gain of a normal distribution over independent features that is missed",
            missed,
            MISSED,
        ),
        f"Test rows have a lower likelihood than under {name}: {numbers}.",
        f"Test rows have about the likelihood that they have under {name}, or a higher one: "
        f"{numbers}.",
        remedy,
    )
