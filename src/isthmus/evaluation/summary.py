"""The numbers of a finished run, on rows it never saw."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from isthmus.estimators.base import LatentEstimator
from isthmus.estimators.scaling import as_float64

__all__ = ["held_out_summary"]

PCA_ROWS = 10_000  # enough for the yardstick
ACTIVE = 0.01  # variance of a posterior mean over the data above which a unit counts as used


def held_out_summary(
    estimator: LatentEstimator, X: NDArray[Any], X_test: NDArray[Any], y_test: Any = None
) -> dict[str, float]:
    """Return the numbers that say how good a model is, on held-out rows.

    Nats an example with all constants; the squared error of a row is summed over its features,
    beside that of a principal component analysis with as many components. Tables of mixed columns
    have neither, and a code as long as a row has no such yardstick.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    X : ndarray (n, *features)
        The rows of training, from which the yardstick is learned.
    X_test : ndarray (n_test, *features)
        Rows held out.
    y_test : array-like (n_test,), optional
        Their labels; conditional models are told them.

    Returns
    -------
    dict of str to float
    """
    condition = y_test if estimator.conditional else None
    rate, distortion = estimator.rate_distortion(X_test, condition=condition)
    codes = estimator.transform(X_test, condition=condition)
    error = as_float64(X_test) - as_float64(estimator.reconstruct(X_test, condition=condition))
    error = np.nan_to_num(error)  # missing values cannot be wrong
    squared = float(np.mean(np.sum(error.reshape(len(error), -1) ** 2, axis=1)))
    out: dict[str, float] = {}
    if estimator.prior is not None:
        out["ELBO (nats an example)"] = -float(np.mean(rate + distortion))
        out["reconstruction (nats)"] = float(np.mean(distortion))
        out["KL (nats)"] = float(np.mean(rate))
    else:
        out["log-likelihood at the code (nats an example)"] = -float(np.mean(distortion))
    mixed = estimator.columns_ is not None and estimator.columns_.mixed
    if not mixed:  # of categories and unlike units a squared error says nothing
        out["squared error an example"] = squared
    if not mixed and estimator.n_components_ < min(len(X), estimator.n_features_in_):
        out["squared error of PCA, same size"] = _pca_error(estimator.n_components_, X, X_test)
    out[f"components in use, of {estimator.n_components_}"] = int(np.sum(codes.var(0) > ACTIVE))
    out["rows"] = len(X_test)
    return out


def _pca_error(n_components: int, X: NDArray[Any], X_test: NDArray[Any]) -> float:
    train = as_float64(X[:PCA_ROWS]).reshape(min(len(X), PCA_ROWS), -1)
    test = as_float64(X_test).reshape(len(X_test), -1)
    middle = np.nan_to_num(np.nanmean(train, 0))
    train, known = (np.where(np.isnan(a), middle, a) for a in (train, test))
    pca = PCA(min(n_components, *train.shape), random_state=0).fit(train)
    error = np.nan_to_num(test - pca.inverse_transform(pca.transform(known)))
    return float(np.mean(np.sum(error**2, axis=1)))
