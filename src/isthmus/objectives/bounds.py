"""Bounds on log p(x), and alternatives to their KL term.

A bound is a callable ``(step, beta) -> scalar`` that computes the batch mean of the loss in nats
from a `Pass`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from isthmus.distributions.base import per_example
from isthmus.objectives.penalties import Pass
from isthmus.objectives.schedules import Linear

__all__ = ["Bound", "Capacity", "Decomposed", "Elbo", "FreeBits", "ImportanceWeighted", "mean_kl"]

Divergence = Callable[[Pass], Tensor]
Bound = Callable[[Pass, float | Tensor], Tensor]


def mean_kl(step: Pass) -> Tensor:
    """Return the batch mean of KL(q(z|x) || p(z)), a scalar."""
    return step.mean_kl


@dataclass(frozen=True)
class Elbo:
    """The negative evidence lower bound: E_q[-log p(x|z)] + β KL(q(z|x) || p(z)).

    Parameters
    ----------
    divergence : callable
        Maps a `Pass` to a scalar: the KL, or a replacement.
    """

    divergence: Divergence = mean_kl

    def __call__(self, step: Pass, beta: float | Tensor) -> Tensor:
        """Return the loss, a scalar."""
        return step.mean_reconstruction + beta * self.divergence(step)


@dataclass(frozen=True)
class ImportanceWeighted:
    """The importance-weighted bound over the samples of a pass.

    Sources: Importance weighted autoencoders (Burda, Grosse, Salakhutdinov, 2016); Doubly
    reparameterized gradient estimators for Monte Carlo objectives (Tucker, Lawson, Gu, Maddison,
    2019).

    Parameters
    ----------
    doubly : bool
        Use the doubly reparameterised gradient, whose signal-to-noise ratio does not fall with
        the number of samples.
    """

    doubly: bool = False

    def __call__(self, step: Pass, beta: float | Tensor) -> Tensor:
        """Return the loss, a scalar."""
        log_weight = self._log_weight(step, beta)  # (samples, n)
        bound = math.log(len(log_weight)) - log_weight.logsumexp(0)
        if not self.doubly:
            return step.mean(bound)
        share = log_weight.detach().softmax(0)
        if step.z.requires_grad:
            # The encoder's gradient, through z, has the square of each sample's share.
            weight = share.reshape(*step.z.shape[:-1], 1)
            step.z.register_hook(lambda gradient: weight * gradient)
        # The surrogate has the right gradient; the detached difference gives the value.
        surrogate = -(share * log_weight).sum(0)
        return step.mean(surrogate + (bound - surrogate).detach())

    def _log_weight(self, step: Pass, beta: float | Tensor) -> Tensor:
        q = step.q.detached() if self.doubly else step.q  # type: ignore[attr-defined]
        batch = step.z.ndim - 1
        rate = per_example(q.log_prob(step.z), batch) - step.model.log_prior(step.z, step.condition)
        weight = -step.reconstruction - beta * rate
        return weight if weight.ndim == 2 else weight[None]


@dataclass(frozen=True)
class FreeBits:
    """Σ_j max(floor, KL_j), KL_j the batch mean of one dimension's KL.

    Source: Improved variational inference with inverse autoregressive flow (Kingma et al., 2016).

    Parameters
    ----------
    floor : float
        Nats per dimension that are not penalised.
    """

    floor: float

    def __call__(self, step: Pass) -> Tensor:
        """Return the term, a scalar."""
        each = kl_divergence(step.q, step.model.prior_given(step.condition))  # (n, n_components)
        return step.mean(each, features=1).clamp(min=self.floor).sum()


@dataclass(frozen=True)
class Capacity:
    """|KL - C|, where C rises from 0 to `nats` over the first `warm_up` steps.

    Source: Understanding disentangling in β-VAE (Burgess, Higgins, Pal, Matthey, Watters,
    Desjardins, Lerchner, 2018).
    """

    nats: float
    warm_up: int

    def __call__(self, step: Pass) -> Tensor:
        """Return the term, a scalar."""
        return (mean_kl(step) - Linear(self.nats, self.warm_up)(step.step)).abs()


@dataclass(frozen=True)
class Decomposed:
    """The KL as the sum of mutual information, total correlation (weighted) and dimensions.

    With the weight 1 the sum is the KL in expectation. q(z) is estimated from the batch by
    stratified sampling: a code's own row has the weight 1/N, and the other rows of the batch
    represent all others. (The usual weights 1/(N M) for all rows shift each part by a constant: for
    ten dimensions in batches of 128 of 30,000 rows, the total correlation by 136 nats.)

    Source: Isolating sources of disentanglement in variational autoencoders (Chen, Li, Grosse,
    Duvenaud, 2018), appendix C.

    Parameters
    ----------
    n_rows : int
        Size of the data set.
    correlation : float
        Weight of KL(q(z) || Π q(z_j)), next to I(x; z) and Σ_j KL(q(z_j) || p(z_j)).
    """

    n_rows: int
    correlation: float = 1.0

    def __call__(self, step: Pass) -> Tensor:
        """Return the weighted sum, a scalar."""
        information, correlation, dimensions = self.parts(step)
        return information + self.correlation * correlation + dimensions

    def parts(self, step: Pass) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three parts, scalars in nats."""
        z = step.z.reshape(-1, *step.z.shape[-2:])[0]  # one sample per row, (n, n_components)
        log_q_zx = step.q.log_prob(z).sum(-1)
        every = step.q.expand(torch.Size((1, *step.q.batch_shape)))
        pairs = every.log_prob(z[:, None])  # (n codes, n posteriors, n_components)
        log_shares = self._log_shares(z, step.row_weights)  # (n codes, n posteriors)
        log_q_z = (pairs.sum(-1) + log_shares).logsumexp(1)
        log_q_each = (pairs + log_shares[..., None]).logsumexp(1).sum(-1)
        log_p_z = step.model.log_prior(z, step.condition)
        return (
            step.mean(log_q_zx - log_q_z),
            step.mean(log_q_z - log_q_each),
            step.mean(log_q_each - log_p_z),
        )

    def _log_shares(self, z: Tensor, row_weights: Tensor | None) -> Tensor:
        """Return the log-weight of each row in q(z), for each code."""
        n, batch = max(self.n_rows, len(z)), len(z)
        if batch == 1:
            return z.new_zeros(1, 1)
        if row_weights is not None:
            own, rest = row_weights / n, row_weights.sum() - row_weights
            shares = ((1 - own) / rest)[:, None] * row_weights  # (n codes, n rows)
            return torch.where(torch.eye(batch, device=z.device) > 0, own, shares).log()
        others = math.log((n - 1) / (n * (batch - 1)))
        own_rows = torch.eye(batch, dtype=torch.bool, device=z.device)
        return z.new_full((batch, batch), others).masked_fill(own_rows, -math.log(n))
