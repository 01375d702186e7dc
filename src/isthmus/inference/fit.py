"""Fit a Gaussian to an unnormalised density."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor
from torch.distributions import Distribution, MultivariateNormal

from isthmus._messages import check_choice
from isthmus.inference.density import LogDensity
from isthmus.inference.gaussian import Gaussian, SobolNoise, moment_matched
from isthmus.inference.importance import FINAL_DRAWS, estimate_evidence, importance_sample
from isthmus.inference.reverse_kl import average_elbo, maximize_elbo

__all__ = ["GaussianFit", "fit_gaussian"]

ROUNDS, ROUND_DRAWS = 20, 2000  # defaults of the forward direction
CHECK = 10, 2000  # rounds and draws per round for the evidence of a fitted Gaussian


@dataclass(frozen=True)
class GaussianFit:
    """A fitted Gaussian and the quality of the fit.

    Attributes
    ----------
    distribution : torch.distributions.Independent or MultivariateNormal
        q, with event shape (n_dims,).
    elbo : float
        The final bound in nats, estimated from draws of q.
    elbo_trace : ndarray (n_steps,)
        A noisier estimate of the bound in each step or round, in nats.
    log_evidence : float
        Estimate of log Z in nats by importance sampling.
    standard_error : float
        Standard error of `log_evidence` in nats.
    effective_sample_size : float
        (Σ w)² / Σ w² of the importance weights.
    """

    distribution: Distribution
    elbo: float
    elbo_trace: np.ndarray
    log_evidence: float
    standard_error: float
    effective_sample_size: float

    @property
    def kl(self) -> float:
        """Estimate of KL(q || p) in nats for either direction: log evidence minus ELBO."""
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
) -> GaussianFit:
    """Fit a Gaussian q to an unnormalised density p.

    Parameters
    ----------
    log_density : callable
        Maps a tensor (n, n_dims) to a tensor (n,): log p(z) + log Z in nats, row by row. For
        "reverse" it must be differentiable and finite; transform bounded parameters by log or
        logit and add the log-determinant of the Jacobian.
    n_dims : int, optional
        Number of dimensions; inferred from `start` or `samples` if given.
    start : Tensor (n_dims,) or torch.distributions.Distribution, optional
        Initial mean (with unit standard deviations) or distribution, by default standard normal.
        It is also a proposal for the evidence, so it should be wide enough to cover p.
    covariance : {"diagonal", "full"}
        "diagonal" is the mean-field approximation.
    direction : {"reverse", "forward"}
        "reverse" minimises KL(q || p) by gradient descent and fits one of several modes.
        "forward" minimises KL(p || q) by matching the moments of p and covers all modes found.
    samples : Tensor (n, n_dims), optional
        Draws from p, whose moments "forward" matches. By default they are estimated by adaptive
        self-normalised importance sampling.
    n_steps : int, optional
        Gradient steps (default 2000) or rounds of proposal adaptation (default 20).
    n_samples : int, optional
        Draws per step (default 64) or round (default 2000). "forward" finally takes
        n_steps * n_samples more.
    learning_rate : float
        Initial step size in units of the current standard deviations; decays to zero.
    random_state : int
        Seed. The global random state of torch does not change.
    dtype, device : optional
        By default double precision, on the device of `start` or `samples`.

    Returns
    -------
    GaussianFit

    Raises
    ------
    TypeError
        If `log_density` does not return a tensor, or is not differentiable and direction="reverse".
    ValueError
        If an argument is invalid or `log_density` is not finite. Minus infinity is allowed for
        "forward".

    Warns
    -----
    UserWarning
        If the gradient has not vanished at the end, or the effective sample size is too small.

    Notes
    -----
    Uses path gradients, which are noise-free at q = p, over randomised Sobol points. They are
    expressed in units of the current q, so that steps do not depend on the scale of p. Importance
    sampling draws from Student-t distributions with deterministic mixture weights.

    References
    ----------
    Sticking the landing: simple, lower-variance gradient estimators for variational
    inference (Roeder, Wu, Duvenaud, 2017); Quasi-Monte Carlo variational inference (Buchholz,
    Wenzel, Mandt, 2018); Adaptive importance sampling in general mixture classes (Cappé, Douc,
    Guillin, Marin, Robert, 2008); Safe and effective importance sampling (Owen, Zhou, 2000).

    Examples
    --------
    >>> def log_density(z):  # mean 3, variance 4, unnormalised
    ...     return -((z - 3) ** 2).sum(-1) / 8
    >>> fit = fit_gaussian(log_density, 1, n_steps=400)
    >>> print(f"{fit.distribution.mean.item():.3f} {fit.distribution.stddev.item():.3f}")
    3.000 2.000
    >>> print(f"{fit.elbo:.3f}")  # log Z = log √(8π), because q = p
    1.612
    """
    check_choice("covariance", covariance, ("diagonal", "full"))
    check_choice("direction", direction, ("reverse", "forward"))
    if samples is not None and direction == "reverse":
        raise ValueError("samples can only be used with direction='forward'.")
    samples = None if samples is None else torch.as_tensor(samples)
    reverse, full = direction == "reverse", covariance == "full"
    n_steps = _positive_int("n_steps", n_steps, 2000 if reverse else ROUNDS)
    n_samples = _positive_int("n_samples", n_samples, 64 if reverse else ROUND_DRAWS)
    if not learning_rate > 0:
        raise ValueError(f"learning_rate must be positive, got {learning_rate!r}.")
    initial = _initial_gaussian(n_dims, start, samples, full, dtype, device)
    generator = Generator().manual_seed(random_state)
    noise = SobolNoise(len(initial.mean), random_state, generator)

    if reverse:
        q, trace = maximize_elbo(log_density, initial, noise, n_steps, n_samples, learning_rate)
        _, log_weights, _ = importance_sample(log_density, [initial, q], *CHECK, generator)
    elif samples is not None:
        q, trace = moment_matched(samples.to(initial.mean), full), []
        fixed = [q] if start is None else [initial, q]
        _, log_weights, _ = importance_sample(log_density, fixed, *CHECK, generator)
    else:
        z, log_weights, proposals = importance_sample(
            log_density, [initial], n_steps, n_samples, generator
        )
        q = moment_matched(z, full, log_weights.softmax(0))
        trace = [average_elbo(log_density, each, noise(n_samples)) for each in proposals]
    elbo = average_elbo(log_density, q, noise.balanced(FINAL_DRAWS))
    return GaussianFit(
        q.distribution(), elbo, np.array(trace or [elbo]), *estimate_evidence(log_weights)
    )


def _initial_gaussian(
    n_dims: int | None,
    start: Tensor | Distribution | None,
    samples: Tensor | None,
    full: bool,
    dtype: torch.dtype,
    device: torch.device | str | None,
) -> Gaussian:
    if samples is not None:
        n_dims = _n_dims_of_samples(samples, n_dims, full)
    mean = start.mean if isinstance(start, Distribution) else start
    if mean is not None:
        mean = torch.as_tensor(mean)
        if mean.ndim != 1 or n_dims not in (None, len(mean)):
            wanted = "(n_dims,)" if n_dims is None else f"({n_dims},)"
            raise ValueError(f"start must have a mean of shape {wanted}, got {tuple(mean.shape)}.")
    elif n_dims is None:
        raise ValueError("cannot infer n_dims: pass n_dims, start or samples.")
    else:
        n_dims = _positive_int("n_dims", n_dims, 1)
        mean = torch.zeros(n_dims, device=None if samples is None else samples.device)
    mean = mean.detach().to(device=device or mean.device, dtype=dtype)
    if full and isinstance(start, MultivariateNormal):
        scale = start.scale_tril.detach().to(mean)
    else:
        scale = torch.ones_like(mean)
        if isinstance(start, Distribution):
            scale = start.variance.detach().sqrt().to(mean)
        scale = scale.diag() if full else scale
    if not (mean.isfinite().all() and scale.isfinite().all()):
        raise ValueError("start must have a finite mean and finite variances.")
    return Gaussian(mean, scale)


def _n_dims_of_samples(samples: Tensor, n_dims: int | None, full: bool) -> int:
    if samples.ndim != 2 or n_dims not in (None, samples.shape[1]):
        columns = "n_dims" if n_dims is None else n_dims
        raise ValueError(f"samples must have shape (n, {columns}), got {tuple(samples.shape)}.")
    n, d = samples.shape
    least = d + 1 if full else 2
    if n < least:
        raise ValueError(
            f"a {'full' if full else 'diagonal'} covariance of {d} dimensions needs at least "
            f"{least} samples, got {n}."
        )
    if not samples.isfinite().all():
        raise ValueError("samples must be finite.")
    if (same := samples.amax(0) == samples.amin(0)).any():
        raise ValueError(f"dimension {int(same.int().argmax())} of the samples is constant.")
    return d


def _positive_int(name: str, value: int | None, default: int) -> int:
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}.")
    return value
