"""Likelihoods p(x|z), and the table of all likelihoods by name.

Every ``log_prob`` is in nats, keeps the feature axes and is computed at least in float32: in
bfloat16 a log-likelihood has only two digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Laplace, NegativeBinomial, Poisson

from isthmus.distributions.base import DiagonalNormal
from isthmus.distributions.families import (
    LOG_SCALE_LIMIT,
    BernoulliFamily,
    Family,
    NormalFamily,
    soft_limit,
)
from isthmus.distributions.likelihood_distributions import ContinuousBernoulli, NumberedCategorical

__all__ = [
    "LIKELIHOODS",
    "CategoricalFamily",
    "ContinuousBernoulliFamily",
    "GaussianFamily",
    "LaplaceFamily",
    "NegativeBinomialFamily",
    "PoissonFamily",
]

Shape = tuple[int, ...]
LOG_RATE_LIMIT = 20.0


def _precise(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


class ContinuousBernoulliFamily(Family):
    """Continuous Bernoulli distributions from logits: a density on [0, 1], for grey values.

    Examples
    --------
    >>> p = ContinuousBernoulliFamily((1,))(torch.tensor([[0.0]]))
    >>> p.mean, p.log_prob(torch.tensor([[0.3]])).abs()
    (tensor([[0.5000]]), tensor([[0.]]))
    """

    bounds = (0, 1)

    def build(self, *outputs: Tensor) -> ContinuousBernoulli:
        """Return the distributions for one output, the logits."""
        (logits,) = outputs
        return ContinuousBernoulli(_precise(logits))


class _LocationFamily(Family):
    """The network gives the location; the scale belongs to the family.

    Parameters
    ----------
    shape : tuple of int
    scale : {"shared", "per-feature"} or float
        One learned number, one per feature, or a fixed one, in the units in which the model sees
        the data: 1.0 is the standard deviation of scaled data.
    """

    log_scale: Tensor

    def __init__(self, shape: Shape, scale: str | float = "shared") -> None:
        super().__init__(shape)
        self.learned = isinstance(scale, str)
        if isinstance(scale, str):
            size = {"shared": (), "per-feature": self.shape}[scale]
            self.log_scale = nn.Parameter(torch.zeros(size))
        else:
            self.register_buffer("log_scale", torch.tensor(float(scale)).log())

    @property
    def scale(self) -> Tensor:
        """The scale: one number, or one per feature."""
        log_scale = _precise(self.log_scale)
        return (soft_limit(log_scale, LOG_SCALE_LIMIT) if self.learned else log_scale).exp()


class GaussianFamily(_LocationFamily):
    """Normals with a mean from the network; `NormalFamily` takes the scale from it as well.

    Source: Simple and effective VAE training with calibrated decoders (Rybkin, Daniilidis,
    Levine, 2021), for the learned scale.

    Examples
    --------
    >>> p = GaussianFamily((2,), scale=0.5)(torch.zeros(3, 2))
    >>> p.log_prob(torch.zeros(3, 2)).shape, p.stddev[0]
    (torch.Size([3, 2]), tensor([0.5000, 0.5000]))
    """

    def build(self, *outputs: Tensor) -> DiagonalNormal:
        """Return the normals around the output."""
        (mean,) = outputs
        return DiagonalNormal(_precise(mean), self.scale)


class LaplaceFamily(_LocationFamily):
    """Laplace distributions around the output: absolute instead of squared errors.

    Examples
    --------
    >>> p = LaplaceFamily((1,))(torch.zeros(1, 1))
    >>> p.log_prob(torch.tensor([[3.0]])).detach()
    tensor([[-3.6931]])
    """

    def build(self, *outputs: Tensor) -> Laplace:
        """Return the distributions around the output."""
        (median,) = outputs
        return Laplace(_precise(median), self.scale, validate_args=False)


class CategoricalFamily(Family):
    """Categories numbered from 0; the network gives K logits per feature.

    Encoders see categories one-hot, as channels before the feature axes.

    Examples
    --------
    >>> family = CategoricalFamily((2,), n_categories=3)
    >>> family.embed(torch.tensor([[0.0, 2.0]]))
    tensor([[[1., 0.],
             [0., 0.],
             [0., 1.]]])
    >>> family.center(family(torch.tensor([[0.0, 0.0, 5.0, 0.0, 0.0, 5.0]])))
    tensor([[1., 2.]])
    """

    integer = discrete = True
    ordered = False

    def __init__(self, shape: Shape, n_categories: int = 2) -> None:
        super().__init__(shape)
        if n_categories < 2:
            raise ValueError(f"n_categories must be at least 2, got {n_categories!r}.")
        self.n_outputs, self.bounds = n_categories, (0, n_categories - 1)

    def build(self, *outputs: Tensor) -> NumberedCategorical:
        """Return the categoricals for K logits of shape (*batch, *shape) each."""
        return NumberedCategorical(_precise(torch.stack(outputs, -1)))

    def center(self, p: Distribution) -> Tensor:
        """Return the most probable category, as a float."""
        return p.mode

    def embed(self, x: Tensor) -> Tensor:
        """Return x (*batch, *shape) one-hot, (*batch, n_categories, *shape).

        Fractions are interpolated, so that learned inputs receive a gradient.
        """
        axis = -len(self.shape) - 1
        numbers = torch.arange(self.n_outputs, device=x.device, dtype=x.dtype)
        numbers = numbers.reshape(-1, *[1] * len(self.shape))
        return (1 - (x.unsqueeze(axis) - numbers).abs()).clamp(min=0)

    @property
    def input_shape(self) -> Shape:
        """Shape of one embedded example: (n_categories, *shape)."""
        return (self.n_outputs, *self.shape)


class _CountFamily(Family):
    """Counts 0, 1, 2, …, which encoders see as log(1 + x)."""

    bounds = (0, math.inf)
    integer = discrete = True

    def embed(self, x: Tensor) -> Tensor:
        """Return log(1 + x); negative numbers, from a corruption, count as 0."""
        return x.clamp(min=0).log1p()

    def link(self, x: Tensor) -> Tensor:
        """Return the log-rate of embedded counts, before its soft limit."""
        log_rate = x.expm1().clamp(min=0.02).log().clamp(max=0.99 * LOG_RATE_LIMIT)
        return log_rate / (1 - log_rate.abs() / LOG_RATE_LIMIT)


class PoissonFamily(_CountFamily):
    """Poisson counts; the network gives the log-rate, softly limited to ±20.

    Examples
    --------
    >>> PoissonFamily((1,))(torch.zeros(1, 1)).log_prob(torch.tensor([[0.0, 3.0]]))
    tensor([[-1.0000, -2.7918]])
    """

    def build(self, *outputs: Tensor) -> Poisson:
        """Return the Poisson distributions for one output."""
        (log_rate,) = outputs
        rate = soft_limit(_precise(log_rate), LOG_RATE_LIMIT).exp()
        return Poisson(rate, validate_args=False)


class NegativeBinomialFamily(_CountFamily):
    """Overdispersed counts with mean m from the network and variance m + m² / r.

    A gamma mixture of Poisson distributions with shape r, learned per feature (1 / r is the
    dispersion). The network gives log m, softly limited to ±20.

    Source: Deep generative modeling for single-cell transcriptomics (Lopez, Regier, Cole,
    Jordan, Yosef, 2018).

    Examples
    --------
    >>> p = NegativeBinomialFamily((1,))(torch.tensor([[2.0]]))
    >>> p.mean.detach(), p.variance.detach()
    (tensor([[6.1606]]), tensor([[44.1142]]))
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.log_shape = nn.Parameter(torch.zeros(self.shape))

    def build(self, *outputs: Tensor) -> NegativeBinomial:
        """Return the negative binomials for one output."""
        log_mean = soft_limit(_precise(outputs[0]), LOG_RATE_LIMIT)
        log_shape = soft_limit(_precise(self.log_shape), LOG_SCALE_LIMIT)
        return NegativeBinomial(log_shape.exp(), logits=log_mean - log_shape, validate_args=False)


#: Likelihoods by name: functions of the shape of the features and options.
LIKELIHOODS: dict[str, Callable[..., Family]] = {
    "bernoulli": BernoulliFamily,
    "continuous-bernoulli": ContinuousBernoulliFamily,
    "gaussian": GaussianFamily,
    "gaussian-fixed": partial(GaussianFamily, scale=1.0),
    "gaussian-per-feature": partial(GaussianFamily, scale="per-feature"),
    "gaussian-network": partial(NormalFamily, scale="log-variance"),
    "laplace": LaplaceFamily,
    "categorical": CategoricalFamily,
    "poisson": PoissonFamily,
    "negative-binomial": NegativeBinomialFamily,
}
