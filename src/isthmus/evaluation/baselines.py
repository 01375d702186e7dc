"""Simple models next to which a summary shows its numbers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from isthmus.distributions.mixed import make_likelihood
from isthmus.estimators.base import LatentEstimator, Posterior
from isthmus.training import to_unit

__all__ = [
    "allows_mixture_gain",
    "has_normal_posterior",
    "independent_log_density",
    "known_mean",
    "mixture_gain",
    "normal_log_density",
    "pca_error",
    "pca_errors",
    "pca_log_density",
    "squared_error_per_row",
]

Array = NDArray[Any]
MOST_FEATURES, ROWS_PER_FEATURE = 200, 5  # at most and at least, to estimate a covariance
SMALLEST_EIGENVALUE = 1e-6  # of the correlations; below, the density is unbounded
MOST_PCA_FEATURES = 2_000
MODES, CODES_PER_MODE = 20, 25


def known_mean(X: Array) -> Array:
    """Return the mean of the known values of each column of X (n, features), 0 if there is none.

    Examples
    --------
    >>> known_mean(np.array([[1.0, np.nan], [3.0, np.nan]]))
    array([2., 0.])
    """
    mean: Array = np.nan_to_num(np.ma.masked_invalid(X).mean(0).filled(0))
    return mean


def squared_error_per_row(errors: Array) -> float:
    """Return the mean over rows of the sum of squares of errors (n, *features)."""
    return float(np.mean(np.sum(errors.reshape(len(errors), -1) ** 2, axis=1)))


def pca_error(n_components: int, X: Array, X_test: Array) -> float:
    """Return the squared error per test row of PCA fitted to X; NaN is missing, and counts as 0.

    With 0 components the reconstruction is the mean.
    """
    return float(np.mean(pca_errors(n_components, X, X_test)))


def pca_errors(n_components: int, X: Array, X_test: Array, *, probabilistic: bool = False) -> Array:
    """Return the squared error of each test row, (n_test,); see `pca_error`.

    The reconstruction of probabilistic PCA is the mean given the posterior mean of the code: each
    component is shrunk by the share of its variance that is noise, as in a variational autoencoder.

    References
    ----------
    Probabilistic principal component analysis (Tipping, Bishop, 1999).
    """
    train, test = X.reshape(len(X), -1), X_test.reshape(len(X_test), -1)
    mean = known_mean(train)
    train, known = (np.where(np.isnan(a), mean, a) for a in (train, test))
    decoded: Any = mean
    if n_components > 0:
        pca = PCA(min(n_components, *train.shape), random_state=0).fit(train)
        variance = np.maximum(pca.explained_variance_, np.finfo(float).tiny)
        kept = 1 - pca.noise_variance_ / variance if probabilistic else 1.0
        decoded = pca.inverse_transform(kept * pca.transform(known))
    return np.sum(np.nan_to_num(test - decoded) ** 2, axis=1)


def pca_log_density(estimator: LatentEstimator, X: Array, X_test: Array) -> Array | None:
    """Return log p(x) of test rows under probabilistic PCA with as many components, in nats.

    It is fitted to X as the model sees it, and is a density of the data in their own units. None
    if values are missing, rows have more than 2,000 features, or too few features or rows for a
    variance that the components do not explain.
    """
    x, test = (_scaled(estimator, each) for each in (X, X_test))
    n, d = x.shape
    if d > MOST_PCA_FEATURES or np.isnan(x).any() or np.isnan(test).any():
        return None
    pca = PCA(min(estimator.n_components_, n - 1, d - 1), random_state=0).fit(x)
    if not pca.noise_variance_ > SMALLEST_EIGENVALUE * x.var():
        return None
    unit = estimator.model_.log_unit
    log_unit = 0.0 if unit is None else float(unit.expand(estimator.model_.likelihood.shape).sum())
    density: Array = pca.score_samples(test) - log_unit
    return density


def _scaled(estimator: LatentEstimator, X: Array) -> Array:
    """Return rows (n, features) as the model sees them, float64."""
    return to_unit(estimator.tensors(X)[0]).cpu().double().flatten(1).numpy()


@torch.no_grad()
def independent_log_density(estimator: LatentEstimator, X: Array, X_test: Array) -> Array:
    """Return log p(x) of test rows in nats if features were independent, (n_test,).

    It is the model's own likelihood without a code: each feature has the distribution that fits
    all rows of X (n, *features), in the units of the data.
    """
    model = estimator.model_
    family = make_likelihood(estimator.likelihood_, model.likelihood.shape).to(estimator.device_)
    x, test = (to_unit(estimator.tensors(each)[0]) for each in (X, X_test))
    family.start_from(x)
    outputs = family.marginal_outputs(x.flatten(1)).nan_to_num(0.0).reshape(1, -1)
    density = model.log_likelihood(family(outputs.expand(len(test), -1)), test)
    return density.cpu().double().numpy()


def normal_log_density(X: Array, X_test: Array) -> Array | None:
    """Return log p(x) of test rows under the normal distribution with the moments of X, in nats.

    None if X (n, features) has fewer than five rows per feature, more than 200 features, missing
    values, or features that are constant or nearly determined by the others.
    """
    n, *shape = X.shape
    if len(shape) != 1 or shape[0] > min(MOST_FEATURES, n / ROWS_PER_FEATURE) or np.isnan(X).any():
        return None
    mean, scale = X.mean(0), X.std(0)
    if not scale.all():
        return None
    correlations = np.corrcoef(X, rowvar=False).reshape(*shape, *shape)
    if np.linalg.eigvalsh(correlations)[0] < SMALLEST_EIGENVALUE:
        return None
    standard = multivariate_normal(cov=correlations).logpdf((X_test - mean) / scale)
    density: Array = np.atleast_1d(standard) - np.log(scale).sum()
    return density


def has_normal_posterior(estimator: LatentEstimator) -> bool:
    """Whether the posterior of a model with a prior is a diagonal normal."""
    normal = estimator.posterior_family in ("normal", "normal-softplus")
    return estimator.prior is not None and normal


def allows_mixture_gain(estimator: LatentEstimator) -> bool:
    """Whether the prior is the standard normal for all conditions, and the posterior diagonal."""
    standard = estimator.prior == "standard" and not estimator.conditional
    return standard and has_normal_posterior(estimator)


def mixture_gain(estimator: LatentEstimator, X: Array, q: Posterior) -> float | None:
    """Return by how many nats a mixture of 20 normals fits test codes better than N(0, 1), or 0.

    The mixture is fitted to the codes of training rows X without missing values, with fewer modes
    if there are fewer than 500 of them. None unless N(0, 1) is the prior for all conditions, and
    the posteriors q of test rows are diagonal normals.
    """
    if not allows_mixture_gain(estimator):
        return None
    X = X[np.isfinite(X).reshape(len(X), -1).all(1)]
    if len(X) < CODES_PER_MODE:
        return None
    rng = np.random.default_rng(0)
    train, test = (
        p.mean + p.std * rng.standard_normal(p.mean.shape) for p in (estimator.posterior(X), q)
    )
    mixture = GaussianMixture(
        min(MODES, len(train) // CODES_PER_MODE),
        covariance_type="diag",
        tol=0.01,
        reg_covar=1e-3,
        max_iter=50,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(train)
    standard = -0.5 * np.sum(test**2 + np.log(2 * np.pi), axis=1)
    return max(0.0, float(np.mean(mixture.score_samples(test) - standard)))
