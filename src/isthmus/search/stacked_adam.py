"""Adam over stacked weights: the very update of the Trainer, for many models in one call."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from isthmus.models.specs import Training
from isthmus.training.adam import FusedAdamW

__all__ = ["StackedAdam", "lay_out"]


def lay_out(w: Tensor) -> Tensor:
    """Return stacked weights in the order in memory in which their gradients come.

    Gradients of stacked matrices come transposed, and the fused update goes through memory in one
    line: weight, gradient and moments must be in the same order.
    """
    return _line(_line(w).contiguous())


def _line(w: Tensor) -> Tensor:
    """Return the view of a laid-out tensor in which it is contiguous; and back again."""
    return w.mT if w.ndim == 3 else w


class StackedAdam:
    """`torch.optim.AdamW` on slices of stacked tensors, one group for models with equal settings.

    Parameters
    ----------
    weights : list of Tensor (models, ...)
        Updated in place; as `lay_out` returns them.
    settings : sequence of Training
        Of each model; those with the same learning rate and weight decay stand side by side.
    moments : list of (Tensor, Tensor), optional
        First and second moments to go on from.
    steps : float
        Steps that were taken.
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
        for part, (rate, decay) in self._runs():
            own = [w[part] for w in lines]
            self.slices.append((part, own))
            groups.append({"params": own, "lr": rate, "weight_decay": decay})
        self.optimizer = FusedAdamW(groups)
        fused = self.optimizer.defaults["fused"]
        for part, own in self.slices:
            for w, (first, second) in zip(own, self.moments, strict=True):
                self.optimizer.state[w] = {
                    "step": torch.tensor(steps, device=w.device if fused else None),
                    "exp_avg": first[part],
                    "exp_avg_sq": second[part],
                }

    def _runs(self) -> list[tuple[slice, tuple[float, float]]]:
        """Return where the models of one learning rate and decay stand."""
        keys = [(s.learning_rate, s.weight_decay) for s in self.settings]
        lengths = [(key, len(list(run))) for key, run in itertools.groupby(keys)]
        ends = itertools.accumulate(n for _, n in lengths)
        return [(slice(end - n, end), key) for (key, n), end in zip(lengths, ends, strict=True)]

    def step(self, gradients: Sequence[Tensor | None]) -> None:
        """Update by the gradients of the stacked weights; None where there is none."""
        for part, own in self.slices:
            for w, gradient in zip(own, gradients, strict=True):
                w.grad = None if gradient is None else _line(gradient)[part].contiguous()
        self.optimizer.step()
        self.steps += 1

    def of(self, weights: list[Tensor], stay: list[int]) -> StackedAdam:
        """Return the optimiser of the models that stay, whose weights were stacked anew."""
        moments = [(first[stay], second[stay]) for first, second in self.moments]
        return StackedAdam(weights, [self.settings[i] for i in stay], moments, self.steps)
