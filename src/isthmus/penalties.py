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
from torch import Tensor, nn
from torch.distributions import Distribution

from isthmus.backbones import only_linear
from isthmus.families import Family, NormalFamily, PointMass
from isthmus.model import LatentVariableModel

__all__ = ["L1", "Contractive", "KLSparsity", "Pass", "Penalty", "bernoulli_kl"]


class Pass(NamedTuple):
    """One pass through a model: all that a penalty may look at.

    `x` (n, *features) is what the encoder saw, after corruption; `z` (*samples, n, n_components)
    is what the decoder saw; `reconstruction` (*samples, n) is -log p(x|z) of the clean row, in
    nats; `kl` is KL(q(z|x) || p(z)), (n,) or, by samples, (*samples, n); `step` is the optimiser
    step's number.
    """

    model: LatentVariableModel
    x: Tensor
    c: Tensor | None
    q: Distribution
    z: Tensor
    p: Distribution
    reconstruction: Tensor
    kl: Tensor
    step: int = 0


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
    """The weight times the mean over rows of ‖∂z/∂x‖²_F, for the whole encoder, exact.

    z is the mean of q(z|x). Where the encoder is one linear layer, in closed form: Σ_j f'(a_j)²
    ‖W_j‖², for as much as a forward pass; else by one backward pass a component.
    Source: Contractive auto-encoders: explicit invariance during feature extraction (Rifai,
    Vincent, Muller, Glorot, Bengio, 2011).
    """

    weight: float

    def __call__(self, step: Pass) -> Tensor:
        """Return the penalty, a scalar."""
        layer = only_linear(step.model.encoder)
        if layer is not None and step.c is None and _each_by_itself(step):
            return self.weight * self._of_one_layer(step, layer)
        x = step.x.detach().requires_grad_()
        with torch.enable_grad(), _running_statistics(step.model.encoder):
            z = step.model.encode(x, step.c).mean  # (n, n_components)
            each_unit = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)[:, None]
            (jacobian,) = torch.autograd.grad(
                z,
                x,
                each_unit.expand(-1, len(z), -1),
                is_grads_batched=True,
                create_graph=True,
            )  # (n_components, n, *features)
        return self.weight * jacobian.pow(2).sum() / len(x)

    def _of_one_layer(self, step: Pass, layer: nn.Linear) -> Tensor:
        """Return the mean of ‖∂z/∂x‖² where z_j = f(W_j x + b_j)."""
        with torch.enable_grad():
            a = layer(step.x.detach().flatten(1))
            z = step.model.posterior(a).mean
            (slope,) = torch.autograd.grad(z.sum(), a, create_graph=True)
        return (slope.pow(2) @ layer.weight.pow(2).sum(1)).mean()


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
