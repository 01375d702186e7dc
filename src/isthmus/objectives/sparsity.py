"""Penalties that keep the number of active units of sparse codes low."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from isthmus.distributions.sparse_codes import SparseCode
from isthmus.objectives.penalties import L1, Pass, Penalty
from isthmus.objectives.schedules import Linear

__all__ = ["GatePenalty", "GateReconstruction", "WarmUp", "sparsity_penalties"]

WARM_UP = 500  # steps until a gate penalty has its full weight


def sparsity_penalties(spec: Any, activation: str) -> tuple[Penalty, ...]:
    """Return the sparsity penalties of a spec with a given activation."""
    if activation in ("topk", "batchtopk"):
        return (L1(spec.penalty_weight),) if spec.penalty_weight else ()
    weight = 0.05 if spec.penalty_weight is None else spec.penalty_weight
    if activation == "jumprelu":
        return (WarmUp(GatePenalty(weight), WARM_UP),)
    if activation == "gated":
        return WarmUp(GatePenalty(weight), WARM_UP), GateReconstruction()
    return (L1(weight),)


@dataclass(frozen=True)
class GatePenalty:
    """`weight` times the mean over rows of the sum of the gate.

    For `JumpReLUPoint` the sum is L0, the number of active units; for `GatedPoint` the L1 norm of
    the gate; for other families the L1 norm of the code.
    """

    weight: float

    def __call__(self, step: Pass) -> Tensor:
        """Return the penalty, a scalar."""
        return self.weight * _gate(step).sum(-1).mean()


@dataclass(frozen=True)
class GateReconstruction:
    """The mean over rows of -log p(x | relu of the gate), with fixed decoder and likelihood.

    It trains the gate of `GatedPoint` to open for the units that the reconstruction needs. The
    decoder is fixed so that its dictionary fits the magnitudes alone.
    Source: equation 8 of the reference of `GatedPoint`.
    """

    weight: float = 1.0

    def __call__(self, step: Pass) -> Tensor:
        """Return the penalty in nats, a scalar."""
        model, gate = step.model, _gate(step)
        outputs = _frozen(model.decoder, gate if step.condition is None else (gate, step.condition))
        p = _frozen(model.likelihood, outputs)
        return -self.weight * model.log_likelihood(p, step.x).mean()


@dataclass(frozen=True)
class WarmUp:
    """A penalty whose weight rises linearly from 0 to 1 over the first steps.

    A strong penalty at the start would close units before they have learned anything.

    Examples
    --------
    >>> from isthmus.objectives.penalties import L1
    >>> WarmUp(L1(1.0), steps=100)
    WarmUp(penalty=L1(weight=1.0), steps=100)
    """

    penalty: Penalty
    steps: int

    def __call__(self, step: Pass) -> Tensor:
        """Return the penalty, a scalar."""
        return Linear(1.0, self.steps)(step.step) * self.penalty(step)


def _gate(step: Pass) -> Tensor:
    if not isinstance(step.q, SparseCode):
        raise ValueError("this penalty acts on a gate: it needs a posterior of a sparse family.")
    return step.q.gate


def _frozen(module: nn.Module, inputs: Any) -> Any:
    """Return module(*inputs) without gradients for its parameters."""
    fixed = {name: p.detach() for name, p in module.named_parameters()}
    return functional_call(module, fixed, inputs)
