"""Penalties: terms that training adds to the loss, read off one pass through the model.

To add one, write a callable that takes a `Pass` and returns a scalar tensor, the mean over
the batch of a term in the loss.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.distributions import Distribution

from isthmus.distributions.families import Family, NormalFamily, PointMass
from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.objectives.jacobians import Chain, chain_of, squared_norm

__all__ = ["L1", "Contractive", "KLSparsity", "Pass", "Penalty", "bernoulli_kl"]


class Pass(NamedTuple):
    """One pass through a model: all that a penalty may look at.

    `x` (n, *features) is what the encoder saw, after corruption; `z` (*samples, n, n_components)
    is what the decoder saw; `reconstruction` (*samples, n) is -log p(x|z) of the clean row, in
    nats; `kl` is KL(q(z|x) || p(z)), (n,) or, by samples, (*samples, n); `step` is the optimiser
    step's number, `generator` the source of what a penalty may draw.
    """

    model: LatentVariableModel
    x: Tensor
    condition: Tensor | None
    q: Distribution
    z: Tensor
    p: Distribution
    reconstruction: Tensor
    kl: Tensor
    step: int = 0
    generator: Generator | None = None


Penalty = Callable[[Pass], Tensor]


@dataclass(frozen=True)
class L1:
    """The weight times the mean over rows of Σ_j |z_j|."""

    weight: float

    def __call__(self, step: Pass) -> Tensor:
        """Return the penalty, a scalar."""
        return self.weight * step.z.abs().sum(-1).mean()


@dataclass(frozen=True)
class KLSparsity:
    """The weight times Σ_j KL(ρ || ρ̂_j), ρ̂_j the batch mean of unit j's activation.

    The activations are the code that the decoder reads; they must lie between 0 and 1.
    Source: Sparse autoencoder, lecture notes (Ng, 2011).
    """

    weight: float
    target: float = 0.05

    def __call__(self, step: Pass) -> Tensor:
        """Return the penalty, a scalar."""
        activity = step.z.reshape(-1, step.z.shape[-1]).mean(0)  # (n_components,)
        return self.weight * bernoulli_kl(self.target, activity).sum()


def bernoulli_kl(target: float, activity: Tensor) -> Tensor:
    """Return KL(Bernoulli(target) || Bernoulli(activity)) in nats, for each activity.

    Examples
    --------
    >>> bernoulli_kl(0.2, torch.tensor([0.2, 0.5]))
    tensor([0.0000, 0.1927])
    """
    edge = torch.finfo(activity.dtype).eps
    rho = torch.as_tensor(target, dtype=activity.dtype, device=activity.device)
    rho_hat = activity.clamp(edge, 1 - edge)
    return rho * (rho / rho_hat).log() + (1 - rho) * ((1 - rho) / (1 - rho_hat)).log()


@dataclass(frozen=True)
class Contractive:
    """The weight times the mean over rows of ‖∂z/∂x‖²_F, for the whole encoder.

    z is the mean of q(z|x). Exact, by small matrices where the encoder is dense (see
    `isthmus.objectives.jacobians`), else by one backward pass a component; or estimated without
    bias from random directions, one backward pass each.

    Sources: Contractive auto-encoders: explicit invariance during feature extraction (Rifai,
    Vincent, Muller, Glorot, Bengio, 2011); A stochastic estimator of the trace of the influence
    matrix for Laplacian smoothing splines (Hutchinson, 1989), for the estimate.

    Parameters
    ----------
    weight : float
    samples : int, optional
        Random directions a row; None is exact.
    """

    weight: float
    samples: int | None = None

    @property
    def draws(self) -> bool:
        """Whether it is random."""
        return self.samples is not None

    def __call__(self, step: Pass) -> Tensor:
        """Return the penalty, a scalar."""
        chain = chain_of(step.model.encoder)
        if chain is not None and step.condition is None and _each_by_itself(step):
            return self.weight * self._of_chain(step, chain).mean()
        x = step.x.detach().requires_grad_()
        with torch.enable_grad(), _running_statistics(step.model.encoder):
            z = step.model.encode(x, step.condition).mean  # (n, n_components)
            directions = self._directions(step, z.shape[1])
            if directions is None:
                each = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
                directions = each.expand(len(z), -1, -1)
            (jacobian,) = torch.autograd.grad(
                z, x, directions.transpose(0, 1), is_grads_batched=True, create_graph=True
            )  # (directions, n, *features)
        return self.weight * jacobian.pow(2).sum() / (len(x) * (self.samples or 1))

    def _of_chain(self, step: Pass, chain: Chain) -> Tensor:
        family = step.model.posterior
        linear = not isinstance(family, PointMass) or family.activation == "identity"
        return squared_norm(
            chain,
            lambda a: family(a).mean,
            step.x.flatten(1),
            steady=linear,
            directions=self._directions(step, chain.linears[-1].out_features),
        )

    def _directions(self, step: Pass, n: int) -> Tensor | None:
        """Return random signs (rows, samples, n), or None."""
        if self.samples is None:
            return None
        size, device = (len(step.x), self.samples, n), step.x.device
        signs = torch.randint(2, size, generator=step.generator, device=device)
        return 2.0 * signs - 1


def _each_by_itself(step: Pass) -> bool:
    """Whether each z_j comes of numbers of its own, and the network sees x as it is."""
    model = step.model
    as_it_is = type(model.likelihood).embed is Family.embed
    as_it_is = as_it_is and not model.missing
    return as_it_is and isinstance(model.posterior, PointMass | NormalFamily)


@contextlib.contextmanager
def _running_statistics(network: nn.Module) -> Iterator[None]:
    """Use batch norm's running statistics for a while.

    With those of the batch every row's code would depend on every other row, and the
    Jacobian of one row would not be defined.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    modes = [m.training for m in norms]
    try:
        for m in norms:
            m.training = False
        yield
    finally:
        for m, mode in zip(norms, modes, strict=True):
            m.training = mode
