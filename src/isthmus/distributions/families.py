"""Families: map the outputs of a network to a distribution.

The same type serves as posterior q(z|x), for the encoder, and likelihood p(x|z), for the decoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution

from isthmus._messages import RowError
from isthmus.distributions.base import Delta, DiagonalNormal, Logits

__all__ = [
    "ACTIVATIONS",
    "BernoulliFamily",
    "Family",
    "NormalFamily",
    "PointMass",
    "remove_rounding",
    "soft_limit",
]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda a: a,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}

LOG_VARIANCE_LIMIT = 20.0
LOG_SCALE_LIMIT = 10.0
ROUNDING = 1e-6  # errors up to this size count as rounding errors
NOISE = 10.0  # widths of the interval by which noise may leave it; of counts, as many units
SMALLEST_SCALE = math.exp(-LOG_SCALE_LIMIT)
SMALLEST_START = 0.1  # of scales: outputs of new weights vary by more


def soft_limit(x: Tensor, limit: float) -> Tensor:
    """Limit numbers to ±limit with a gradient everywhere.

    A clamp has no gradient outside its range, and tanh in float32 none beyond ten times its
    limit; the gradient of this function falls off as 1 / x².

    Examples
    --------
    >>> soft_limit(torch.tensor([0.0, 1e4]), 10.0)
    tensor([0.0000, 9.9900])
    """
    return x / (1 + x.abs() / limit)


def remove_rounding(
    x: NDArray[Any], bounds: tuple[float, float], integer: bool = False
) -> NDArray[Any]:
    """Return x with values at most 1e-6 outside a bound moved to the bound.

    If only whole numbers are allowed, a value at most 1e-6 from one is rounded; but not to 0, so
    that measurements in a tiny unit do not pass as counts of 0.

    Examples
    --------
    >>> remove_rounding(np.array([-1e-9, 2.9999999999, 1e-9]), (0, np.inf), integer=True)
    array([0.e+00, 3.e+00, 1.e-09])
    """
    nearest = np.clip(x.round() if integer else x, *bounds)
    outside = (x < bounds[0]) | (x > bounds[1])
    tolerance = ROUNDING * np.where(outside, 1, np.minimum(1, np.abs(nearest)))
    moved = (x != nearest) & (np.abs(x - nearest) <= tolerance)
    return np.where(moved, nearest + 0.0, x) if moved.any() else x  # -0.0 becomes 0.0


def inverse_soft_limit(y: Tensor, limit: float) -> Tensor:
    """Return the x with ``soft_limit(x, limit) == y``, for y within 99% of the limit.

    Examples
    --------
    >>> soft_limit(inverse_soft_limit(torch.tensor([-9.0, 2.0]), 10.0), 10.0)
    tensor([-9.0000,  2.0000])
    """
    y = y.clamp(-0.99 * limit, 0.99 * limit)
    return y / (1 - y.abs() / limit)


class Family(nn.Module):
    """Map the outputs of a network to a distribution.

    To add a family, subclass it: set `n_outputs` and write `build`, which receives one tensor
    per output and returns a `torch.distributions.Distribution` whose ``log_prob`` keeps the
    feature axes. A posterior's distribution also needs ``rsample(shape, generator=, noise=)``.

    A likelihood describes its data by the class attributes below; everything else in the package
    (validation, scaling, metrics, plots) reads them. Override `center` if the mean is not the
    value to show, and `embed` and `input_shape` if a network needs another view of the data.
    List the class in `isthmus.distributions.likelihoods.LIKELIHOODS` (or, for a posterior, in
    `isthmus.registry.POSTERIORS`); the contract tests find it there.

    Parameters
    ----------
    shape : tuple of int
        Shape of one example of the variable: ``(n_components,)`` or the shape of the features.

    Attributes
    ----------
    n_outputs : int
        Network outputs per feature (or latent dimension).
    draws : bool
        Whether the distribution is random; False for a point mass.
    name : str
        The name by which the likelihood was built, such as "categorical:4".
    bounds : tuple of float
        Least and greatest value of a feature.
    integer : bool
        Whether only whole numbers are allowed; bytes then stand for themselves.
    discrete : bool
        Whether ``log_prob`` is the logarithm of a probability instead of a density.
    ordered : bool or ndarray of bool (n_features,)
        Whether differences and means of values are meaningful; False for categories.
    """

    n_outputs = 1
    draws = True
    name = ""
    bounds: tuple[float, float] = (-math.inf, math.inf)
    integer = False
    discrete = False
    ordered: bool | NDArray[np.bool_] = True

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    # ------------------------------------------------------------------ distribution

    def build(self, *outputs: Tensor) -> Distribution:
        """Return the distribution for outputs of shape (*batch, *shape) each."""
        raise NotImplementedError

    def forward(self, outputs: Tensor, batch: tuple[int, ...] | None = None) -> Distribution:
        """Return the distribution over (*batch, *shape).

        `outputs` holds `total_outputs` numbers per row; its rows are reshaped to `batch`, by
        default one axis.
        """
        batch = outputs.shape[:1] if batch is None else batch
        if self.n_outputs == 1:  # `unbind` would copy the gradient
            return self.build(outputs.reshape(*batch, *self.shape))
        return self.build(*outputs.reshape(*batch, self.n_outputs, *self.shape).unbind(len(batch)))

    def center(self, p: Distribution) -> Tensor:
        """Return the value to show for p, by default its mean."""
        return p.mean

    def link(self, x: Tensor) -> Tensor:
        """Return the outputs whose distribution is centred at embedded data x."""
        return x

    @property
    def total_outputs(self) -> int:
        """Network outputs per example."""
        return self.n_outputs * math.prod(self.shape)

    def marginal_outputs(self, x: Tensor) -> Tensor:
        """Return outputs whose distribution fits all rows, at which a decoder starts.

        Parameters
        ----------
        x : Tensor (n, features)
            Rows in the units of the model; NaN is missing. The features need not be those of
            `shape`: a convolutional decoder has one bias per channel, and pools its pixels.

        Returns
        -------
        Tensor (n_outputs, features)
            By default zeros.
        """
        return x.new_zeros(self.n_outputs, *x.shape[1:])

    def start_from(self, x: Tensor) -> None:
        """Start the family's own parameters, such as a scale, at their fit to rows (n, *shape)."""

    # ------------------------------------------------------------------ data

    def embed(self, x: Tensor) -> Tensor:
        """Return data as the encoder sees them, by default unchanged."""
        return x

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one embedded example."""
        return self.shape

    @property
    def label(self) -> str:
        """The likelihood in words."""
        return f"{self.name} likelihood"

    @property
    def interval(self) -> tuple[float, float] | None:
        """The bounds of continuous data, or None if a bound is infinite."""
        return self.bounds if np.isfinite(self.bounds).all() and not self.integer else None

    @property
    def scalable(self) -> bool | NDArray[np.bool_]:
        """Whether data may be shifted and scaled (per column in a mixed table)."""
        return not self.integer and bool(np.isinf(self.bounds).all())

    @property
    def binary(self) -> bool | NDArray[np.bool_]:
        """Whether the outcomes are 0 and 1 (per column in a mixed table)."""
        return self.discrete and self.interval == (0, 1)

    def measure(self, as_bytes: bool = False) -> str:
        """Return what ``log_prob`` is the logarithm of; only equal measures can be compared.

        It is a density in the units of the data, or a probability; of `as_bytes`, a probability of
        values in [0, 1] is not that of whole numbers. Of a mixed table it names all columns.

        Examples
        --------
        >>> BernoulliFamily((2,)).measure(), NormalFamily((2,)).measure()
        ('probability', 'density')
        """
        if not self.discrete:
            return "density"
        return "cross-entropy" if as_bytes and self.bytes_are_units else "probability"

    @property
    def bytes_are_units(self) -> bool:
        """Whether uint8 data stand for [0, 1] instead of 0 to 255."""
        return not self.integer

    def convert_bytes(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return x, as float32 if it holds bytes that stand for themselves."""
        plain = x.dtype == np.uint8 and not self.bytes_are_units
        return x.astype(np.float32) if plain else x

    def clean(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return x as `check` expects it: bytes converted, and rounding errors removed.

        Examples
        --------
        >>> BernoulliFamily((2,)).clean(np.array([[-1e-17, 1.0000000000000002], [0.3, 1.5]]))
        array([[0. , 1. ],
               [0.3, 1.5]])
        """
        if x.dtype == np.uint8 or self.scalable is True:
            return self.convert_bytes(x)
        return remove_rounding(x, self.bounds, self.integer)

    def check(self, x: NDArray[Any]) -> None:
        """Raise a `RowError` that names the first value outside the support; see `clean`."""
        low, high = self.bounds
        if self.scalable is True or (x.dtype == np.uint8 and self.bytes_are_units):
            return
        allowed = (x >= low) & (x <= high)
        if self.integer:
            allowed &= x == np.floor(x)
        name = self.name or type(self).__name__
        after = "correct X, or use likelihood='gaussian', which takes any numbers."
        _refuse(x, ~allowed, f"likelihood {name!r} takes {self._expected}", after)

    def check_input(self, x: NDArray[Any]) -> None:
        """Raise a `RowError` if a value is farther outside the bounds than noise; NaN is allowed.

        Noise may leave an interval by ten times its width, and counts may fall to -10. Categories
        have no noise.

        Examples
        --------
        >>> BernoulliFamily((2,)).check_input(np.array([[-0.7, 1.9]]))
        >>> BernoulliFamily((2,)).check_input(np.array([[0.0, 255.0]]))
        Traceback (most recent call last):
        ...
        isthmus._messages.RowError: the model takes values between 0 and 1, but X has 255 in row...
        """
        low, high = self.bounds
        if self.scalable is True or (x.dtype == np.uint8 and self.bytes_are_units):
            return
        width = high - low if math.isfinite(high) else 1.0
        margin = NOISE * width if self.ordered is True else 0.0
        after = "correct X, or mark the value as missing."
        if self.interval is not None:
            after = f"scale X as it was for the fit (bytes may be passed as uint8), or {after}"
        outside = (x < low - margin) | (x > high + margin)
        _refuse(x, outside, f"the model takes {self._expected}", after)

    @property
    def _expected(self) -> str:
        low, high = self.bounds
        if self.integer:
            end = f"0 to {high:g}" if math.isfinite(high) else "0, 1, 2, ..."
            return f"the whole numbers {end}"
        if math.isinf(high):
            return f"values of at least {low:g}"
        return f"values between {low:g} and {high:g}"


def _refuse(x: NDArray[Any], wrong: NDArray[np.bool_], expected: str, after: str) -> None:
    """Raise a `RowError` that names the first of the wrong values (n, *shape), if there are any."""
    if not wrong.any():
        return
    row, *place = np.argwhere(wrong)[0].tolist()
    feature = place[0] if len(place) == 1 else tuple(place)
    where = "" if x.shape[1:] == (1,) else f", feature {feature}"
    before = f"{expected}, but X has {x[(row, *place)]:g} in row "
    rows = np.flatnonzero(wrong.reshape(len(x), -1).any(1))
    raise RowError(row, before, f"{where}; {after}", rows)


class PointMass(Family):
    """A point mass, the posterior of a plain autoencoder.

    Parameters
    ----------
    shape : tuple of int
    activation : {"identity", "relu", "sigmoid", "tanh"}
        The activation function of the code, which penalties and the decoder read.
    """

    draws = False

    def __init__(self, shape: tuple[int, ...], activation: str = "identity") -> None:
        super().__init__(shape)
        self.activation = activation

    def build(self, *outputs: Tensor) -> Delta:
        """Return the point mass at the activation of the output."""
        (value,) = outputs
        return Delta(ACTIVATIONS[self.activation](value))


class NormalFamily(Family):
    """Independent normals.

    Parameters
    ----------
    shape : tuple of int
    scale : {"log-variance", "softplus"}
        How the second output gives the scale: as exp(½ · log-variance) or through a softplus.
    activation : str
        The activation function of the mean.
    """

    n_outputs = 2

    def __init__(
        self, shape: tuple[int, ...], scale: str = "log-variance", activation: str = "identity"
    ) -> None:
        super().__init__(shape)
        self.scale, self.activation = scale, activation

    def build(self, *outputs: Tensor) -> DiagonalNormal:
        """Return the normals for a mean and a raw scale."""
        mean, raw = outputs
        if self.scale == "softplus":
            scale = nn.functional.softplus(raw) + SMALLEST_SCALE
        else:
            scale = (0.5 * soft_limit(raw, LOG_VARIANCE_LIMIT)).exp()
        return DiagonalNormal(ACTIVATIONS[self.activation](mean), scale)

    def marginal_outputs(self, x: Tensor) -> Tensor:
        """Return the mean and the raw log-variance of each feature, (2, features)."""
        mean = x.nanmean(0)
        log_variance = (x - mean).square().nanmean(0).clamp(min=SMALLEST_START**2).log()
        return torch.stack([mean, inverse_soft_limit(log_variance, LOG_VARIANCE_LIMIT)])


class BernoulliFamily(Family):
    """Bernoulli features from logits; values between 0 and 1 count as expectations.

    The log-probability of such a value is minus the cross-entropy, as usual for grey images.
    """

    bounds = (0, 1)
    discrete = True

    def build(self, *outputs: Tensor) -> Bernoulli:
        """Return the Bernoulli distributions of one output, the logits."""
        (logits,) = outputs
        return Logits(logits)

    def marginal_outputs(self, x: Tensor) -> Tensor:
        """Return the logits of the mean of each feature, (1, features)."""
        n = (~x.isnan()).sum(0)
        return torch.logit((x.nansum(0) + 0.5) / (n + 1))[None]

    def link(self, x: Tensor) -> Tensor:
        """Return the logits of x, of at most ±3.9."""
        return torch.logit(x.clamp(0.02, 0.98))
