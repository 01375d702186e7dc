"""AdamW by torch's fused kernel, without the bookkeeping that small models wait for."""

from __future__ import annotations

from inspect import unwrap
from typing import Any

import torch
from torch import Tensor

__all__ = ["LeanAdamW"]


class LeanAdamW(torch.optim.AdamW):
    """`torch.optim.AdamW(fused=True)`, the same to the last bit, for one group of parameters.

    torch collects and checks its lists at every step, which takes longer than the update of a
    small model; here they are collected once. States, loading and options are torch's own.

    Parameters
    ----------
    parameters : iterable of Parameter
    **options
        ``lr`` and ``weight_decay``.

    Examples
    --------
    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> optimizer = LeanAdamW([weight], lr=0.1)
    >>> weight.sum().backward()
    >>> optimizer.update()
    >>> weight
    Parameter containing:
    tensor([0.8990, 0.8990], requires_grad=True)
    """

    # torch keeps its compiler's hands off these, and loads it to do so: .8 s that few runs need.
    add_param_group = unwrap(torch.optim.AdamW.add_param_group)
    state_dict = unwrap(torch.optim.AdamW.state_dict)
    _load = unwrap(torch.optim.AdamW.load_state_dict)
    _first_step = unwrap(torch.optim.AdamW.step)

    def __init__(self, parameters: Any, **options: Any) -> None:
        parameters = list(parameters)
        self._fused = parameters[0].device.type in ("cpu", "cuda")
        super().__init__(parameters, fused=self._fused, **options)
        self._lists: tuple[list[Tensor], ...] | None = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a state, as torch does."""
        self._load(state_dict)
        self._lists = None

    @torch.no_grad()
    def update(self) -> None:
        """Take one step."""
        group = self.param_groups[0]
        gradients = [p.grad for p in group["params"]]
        if self._lists is None or any(g is None for g in gradients):
            self._first_step()  # makes the states of those that have none
            self._collect()
            return
        weights, means, squares, steps = self._lists
        torch._foreach_add_(steps, 1)
        beta1, beta2 = group["betas"]
        torch._fused_adamw_(
            weights,
            gradients,
            means,
            squares,
            [],
            steps,
            amsgrad=False,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def _collect(self) -> None:
        parameters = self.param_groups[0]["params"]
        states = [self.state[p] for p in parameters]
        if self._fused and all(states):
            names = ("exp_avg", "exp_avg_sq", "step")
            self._lists = (parameters, *([s[name] for s in states] for name in names))
