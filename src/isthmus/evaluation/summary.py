"""The summary of a finished run, on held-out rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.estimators.base import LatentEstimator
from isthmus.estimators.sample_weight import repeat_rows
from isthmus.estimators.scaling import as_float64
from isthmus.evaluation.baselines import (
    mixture_gain,
    normal_log_density,
    pca_error,
    squared_error_per_row,
)
from isthmus.evaluation.components_in_use import count_in_use
from isthmus.evaluation.likelihood import importance_weighted
from isthmus.evaluation.reconstruction import SCALED, column_units

__all__ = [
    "AS_LONG",
    "ERROR",
    "KL",
    "LOG_LIKELIHOOD",
    "MIXTURE_KL",
    "NORMAL",
    "PCA_ERROR",
    "SAME",
    "USED",
    "held_out_summary",
]

ERROR, PCA_ERROR = "squared error per example", "squared error of PCA"
SAME, AS_LONG, USED = "same size", "code as long as a row", "components in use"
SAMPLES = 100  # per row, for the log-likelihood that is compared with that of a normal
LOG_LIKELIHOOD = f"log-likelihood, {SAMPLES} importance samples (nats)"
NORMAL = "log-likelihood of a normal distribution (nats)"
KL, MIXTURE_KL = "KL (nats)", "KL to a mixture of normals (nats)"
BASELINE_ROWS = 10_000  # enough to fit a baseline
CODES = 5_000  # enough to fit a mixture of normals
SCORED_ROWS = 1_000  # of those held out, for log-likelihoods


def held_out_summary(
    estimator: LatentEstimator,
    X: NDArray[Any],
    X_test: NDArray[Any],
    y_test: Any = None,
    weights: NDArray[Any] | None = None,
) -> dict[str, float]:
    """Return a short summary of a model's quality on held-out rows.

    The ELBO and its terms are in nats per example, with all constants. The squared error is summed
    over features; of tables in units of the standard deviation of each column. Next to it are
    those of PCA with as many components (0 if the code is as long as the row), and with as many as
    the model uses; see `components_in_use`. Mixed tables have no squared error.

    Of a table of real numbers with at least five rows per column, the log-likelihood is next to
    that of one normal distribution with a full covariance, on at most 1,000 rows. With the
    standard normal as the prior, the KL is next to that to a mixture of normals, fitted to the
    codes of training rows.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    X : ndarray (n, *features)
        Training rows, to which PCA is fitted.
    X_test : ndarray (n_test, *features)
        Held-out rows.
    y_test : array-like (n_test,), optional
        Their labels, the condition of conditional models.
    weights : ndarray (n_test,), optional
        Their sample weights: a row counts as often as its weight states.

    See Also
    --------
    check : What is wrong with a model, and which setting to change.
    evaluate_model : Every metric that applies.
    """
    n_rows = len(X_test)
    if weights is not None:
        repeated = repeat_rows(weights)
        X_test = X_test[repeated]
        y_test = None if y_test is None else np.asarray(y_test)[repeated]
    condition = y_test if estimator.conditional else None
    rate, distortion = estimator.rate_distortion(X_test, condition=condition)
    q = estimator.posterior(X_test, condition=condition)
    in_use = count_in_use(estimator, q)
    out: dict[str, float] = {}
    if estimator.prior is not None:
        out["ELBO (nats per example)"] = -float(np.mean(rate + distortion))
        out["reconstruction (nats)"] = float(np.mean(distortion))
        out[KL] = float(np.mean(rate))
        if (gain := mixture_gain(estimator, _some(X, CODES), q)) is not None:
            out[MIXTURE_KL] = out[KL] - gain
    else:
        out["log-likelihood at the code (nats per example)"] = -float(np.mean(distortion))
    if estimator.columns_ is None or not estimator.columns_.mixed:  # errors of categories differ
        decoded = estimator.decode(q.mean, condition=condition)
        train, test, decoded = map(as_float64, (_some(X, BASELINE_ROWS), X_test, decoded))
        out |= _log_likelihoods(estimator, train, X_test, condition)
        out |= _squared_errors(estimator, in_use, train, test, decoded)
    out[f"components in use, of {estimator.n_components_}"] = in_use
    out["rows"] = n_rows
    return out


def _some(X: Any, most: int) -> Any:
    """Return at most so many rows, evenly spaced."""
    return X if len(X) <= most else X[np.linspace(0, len(X) - 1, most).astype(int)]


def _log_likelihoods(
    estimator: LatentEstimator, train: NDArray[Any], X_test: Any, condition: Any
) -> dict[str, float]:
    """Return log p(x) of the model and of a normal distribution, if both are densities."""
    real = estimator.prior is not None and np.all(estimator.model_.likelihood.scalable)
    X_test = _some(X_test, SCORED_ROWS)
    normal = normal_log_density(train, as_float64(X_test)) if real else None
    if normal is None:
        return {}
    if condition is not None:
        condition = _some(np.asarray(condition), SCORED_ROWS)
    own = importance_weighted(estimator, X_test, SAMPLES, condition=condition).log_likelihood
    return {LOG_LIKELIHOOD: float(np.mean(own)), NORMAL: float(np.mean(normal))}


def _squared_errors(
    estimator: LatentEstimator,
    in_use: int,
    train: NDArray[Any],
    test: NDArray[Any],
    decoded: NDArray[Any],
) -> dict[str, float]:
    """Return the squared error, and those of PCA."""
    units, label = column_units(estimator, train), ""
    if units is not None:
        train, test, decoded = train / units, test / units, decoded / units
        label = SCALED
    error = np.nan_to_num(test - decoded)  # missing values count as correct
    out = {f"{ERROR}{label}": squared_error_per_row(error)}
    whole = estimator.n_components_ >= estimator.n_features_in_
    same = 0.0 if whole else pca_error(estimator.n_components_, train, test)
    out[f"{PCA_ERROR}, {AS_LONG if whole else SAME}{label}"] = same
    out[f"{PCA_ERROR}, {USED}{label}"] = pca_error(in_use, train, test)
    return out
