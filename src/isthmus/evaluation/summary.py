"""The summary of a finished run, on held-out rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from isthmus.estimators.base import LatentEstimator
from isthmus.estimators.sample_weight import repeat_rows
from isthmus.estimators.scaling import as_float64
from isthmus.evaluation.reconstruction import SCALED, column_units
from isthmus.evaluation.sparsity import active_units

__all__ = ["held_out_summary"]

PCA_ROWS = 10_000  # enough to fit the baseline


def held_out_summary(
    estimator: LatentEstimator,
    X: NDArray[Any],
    X_test: NDArray[Any],
    y_test: Any = None,
    weights: NDArray[Any] | None = None,
) -> dict[str, float]:
    """Return a short summary of a model's quality on held-out rows.

    The ELBO and its terms are in nats per example, with all constants. The squared error is summed
    over features, next to that of PCA with as many components; of tables in units of the standard
    deviation of each column. Mixed tables have neither; PCA is left out if the code is as long as
    the row.

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
    evaluate_model : Every metric that applies.
    """
    n_rows = len(X_test)
    if weights is not None:
        repeated = repeat_rows(weights)
        X_test = X_test[repeated]
        y_test = None if y_test is None else np.asarray(y_test)[repeated]
    condition = y_test if estimator.conditional else None
    rate, distortion = estimator.rate_distortion(X_test, condition=condition)
    codes = estimator.transform(X_test, condition=condition)
    out: dict[str, float] = {}
    if estimator.prior is not None:
        out["ELBO (nats per example)"] = -float(np.mean(rate + distortion))
        out["reconstruction (nats)"] = float(np.mean(distortion))
        out["KL (nats)"] = float(np.mean(rate))
    else:
        out["log-likelihood at the code (nats per example)"] = -float(np.mean(distortion))
    mixed = estimator.columns_ is not None and estimator.columns_.mixed
    if not mixed:  # errors of categories do not add up
        train, test, decoded = map(
            as_float64, (X, X_test, estimator.decode(codes, condition=condition))
        )
        units = column_units(estimator, train)
        if units is not None:
            train, test, decoded = train / units, test / units, decoded / units
        label = SCALED if units is not None else ""
        error = np.nan_to_num(test - decoded)  # missing values count as correct
        out[f"squared error per example{label}"] = _per_example(error)
        if estimator.n_components_ < min(len(X), estimator.n_features_in_):
            pca = _pca_error(estimator.n_components_, train, test)
            out[f"squared error of PCA, same size{label}"] = pca
    out[f"components in use, of {estimator.n_components_}"] = active_units(codes)
    out["rows"] = n_rows
    return out


def _per_example(error: NDArray[Any]) -> float:
    return float(np.mean(np.sum(error.reshape(len(error), -1) ** 2, axis=1)))


def _pca_error(n_components: int, X: NDArray[Any], X_test: NDArray[Any]) -> float:
    train = X[:PCA_ROWS].reshape(min(len(X), PCA_ROWS), -1)
    test = X_test.reshape(len(X_test), -1)
    mean = np.nan_to_num(np.nanmean(train, 0))
    train, known = (np.where(np.isnan(a), mean, a) for a in (train, test))
    pca = PCA(min(n_components, *train.shape), random_state=0).fit(train)
    return _per_example(np.nan_to_num(test - pca.inverse_transform(pca.transform(known))))
