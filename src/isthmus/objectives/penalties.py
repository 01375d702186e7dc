"""Penalties: terms that training adds to the loss, computed from one pass through the model.

To add a penalty, write a callable that takes a `Pass` and returns a scalar tensor, the batch mean
of a term in the loss.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.distributions import Distribution
from torch.func import functional_call

from isthmus.distributions.families import Family, NormalFamily, PointMass
from isthmus.distributions.sparse_codes import SparseCode
from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.objectives.jacobians import Chain, chain_of, squared_norm
from isthmus.objectives.schedules import Linear

__all__ = [
    "L1",
    "Contractive",
    "GatePenalty",
    "GateReconstruction",
    "KLSparsity",
    "Pass",
    "Penalty",
    "bernoulli_kl",
    "sparsity_penalties",
]

WARM_UP = 500  # steps until a sparsity penalty has its full weight


@dataclass(eq=False)
class Pass:
    """One pass through a model: the inputs of bounds and penalties.

    `x` (n, *features) is the input of the encoder, after corruption; `z`
    (*samples, n, n_components) the input of the decoder; `reconstruction` (*samples, n) is
    -log p(x|z) of the clean row in nats; `kl` is KL(q(z|x) || p(z)), (n,) or (*samples, n); `step`
    is the number of the optimiser step, `generator` the source of random numbers. `row_weights`
    (n,) are sample weights, of mean 1 over the data set, or None; `mean` counts them, also in
    `mean_reconstruction` and `mean_kl`.
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
    row_weights: Tensor | None = None
    # Not cached properties, because a lock in these does not compile before Python 3.12.
    mean_reconstruction: Tensor = field(init=False)
    mean_kl: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.mean_reconstruction, self.mean_kl = self.mean(self.reconstruction), self.mean(self.kl)

    def mean(self, values: Tensor, features: int = 0) -> Tensor:
        """Return the weighted mean over samples and rows of values (*samples, n, *features)."""
        if self.row_weights is not None:
            values = values * self.row_weights.reshape(-1, *[1] * features)
        return values.flatten(0, -1 - features).mean(0) if features else values.mean()


Penalty = Callable[[Pass], Tensor]


@dataclass(frozen=True)
class L1:
    """`weight` times the mean over rows of Σ_j |z_j|.

    The weight rises from 0 over the first `warm_up` steps: a penalty at full strength closes units
    before they have learned anything, and a closed unit has no gradient.
    """

    weight: float
    warm_up: int = 0

    def __call__(self, step: Pass) -> Tensor:
        """Return the penalty, a scalar."""
        return self.weight * _share(step, self.warm_up) * step.mean(step.z.abs().sum(-1))


@dataclass(frozen=True)
class KLSparsity:
    """`weight` times Σ_j KL(ρ || ρ̂_j), where ρ̂_j is the batch mean of unit j.

    The code must lie between 0 and 1.
    Source: Sparse autoencoder, lecture notes (Ng, 2011).
    """

    weight: float
    target: float = 0.05

    def __call__(self, step: Pass) -> Tensor:
        """Return the penalty, a scalar."""
        activity = step.mean(step.z, features=1)  # (n_components,)
        return self.weight * bernoulli_kl(self.target, activity).sum()


