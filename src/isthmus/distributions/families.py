"""Families: from the numbers a network returns to a distribution.

One type serves two slots: the posterior q(z|x), fed by the encoder, and the likelihood
p(x|z), fed by the decoder.
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

from isthmus.distributions.base import Delta, DiagonalNormal, Logits

__all__ = [
    "ACTIVATIONS",
    "BernoulliFamily",
    "Family",
    "NormalFamily",
    "PointMass",
    "check_units",
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
NOISE = 10.0  # how far from [0, 1] noise may take a value
SMALLEST_SCALE = math.exp(-LOG_SCALE_LIMIT)


def soft_limit(x: Tensor, limit: float) -> Tensor:
    """Keep numbers within ±limit, with a gradient everywhere.

    A clamp has no gradient outside its range and a tanh none in float32 beyond ten times its
    limit; this one falls off as 1 / x².

    Examples
    --------
    >>> soft_limit(torch.tensor([0.0, 1e4]), 10.0)
    tensor([0.0000, 9.9900])
    """
    return x / (1 + x.abs() / limit)


class Family(nn.Module):
    """Numbers of a network in, a distribution out.

    To add a family, subclass it: set `n_outputs`, the numbers it reads for each feature (or
    latent dimension), and write `build`, which receives them one tensor each and returns a
    `torch.distributions.Distribution` whose ``log_prob`` keeps the feature axes. Distributions
    of a posterior must also have ``rsample(shape, generator=..., noise=...)``. Where the mean is
    not the value to show, override `center`; where data are no good input for a network as they
    are, override `embed` and `input_shape`; where not every value can be, override `check`, and
    `check_input` where an encoder could not make sense of some.
    Name it in the tables of `isthmus.registry`, where the contract tests take it up.

    Parameters
    ----------
    shape : tuple of int
        Shape of one example of the variable: ``(n_components,)`` or the features' shape.
    """

    n_outputs = 1
    draws = True  # whether there is anything random in its distributions

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def build(self, *outputs: Tensor) -> Distribution:
        """Return the distribution of the given numbers, each of shape (*batch, *shape)."""
        raise NotImplementedError

    def center(self, p: Distribution) -> Tensor:
        """Return the value that stands for p: its mean."""
        return p.mean

    def embed(self, x: Tensor) -> Tensor:
        """Return data as an encoder is to see them: as they are."""
        return x

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one embedded example."""
        return self.shape

    def check(self, x: NDArray[Any]) -> None:
        """Raise a ValueError where an array holds values that cannot be, in one line."""

    def check_input(self, x: NDArray[Any]) -> None:
        """Raise a ValueError where an encoder would see other units; noise and NaN may be."""

    def forward(self, outputs: Tensor, batch: tuple[int, ...] | None = None) -> Distribution:
        """Return the distribution over (*batch, *shape) of what a network returned.

        `outputs` holds n_outputs * features numbers a row; `batch` are the leading axes that
        its rows stand for, one axis where not given.
        """
        batch = outputs.shape[:1] if batch is None else batch
        return self.build(*self._split(outputs, batch))

    def _split(self, outputs: Tensor, batch: tuple[int, ...]) -> tuple[Tensor, ...]:
        return outputs.reshape(*batch, self.n_outputs, *self.shape).unbind(len(batch))

    @property
    def total_outputs(self) -> int:
        """Numbers read for one example."""
        return self.n_outputs * math.prod(self.shape)


def check_units(x: NDArray[Any]) -> None:
    """Raise a ValueError where an array that is to hold noisy values of [0, 1] cannot.

    Examples
    --------
    >>> check_units(np.array([[-0.7, 1.9]]))
    >>> check_units(np.array([[0.0, 255.0]]))
    Traceback (most recent call last):
    ...
    ValueError: X goes from 0 to 255, but the model was fitted on values between 0 and 1...
    """
    if x.dtype == np.uint8:  # stands for [0, 1]
        return
    low, high = np.fmin.reduce(x, axis=None), np.fmax.reduce(x, axis=None)  # whatever is NaN
    if low < -NOISE or high > 1 + NOISE:
        raise ValueError(
            f"X goes from {low:g} to {high:g}, but the model was fitted on values between 0 and "
            "1: scale X as it was for the fit; pictures of bytes may be given as uint8."
        )


class PointMass(Family):
    """A point: the posterior of a plain autoencoder.

    Parameters
    ----------
    shape : tuple of int
    activation : {"identity", "relu", "sigmoid", "tanh"}
        The function on the code. Penalties and decoder both read what comes out of it.
    """

    draws = False

    def __init__(self, shape: tuple[int, ...], activation: str = "identity") -> None:
        super().__init__(shape)
        self.activation = activation

    def build(self, *outputs: Tensor) -> Delta:
        """Return the point mass at the activation of the one output."""
        (value,) = outputs
        return Delta(ACTIVATIONS[self.activation](value))


class NormalFamily(Family):
    """Independent normals.

    Parameters
    ----------
    shape : tuple of int
    scale : {"log-variance", "softplus", "shared"}
        From the network, as exp(½ · log-variance) or as a softplus; or one learned number.
    activation : str
        The function on the mean.
    """

    def __init__(
        self, shape: tuple[int, ...], scale: str = "log-variance", activation: str = "identity"
    ) -> None:
        super().__init__(shape)
        self.scale, self.activation = scale, activation
        self.n_outputs = 1 if scale == "shared" else 2
        if scale == "shared":
            self.log_scale = nn.Parameter(torch.zeros(()))

    def build(self, *outputs: Tensor) -> DiagonalNormal:
        """Return the normals of a mean and, where the network gives one, a raw scale."""
        mean = ACTIVATIONS[self.activation](outputs[0])
        return DiagonalNormal(mean, self._positive(*outputs[1:]))

    def _positive(self, raw: Tensor | None = None) -> Tensor:
        if raw is None:
            return soft_limit(self.log_scale, LOG_SCALE_LIMIT).exp()
        if self.scale == "softplus":
            return nn.functional.softplus(raw) + SMALLEST_SCALE
        return (0.5 * soft_limit(raw, LOG_VARIANCE_LIMIT)).exp()


class BernoulliFamily(Family):
    """Bernoulli features from logits; values between 0 and 1 count as expectations.

    Then the log-probability is minus the cross-entropy, as usual for grey pictures.
    """

    def check_input(self, x: NDArray[Any]) -> None:
        """Raise a ValueError for values so far from [0, 1] that no noise explains them."""
        check_units(x)

    def check(self, x: NDArray[Any]) -> None:
        """Raise a ValueError for values outside [0, 1]."""
        if x.dtype != np.uint8 and (x.min() < 0 or x.max() > 1):
            raise ValueError(
                f"likelihood 'bernoulli' is for values between 0 and 1, but X goes from "
                f"{x.min():g} to {x.max():g}; scale X, or use likelihood='gaussian'."
            )

    def build(self, *outputs: Tensor) -> Bernoulli:
        """Return the Bernoullis of the one output, read as logits."""
        (logits,) = outputs
        return Logits(logits)
