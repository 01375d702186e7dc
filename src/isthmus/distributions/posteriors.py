"""Posteriors with full covariance, and normalising flows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.distributions import MultivariateNormal, constraints, register_kl

from isthmus._optional import import_optional
from isthmus.distributions.base import DiagonalNormal, NoiseTransform
from isthmus.distributions.families import LOG_VARIANCE_LIMIT, Family, NormalFamily, soft_limit

__all__ = ["FlowFamily", "FlowNormal", "FullNormal", "FullNormalFamily", "require_zuko"]

FLOW_LIMIT = 10.0
MEAN_DRAWS = 64  # noise vectors, in antithetic pairs, that estimate the mean of a flow


class FullNormal(NoiseTransform, MultivariateNormal):  # type: ignore[misc]
    """A normal with full covariance that samples from a given generator or noise.

    Parameters
    ----------
    loc : Tensor (*batch, n_components)
    scale_tril : Tensor (*batch, n_components, n_components)
        Cholesky factor of the covariance.
    """

    def __init__(self, loc: Tensor, scale_tril: Tensor) -> None:
        super().__init__(loc, scale_tril=scale_tril, validate_args=False)

    def transform_noise(self, noise: Tensor) -> Tensor:
        """Return loc + scale_tril @ noise."""
        return self.loc + (self._unbroadcasted_scale_tril @ noise[..., None])[..., 0]

    def detached(self) -> FullNormal:
        """Return a copy that passes no gradient to its parameters."""
        return FullNormal(self.loc.detach(), self._unbroadcasted_scale_tril.detach())


@register_kl(FullNormal, DiagonalNormal)
def _kl_full_diagonal(q: FullNormal, p: DiagonalNormal) -> Tensor:
    # Sum over components of E_q[-log p], minus the entropy; (*batch,).
    spread = (p.scale**2).log() + (q.variance + (q.mean - p.loc) ** 2) / p.scale**2
    log_det = q._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return 0.5 * (spread - 1).sum(-1) - log_det


class FullNormalFamily(Family):
    """A normal with a full covariance per row, given by its Cholesky factor.

    Examples
    --------
    >>> family = FullNormalFamily((3,))
    >>> q = family(torch.randn(5, family.total_outputs))
    >>> q.covariance_matrix.shape
    torch.Size([5, 3, 3])
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        (n_components,) = shape
        self.n_outputs = 1 + n_components

    def build(self, *outputs: Tensor) -> FullNormal:
        """Return the normals for a mean and the rows of a raw factor."""
        mean, *raw = outputs
        factor = torch.stack(raw, -2)  # (*batch, n_components, n_components)
        diagonal = (0.5 * soft_limit(factor.diagonal(dim1=-2, dim2=-1), LOG_VARIANCE_LIMIT)).exp()
        return FullNormal(mean, factor.tril(-1) + torch.diag_embed(diagonal))


class FlowNormal(NoiseTransform):
    """A diagonal normal transformed by an invertible function.

    Parameters
    ----------
    base : DiagonalNormal
        Over (*batch, n_components).
    transform : torch.distributions.Transform
        With event dimension 1; the forward direction is the fast one.
    """

    arg_constraints = {}  # noqa: RUF012 - torch's own convention
    support = constraints.real_vector

    def __init__(self, base: DiagonalNormal, transform: Any) -> None:
        self.base, self.transform, self.loc = base, transform, base.loc
        super().__init__(base.batch_shape[:-1], base.batch_shape[-1:], validate_args=False)

    def transform_noise(self, noise: Tensor) -> Tensor:
        """Return the transformed samples of the base."""
        return self.transform(self.base.transform_noise(noise))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log q(z), (*batch,), by inverting the function."""
        before = self.transform.inv(value)
        jacobian = self.transform.log_abs_det_jacobian(before, value)
        return self.base.log_prob(before).sum(-1) - jacobian

    @property
    def mean(self) -> Tensor:
        """The mean over a fixed set of antithetic noise vectors."""
        return self._draws().mean(0)

    @property
    def variance(self) -> Tensor:
        """The variance over the same set."""
        return self._draws().var(0)

    def _draws(self) -> Tensor:
        loc = self.loc
        generator = Generator().manual_seed(0)
        half = torch.randn(MEAN_DRAWS // 2, loc.shape[-1], generator=generator).to(loc)
        noise = torch.cat([half, -half])
        spread = noise.reshape(MEAN_DRAWS, *[1] * (loc.ndim - 1), -1).expand(-1, *loc.shape)
        return self.transform_noise(spread)


class FlowFamily(Family):
    """A diagonal normal transformed by an inverse autoregressive flow that depends on the row.

    Source: Improved variational inference with inverse autoregressive flow (Kingma, Salimans,
    Jozefowicz, Chen, Sutskever, Welling, 2016). The flow is zuko's.

    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        zuko = require_zuko()
        (n_components,) = shape
        self.n_outputs = 3  # mean, log-variance and the context of the flow
        self.start = NormalFamily(shape)
        self.flow = nn.ModuleList(
            zuko.flows.MaskedAutoregressiveTransform(
                n_components,
                context=n_components,
                order=torch.arange(n_components).flip(0) if i % 2 else None,
                hidden_features=(64,),
            )
            for i in range(2)
        )

    def build(self, *outputs: Tensor) -> FlowNormal:
        """Return the flow for a mean, a raw log-variance and a context."""
        mean, raw, context = outputs
        zuko = require_zuko()
        # Limit the inputs of the flow's networks so that their products stay finite.
        layers = [layer(soft_limit(context, FLOW_LIMIT)) for layer in self.flow]
        start = self.start.build(mean, soft_limit(raw, FLOW_LIMIT))
        return FlowNormal(start, zuko.transforms.ComposedTransform(*layers))


def require_zuko() -> Any:
    """Import zuko, or raise an error that says how to install it."""
    return import_optional("zuko", extra="flows", what="a flow")
