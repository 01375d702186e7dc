"""Adam over stacked weights: the update of the trainer for many models in one call."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from isthmus.models.specs import Training
from isthmus.training.optimizers import FusedAdamW

__all__ = ["StackedAdam", "lay_out"]


def lay_out(w: Tensor) -> Tensor:
    """Return stacked weights in the memory layout of their gradients.

    Gradients of stacked matrices are transposed in memory, and the fused update needs weights,
    gradients and moments in the same order.
    """
    return _line(_line(w).contiguous())


def _line(w: Tensor) -> Tensor:
    """Return the contiguous view of a laid-out tensor; applied twice, the tensor itself."""
    return w.mT if w.ndim == 3 else w


class StackedAdam:
    """AdamW on slices of stacked tensors, with one group for models with equal settings.

    The weights, (models, ...) each, come from `lay_out` and are updated in place. Models with the
    same learning rate and weight decay must be adjacent. To continue, pass moments and steps.
    """

    def __init__(
        self,
        weights: list[Tensor],
        settings: Sequence[Training],
        moments: list[tuple[Tensor, Tensor]] | None = None,
        steps: float = 0.0,
    ) -> None:
        self.settings, self.steps = list(settings), steps
        lines = [_line(w.detach()) for w in weights]
        self.moments = moments or [(torch.zeros_like(w), torch.zeros_like(w)) for w in lines]
        self.slices: list[tuple[slice, list[Tensor]]] = []
        groups = []
        keys = [(s.learning_rate, s.weight_decay) for s in self.settings]
        for (rate, decay), run in itertools.groupby(range(len(keys)), keys.__getitem__):
            first, *others = run
            part = slice(first, first + 1 + len(others))
            own = [w[part] for w in lines]
            self.slices.append((part, own))
            groups.append({"params": own, "lr": rate, "weight_decay": decay})
        self.optimizer = FusedAdamW(groups)
        fused = self.optimizer.defaults["fused"]
        for part, own in self.slices:
            for w, (mean, square) in zip(own, self.moments, strict=True):
                self.optimizer.state[w] = {
                    "step": torch.tensor(steps, device=w.device if fused else None),
                    "exp_avg": mean[part],
                    "exp_avg_sq": square[part],
                }

    def step(self, gradients: Sequence[Tensor | None], rate: Callable[[Training], float]) -> None:
        """Update from the gradients of the stacked weights; None skips a weight.

        `rate` maps the settings of a model to its learning rate.
        """
        for group, (part, _) in zip(self.optimizer.param_groups, self.slices, strict=True):
            group["lr"] = rate(self.settings[part.start])
        for part, own in self.slices:
            for w, gradient in zip(own, gradients, strict=True):
                w.grad = None if gradient is None else _line(gradient)[part].contiguous()
        self.optimizer.step()
        self.steps += 1

    def of(self, weights: list[Tensor], stay: list[int]) -> StackedAdam:
        """Return the optimizer of the remaining models, given their restacked weights."""
        moments = [(mean[stay], square[stay]) for mean, square in self.moments]
        return StackedAdam(weights, [self.settings[i] for i in stay], moments, self.steps)
