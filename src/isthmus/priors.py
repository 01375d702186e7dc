"""Priors p(z), possibly given a context."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from isthmus.distributions import DiagonalNormal

__all__ = ["Prior", "StandardNormal"]

Encode = Callable[..., Distribution]


class Prior(nn.Module):
    """A prior: called with a context and the model's `encode`, it returns p(z).

    The encoder is at hand so that a prior may be made of posteriors without owning weights
    twice. To add a prior, subclass this and return a distribution over (n_components,) with
    ``log_prob`` and ``sample(shape, generator=...)``.

    Parameters
    ----------
    n_components : int
    """

    def __init__(self, n_components: int) -> None:
        super().__init__()
        self.n_components = n_components

    def forward(self, c: Tensor | None = None, encode: Encode | None = None) -> Distribution:
        """Return p(z), or p(z|c)."""
        raise NotImplementedError


class StandardNormal(Prior):
    """N(0, I), whatever the context.

    Examples
    --------
    >>> StandardNormal(2)().log_prob(torch.zeros(2)).sum()
    tensor(-1.8379)
    """

    def __init__(self, n_components: int) -> None:
        super().__init__(n_components)
        self.register_buffer("loc", torch.zeros(n_components), persistent=False)
        self.register_buffer("scale", torch.ones(n_components), persistent=False)

    def forward(self, c: Tensor | None = None, encode: Encode | None = None) -> DiagonalNormal:
        """Return N(0, I)."""
        return DiagonalNormal(self.loc, self.scale)  # type: ignore[arg-type]
