"""A conditional model that hears one context wherever it is told none."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from isthmus.models.latent_variable_model import LatentVariableModel

__all__ = ["with_condition"]


def with_condition(estimator: Any, condition: Any = None) -> Any:
    """Return a fitted estimator whose `model_` hears one context wherever it is told none.

    For uses that compute with `model_` and know nothing of contexts. The weights are shared, and
    no other condition is taken any more; a model trained without labels comes back as it is.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    condition : label or row of numbers, optional
        By default "unknown".

    Raises
    ------
    ValueError
        For a label that was not there when the model was fitted.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import ConditionalVAE
    >>> X, y = load_digits(return_X_y=True)
    >>> model = ConditionalVAE(n_components=2, epochs=2).fit(X / 16, y)
    >>> with_condition(model, 3).model_.reconstruct(torch.zeros(5, 2)).shape
    torch.Size([5, 64])
    """
    c = estimator.encode_condition(condition, 1)
    if c is None:
        return estimator
    again = copy.copy(estimator)
    again.condition_encoder_ = None
    again.model_ = _WithCondition.of(estimator.model_, torch.from_numpy(c).to(estimator.device_))
    return again


class _WithCondition(LatentVariableModel):
    """The parts of another model, and a context (1, width)."""

    context: Tensor

    @classmethod
    def of(cls, model: LatentVariableModel, context: Tensor) -> _WithCondition:
        """Share all parts of a model."""
        made = cls(
            model.encoder,
            model.decoder,
            model.posterior,
            model.likelihood,
            model.prior,
            model.log_unit,
            model.missing,
        )
        made.register_buffer("context", context)
        return made.eval()

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        """Return q(z | x, c)."""
        return super().encode(x, self.context.expand(len(x), -1) if c is None else c)

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """Return p(x | z, c)."""
        return super().decode(z, self.context if c is None else c)

    def prior_given(self, c: Tensor | None = None) -> Distribution:
        """Return p(z | c)."""
        return super().prior_given(self.context if c is None else c)
