"""Averages of the weights along the training, which are evaluated and kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["WeightAverage", "running_statistics"]

EVERY_STEP, STRIDE = 128, 8  # an update costs a tenth of a step, and 8 steps are few after 128


def running_statistics(model: nn.Module) -> list[Tensor]:
    """Return the means and variances that batch normalisation uses after training."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    found = [t for norm in norms for t in (norm.running_mean, norm.running_var)]
    return [t for t in found if t is not None]


class WeightAverage:
    """Moving average of weights over a fixed share of the steps so far.

    An average does for the final weights what a decaying learning rate does: the noise of the last
    steps cancels out. Since its window grows with the number of steps, it needs no planned end, so
    that patience may end training at any time, and one setting suits a hundred steps and a
    million.

    Reference: the power-function profile of Analyzing and improving the training dynamics of
    diffusion models (Karras, Aittala, Lehtinen, Hellsten, Aila, Laine, 2024).

    Parameters
    ----------
    tensors : sequence of Tensor
        Weights and running statistics, which training updates in place.
    share : float
        Mean age of the averaged weights as a share of the steps so far; 0 for no average.

    Examples
    --------
    >>> weight = torch.zeros(1)
    >>> average = WeightAverage([weight], share=0.5)
    >>> for step in (1, 2, 3):
    ...     average.update(step)
    ...     weight += 1
    >>> average.show()
    >>> weight  # the weights 0, 1 and 2, of which the last has the largest share
    tensor([1.4444])
    >>> average.hide()
    >>> weight
    tensor([3.])
    """

    def __init__(self, tensors: Sequence[Tensor], share: float) -> None:
        self.share, self.is_shown = share, False
        self.current = [t.detach() for t in tensors] if share else []
        self.other = [t.clone() for t in self.current]  # the average; what it replaces when shown

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Include the weights after a step, counted from 1; later ones only now and then."""
        stride = 1 if step <= EVERY_STEP else STRIDE
        if self.other and step % stride == 0:
            kept = (1 - stride / step) ** (1 / self.share)
            mean, current = map(_local, self.other), map(_local, self.current)
            torch._foreach_lerp_([*mean], [*current], 1 - kept)

    def show(self) -> None:
        """Put the average in the place of the weights, to be evaluated."""
        if not self.is_shown:
            self._swap()

    def hide(self) -> None:
        """Put the weights that are trained back in their place."""
        if self.is_shown:
            self._swap()

    @torch.no_grad()
    def restart(self) -> None:
        """Continue from the weights that the model has now, as average and as those to train."""
        for current, other in zip(self.current, self.other, strict=True):
            other.copy_(current)

    def of(self, tensors: Sequence[Tensor], stay: list[int]) -> WeightAverage:
        """Return the average of the models that remain of a stack, given their weights."""
        new = WeightAverage(tensors, self.share)
        for own, old in zip(new.other, self.other, strict=True):
            own.copy_(old[stay])
        new.is_shown = self.is_shown
        return new

    def state(self) -> dict[str, Any]:
        """Return what is needed to continue with the same weights and the same average."""
        current = self.current if self.is_shown else []  # to recognise weights that were replaced
        return {"other": [t.clone() for t in self.other], "shown": [t.clone() for t in current]}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from a `state`, unless the average that was shown has been replaced."""
        same_kind = len(self.other) == len(state["other"])  # `ema` may have been set to or from 0
        if same_kind and all(map(torch.equal, self.current, state["shown"])):
            for own, given in zip(self.other, state["other"], strict=True):
                own.copy_(given)
            self.is_shown = bool(state["shown"])

    @torch.no_grad()
    def _swap(self) -> None:
        for current, other in zip(self.current, self.other, strict=True):
            before = current.clone()
            current.copy_(other)
            other.copy_(before)
        self.is_shown = not self.is_shown


def _local(tensor: Tensor) -> Tensor:
    """Return this process' part of a tensor that may be divided among processes."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor
