"""One training step as a function of weights and draws: what recording and stacking start from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.objectives.objective import Objective, StepInputs, Terms

__all__ = ["Gradients", "Program", "compute_gradients", "repeats"]

Gradients = tuple[Sequence[Tensor | None], Tensor]  # gradients by weight, and the terms stacked
OWN = ("isthmus", "torch")  # packages whose modules do the same at every call


class Program(nn.Module):
    """The terms of an objective as the forward pass of a module, for `functional_call`."""

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
        """Return the terms of the model on a batch that was shown."""
        model: Any = self.model
        return objective.terms(model, shown, step=step, generator=generator, noise=noise)


def compute_gradients(terms: Terms, weights: Sequence[Tensor]) -> Gradients:
    """Return the gradients of the loss (summed, of several models), and the terms stacked."""
    taken = [w for w in weights if w.requires_grad]  # others are frozen
    found = iter(torch.autograd.grad(terms.loss.sum(), taken, allow_unused=True))
    gradients = [next(found) if w.requires_grad else None for w in weights]
    return gradients, torch.stack([t.detach() for t in terms])


def repeats(model: LatentVariableModel, objective: Objective) -> bool:
    """Whether nothing but tensors can make a step differ from the last one.

    Modules and terms of somebody's own may count, draw or print; hooks want to be called.
    """
    parts = (objective, objective.bound, *objective.penalties)
    modules = list(model.modules())
    hooked = any(
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks
        for m in modules
    ) or any(p._backward_hooks or p._post_accumulate_grad_hooks for p in model.parameters())
    drawing = any(getattr(p, "draws", False) for p in parts)
    return not (hooked or drawing) and all(
        type(p).__module__.split(".")[0] in OWN for p in (*parts, *modules)
    )
