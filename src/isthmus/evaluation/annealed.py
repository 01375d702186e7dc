"""Annealed importance sampling: estimate log p(x) without relying on the encoder."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from isthmus._messages import check_choice
from isthmus.distributions.base import draw, per_example
from isthmus.estimators.base import LatentEstimator
from isthmus.estimators.defaults import seed_of
from isthmus.evaluation.joint import Joint, check_positive, chunk_size, chunks, finite_sum
from isthmus.evaluation.likelihood import from_log_sums, log_sums

__all__ = ["Annealed", "annealed_importance"]

Array = NDArray[Any]
Energies = Callable[[Tensor], tuple[Tensor, Tensor]]
ACCEPTANCE = 0.65  # target rate at which Hamiltonian moves are efficient (Neal, 2011)
GROWTH = 1.02  # of the step size after an accepted move
SHRINKAGE = GROWTH ** (-ACCEPTANCE / (1 - ACCEPTANCE))  # after a rejected one: balances there
FIRST_STEP = 0.1


class Annealed(NamedTuple):
    """log p(x) in nats, its standard error, effective chains and acceptance rate; each (n,)."""

    log_likelihood: Array
    standard_error: Array
    effective_sample_size: Array
    acceptance_rate: Array


def annealed_importance(
    estimator: LatentEstimator,
    X: Any,
    *,
    n_chains: int = 16,
    n_steps: int = 300,
    leapfrogs: int = 8,
    start: str = "prior",
    schedule: str = "sigmoid",
    random_state: int | None = 0,
    condition: Any = None,
    max_bytes: int | None = None,
) -> Annealed:
    """Estimate log p(x) of each row by annealing codes from the prior to the posterior.

    Hamiltonian moves keep s(z)^(1-t) (p(z) p(x|z))^t invariant while t goes from 0 to 1, where s
    is the starting distribution. If that is the prior, the encoder is not involved and the
    estimate holds for any decoder.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted, with a prior and a likelihood that has gradients.
    X : array-like (n, *features)
    n_chains, n_steps, leapfrogs : int
        Chains per row, number of temperatures, and leapfrog steps per move.
    start : {"prior", "posterior"}
        Starting distribution: p(z), or q(z|x), which needs fewer steps if the encoder is good.
    schedule : {"sigmoid", "linear"}
        Spacing of the temperatures: denser at both ends, or even.
    random_state, condition, max_bytes
        As for `importance_weighted`, but the random numbers depend on `max_bytes`.

    Returns
    -------
    Annealed
        In nats, for the density of X in its own units.

    Raises
    ------
    ValueError
        If the model has no prior, or a log-density is not finite at the start of the chains.

    See Also
    --------
    importance_weighted : A cheaper estimate that relies on the encoder.

    Notes
    -----
    The expectation is a lower bound. Each chain adapts its step size to its own acceptances, which
    keeps the target invariant only in the limit of small changes (2 % per move).

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
    check_positive(n_chains=n_chains, n_steps=n_steps, leapfrogs=leapfrogs)
    check_choice("start", start, ("prior", "posterior"))
    check_choice("schedule", schedule, ("sigmoid", "linear"))
    temperatures = _temperatures(schedule, n_steps)
    joint = Joint.of(estimator, X, condition)
    generator = Generator(joint.x.device).manual_seed(seed_of(random_state))
    estimates = []
    with torch.no_grad():
        # Gradients keep the intermediate results and need as much memory again.
        width = max(1, chunk_size(joint, max_bytes) // 2)
        for rows in chunks(len(joint), max(1, width // n_chains)):
            few = joint[rows]
            sums = few.x.new_full((2, len(few)), -math.inf, dtype=torch.float64)
            accepted = sums.new_zeros(len(few))
            for some in chunks(n_chains, max(1, width // len(few))):
                z, energies = _begin(few, start, some.stop - some.start, generator)
                first = {"likelihood": few.log_likelihood(z), "prior": few.log_prior(z)}
                finite_sum(first | {"posterior": energies(z)[0]}, rows)
                chains = _Chains(energies, z, generator, leapfrogs)
                sums = torch.logaddexp(sums, log_sums(chains.anneal(temperatures)))
                accepted += chains.accepted.double().sum(0)
            estimates.append((*from_log_sums(sums, n_chains), accepted / (n_chains * n_steps)))
    return Annealed(*(torch.cat(f).cpu().numpy() for f in zip(*estimates, strict=True)))


def _temperatures(schedule: str, n_steps: int) -> list[float]:
    even = torch.linspace(0, 1, n_steps + 1, dtype=torch.float64)
    if schedule == "linear":
        return even.tolist()
    s = (8 * even - 4).sigmoid()
    return ((s - s[0]) / (s[-1] - s[0])).tolist()


def _begin(
    joint: Joint, start: str, n_chains: int, generator: Generator
) -> tuple[Tensor, Energies]:
    """Return initial codes (chains, n, n_components), and z -> (log s, log p(x, z) - log s)."""
    if start == "prior":
        p, n = joint.prior, len(joint)
        one_for_all = len(p.batch_shape + p.event_shape) == 1
        z = draw(p, generator, (n_chains, n) if one_for_all else (n_chains,))
        return z, lambda z: (joint.log_prior(z), joint.log_likelihood(z))
    q = joint.posterior()

    def energies(z: Tensor) -> tuple[Tensor, Tensor]:
        log_q = per_example(q.log_prob(z), z.ndim - 1)
        return log_q, joint.log_prior(z) + joint.log_likelihood(z) - log_q

    return q.rsample((n_chains,), generator=generator), energies  # type: ignore[call-arg]


@dataclass
class _Chains:
    """Codes z (chains, n, n_components) with density s(z) exp(t gap(z))."""

    energies: Energies
    z: Tensor
    generator: Generator
    leapfrogs: int

    def __post_init__(self) -> None:
        self.size = torch.full_like(self.z[..., :1], FIRST_STEP)
        self.base, self.gap = self.energies(self.z)
        self.accepted = torch.zeros_like(self.gap)

    def anneal(self, temperatures: list[float]) -> Tensor:
        """Move through the temperatures and return the final log-weights, (chains, n)."""
        weight = self.gap.new_zeros(self.gap.shape, dtype=torch.float64)
        for before, after in pairwise(temperatures):
            weight += (after - before) * self.gap.double()
            self.move(after)
        return weight

    def move(self, t: float) -> None:
        """Make one Hamiltonian move at temperature t, and adapt the step sizes."""
        momentum = torch.empty_like(self.z).normal_(generator=self.generator)
        z, end, base, gap = self._leap(momentum, t)
        kinetic = 0.5 * (momentum**2 - end**2).sum(-1)
        gain = base - self.base + t * (gap - self.gap) + kinetic
        uniform = torch.empty_like(gain).uniform_(generator=self.generator)
        accept = uniform.log() < gain  # False if the gain is NaN
        self.z = torch.where(accept[..., None], z, self.z)
        self.base = torch.where(accept, base, self.base)
        self.gap = torch.where(accept, gap, self.gap)
        self.accepted += accept
        self.size *= torch.where(accept, GROWTH, SHRINKAGE)[..., None]

    def _leap(self, momentum: Tensor, t: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return codes and momenta after the leapfrog steps, and the energies there."""
        z = self.z
        momentum = momentum + 0.5 * self.size * self._evaluate(z, t)[0]
        for left in reversed(range(self.leapfrogs)):
            z = z + self.size * momentum
            gradient, base, gap = self._evaluate(z, t)
            momentum = momentum + (1.0 if left else 0.5) * self.size * gradient
        return z, momentum, base, gap

    def _evaluate(self, z: Tensor, t: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradient of log s + t gap, and both terms."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            base, gap = self.energies(z)
            (gradient,) = torch.autograd.grad((base + t * gap).sum(), z)
        return gradient, base.detach(), gap.detach()