def bernoulli_kl(target: float, activity: Tensor) -> Tensor:
    """Return KL(Bernoulli(target) || Bernoulli(activity)) in nats, elementwise.

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
class GatePenalty:
    """`weight` times the mean over rows of the sum of the gate.

    For `JumpReLUPoint` the sum is L0, the number of active units; for `GatedPoint` the L1 norm of
    the gate; for other families the L1 norm of the code. `warm_up` as in `L1`.
    """

    weight: float
    warm_up: int = 0

    def __call__(self, step: Pass) -> Tensor:
        """Return the penalty, a scalar."""
        return self.weight * _share(step, self.warm_up) * step.mean(_gate(step).sum(-1))


@dataclass(frozen=True)
class GateReconstruction:
    """The mean over rows of -log p(x | relu of the gate), with fixed decoder and likelihood.

    It trains the gate of `GatedPoint` to open for the units that the reconstruction needs. The
    decoder is fixed so that its dictionary fits the magnitudes alone.
    Source: equation 8 of the reference of `GatedPoint`.
    """

    def __call__(self, step: Pass) -> Tensor:
        """Return the penalty in nats, a scalar."""
        model, gate = step.model, _gate(step)
        outputs = _frozen(model.decoder, gate if step.condition is None else (gate, step.condition))
        p = _frozen(model.likelihood, outputs)
        return -step.mean(model.log_likelihood(p, step.x))


def _share(step: Pass, warm_up: int) -> float:
    """Return the share of a weight that a warm-up has reached."""
    return Linear(1.0, warm_up)(step.step) if warm_up else 1.0


def _gate(step: Pass) -> Tensor:
    if not isinstance(step.q, SparseCode):
        raise ValueError("this penalty acts on a gate: it needs a posterior of a sparse family.")
    return step.q.gate


def _frozen(module: nn.Module, inputs: Any) -> Any:
    """Return module(*inputs) without gradients for its parameters."""
    fixed = {name: p.detach() for name, p in module.named_parameters()}
    return functional_call(module, fixed, inputs)


def sparsity_penalties(spec: Any, activation: str) -> tuple[Penalty, ...]:
    """Return the sparsity penalties of a spec with a given activation."""
    if activation in ("topk", "batchtopk"):
        return (L1(spec.penalty_weight),) if spec.penalty_weight else ()
    weight = 0.05 if spec.penalty_weight is None else spec.penalty_weight
    if activation == "jumprelu":
        return (GatePenalty(weight, WARM_UP),)
    if activation == "gated":
        return GatePenalty(weight, WARM_UP), GateReconstruction()
    return (L1(weight, WARM_UP),)


@dataclass(frozen=True)
class Contractive:
    """`weight` times the mean over rows of ‖∂z/∂x‖²_F, where z is the mean of q(z|x).

    The norm is exact, computed from small matrices for dense encoders (see
    `isthmus.objectives.jacobians`) and by one backward pass per component otherwise. With `samples`
    it is an unbiased estimate from random directions, one backward pass each.

    Sources: Contractive auto-encoders: explicit invariance during feature extraction (Rifai,
    Vincent, Muller, Glorot, Bengio, 2011); A stochastic estimator of the trace of the influence
    matrix for Laplacian smoothing splines (Hutchinson, 1989), for the estimate.

    Parameters
    ----------
    weight : float
    samples : int, optional
        Random directions per row; None is exact.
    """

    weight: float
    samples: int | None = None

    @property
    def draws(self) -> bool:
        """Whether the penalty uses random numbers."""
        return self.samples is not None

    def __call__(self, step: Pass) -> Tensor:
        """Return the penalty, a scalar."""
        chain = _elementwise_chain(step)
        if chain is not None:
            return self.weight * step.mean(self._of_chain(step, chain))
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
        norms = jacobian.pow(2).sum([0, *range(2, jacobian.ndim)])  # (n,)
        return self.weight * step.mean(norms) / (self.samples or 1)

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


def _elementwise_chain(step: Pass) -> Chain | None:
    """Return the dense layers if they see x unchanged and each z_j depends on its own outputs."""
    model = step.model
    unchanged = type(model.likelihood).embed is Family.embed and not model.missing
    elementwise = isinstance(model.posterior, PointMass | NormalFamily)
    return chain_of(model.encoder) if unchanged and elementwise and step.condition is None else None


@contextlib.contextmanager
def _running_statistics(network: nn.Module) -> Iterator[None]:
    """Use the running statistics of batch norms temporarily.

    With batch statistics every code would depend on all rows, and the Jacobian of one row would
    not be defined.
    """
    batch_norm = nn.modules.batchnorm._BatchNorm
    norms = [m for m in network.modules() if isinstance(m, batch_norm) and m.training]
    try:
        for m in norms:
            m.training = False
        yield
    finally:
        for m in norms:
            m.training = True
