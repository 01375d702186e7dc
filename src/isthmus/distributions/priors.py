"""Priors p(z) and p(z | condition)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, MixtureSameFamily

from isthmus.distributions.base import DiagonalMixture, DiagonalNormal, StandardNormalCode
from isthmus.distributions.families import LOG_SCALE_LIMIT, soft_limit
from isthmus.distributions.posteriors import require_zuko

__all__ = ["FlowPrior", "MixtureOfNormals", "Prior", "StandardNormal", "VampPrior"]

Encode = Callable[..., Distribution]


class Prior(nn.Module):
    """Map an optional condition to p(z).

    To add a prior, subclass this class and return from `forward` a distribution with ``log_prob``
    and ``sample``: over (n_components,), or over (n, n_components) given a condition
    (n, n_condition). `forward` also receives the model's `encode`, so that a prior can be a
    mixture of posteriors without owning the encoder.

    Parameters
    ----------
    n_components : int
        Dimensions of the code.
    """

    def __init__(self, n_components: int) -> None:
        super().__init__()
        self.n_components = n_components

    def forward(
        self, condition: Tensor | None = None, encode: Encode | None = None
    ) -> Distribution:
        """Return p(z), or p(z|condition)."""
        raise NotImplementedError


class StandardNormal(Prior):
    """N(0, I), for every condition.

    Examples
    --------
    >>> StandardNormal(2)().log_prob(torch.zeros(2)).sum()
    tensor(-1.8379)
    """

    def __init__(self, n_components: int) -> None:
        super().__init__(n_components)
        self.register_buffer("loc", torch.zeros(n_components), persistent=False)
        self.register_buffer("scale", torch.ones(n_components), persistent=False)

    def forward(
        self, condition: Tensor | None = None, encode: Encode | None = None
    ) -> DiagonalNormal:
        """Return N(0, I)."""
        return StandardNormalCode(self.loc, self.scale)  # type: ignore[arg-type]


class MixtureOfNormals(Prior):
    """A learned mixture of diagonal normals whose weights depend on the condition.

    Source: Learning structured output representation using deep conditional generative models
    (Sohn, Lee, Yan, 2015), for the conditional prior.

    Parameters
    ----------
    n_components : int
    n_modes : int
        Normals in the mixture.
    n_condition : int
        Numbers in a condition, 0 for none; they shift the log-weights.

    Examples
    --------
    >>> MixtureOfNormals(2, n_modes=5)().sample((3,)).shape
    torch.Size([3, 2])
    """

    def __init__(self, n_components: int, n_modes: int = 50, n_condition: int = 0) -> None:
        super().__init__(n_components)
        # Modes with equal initial values would have equal gradients and never separate.
        self.loc = nn.Parameter(torch.randn(n_modes, n_components))
        self.log_scale = nn.Parameter(torch.zeros(n_modes, n_components))
        self.logits = nn.Parameter(torch.zeros(n_modes))
        self.shift = nn.Parameter(torch.zeros(n_condition, n_modes)) if n_condition else None

    def forward(
        self, condition: Tensor | None = None, encode: Encode | None = None
    ) -> DiagonalMixture:
        """Return the mixture, or one mixture per row of the condition."""
        scale = soft_limit(self.log_scale, LOG_SCALE_LIMIT).exp()
        if self.shift is None or condition is None:
            return DiagonalMixture(self.logits, self.loc, scale)
        return DiagonalMixture(self.logits + condition @ self.shift, self.loc, scale)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Load models saved before the mixture depended on the condition: their shift is 0."""
        if self.shift is not None:
            state.setdefault(prefix + "shift", torch.zeros_like(self.shift))
        super()._load_from_state_dict(state, prefix, *rest)


class VampPrior(Prior):
    """The mixture of the posteriors of learned pseudo-inputs.

    It owns the pseudo-inputs; the encoder belongs to the model.

    Source: VAE with a VampPrior (Tomczak, Welling, 2018).

    Parameters
    ----------
    n_components : int
    n_modes : int
        Number of pseudo-inputs.
    features : tuple of int
        Shape of one example.
    n_condition : int
        Numbers in a condition; pseudo-inputs are encoded with the "unknown" condition.
    low, high : float, optional
        Bounds of the data, to which pseudo-inputs are clamped.
    """

    def __init__(
        self,
        n_components: int,
        n_modes: int = 500,
        features: tuple[int, ...] = (),
        n_condition: int = 0,
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        super().__init__(n_components)
        self.pseudo_inputs = nn.Parameter(torch.rand(n_modes, *features))
        self.n_condition, self.low, self.high = n_condition, low, high

    def start_from(self, x: Tensor) -> None:
        """Set the pseudo-inputs to rows of data (m, *features), repeated if there are too few."""
        n_modes = len(self.pseudo_inputs)
        with torch.no_grad():
            self.pseudo_inputs.copy_(x[torch.arange(n_modes) % len(x)])

    def forward(
        self, condition: Tensor | None = None, encode: Encode | None = None
    ) -> Distribution:
        """Return the mixture of the posteriors of the pseudo-inputs."""
        if encode is None:
            raise ValueError("VampPrior needs the encode method of the model.")
        u: Tensor = self.pseudo_inputs
        if self.low is not None:
            u = u.clamp(self.low, self.high)
        condition = None
        if self.n_condition:
            condition = u.new_zeros(len(u), self.n_condition)
            condition[:, -1] = 1  # "unknown"
        q = encode(u, condition)
        equal = u.new_zeros(len(u))
        if isinstance(q, DiagonalNormal):
            return DiagonalMixture(equal, q.loc, q.scale)
        weights = Categorical(logits=equal, validate_args=False)
        return MixtureSameFamily(weights, q, validate_args=False)


class FlowPrior(Prior):
    """A neural spline flow (zuko), conditional if the model is.

    Source: Neural spline flows (Durkan, Bekasov, Murray, Papamakarios, 2019).

    """

    def __init__(self, n_components: int, n_condition: int = 0) -> None:
        super().__init__(n_components)
        self.n_condition = n_condition
        self.flow = require_zuko().flows.NSF(
            n_components, context=n_condition, transforms=3, hidden_features=(64, 64)
        )

    def forward(
        self, condition: Tensor | None = None, encode: Encode | None = None
    ) -> Distribution:
        """Return the flow's p(z), or p(z|condition)."""
        return self.flow(condition if self.n_condition else None)
