"""Annealed importance sampling: log p(x) of a decoder, without trusting the encoder."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from isthmus.distributions.base import draw, per_example
from isthmus.estimators.base import LatentEstimator
from isthmus.evaluation.joint import Joint, codes_at_once, finite_sum, pieces, require, seed_of
from isthmus.evaluation.likelihood import log_sums, of_weights

__all__ = ["Annealed", "annealed_importance"]

Array = NDArray[Any]
Energies = Callable[[Tensor], tuple[Tensor, Tensor]]
ACCEPTANCE = 0.65  # at which Hamiltonian moves are efficient (Neal, 2011)
FASTER = 1.02  # by which a step size grows when a move is taken
SLOWER = FASTER ** (-ACCEPTANCE / (1 - ACCEPTANCE))  # so that it rests at that acceptance
FIRST_STEP = 0.1


class Annealed(NamedTuple):
    """log p(x) in nats, its standard error, effective chains, share of moves taken; each (n,)."""

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

    Hamiltonian moves leave s(z)^(1-t) (p(z) p(x|z))^t in place while t goes from 0 to 1, with s
    the start. From the prior, the encoder has no part in it: the estimate holds for any decoder.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted, with a prior and a likelihood that has gradients.
    X : array-like (n, *features)
    n_chains, n_steps, leapfrogs : int
        Chains a row, temperatures, and leaps in one move.
    start : {"prior", "posterior"}
        Where chains begin: p(z), or the encoder's q(z|x), which takes fewer steps if it is good.
    schedule : {"sigmoid", "linear"}
        Temperatures: closest together at both ends, or evenly spaced.
    random_state : int, optional
        Seed; without one every call differs.
    condition : label or array-like (n,), optional
        For conditional models.
    max_bytes : int, optional
        Memory for one chunk of codes; 16 MiB on a CPU and 1 GiB on a GPU unless given. What
        is drawn depends on it.

    Returns
    -------
    Annealed
        Nats, of the density of X in its own units.

    Raises
    ------
    ValueError
        For a model without a prior, numbers below 1, unknown names, and log-densities that are
        not finite where chains begin: names the part and the rows.

    Notes
    -----
    In expectation a lower bound. Each chain's step size follows its own moves, which leaves the
    target in place only in the limit of small changes (2% a move).

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
    require(n_chains=n_chains, n_steps=n_steps, leapfrogs=leapfrogs)
    _known("start", start, ("prior", "posterior"))
    temperatures = _temperatures(schedule, n_steps)
    joint = Joint.of(estimator, X, condition)
    generator = Generator(joint.x.device).manual_seed(seed_of(random_state))
    with torch.no_grad():
        # The gradient keeps what the way there made, and takes as much again.
        width = max(1, codes_at_once(joint, max_bytes) // 2)
        path = _Path(start, temperatures, leapfrogs, generator)
        figures = [
            path.figures(joint[rows], rows, n_chains, width)
            for rows in pieces(len(joint), max(1, width // n_chains))
        ]
    return Annealed(*(torch.cat(f).cpu().numpy() for f in zip(*figures, strict=True)))


def _temperatures(schedule: str, n_steps: int) -> list[float]:
    _known("schedule", schedule, ("sigmoid", "linear"))
    even = torch.linspace(0, 1, n_steps + 1, dtype=torch.float64)
    if schedule == "linear":
        return even.tolist()
    s = (8 * even - 4).sigmoid()
    return ((s - s[0]) / (s[-1] - s[0])).tolist()


def _known(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}.")


def _begin(
    joint: Joint, start: str, n_chains: int, generator: Generator
) -> tuple[Tensor, Energies]:
    """Return first codes (chains, n, n_components), and log s(z) with what leads to log p(x, z)."""
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


def _check(joint: Joint, z: Tensor, energies: Energies, rows: slice) -> None:
    """Raise a ValueError where chains cannot begin; later, such moves are merely not taken."""
    terms = {"likelihood": joint.log_likelihood(z), "prior": joint.log_prior(z)}
    finite_sum(terms | {"posterior": energies(z)[0]}, rows)


@dataclass
class _Path:
    """The way from the start to p(z) p(x|z), for a few rows at a time."""

    start: str
    temperatures: list[float]
    leapfrogs: int
    generator: Generator

    def figures(self, few: Joint, rows: slice, n_chains: int, width: int) -> tuple[Tensor, ...]:
        """Return the four figures of a few rows, from no more chains at once than fit."""
        sums = few.x.new_full((2, len(few)), -math.inf, dtype=torch.float64)
        taken = sums.new_zeros(len(few))
        for some in pieces(n_chains, max(1, width // len(few))):
            z, energies = _begin(few, self.start, some.stop - some.start, self.generator)
            _check(few, z, energies, rows)
            chains = _Chains(energies, z, self.generator, self.leapfrogs)
            sums = torch.logaddexp(sums, log_sums(self._anneal(chains)))
            taken += chains.taken.double().sum(0)
        moves = n_chains * (len(self.temperatures) - 1)
        return *of_weights(sums, n_chains), taken / moves

    def _anneal(self, chains: _Chains) -> Tensor:
        """Return the log-weights at the end, (chains, n)."""
        weight = chains.gap.new_zeros(chains.gap.shape, dtype=torch.float64)
        for before, after in pairwise(self.temperatures):
            weight += (after - before) * chains.gap.double()
            chains.move(after)
        return weight


@dataclass
class _Chains:
    """Codes z (chains, n, n_components) under s(z) exp(t gap(z)); energies are log s and gap."""

    energies: Energies
    z: Tensor
    generator: Generator
    leapfrogs: int

    def __post_init__(self) -> None:
        self.size = torch.full_like(self.z[..., :1], FIRST_STEP)
        self.base, self.gap = self.energies(self.z)
        self.taken = torch.zeros_like(self.gap)

    def move(self, t: float) -> None:
        """Make one Hamiltonian move at temperature t, and adapt the step sizes."""
        momentum = torch.empty_like(self.z).normal_(generator=self.generator)
        z, end, base, gap = self._leap(momentum, t)
        kinetic = 0.5 * (momentum**2 - end**2).sum(-1)
        gain = base - self.base + t * (gap - self.gap) + kinetic
        uniform = torch.empty_like(gain).uniform_(generator=self.generator)
        take = uniform.log() < gain  # False where the gain is not a number
        self.z = torch.where(take[..., None], z, self.z)
        self.base = torch.where(take, base, self.base)
        self.gap = torch.where(take, gap, self.gap)
        self.taken += take
        self.size *= torch.where(take, FASTER, SLOWER)[..., None]

    def _leap(self, momentum: Tensor, t: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the codes and momenta at the end of a path, and the energies there."""
        z = self.z
        momentum = momentum + 0.5 * self.size * self._evaluate(z, t)[0]
        for left in reversed(range(self.leapfrogs)):
            z = z + self.size * momentum
            gradient, base, gap = self._evaluate(z, t)
            momentum = momentum + (1.0 if left else 0.5) * self.size * gradient
        return z, momentum, base, gap

    def _evaluate(self, z: Tensor, t: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradient of log s + t gap, and the two."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            base, gap = self.energies(z)
            (gradient,) = torch.autograd.grad((base + t * gap).sum(), z)
        return gradient, base.detach(), gap.detach()
