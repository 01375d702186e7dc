"""Distributions that torch does not have, and sampling from a given generator.

`torch.distributions` draws from the global random state. Here ``rsample`` takes a ``generator``, or
standard normal ``noise``, so that training leaves global state alone and is reproducible bit for
bit. ``log_prob`` and ``kl_divergence`` keep the axis of the code; `per_example` sums.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Size, Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Normal,
    constraints,
    register_kl,
)
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

__all__ = [
    "Delta",
    "DiagonalMixture",
    "DiagonalNormal",
    "draw",
    "isolated_rng",
    "log_prob_of_examples",
    "per_example",
]

HALF_LOG_2PI = math.log(math.sqrt(2 * math.pi))


def per_example(values: Tensor, batch_dims: int, observed: Tensor | None = None) -> Tensor:
    """Sum values over all axes after the batch axes.

    Parameters
    ----------
    values : Tensor (*batch, *features)
        Terms such as the log-probabilities of features, in nats.
    batch_dims : int
        How many leading axes to keep.
    observed : Tensor of bool, broadcastable to `values`, optional
        Sum only terms where this is True.

    Returns
    -------
    Tensor (*batch,)

    Examples
    --------
    >>> per_example(torch.ones(2, 3, 4), batch_dims=1)
    tensor([12., 12.])
    """
    if observed is not None:
        values = torch.where(observed, values, 0.0)
    return values.flatten(batch_dims).sum(-1) if values.ndim > batch_dims else values


def log_prob_of_examples(p: Distribution, value: Tensor, n_axes: int) -> Tensor:
    """Return log p(x) in nats, summed over the last `n_axes` axes, those of one example.

    Examples
    --------
    >>> log_prob_of_examples(Logits(torch.zeros(2, 3)), torch.ones(2, 3), n_axes=1)
    tensor([-2.0794, -2.0794])
    """
    if isinstance(p, Logits):
        return p.log_prob_of_examples(value, n_axes)
    values = p.log_prob(value)
    return per_example(values, values.ndim - n_axes)


class NoiseTransform(Distribution):
    """A distribution over codes that transforms standard normal noise."""

    loc: Tensor
    has_rsample = True

    def rsample(  # type: ignore[override]
        self,
        sample_shape: tuple[int, ...] = (),
        generator: Generator | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Draw reparameterised samples (*sample_shape, *batch, n_components)."""
        if noise is None:
            loc, shape = self.loc, self._extended_shape(Size(sample_shape))
            noise = torch.randn(shape, dtype=loc.dtype, device=loc.device, generator=generator)
        return self.transform_noise(noise)

    def transform_noise(self, noise: Tensor) -> Tensor:
        """Return the samples (*samples, *batch, n_components) that noise of this shape gives."""
        raise NotImplementedError


