"""Every number that applies to a fitted model and rows, as one table."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.estimators.base import LatentEstimator
from isthmus.estimators.border import units
from isthmus.metrics.annealed import annealed_importance
from isthmus.metrics.disentanglement import disentanglement_table
from isthmus.metrics.likelihood import aggregate_posterior_kl, importance_weighted
from isthmus.metrics.reconstruction import bits_per_dimension, psnr, squared_error, ssim
from isthmus.metrics.samples import sample_quality
from isthmus.metrics.sparsity import active_units, sparsity_table

__all__ = ["evaluation"]

Array = NDArray[Any]
AIS_ROWS = 100  # annealing is dear: a part of the rows
AGGREGATE_ROWS = 5000


def evaluation(
    estimator: LatentEstimator,
    X: Array,
    y: Any = None,
    *,
    n_samples: int = 500,
    factors: Array | None = None,
    features: str | None = None,
    annealed: bool = False,
    random_state: int = 0,
) -> dict[str, float]:
    """Return the numbers of a model on rows, by name.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    X : ndarray (n, *features)
    y : array-like (n,), optional
        Labels, told to conditional models.
    n_samples : int
        Importance samples of a row.
    factors : ndarray of int, (n, n_factors), optional
        True factors, for the disentanglement scores.
    features : {"values", "codes"}, optional
        In what the quality of samples from the prior is measured; None for not at all.
    annealed : bool
        Also estimate the likelihood by annealed importance sampling, on the first 100 rows.
    random_state : int

    Returns
    -------
    dict of str to float
        Nats and densities are those of X in its own units.
    """
    condition = np.asarray(y) if estimator.conditional and y is not None else None
    codes = estimator.transform(X, condition=condition)
    rebuilt = estimator.reconstruct(X, condition=condition)
    out: dict[str, float] = {"rows": len(X)}
    if estimator.prior is not None:
        out |= _bounds(estimator, X, condition, n_samples, random_state)
        if annealed:
            few = None if condition is None else condition[:AIS_ROWS]
            ais = annealed_importance(
                estimator, X[:AIS_ROWS], condition=few, random_state=random_state
            )
            out["annealed log-likelihood (nats)"] = float(np.mean(ais.log_likelihood))
    else:
        log_likelihood = estimator.score(X, condition=condition)
        out["log-likelihood at the code (nats)"] = log_likelihood
    out |= _rebuilding(units(X), units(rebuilt))
    out |= {f"codes: {k}": v for k, v in sparsity_table(codes, _rows(X), _rows(rebuilt)).items()}
    if factors is not None:
        out |= disentanglement_table(codes, factors, random_state=random_state)
    if features is not None and estimator.prior is not None:
        out |= _samples(estimator, X, y, features, random_state)
    return out


def _bounds(
    estimator: LatentEstimator, X: Array, condition: Any, n_samples: int, seed: int
) -> dict[str, float]:
    rate, distortion = estimator.rate_distortion(X, condition=condition)
    found = importance_weighted(estimator, X, n_samples, condition=condition, random_state=seed)
    part = slice(0, AGGREGATE_ROWS)
    told = None if condition is None else condition[part]
    aggregate = aggregate_posterior_kl(estimator, X[part], condition=told, random_state=seed)
    mean = float(np.mean(found.log_likelihood))
    # Bytes are divided by 255; only a density, not a probability, knows of that.
    name = estimator.likelihood_
    density = name.startswith(("gaussian", "laplace", "continuous")) and "," not in name
    levels = 255 if density and X.dtype == np.uint8 else None
    bits = bits_per_dimension(-mean, estimator.n_features_in_, levels=levels)
    return {
        "ELBO (nats)": -float(np.mean(rate + distortion)),
        "rate (nats)": float(np.mean(rate)),
        "distortion (nats)": float(np.mean(distortion)),
        f"log-likelihood, {n_samples} importance samples (nats)": mean,
        "its standard error, of the mean": float(np.linalg.norm(found.standard_error)) / len(X),
        "effective sample size, median": float(np.median(found.effective_sample_size)),
        "bits per dimension": float(np.mean(bits)),
        "aggregate posterior KL to the prior (nats)": float(aggregate.kl),
        "mutual information of row and code (nats)": float(aggregate.mutual_information),
        "active units": active_units(estimator.transform(X, condition=condition)),
    }


def _rebuilding(X: Array, rebuilt: Array) -> dict[str, float]:
    out = {"squared error an example": float(np.mean(squared_error(X, rebuilt, per="example")))}
    pictures = X.ndim >= 3 and X.min() >= 0 and X.max() <= 1
    if pictures:
        rebuilt = rebuilt.clip(0, 1)
        out["PSNR (dB)"] = float(np.mean(psnr(X, rebuilt)))
        with contextlib.suppress(ImportError):  # without the extra the other numbers stand
            out["SSIM"] = float(np.mean(ssim(X, rebuilt)))
    return out


def _samples(
    estimator: LatentEstimator, X: Array, y: Any, features: str, seed: int
) -> dict[str, float]:
    told = y if estimator.conditional else None
    made = estimator.sample(len(X), random_state=seed, y=told)
    if features == "codes":
        pair = estimator.transform(X), estimator.transform(made)
    else:
        pair = _rows(X), _rows(made)
    return {f"samples, in {features}: {k}": v for k, v in sample_quality(*pair).items()}


def _rows(X: Array) -> Array:
    return units(X).reshape(len(X), -1)
