"""torch's optimizers without the import of its compiler.

torch's own decorators import `torch._dynamo` when an optimizer is made, which takes more than a
second, longer than many of the fits here. The updates themselves are torch's.
"""

from __future__ import annotations

from collections.abc import Iterable
from inspect import unwrap
from typing import Any

import torch

from isthmus.models.specs import Training

__all__ = ["FusedAdamW", "make_optimizer"]


class _Lean:
    """Mixin that removes the decorators from an optimizer."""

    def __init_subclass__(cls) -> None:
        for name in ("add_param_group", "state_dict", "load_state_dict"):
            setattr(cls, name, unwrap(getattr(cls, name)))
        cls.step = torch.no_grad()(unwrap(cls.step))  # type: ignore[attr-defined]


class FusedAdamW(_Lean, torch.optim.AdamW):
    """`torch.optim.AdamW(fused=True)`, bit for bit, that does not load the compiler.

    Parameters
    ----------
    parameters : iterable of Parameter, or of parameter groups
    **options
        ``lr`` and ``weight_decay``.
    """

    def __init__(self, parameters: Iterable[Any], **options: Any) -> None:
        parameters = list(parameters)
        first = parameters[0]["params"][0] if isinstance(parameters[0], dict) else parameters[0]
        super().__init__(parameters, fused=first.device.type in ("cpu", "cuda"), **options)


class _NAdam(_Lean, torch.optim.NAdam):
    pass


class _SGD(_Lean, torch.optim.SGD):
    pass


def make_optimizer(weights: Iterable[Any], settings: Training) -> torch.optim.Optimizer:
    """Return the optimizer that the settings name."""
    options: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.optimizer == "sgd":
        return _SGD(weights, momentum=0.9, nesterov=True, **options)
    if settings.optimizer == "nadam":
        return _NAdam(weights, decoupled_weight_decay=True, **options)
    return FusedAdamW(weights, **options)
