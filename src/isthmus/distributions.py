"""The distributions that torch lacks, and sampling from a generator that is passed in.

`torch.distributions` draws from the global random state; here `rsample` and `sample` take a
``generator``, or the standard normal ``noise`` itself, so that training touches no global state
and repeats bit for bit. Both distributions below keep the code's axis: ``log_prob`` and
``kl_divergence`` are per dimension, and `per_example` is the one function that sums.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Generator, Size, Tensor
from torch.distributions import Distribution, Normal, constraints, register_kl

__all__ = ["Delta", "DiagonalNormal", "draw", "isolated_rng", "per_example"]


def per_example(values: Tensor, batch_dims: int, observed: Tensor | None = None) -> Tensor:
    """Sum values over everything behind the batch axes.

    Parameters
    ----------
    values : Tensor (*batch, *features)
        Terms of a sum, such as the log-probabilities of features, in nats.
    batch_dims : int
        How many leading axes to keep.
    observed : Tensor of bool, broadcastable to `values`, optional
        Only terms where this is True count.

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


class DiagonalNormal(Normal):
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
        super().__init__(loc, scale, validate_args=False)

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
        return torch.addcmul(self.loc, self.scale, noise)


class Delta(Distribution):
    """All mass at one point: the posterior of a plain autoencoder.

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
        """The point itself."""
        return self.value

    @property
    def stddev(self) -> Tensor:
        """Zero."""
        return torch.zeros_like(self.value)

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
        """Zero at the point (a density with respect to the point mass), else -inf."""
        return torch.where(value == self.value, 0.0, -torch.inf)


@register_kl(Delta, Distribution)
def _kl_delta(q: Delta, p: Distribution) -> Tensor:
    # With q's own point mass as the reference measure: the price of the point under p.
    return -p.log_prob(q.value)


def draw(p: Distribution, generator: Generator, shape: tuple[int, ...] = ()) -> Tensor:
    """Draw samples of any distribution from a given generator.

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


@contextmanager
def isolated_rng(source: Generator) -> Iterator[None]:
    """Seed torch's global state from a generator for a while, then put it back.

    Layers and torch's own distributions can draw from nothing else.
    """
    seed = int(torch.randint(2**62, (), generator=source, device=source.device))
    cuda = [torch.cuda.current_device()] if source.device.type == "cuda" else []
    with _rng_lock, torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield
