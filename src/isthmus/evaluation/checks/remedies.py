"""Settings that may improve a model, and trials of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from isthmus.estimators.base import LatentEstimator
from isthmus.evaluation.checks.context import Context
from isthmus.evaluation.checks.data import is_scaled
from isthmus.models.params import params_of
from isthmus.models.specs import Training
from isthmus.training.schedules import n_epochs

__all__ = ["OFTEN", "default_rate", "improvements", "longer", "n_steps", "steps_per_epoch"]

MORE = 4  # times as many epochs, or components
OFTEN = 0.5  # share of rows whose condition is hidden
FAR = 10  # times the default learning rate, or a fraction of it


def improvements(context: Context, *, density: bool = False) -> Iterator[dict[str, Any]]:
    """Return settings that may reduce errors or raise likelihoods, the best guess first."""
    estimator, train = context.estimator, context.train
    assert train is not None
    if estimator.beta > 1:
        yield {"beta": 1.0}
    grey = estimator.likelihood_ in ("bernoulli", "continuous-bernoulli")
    if grey and estimator.likelihood != "auto":  # which takes it for nearly binary values only
        yield {"likelihood": "gaussian"}
    if is_scaled(estimator) and estimator.scaling not in ("auto", "standard"):
        yield {"scaling": "standard"}
    if estimator.conditional and estimator.condition_dropout > OFTEN:
        yield {"condition_dropout": 0.1}
    default, n = default_rate(), estimator.n_components_
    if not default / FAR < estimator.learning_rate < default * FAR:
        yield {"learning_rate": default}
    if train.in_use == n < (signal := context.signal_components):
        yield {"n_components": min(signal, MORE * n)}
    if density and estimator.likelihood_ == "gaussian" and len(estimator.feature_shape_) == 1:
        yield {"likelihood": "gaussian-per-feature"}
    yield longer(estimator)
    if estimator.hidden:
        yield {"hidden": tuple(2 * width for width in estimator.hidden)}


def default_rate() -> float:
    """Return the default learning rate."""
    return float(params_of(Training)["learning_rate"].default)


def steps_per_epoch(estimator: LatentEstimator) -> int:
    """Return the optimiser steps of the last epoch, from its time and its speed."""
    return max(1, _steps_of_last_epoch(estimator))


def n_steps(estimator: LatentEstimator) -> int | None:
    """Return the optimiser steps of training; None if its history does not say."""
    return len(estimator.history_) * _steps_of_last_epoch(estimator) or None


def _steps_of_last_epoch(estimator: LatentEstimator) -> int:
    last = estimator.history_[-1] if estimator.history_ else {}
    rows = last.get("seconds", 0.0) * last.get("examples_per_second", 0.0)
    return math.ceil(round(rows) / estimator.batch_size)


def longer(estimator: LatentEstimator) -> dict[str, Any]:
    """Return settings that let training go on: by default as long as the default, or longer."""
    epochs = MORE * estimator.n_iter_
    default = n_epochs(Training(), steps_per_epoch(estimator))
    return {"epochs": None if epochs <= default else epochs, "patience": None}
