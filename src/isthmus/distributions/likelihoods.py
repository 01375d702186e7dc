"""Likelihoods p(x|z), and the table of all likelihoods by name.

Every ``log_prob`` is in nats, keeps the feature axes and is computed at least in float32: in
bfloat16 a log-likelihood has only two digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Laplace

from isthmus.distributions.base import DiagonalNormal
from isthmus.distributions.families import (
    LOG_SCALE_LIMIT,
    SMALLEST_SCALE,
    SMALLEST_START,
    BernoulliFamily,
    Family,
    NormalFamily,
    inverse_soft_limit,
    soft_limit,
)
from isthmus.distributions.likelihood_distributions import (
    ContinuousBernoulli,
    LogNegativeBinomial,
    LogPoisson,
    NumberedCategorical,
)

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
SMALLEST_INPUT_SCALE = 0.25  # of standardised log-counts
SCALE_FLOOR = 0.003  # of a learned scale, relative to that of the data around their marginal fit
RARE_FLOOR = 0.02  # relative to the deviation of a feature beyond FAR times its scale
FAR = 10.0
LARGEST_TILT = 1000.0  # of the continuous Bernoulli at the start


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

    def marginal_outputs(self, x: Tensor) -> Tensor:
        """Return the logits with the mean of each feature, by bisection, (1, features)."""
        mean = x.nanmean(0).nan_to_num(0.5)
        low = torch.full_like(mean, -LARGEST_TILT)
        high = -low
        for _ in range(40):
            middle = 0.5 * (low + high)
            above = ContinuousBernoulli(middle).mean > mean
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return (0.5 * (low + high))[None]


class _LocationFamily(Family):
    """The network gives the location; the scale belongs to the family.

    Parameters
    ----------
    shape : tuple of int
    scale : {"shared", "per-feature"} or float
        One learned number, one per feature, or a fixed one, in the units in which the model sees
        the data: 1.0 is the standard deviation of scaled data. A learned scale stays above 0.3% of
        that of the data, so that features that are reconstructed exactly, such as constants and
        duplicates, do not gain unlimited density. If the largest deviation of a feature is more
        than 10 times its scale, because few rows differ from the others, its scale also stays above
        2% of the excess: a scale that fits these rows exactly would not fit new ones.
    """

    log_scale: Tensor
    floor: Tensor | None  # of a learned scale; absent until `start_from`, and before version 0.1

    def __init__(self, shape: Shape, scale: str | float = "shared") -> None:
        super().__init__(shape)
        self.learned = isinstance(scale, str)
        self.register_buffer("floor", None)
        if isinstance(scale, str):
            size = {"shared": (), "per-feature": self.shape}[scale]
            self.log_scale = nn.Parameter(torch.zeros(size))
        else:
            self.register_buffer("log_scale", torch.tensor(float(scale)).log())

    @property
    def scale(self) -> Tensor:
        """The scale: one number, or one per feature."""
        log_scale = _precise(self.log_scale)
        if not self.learned:
            return log_scale.exp()
        scale = soft_limit(log_scale, LOG_SCALE_LIMIT).exp()
        return scale if self.floor is None else self.floor + scale

    @torch.no_grad()
    def start_from(self, x: Tensor) -> None:
        """Start the scale at that of the deviations from the marginal outputs."""
        if self.learned:
            deviations = x - self.marginal_outputs(x.flatten(1))[0].reshape(x.shape[1:])
            scale = self._scale_of(deviations)
            floor = SCALE_FLOOR * torch.where(scale > SMALLEST_SCALE, scale, 1.0)  # also for NaN
            if scale.ndim:
                far = deviations.abs().nan_to_num(0.0).amax(0) - FAR * scale.nan_to_num(0.0)
                floor = torch.maximum(floor, RARE_FLOOR * far)
            self.floor = floor.to(self.log_scale)
            start = (torch.maximum(scale, floor + SMALLEST_START) - floor).log()
            self.log_scale.copy_(inverse_soft_limit(start, LOG_SCALE_LIMIT).nan_to_num(0.0))

    def _scale_of(self, deviations: Tensor) -> Tensor:
        """Return the scale that fits deviations (n, *shape), in the shape of `log_scale`."""
        raise NotImplementedError

    def _mean(self, values: Tensor) -> Tensor:
        return values.nanmean(0) if self.log_scale.ndim else values.nanmean()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        """Load parameters, with the floor if one was saved."""
        saved = state_dict.get(f"{prefix}floor")
        if saved is not None and not (saved.isfinite() & (saved >= 0)).all():
            raise ValueError(f"{prefix}floor must be finite and at least 0.")
        self.floor = None if saved is None else torch.zeros_like(self.log_scale)
        super()._load_from_state_dict(state_dict, prefix, *args)


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

    def marginal_outputs(self, x: Tensor) -> Tensor:
        """Return the mean of each feature, (1, features)."""
        return x.nanmean(0, keepdim=True)

    def _scale_of(self, deviations: Tensor) -> Tensor:
        return self._mean(deviations.square()).sqrt()


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

    def marginal_outputs(self, x: Tensor) -> Tensor:
        """Return the median of each feature, (1, features)."""
        return x.nanmedian(0, keepdim=True).values

    def _scale_of(self, deviations: Tensor) -> Tensor:
        return self._mean(deviations.abs())


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

    def marginal_outputs(self, x: Tensor) -> Tensor:
        """Return the logarithms of the frequencies of each feature, (n_categories, features)."""
        counts = x.new_full((self.n_outputs, *x.shape[1:]), 0.5)
        seen = (~x.isnan()).to(x.dtype)
        counts.scatter_add_(0, x.nan_to_num(0.0).long(), seen)
        return (counts / counts.sum(0)).log()

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
    """Counts 0, 1, 2, …, which encoders see as log(1 + x).

    Networks see and return standardised numbers, as for scaled data: the encoder sees
    (log(1 + x) - shift) / scale, and the log-rate is that of the marginal plus the output times the
    spread of the logarithms. With raw log-rates, steps of Adam that suit counts near 1 would be a
    hundred times too large for counts near 10,000, whose logarithms differ by 0.01.
    """

    bounds = (0, math.inf)
    integer = discrete = True
    log_mean: Tensor
    spread: Tensor
    shift: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.register_buffer("log_mean", torch.zeros(self.shape))
        self.register_buffer("spread", torch.ones(self.shape))
        self.register_buffer("shift", torch.zeros(self.shape))

    def start_from(self, x: Tensor) -> None:
        """Set the units of inputs and outputs to mean and spread of the rows."""
        n = (~x.isnan()).sum(0).clamp(min=1)
        mean = x.nansum(0).clamp(min=0.5) / n
        logs = x.log1p()
        self.shift.copy_(logs.nanmean(0).nan_to_num(0.0))
        variance = (logs - self.shift).square().nanmean(0).nan_to_num(0.0)
        self.log_mean.copy_(mean.log())
        self.spread.copy_((variance + 1 / (1 + mean)).sqrt())  # at least that of Poisson counts

    def embed(self, x: Tensor) -> Tensor:
        """Return standardised log(1 + x); negative numbers, from a corruption, count as 0."""
        return (x.clamp(min=0).log1p() - self.shift) / self._input_scale

    @property
    def _input_scale(self) -> Tensor:
        # Hidden counts are 0, which must not be thousands of spreads away.
        return self.spread.clamp(min=SMALLEST_INPUT_SCALE)

    def log_rate(self, output: Tensor) -> Tensor:
        """Return the log-rate for an output, softly limited to ±20."""
        start = inverse_soft_limit(self.log_mean, LOG_RATE_LIMIT)
        slope = (1 + start.abs() / LOG_RATE_LIMIT) ** 2  # of the inverse of the limit
        return soft_limit(start + slope * self.spread * _precise(output), LOG_RATE_LIMIT)

    def link(self, x: Tensor) -> Tensor:
        """Return the output with the rate of embedded counts."""
        logs = x * self._input_scale.flatten() + self.shift.flatten()
        raw = inverse_soft_limit(logs.expm1().clamp(min=0.02).log(), LOG_RATE_LIMIT)
        start = inverse_soft_limit(self.log_mean, LOG_RATE_LIMIT).flatten()
        slope = (1 + start.abs() / LOG_RATE_LIMIT) ** 2
        return (raw - start) / (slope * self.spread.flatten())

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        """Load parameters; models saved before 0.1 have no units, which are then 0 and 1."""
        for name in ("log_mean", "spread", "shift"):
            saved = state_dict.setdefault(prefix + name, getattr(self, name))
            if not saved.isfinite().all() or (name == "spread" and (saved <= 0).any()):
                raise ValueError(f"{prefix}{name} must be finite, and a spread positive.")
        super()._load_from_state_dict(state_dict, prefix, *args)


class PoissonFamily(_CountFamily):
    """Poisson counts; the network gives the log-rate, softly limited to ±20.

    Examples
    --------
    >>> PoissonFamily((1,))(torch.zeros(1, 1)).log_prob(torch.tensor([[0.0, 3.0]]))
    tensor([[-1.0000, -2.7918]])
    """

    def build(self, *outputs: Tensor) -> LogPoisson:
        """Return the Poisson distributions for one output."""
        return LogPoisson(self.log_rate(outputs[0]))


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

    start_log_shape: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.log_shape = nn.Parameter(torch.zeros(self.shape))
        self.register_buffer("start_log_shape", torch.zeros(self.shape))

    def start_from(self, x: Tensor) -> None:
        """Set the units, and start each shape at its estimate from mean and variance."""
        super().start_from(x)
        mean = self.log_mean.exp()
        excess = (x - mean).square().nanmean(0).nan_to_num(0.0) - mean
        # The variance of a Poisson plus at least one part in 10,000.
        shape = mean**2 / excess.clamp(min=1e-4 * mean)
        self.start_log_shape.copy_(shape.log().clamp(-LOG_SCALE_LIMIT, LOG_RATE_LIMIT))

    def build(self, *outputs: Tensor) -> LogNegativeBinomial:
        """Return the negative binomials for one output."""
        log_shape = self.start_log_shape + soft_limit(_precise(self.log_shape), LOG_SCALE_LIMIT)
        return LogNegativeBinomial(self.log_rate(outputs[0]), log_shape)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        saved = state_dict.setdefault(f"{prefix}start_log_shape", self.start_log_shape)
        if not saved.isfinite().all():
            raise ValueError(f"{prefix}start_log_shape must be finite.")
        super()._load_from_state_dict(state_dict, prefix, *args)


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
