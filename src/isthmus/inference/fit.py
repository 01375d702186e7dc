"""Fit a Gaussian to a density known but for a constant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor
from torch.distributions import Distribution

from isthmus.inference.density import LogDensity
from isthmus.inference.gaussian import Noise, matched
from isthmus.inference.importance import FINAL_DRAWS, evidence, explore
from isthmus.inference.reverse_kl import average_elbo, climb
from isthmus.inference.start import beginning, count, require

__all__ = ["Fit", "fit_gaussian"]

ROUNDS, ROUND_DRAWS = 20, 2000  # forward's defaults
CHECK_ROUNDS = 10  # of adapting, for the evidence of a Gaussian that is fitted already


@dataclass(frozen=True)
class Fit:
    """A fitted Gaussian, and how near it is.

    Attributes
    ----------
    distribution : torch.distributions.Independent or MultivariateNormal
        q, with event shape (n_dims,).
    elbo : float
        The bound at the end, in nats, over draws of q's own.
    elbo_trace : ndarray (n_steps,)
        The bound at each step or round, in nats; noisier.
    log_evidence : float
        Estimate of log Z, in nats, by importance sampling.
    standard_error : float
        Of `log_evidence`, in nats.
    effective_sample_size : float
        (Σ w)² / Σ w² of the importance weights behind it.
    """

    distribution: Distribution
    elbo: float
    elbo_trace: np.ndarray
    log_evidence: float
    standard_error: float
    effective_sample_size: float

    @property
    def kl(self) -> float:
        """Estimate of KL(q || p) in nats, for either direction: log evidence less ELBO."""
        return self.log_evidence - self.elbo


def fit_gaussian(
    log_density: LogDensity,
    n_dims: int | None = None,
    *,
    start: Tensor | Distribution | None = None,
    covariance: str = "diagonal",
    direction: str = "reverse",
    samples: Tensor | None = None,
    n_steps: int | None = None,
    n_samples: int | None = None,
    learning_rate: float = 0.1,
    random_state: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Fit:
    """Fit a Gaussian q to a density p known but for a constant.

    Parameters
    ----------
    log_density : callable
        Tensor (n, n_dims) to tensor (n,): log p(z) + log Z in nats, of each row by itself.
        For "reverse" it must be differentiable and finite; a parameter with bounds goes through
        its logarithm or logit, with the logarithm of the Jacobian added.
    n_dims : int, optional
        May be left out where `start` or `samples` tells it.
    start : Tensor (n_dims,) or torch.distributions.Distribution, optional
        Where to begin: a mean, with standard deviations 1, or any distribution with moments.
        It also proposes points for the evidence, so make it wide enough to reach all of p.
        Default: the standard normal.
    covariance : {"diagonal", "full"}
        "diagonal" is the mean field.
    direction : {"reverse", "forward"}
        "reverse" minimises KL(q || p), by gradients: q keeps to where p is, on one mode of many.
        "forward" minimises KL(p || q), by matching p's moments: q covers all of p that it found.
    samples : Tensor (n, n_dims), optional
        Draws of p, for "forward": then its moments are theirs. Otherwise they come from adaptive
        self-normalised importance sampling.
    n_steps : int, optional
        Gradient steps, default 2000; or rounds of adapting the proposal, default 20.
    n_samples : int, optional
        Draws in each of them, default 64 or 2000. "forward" ends with n_steps * n_samples more.
    learning_rate : float
        Length of the first moves, in present standard deviations; falls to zero.
    random_state : int
        Seed. torch's global random state is left alone.
    dtype, device : optional
        Of all that is computed; the default is double precision, where `start` or the samples are.

    Returns
    -------
    Fit

    Raises
    ------
    TypeError
        If `log_density` returns no tensor, or one without the gradient that "reverse" needs.
    ValueError
        If settings or shapes do not fit, or `log_density` is not finite; minus infinity, outside
        of p's support, is allowed for "forward".

    Warns
    -----
    UserWarning
        If the gradient has not vanished at the end, or too few importance weights count.

    Notes
    -----
    Gradients are of the path only, which have no noise at q = p, over randomised Sobol points, in
    units of the present q, which makes each step blind to p's scale. Importance sampling draws
    from Student-t distributions with deterministic mixture weights.

    Sources: Sticking the landing: simple, lower-variance gradient estimators for variational
    inference (Roeder, Wu, Duvenaud, 2017); Quasi-Monte Carlo variational inference (Buchholz,
    Wenzel, Mandt, 2018); Adaptive importance sampling in general mixture classes (Cappé, Douc,
    Guillin, Marin, Robert, 2008); Safe and effective importance sampling (Owen, Zhou, 2000).

    Examples
    --------
    >>> def log_density(z):  # a Gaussian of mean 3 and variance 4, without its constant
    ...     return -((z - 3) ** 2).sum(-1) / 8
    >>> fit = fit_gaussian(log_density, 1)
    >>> print(f"{fit.distribution.mean.item():.3f} {fit.distribution.stddev.item():.3f}")
    3.000 2.000
    >>> print(f"{fit.elbo:.3f}")  # log Z, for q is p: log √(8π)
    1.612
    """
    require("covariance", covariance, ("diagonal", "full"))
    require("direction", direction, ("reverse", "forward"))
    if samples is not None and direction == "reverse":
        raise ValueError("samples are for direction='forward'; the reverse direction uses none.")
    samples = None if samples is None else torch.as_tensor(samples)
    reverse, full = direction == "reverse", covariance == "full"
    n_steps = count("n_steps", n_steps, 2000 if reverse else ROUNDS)
    n_samples = count("n_samples", n_samples, 64 if reverse else ROUND_DRAWS)
    if not learning_rate > 0:
        raise ValueError(f"learning_rate must be above 0, got {learning_rate!r}.")
    begin = beginning(n_dims, start, samples, full, dtype, device)
    generator = Generator().manual_seed(random_state)
    noise = Noise(len(begin.mean), random_state, generator)

    if reverse:
        q, trace = climb(log_density, begin, noise, n_steps, n_samples, learning_rate)
        _, log_weights, _ = explore(log_density, [begin, q], CHECK_ROUNDS, ROUND_DRAWS, generator)
    elif samples is not None:
        q, trace = matched(samples.to(begin.mean), full), []
        guards = [q] if start is None else [begin, q]
        _, log_weights, _ = explore(log_density, guards, CHECK_ROUNDS, ROUND_DRAWS, generator)
    else:
        z, log_weights, tried = explore(log_density, [begin], n_steps, n_samples, generator)
        q = matched(z, full, log_weights.softmax(0))
        trace = [average_elbo(log_density, each, noise(n_samples)) for each in tried]
    elbo = average_elbo(log_density, q, noise.balanced(FINAL_DRAWS))
    return Fit(q.distribution(), elbo, np.array(trace or [elbo]), *evidence(log_weights))
