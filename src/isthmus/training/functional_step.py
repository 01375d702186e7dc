"""The training step as a function of weights and random draws, for compiling and stacking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.objectives.objective import Objective, StepInputs, Terms

__all__ = ["Gradients", "Program", "compute_gradients", "is_traceable"]

Gradients = tuple[Sequence[Tensor | None], Tensor]  # one per weight, and the stacked loss terms
TRACEABLE = ("isthmus", "torch")  # packages whose modules do the same at every call


class Program(nn.Module):
    """The loss terms of a model as the forward pass of a module, for `functional_call`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        objective: Objective,
        shown: StepInputs,
        step: int,
        noise: Any,
        generator: Generator | None = None,
    ) -> Terms:
        """Return the loss terms of a batch."""
        model: Any = self.model
        return objective.terms(model, shown, step=step, generator=generator, noise=noise)


def compute_gradients(terms: Terms, weights: Sequence[Tensor]) -> Gradients:
    """Return the gradients of the loss, summed over models, and the stacked loss terms."""
    trainable = [w for w in weights if w.requires_grad]
    found = iter(torch.autograd.grad(terms.loss.sum(), trainable, allow_unused=True))
    gradients = [next(found) if w.requires_grad else None for w in weights]
    return gradients, torch.stack([t.detach() for t in terms])


def is_traceable(model: LatentVariableModel, objective: Objective) -> bool:
    """Whether a step depends on nothing but tensors, so that a traced graph can replace it.

    Modules and terms from other packages may count, draw or print, and hooks must be called.
    """
    parts = (objective, objective.bound, *objective.penalties)
    modules = list(model.modules())
    hooked = any(
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks
        for m in modules
    ) or any(p._backward_hooks or p._post_accumulate_grad_hooks for p in model.parameters())
    drawing = any(getattr(p, "draws", False) for p in parts)
    return not (hooked or drawing) and all(
        type(p).__module__.split(".")[0] in TRACEABLE for p in (*parts, *modules)
    )
