"""Variational inference: fit a Gaussian to any unnormalised log-density.

For a density p(z) = exp(log_density(z)) / Z and any Gaussian q,

    log Z = ELBO + KL(q || p),    ELBO = E_q[log_density(z)] + entropy(q),

so the ELBO is a lower bound of the log evidence. `fit_gaussian` minimises KL(q || p)
(direction "reverse") or KL(p || q) (direction "forward"). All values are in nats.
"""

from isthmus.inference.fit import GaussianFit, fit_gaussian
from isthmus.inference.plot import plot_fits

__all__ = ["GaussianFit", "fit_gaussian", "plot_fits"]
