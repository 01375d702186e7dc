"""Annealed importance sampling: log p(x) of a decoder, without trusting the encoder."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from isthmus.distributions import draw
from isthmus.estimators.base import LatentEstimator
from isthmus.training import to_unit

__all__ = ["Annealed", "annealed_importance"]

Array = NDArray[Any]
ACCEPTANCE = 0.65  # at which Hamiltonian moves are efficient (Neal, 2011)


class Annealed(NamedTuple):
    """log p(x), its standard error and effective chains a row (n,); the mean acceptance."""

    log_likelihood: Array
    standard_error: Array
    effective_sample_size: Array
    acceptance: float


def annealed_importance(
    estimator: LatentEstimator,
    X: Any,
    *,
    n_chains: int = 16,
    n_steps: int = 300,
    leapfrogs: int = 8,
    random_state: int = 0,
    condition: Any = None,
) -> Annealed:
    """Estimate log p(x) of each row by annealing from the prior to the posterior.

    Hamiltonian moves leave p(z) p(x|z)^t in place while t goes from 0 to 1; each chain's step
    size follows its acceptance.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted, with a prior.
    X : array-like (n, *features)
        All rows are held at once, ``n_chains`` times.
    n_chains, n_steps, leapfrogs : int
        Chains a row, temperatures, and leaps in one move.
    random_state : int
    condition : label or array-like (n,), optional

    Returns
    -------
    Annealed

    References
    ----------
    Annealed importance sampling (Neal, 2001). On the quantitative analysis of decoder-based
    generative models (Wu, Burda, Salakhutdinov, Grosse, 2017).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> import isthmus
    >>> X = load_digits().images / 16
    >>> model = isthmus.VAE(n_components=2, epochs=2, random_state=0).fit(X)
    >>> annealed_importance(model, X[:3], n_steps=20).log_likelihood.shape
    (3,)
    """
    if estimator.prior is None:
        raise ValueError(f"{type(estimator).__name__} has no prior, and so no likelihood of x.")
    x, c = estimator.tensors(X, condition)
    x, model = to_unit(x), estimator.model_
    generator = Generator(x.device).manual_seed(random_state)

    def energies(z: Tensor) -> tuple[Tensor, Tensor]:
        return model.log_prior(z, c), model.log_likelihood(model.decode(z, c), x)

    chain = _Chain(energies, _start(estimator, n_chains, x, c, generator), generator, leapfrogs)
    schedule = torch.linspace(-4, 4, n_steps + 1, device=x.device).sigmoid()
    schedule = (schedule - schedule[0]) / (schedule[-1] - schedule[0])
    weight = x.new_zeros(n_chains, len(x), dtype=torch.float64)
    for before, after in zip(schedule.tolist(), schedule.tolist()[1:], strict=False):
        weight += (after - before) * chain.log_likelihood.double()
        chain.move(after)
    log_mean = weight.logsumexp(0) - math.log(n_chains)
    effective = (2 * weight.logsumexp(0) - (2 * weight).logsumexp(0)).exp()
    error = (1 / effective - 1 / n_chains).clamp(min=0).sqrt()
    found, spread, chains = (t.cpu().numpy() for t in (log_mean, error, effective))
    return Annealed(found, spread, chains, chain.accepted / n_steps)


def _start(
    estimator: LatentEstimator, n_chains: int, x: Tensor, c: Tensor | None, generator: Generator
) -> Tensor:
    p = estimator.model_.prior_given(c)
    one_for_all = len(p.batch_shape + p.event_shape) == 1
    return draw(p, generator, (n_chains, len(x)) if one_for_all else (n_chains,))


@dataclass
class _Chain:
    """Chains of codes z (chains, n, n_components) under p(z) p(x|z)^t."""

    energies: Callable[[Tensor], tuple[Tensor, Tensor]]
    z: Tensor
    generator: Generator
    leapfrogs: int
    accepted: float = 0.0

    def __post_init__(self) -> None:
        self.size = torch.full_like(self.z[..., :1], 0.1)
        self.log_prior, self.log_likelihood = (e.detach() for e in self.energies(self.z))

    def move(self, t: float) -> None:
        """Make one Hamiltonian move at temperature t, and adapt the step size."""
        momentum = self._normal(self.z)
        z, end = self._leap(self.z, momentum, t)
        log_prior, log_likelihood = (e.detach() for e in self.energies(z))
        kinetic = 0.5 * (momentum**2 - end**2).sum(-1)
        gain = log_prior - self.log_prior + t * (log_likelihood - self.log_likelihood) + kinetic
        uniform = torch.rand(gain.shape, device=z.device, generator=self.generator)
        accept = uniform.log() < gain  # False where the gain is not a number
        self.z = torch.where(accept[..., None], z, self.z)
        self.log_prior = torch.where(accept, log_prior, self.log_prior)
        self.log_likelihood = torch.where(accept, log_likelihood, self.log_likelihood)
        self.accepted += float(accept.float().mean())
        self.size *= torch.where(accept, 1.02, 1.02 ** (-ACCEPTANCE / (1 - ACCEPTANCE)))[..., None]

    def _leap(self, z: Tensor, momentum: Tensor, t: float) -> tuple[Tensor, Tensor]:
        momentum = momentum + 0.5 * self.size * self._gradient(z, t)
        for i in range(self.leapfrogs):
            z = z + self.size * momentum
            half = 0.5 if i == self.leapfrogs - 1 else 1.0
            momentum = momentum + half * self.size * self._gradient(z, t)
        return z, momentum

    def _gradient(self, z: Tensor, t: float) -> Tensor:
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            log_prior, log_likelihood = self.energies(z)
            return torch.autograd.grad((log_prior + t * log_likelihood).sum(), z)[0]

    def _normal(self, like: Tensor) -> Tensor:
        return torch.randn(
            like.shape, dtype=like.dtype, device=like.device, generator=self.generator
        )
