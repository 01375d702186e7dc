"""Which components of the code carry information: one definition for all reports."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.estimators.base import LatentEstimator, Posterior
from isthmus.evaluation.sparsity import active_units

__all__ = ["LEAST_NATS", "component_kl", "components_in_use", "count_in_use"]

LEAST_NATS = 0.05  # of a component in use


def components_in_use(estimator: LatentEstimator, X: Any, *, condition: Any = None) -> int:
    """Return the number of components of the code that the model uses for rows X.

    Of a model with a prior these are the components whose mean KL divergence is above 0.05 nats;
    see `component_kl`. Of a model without a prior, whose code has no unit of information, they are
    those whose code has a variance above 0.01; see `active_units`.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    X : array-like (n, *features)
        At least two rows.
    condition : label or array-like (n,), optional
        For conditional models.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> import isthmus
    >>> X = load_digits().images[:500] / 16
    >>> model = isthmus.VAE(n_components=3, epochs=2, random_state=0).fit(X)
    >>> 0 <= components_in_use(model, X) <= 3
    True
    """
    return count_in_use(estimator, estimator.posterior(X, condition=condition))


def count_in_use(estimator: LatentEstimator, q: Posterior) -> int:
    """Return the number of components in use for rows with these posteriors."""
    if estimator.prior is None:
        return active_units(q.mean)
    return int(np.sum(component_kl(q, standard=estimator.prior == "standard") > LEAST_NATS))


def component_kl(q: Posterior, *, standard: bool) -> NDArray[np.float64]:
    """Return the mean KL divergence of the posterior of each component, in nats.

    With a standard normal prior it is the divergence from N(0, 1). Other priors have no
    distribution of one component in closed form: then it is the divergence from the normal with
    the mean and the variance of all codes, which is the smallest for any normal, and 0 for a
    component whose posterior is the same for all rows. For a posterior that is not a diagonal
    normal, the divergence is that of the normal with the same mean and variance.

    Parameters
    ----------
    q : Posterior
        Mean and standard deviation for each row, (n, n_components) each.
    standard : bool
        Whether the prior is the standard normal.

    Returns
    -------
    ndarray (n_components,)

    Examples
    --------
    >>> q = Posterior(np.array([[3.0, 0.0], [-3.0, 0.0]]), np.array([[0.1, 1.0], [0.1, 1.0]]))
    >>> component_kl(q, standard=True).round(2), component_kl(q, standard=False).round(2)
    (array([6.31, 0.  ]), array([3.4, 0. ]))
    """
    mean, variance = q.mean.astype(np.float64), q.std.astype(np.float64) ** 2
    center, spread = np.zeros(1), np.ones(1)
    if not standard:
        center, spread = mean.mean(0), mean.var(0) + variance.mean(0)
    ratio = (variance + (mean - center) ** 2) / spread
    each: NDArray[np.float64] = 0.5 * (ratio - 1 - np.log(variance / spread)).mean(0)
    return each
