"""torch's optimizers without the import of its compiler.

torch's own decorators import `torch._dynamo` when an optimizer is made, which takes more than a
second, longer than many of the fits here. The updates themselves are torch's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor

from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.models.specs import Training
from isthmus.objectives.objective import Objective

__all__ = ["FusedAdamW", "fast_scales", "faster", "make_optimizer"]

#: Learning rate of some scales of likelihoods, relative to that of the other weights. A scale that
#: lags behind the errors lets the validation loss fall while they grow, so that training ends too
#: late. One scale of all features is better slow if there is a prior or a penalty, whose weight
#: relative to the errors it determines (digits, nats of held-out rows: 45.0, fast 43.5).
SCALE_RATE = 10.0


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


def fast_scales(model: LatentVariableModel, objective: Objective) -> set[str]:
    """Return the names of the learned scales that take larger steps."""
    is_plain = model.prior is None and not objective.penalties
    return {
        name
        for name, weight in model.named_parameters()
        if name.startswith("likelihood.")
        and name.endswith("log_scale")
        and (weight.ndim or is_plain)
    }


@contextmanager
def faster(weights: Sequence[Tensor], rate: float = SCALE_RATE) -> Iterator[None]:
    """Multiply the updates of some weights within the block, as a larger learning rate would.

    A group of the optimizer with its own rate would cost one more call of its kernel.

    Examples
    --------
    >>> weight = torch.ones(1)
    >>> with faster([weight], rate=10.0):
    ...     weight -= 0.01
    >>> weight
    tensor([0.9000])
    """
    before = [w.detach().clone() for w in weights]
    yield
    if before:
        with torch.no_grad():
            torch._foreach_lerp_(list(weights), before, 1 - rate)
