"""Wrap a conditional model so that it uses one fixed condition."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from isthmus.models.latent_variable_model import LatentVariableModel

__all__ = ["with_condition"]


def with_condition(estimator: Any, condition: Any = None) -> Any:
    """Return a fitted estimator whose `model_` uses one fixed condition by default.

    For applications that compute with `model_` and pass no condition. The weights are shared; the
    returned estimator takes no other condition. An unconditional estimator is returned unchanged.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    condition : label or row of numbers, optional
        By default "unknown".

    Raises
    ------
    ValueError
        If the label was not seen during fit.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import ConditionalVAE
    >>> X, y = load_digits(return_X_y=True)
    >>> model = ConditionalVAE(n_components=2, epochs=2).fit(X / 16, y)
    >>> with_condition(model, 3).model_.reconstruct(torch.zeros(5, 2)).shape
    torch.Size([5, 64])
    """
    condition = estimator.encode_condition(condition, 1)
    if condition is None:
        return estimator
    again = copy.copy(estimator)
    again.condition_encoder_ = None
    fixed = torch.from_numpy(condition).to(estimator.device_)
    again.model_ = _WithCondition(estimator.model_, fixed)
    return again


class _WithCondition(LatentVariableModel):
    """The parts of another model, with a default condition (1, width)."""

    condition: Tensor

    def __init__(self, model: LatentVariableModel, condition: Tensor) -> None:
        names = ["encoder", "decoder", "posterior", "likelihood", "prior", "log_unit", "missing"]
        super().__init__(**{name: getattr(model, name) for name in names})
        self.register_buffer("condition", condition)
        self.eval()

    def encode(self, x: Tensor, condition: Tensor | None = None) -> Distribution:
        default = self.condition.expand(len(x), -1)
        return super().encode(x, default if condition is None else condition)

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Distribution:
        return super().decode(z, self.condition if condition is None else condition)

    def prior_given(self, condition: Tensor | None = None) -> Distribution:
        return super().prior_given(self.condition if condition is None else condition)
