"""Variational inference: the Gaussian nearest to any unnormalised log-density.

For a density p(z) = exp(log_density(z)) / Z and a Gaussian q, always

    log Z = ELBO + KL(q || p),    ELBO = E_q[log_density(z)] + entropy(q),

so the ELBO is a lower bound of the log evidence. `fit_gaussian` makes KL(q || p) small
(direction "reverse") or KL(p || q) (direction "forward"). All in nats.
"""

from isthmus.inference.fit import Fit, fit_gaussian
from isthmus.inference.plot import plot_fits

__all__ = ["Fit", "fit_gaussian", "plot_fits"]