class DiagonalNormal(NoiseTransform, Normal):  # type: ignore[misc]
    """A normal with independent dimensions that samples from a given generator.

    Parameters
    ----------
    loc, scale : Tensor (*batch, n_components)

    Examples
    --------
    >>> q = DiagonalNormal(torch.zeros(5, 2), torch.ones(5, 2))
    >>> q.rsample((3,), generator=torch.Generator().manual_seed(0)).shape
    torch.Size([3, 5, 2])
    """

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        # Skips Normal.__init__, which broadcasts and checks: this is in the hot path.
        same, self._own_scale = loc.shape == scale.shape, scale
        self.loc, self.scale = (loc, scale) if same else torch.broadcast_tensors(loc, scale)
        Distribution.__init__(self, self.loc.shape, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> DiagonalNormal:
        """Return the distribution with more batch axes."""
        return DiagonalNormal(self.loc.expand(batch_shape), self.scale.expand(batch_shape))

    def detached(self) -> DiagonalNormal:
        """Return a copy that passes no gradient to its parameters."""
        return DiagonalNormal(self.loc.detach(), self.scale.detach())

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(x) of each dimension, in nats."""
        # As in Normal, but a scale that rows or dimensions share is not repeated for each.
        loc, scale = self.loc, self._own_scale
        if value.shape != loc.shape:
            loc, value = torch.broadcast_tensors(loc, value)
        squares = mse_loss(loc, value, reduction="none")
        return squares / (-2 * scale.square()) - scale.log() - HALF_LOG_2PI

    def transform_noise(self, noise: Tensor) -> Tensor:
        """Return loc + scale * noise."""
        return torch.addcmul(self.loc, self.scale, noise)


class StandardNormalCode(DiagonalNormal):
    """N(0, I) of a code, as a type with a shorter KL."""


@register_kl(DiagonalNormal, StandardNormalCode)
def _kl_standard(q: DiagonalNormal, p: StandardNormalCode) -> Tensor:
    return 0.5 * (q.loc.square() + q.scale.square() - 1) - q.scale.log()


class Logits(Bernoulli):
    """Bernoulli distributions from logits, without the checks of torch in the hot path."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = self._param = logits
        self.is_scalar = False
        Distribution.__init__(self, logits.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return minus the cross-entropy of each feature, in nats."""
        return -self._cross_entropy(value)

    def log_prob_of_examples(self, value: Tensor, n_axes: int) -> Tensor:
        """Return minus the cross-entropy of each example, summed over the last `n_axes` axes."""
        values = self._cross_entropy(value)
        return -per_example(values, values.ndim - n_axes)

    def _cross_entropy(self, value: Tensor) -> Tensor:
        logits = self.logits
        if value.shape != logits.shape:
            logits, value = torch.broadcast_tensors(logits, value)
        return binary_cross_entropy_with_logits(logits, value, reduction="none")

    def expand(self, batch_shape: Any, _instance: Any = None) -> Logits:
        """Return the distribution with more batch axes."""
        return Logits(self.logits.expand(batch_shape))


class Delta(Distribution):
    """A point mass, the posterior of a plain autoencoder.

    Parameters
    ----------
    value : Tensor (*batch, n_components)

    Examples
    --------
    >>> Delta(torch.tensor([[1.0, 2.0]])).rsample((2,)).shape
    torch.Size([2, 1, 2])
    """

    arg_constraints = {}  # noqa: RUF012 - torch's own convention
    support = constraints.real
    has_rsample = True

    def __init__(self, value: Tensor) -> None:
        self.value = value
        super().__init__(value.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The point."""
        return self.value

    @property
    def variance(self) -> Tensor:
        """Zero."""
        return torch.zeros_like(self.value)

    def rsample(  # type: ignore[override]
        self,
        sample_shape: tuple[int, ...] = (),
        generator: Generator | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Return the point, repeated."""
        return self.value.expand(self._extended_shape(Size(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return 0 at the point (a density with respect to the point mass), else -inf."""
        return torch.where(value == self.value, 0.0, -torch.inf)


@register_kl(Delta, Distribution)
def _kl_delta(q: Delta, p: Distribution) -> Tensor:
    # With the point mass as the reference measure.
    return -p.log_prob(q.value)


class DiagonalMixture(Distribution):
    """A mixture of diagonal normals over codes.

    Its log-density takes two matrix products; the general mixture of torch would need memory for
    every pair of code and mode.

    Parameters
    ----------
    logits : Tensor (*batch, n_modes)
        Unnormalised log-weights, for mixtures of the same normals.
    loc, scale : Tensor (n_modes, n_components)

    Examples
    --------
    >>> p = DiagonalMixture(torch.zeros(2), torch.tensor([[-3.0], [3.0]]), torch.ones(2, 1))
    >>> p.log_prob(torch.tensor([[3.0]]))
    tensor([-1.6121])
    """

    arg_constraints = {}  # noqa: RUF012 - torch's own convention
    support = constraints.real_vector

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor) -> None:
        self.log_weights, self.loc, self.scale = logits.log_softmax(-1), loc, scale
        super().__init__(logits.shape[:-1], loc.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean, (n_components,)."""
        return self.log_weights.exp() @ self.loc

    @property
    def variance(self) -> Tensor:
        """The variance of each dimension, (n_components,)."""
        second = self.log_weights.exp() @ (self.scale**2 + self.loc**2)
        return second - self.mean**2

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(z) for z (*batch, n_components), (*batch,)."""
        # Σ (z - μ)² / σ², expanded about the mean of the modes for precision.
        middle = self.loc.mean(0).detach()
        z, mean, precision = value - middle, self.loc - middle, self.scale**-2
        square = z**2 @ precision.T - 2 * z @ (mean * precision).T + (mean**2 * precision).sum(-1)
        half_log = self.scale.log().sum(-1) + 0.5 * math.log(2 * math.pi) * value.shape[-1]
        return (self.log_weights - half_log - 0.5 * square.clamp(min=0)).logsumexp(-1)

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:  # type: ignore[override]
        """Draw codes (*sample_shape, n_components)."""
        with torch.no_grad():
            mode = Categorical(logits=self.log_weights).sample(torch.Size(sample_shape))
            return torch.normal(self.loc[mode], self.scale[mode])


def draw(p: Distribution, generator: Generator, shape: tuple[int, ...] = ()) -> Tensor:
    """Sample any distribution with a given generator.

    Parameters
    ----------
    p : torch.distributions.Distribution
    generator : torch.Generator
    shape : tuple of int

    Returns
    -------
    Tensor (*shape, *p's shape)

    Examples
    --------
    >>> p = torch.distributions.Bernoulli(probs=torch.tensor([0.0, 1.0]))
    >>> draw(p, torch.Generator().manual_seed(0))
    tensor([0., 1.])
    """
    with isolated_rng(generator), torch.no_grad():
        return p.sample(torch.Size(shape))


_rng_lock = threading.RLock()


def _new_lock() -> None:
    global _rng_lock
    _rng_lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # a forked process has no thread to release the lock
    os.register_at_fork(after_in_child=_new_lock)


@contextmanager
def isolated_rng(source: Generator, number: int = 0) -> Iterator[None]:
    """Seed torch's global random state from a generator temporarily, then restore it.

    Needed for layers and torch distributions, which draw from the global state. Processes with
    different numbers draw different values.
    """
    seed = int(torch.randint(2**62, (), generator=source, device=source.device)) + number
    cuda = [source.device] if source.device.type == "cuda" else []
    with _rng_lock, torch.random.fork_rng(devices=cuda):
        # torch.manual_seed formats the stack for each kind of accelerator that is not in use.
        (torch if _may_use_accelerator(source) else torch.default_generator).manual_seed(seed)
        yield


def _may_use_accelerator(source: Generator) -> bool:
    """Whether the draws may be those of an accelerator, even if the seed is drawn on the CPU."""
    is_set_up = torch.cuda.is_initialized() or torch.backends.mps.is_available()
    return source.device.type != "cpu" or is_set_up
