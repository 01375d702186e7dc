"""Whether training has converged, and how much of what was learned holds for other rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.stats import linregress

from isthmus.estimators.base import LatentEstimator
from isthmus.evaluation.baselines import independent_log_density
from isthmus.evaluation.checks.claim import CannotCheckError, Claim
from isthmus.evaluation.checks.context import Context
from isthmus.evaluation.checks.finding import Evidence, Remedy, error_of_mean
from isthmus.evaluation.checks.remedies import default_rate, longer, n_steps

__all__ = ["convergence", "overfitting"]

FALLING = 0.02  # of the whole fall of the loss, in the last quarter of the epochs
LEAST_FALL = 1.0  # nats; a smaller whole fall counts as this
FEW_EPOCHS, FEW_STEPS = 8, 1_000  # of which no trend can be read; the patience of the defaults
VERY_FEW_STEPS = 100  # after which few models have learned much, whatever the trend
LINEAR = 0.1  # a loss that still falls as much has hardly bent: the steps are too small
SLOW = 0.1  # of the default learning rate
OVERFIT = 0.5  # of the gain over independent features
NAME = "unconverged training"


def convergence(context: Context) -> Iterator[Claim]:
    """Check whether the loss was still falling when training stopped, or never fell."""
    estimator, history = context.estimator, context.history
    if estimator.stopped_ == "diverged":
        evidence = Evidence("epochs with an infinite loss", 1, threshold=0)
        wrong = "Training diverged: the loss became infinite or NaN."
        yield Claim(NAME, evidence, wrong, "", Remedy(smaller_steps(estimator)), "failure")
        return
    monitored = "valid_loss" if "valid_loss" in history[0] else "loss"
    loss = np.array([record[monitored] for record in history[_warm_up(estimator) :]])
    if len(loss) < FEW_EPOCHS:
        yield _short(estimator)
        return
    last = loss[-max(4, len(loss) // 4) :]
    trend = linregress(np.arange(len(last)), last)
    slow = estimator.learning_rate < SLOW * default_rate()  # then the whole fall is small, too
    share = 1 / max(np.finfo(float).tiny if slow else LEAST_FALL, loss[0] - loss.min())
    end = trend.intercept + trend.slope * (len(last) - 1)
    fall = min(trend.intercept, *loss[: -len(last)]) - end
    which = "validation loss" if monitored == "valid_loss" else "training loss"
    evidence = Evidence(
        f"fall of the {which} in the last {len(last)} epochs, as a share of the whole fall",
        fall * share,
        FALLING,
        standard_error=float(np.nan_to_num(trend.stderr)) * (len(last) - 1) * share,
    )
    if (steps := n_steps(estimator)) and steps < VERY_FEW_STEPS:
        yield _short(estimator, falling=fall > LINEAR * (loss[0] - loss.min()))
        return
    ended = f"when training stopped after {len(loss)} epochs ({estimator.stopped_})"
    yield Claim(
        NAME,
        evidence,
        f"The {which} was still falling {ended}.",
        f"The {which} no longer fell {ended}.",
        Remedy(*[{"learning_rate": default_rate()}] * slow, longer(estimator)),
        "failure" if evidence.value > LINEAR else "warning",
    )


def _warm_up(estimator: LatentEstimator) -> int:
    """Return the epochs at the start whose loss has another meaning than that of later ones."""
    if estimator.beta_schedule == "cyclical":
        raise CannotCheckError("the loss of beta_schedule='cyclical' has no trend")
    changing = estimator.beta_schedule != "constant" or estimator.capacity is not None
    return min(estimator.beta_epochs, estimator.n_iter_ - 1) if changing else 0


def _short(estimator: LatentEstimator, *, falling: bool = True) -> Claim:
    """Judge a short training by its number of steps; it is a failure if the loss was falling."""
    n_epochs = len(estimator.history_)
    steps = n_steps(estimator) or n_epochs
    evidence = Evidence("optimiser steps", steps, FEW_STEPS, worse="below")
    epochs = f"{n_epochs} epoch{'s'[: n_epochs > 1]}"
    return Claim(
        NAME,
        evidence,
        f"Training stopped after only {steps:,} steps, in {epochs}.",
        f"Training took {steps:,} steps, in {epochs}: too few epochs for a trend of the loss.",
        Remedy(longer(estimator)),
        "failure" if steps < VERY_FEW_STEPS and falling else "warning",
    )


def smaller_steps(estimator: LatentEstimator) -> dict[str, Any]:
    """Return settings with which training is less likely to diverge."""
    return {"learning_rate": estimator.learning_rate / 10}


def overfitting(context: Context) -> Iterator[Claim]:
    """Check how much of the gain over independent features is lost on rows not trained on."""
    train, test = context.train, context.test
    assert train is not None
    assert test is not None
    own, held_out = (
        each.bound - independent_log_density(context.estimator, train.X, each.X)
        for each in (train, test)
    )
    gain, left = own.mean(), held_out.mean()
    if gain <= 0:
        raise CannotCheckError("the model is no better than independent features on training rows")
    error = np.hypot(error_of_mean(own) * left / gain, error_of_mean(held_out)) / gain
    yield Claim(
        "overfitting",
        Evidence(
            "share of the gain over independent features that is lost on test rows",
            1 - left / gain,
            OVERFIT,
            standard_error=float(error),
            rows=len(test),
        ),
        f"The model fits training rows by {gain - left:.3g} nats per row better than test rows.",
        f"Test rows fit nearly as well as training rows: {left:.3g} and {gain:.3g} nats above "
        "independent features.",
        Remedy(
            {"hidden": tuple(max(8, width // 4) for width in context.estimator.hidden)},
            {"dropout": 0.2},
            advice="More training rows help most.",
        ),
    )
