"""Distributions of data that torch does not have in a suitable form."""

from __future__ import annotations

import torch
from torch import Size, Tensor
from torch.distributions import (
    Beta,
    Categorical,
    Distribution,
    NegativeBinomial,
    Poisson,
    constraints,
)
from torch.nn.functional import softplus

__all__ = [
    "ContinuousBernoulli",
    "GreyValues",
    "LogNegativeBinomial",
    "LogPoisson",
    "NumberedCategorical",
]

#: log(sinh(y) / y) = Σ c_k y^(2k), k = 1, 2, …: exact to 1e-14 where |y| < ¼.
SERIES = (1 / 6, -1 / 180, 1 / 2835, -1 / 37800, 1 / 467775)
#: Its derivative: Σ 2k c_k y^(2k - 1).
DERIVATIVE_SERIES = tuple(2 * k * c for k, c in enumerate(SERIES, 1))
#: Its second derivative: Σ 2k (2k - 1) c_k y^(2k - 2).
SECOND_DERIVATIVE_SERIES = tuple((2 * k - 1) * c for k, c in enumerate(DERIVATIVE_SERIES, 1))


class ContinuousBernoulli(Distribution):
    """The density on [0, 1] that is proportional to λ^x (1 - λ)^(1 - x), for λ = sigmoid(η).

    That is log p(x) = xη - log((e^η - 1) / η): an exponential tilted by η, the uniform at η = 0.
    The version in torch clamps λ, which is wrong for large |η|; this one is exact for all η.

    Source: The continuous Bernoulli: fixing a pervasive error in variational autoencoders
    (Loaiza-Ganem, Cunningham, 2019).

    Parameters
    ----------
    logits : Tensor (*batch,)
        The tilt η.

    Examples
    --------
    >>> p = ContinuousBernoulli(torch.tensor([-1e4, 0.0, 2.0]))
    >>> p.mean
    tensor([1.0000e-04, 5.0000e-01, 6.5652e-01])
    >>> p.log_prob(torch.tensor(0.5))
    tensor([-4.9908e+03,  0.0000e+00, -1.6144e-01])
    """

    arg_constraints = {}  # noqa: RUF012 - torch's own convention
    support = constraints.unit_interval

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean 1 / (1 - exp(-η)) - 1 / η, (*batch,)."""
        y = self.logits / 2
        small, inner, outer = _split_small(y)
        size = 2 * outer.abs()
        far = 1 / size + (-size).exp() / (-size).expm1()  # for -|η|; |η| is its mirror image
        far = torch.where(y < 0, far, 1 - far)
        return torch.where(small, 0.5 + 0.5 * inner * _polynomial(inner**2, DERIVATIVE_SERIES), far)

    @property
    def variance(self) -> Tensor:
        """The variance 1 / η² - 1 / (4 sinh²(η / 2)), (*batch,)."""
        small, inner, outer = _split_small(self.logits / 2)
        size = 2 * outer.abs()
        far = size**-2 - (-size).exp() / (-size).expm1() ** 2
        return torch.where(small, 0.25 * _polynomial(inner**2, SECOND_DERIVATIVE_SERIES), far)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(x) in nats for x in [0, 1], (*batch,)."""
        y = self.logits / 2
        small, inner, outer = _split_small(y)
        near = (value - 0.5) * self.logits - inner**2 * _polynomial(inner**2, SERIES)
        # Expanded, so that x = 1 loses no digits for large η.
        size = 2 * outer.abs()
        far = value * self.logits - self.logits.relu() - (-(-size).expm1() / size).log()
        return torch.where(small, near, far)

    def icdf(self, value: Tensor) -> Tensor:
        """Return the quantile at the probability `value`."""
        falling = self.logits < 0
        size = self.logits.abs().clamp(min=1e-6)  # below, x is `value` to float32 precision
        share = torch.where(falling, value, 1 - value)
        x = (-(share * (-size).expm1()).log1p() / size).clamp(max=1)
        return torch.where(falling, x, 1 - x)

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:  # type: ignore[override]
        """Draw values (*sample_shape, *batch)."""
        shape = self._extended_shape(Size(sample_shape))
        with torch.no_grad():
            return self.icdf(torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device))


def _split_small(y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return whether y is small, y for the series, and y for the closed form.

    Unused elements are 0 and 1: `where` multiplies their gradients by 0, which needs them finite.
    """
    small = y.abs() < 0.25
    return small, torch.where(small, y, 0.0), torch.where(small, 1.0, y)


def _polynomial(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Return c_0 + c_1 x + c_2 x² + …."""
    total = torch.zeros_like(x)
    for c in reversed(coefficients):
        total = total * x + c
    return total


class LogPoisson(Poisson):
    """Poisson distributions from log-rates, whose log-probability is computed in float64.

    Its terms are as large as the counts times their logarithm: in float32, counts near 100,000 lose
    a tenth of a nat each.

    Parameters
    ----------
    log_rate : Tensor (*batch,)

    Examples
    --------
    >>> LogPoisson(torch.tensor(1e5).log()).log_prob(torch.tensor(1e5))
    tensor(-6.6754)
    """

    def __init__(self, log_rate: Tensor) -> None:
        self.log_rate = log_rate
        super().__init__(log_rate.exp(), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(x) in nats, (*batch,)."""
        x, log_rate = _double(value), _double(self.log_rate)
        out = x * log_rate - log_rate.exp() - (x + 1).lgamma()
        return out.to(self.log_rate.dtype)


class LogNegativeBinomial(NegativeBinomial):
    """Negative binomials from log-means and log-shapes; the log-probability is that of float64.

    Parameters
    ----------
    log_mean, log_shape : Tensor (*batch,)
        Mean m and shape r; the variance is m + m² / r.
    """

    def __init__(self, log_mean: Tensor, log_shape: Tensor) -> None:
        self.log_mean, self.log_shape = torch.broadcast_tensors(log_mean, log_shape)
        super().__init__(log_shape.exp(), logits=log_mean - log_shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(x) in nats, (*batch,)."""
        x, log_mean, log_shape = map(_double, (value, self.log_mean, self.log_shape))
        shape, logit = log_shape.exp(), log_mean - log_shape
        out = (x + shape).lgamma() - shape.lgamma() - (x + 1).lgamma()
        out = out - shape * softplus(logit) - x * softplus(-logit)
        return out.to(self.log_mean.dtype)


def _double(x: Tensor) -> Tensor:
    """Return x as float64, which Apple's devices do not have."""
    return x if x.device.type == "mps" else x.double()


class NumberedCategorical(Categorical):
    """A categorical over 0, 1, …, K - 1 whose values are floats, like data.

    Parameters
    ----------
    logits : Tensor (*batch, K)
        Unnormalised log-probabilities.

    Examples
    --------
    >>> p = NumberedCategorical(torch.tensor([0.0, -100.0, 0.0]))
    >>> p.mean, p.log_prob(torch.tensor(2.0))
    (tensor(1.), tensor(-0.6931))
    """

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits=logits, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean of the category numbers, (*batch,); meaningful only for ordered categories."""
        numbers = torch.arange(self.logits.shape[-1], device=self.logits.device)
        return self.probs @ numbers.to(self.logits.dtype)

    @property
    def variance(self) -> Tensor:
        """The variance of the category numbers, (*batch,); as the mean, only for ordered ones."""
        numbers = torch.arange(self.logits.shape[-1], device=self.logits.device)
        from_mean = numbers.to(self.logits.dtype) - self.mean[..., None]
        return (self.probs * from_mean**2).sum(-1)

    @property
    def mode(self) -> Tensor:
        """The most probable category, as a float, (*batch,)."""
        return self.logits.argmax(-1).to(self.logits.dtype)

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:  # type: ignore[override]
        """Draw categories, as floats (*sample_shape, *batch)."""
        return super().sample(torch.Size(sample_shape)).to(self.logits.dtype)


class GreyValues(Distribution):
    """Values between 0 and 1 with mean m and variance φ m (1 - m): beta, or Bernoulli if φ = 1.

    A Bernoulli likelihood fits only the mean of grey values, which vary less than 0 and 1 do; the
    dispersion φ says by how much.

    Source: Econometric methods for fractional response variables (Papke, Wooldridge, 1996).

    Parameters
    ----------
    mean : Tensor (*batch,)
    dispersion : Tensor, broadcastable to `mean`
        φ, greater than 0 and at most 1.

    Examples
    --------
    >>> p = GreyValues(torch.tensor([0.2, 0.5]), torch.tensor(0.25))
    >>> p.variance
    tensor([0.0400, 0.0625])
    """

    arg_constraints = {}  # noqa: RUF012 - torch's own convention
    support = constraints.unit_interval

    def __init__(self, mean: Tensor, dispersion: Tensor) -> None:
        self._mean, self.dispersion = mean, dispersion
        super().__init__(mean.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean, (*batch,)."""
        return self._mean

    @property
    def variance(self) -> Tensor:
        """The variance, (*batch,)."""
        return self.dispersion * self.mean * (1 - self.mean)

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:  # type: ignore[override]
        """Draw values (*sample_shape, *batch)."""
        shape = self._extended_shape(Size(sample_shape))
        with torch.no_grad():
            mean, dispersion = self.mean.expand(shape), self.dispersion.expand(shape)
            sharpness = (1 / dispersion - 1).clamp(min=1e-3)  # of the beta; unused where φ = 1
            inner = mean.clamp(1e-5, 1 - 1e-5)
            grey = Beta(sharpness * inner, sharpness * (1 - inner), validate_args=False).sample()
            return torch.where(dispersion < 1, grey, torch.bernoulli(mean))
