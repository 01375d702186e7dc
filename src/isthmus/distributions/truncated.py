"""Draws from p(x|z) that stay within the range of each feature."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from torch import Generator, Tensor
from torch.distributions import Distribution, Laplace, Normal

from isthmus.distributions.base import draw, isolated_rng
from isthmus.distributions.mixed import MixedDistribution

__all__ = ["draw_within"]

Array = NDArray[Any]
REDRAWS = 50  # of counts outside the range, before the bound is taken


def draw_within(
    p: Distribution, generator: Generator, ends: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Draw from a distribution given that each value lies in a range.

    Normals and Laplace distributions are drawn by the inverse of their distribution function, in
    float64. Others are drawn again where they lie outside; what is outside after 50 draws becomes
    the bound.

    Parameters
    ----------
    p : torch.distributions.Distribution
    generator : torch.Generator
    ends : tuple of Tensor of float64, broadcastable to the shape of p, or None
        Smallest and largest values, ±infinity for a side without a bound; None for no bounds.

    Returns
    -------
    Tensor of the shape of p

    Examples
    --------
    >>> p = torch.distributions.Normal(torch.zeros(4), 1.0)
    >>> ends = torch.tensor(2.0), torch.tensor(3.0)
    >>> x = draw_within(p, torch.Generator().manual_seed(0), ends)
    >>> bool((x > 2).all() and (x < 3).all())
    True
    """
    if ends is None:
        return draw(p, generator)
    with isolated_rng(generator), torch.no_grad():
        return _draw(p, *ends)


def _draw(p: Distribution, low: Tensor, high: Tensor) -> Tensor:
    if isinstance(p, MixedDistribution):
        ends = (each.expand(p.batch_shape)[..., p.order.to(each.device)] for each in (low, high))
        pieces = zip(p.parts, *(each.split(p.widths, -1) for each in ends), strict=True)
        return p.join([_draw(*piece) for piece in pieces])
    if isinstance(p, Normal | Laplace):
        return _inverse(p, low, high)
    x = p.sample()
    low, high = low.to(x), high.to(x)
    for _ in range(REDRAWS):
        outside = (x < low) | (x > high)
        if not outside.any():
            return x
        x = torch.where(outside, p.sample(), x)
    return x.clamp(low, high)


def _inverse(p: Any, low: Tensor, high: Tensor) -> Tensor:
    """Draw a location and scale family by the inverse of its distribution function."""
    below, quantile = _FUNCTIONS[Laplace if isinstance(p, Laplace) else Normal]
    loc, scale = (each.cpu().double().numpy() for each in (p.loc, p.scale))
    a, b = (low.cpu().numpy() - loc) / scale, (high.cpu().numpy() - loc) / scale
    mirror = a > -b  # small probabilities are precise, those near 1 are not
    a, b = np.where(mirror, -b, a), np.where(mirror, -a, b)
    least, most = below(a), below(b)
    u = torch.rand(loc.shape, dtype=torch.float64).numpy()
    with np.errstate(divide="ignore"):
        x = np.clip(quantile(least + u * (most - least)), a, b)
    x = np.where(most > 0, x, b)  # so far away that only the nearer bound is left
    return torch.from_numpy(loc + scale * np.where(mirror, -x, x)).to(p.loc)


def _laplace_below(x: Array) -> Array:
    tail = 0.5 * np.exp(-np.abs(x))
    return np.where(x < 0, tail, 1 - tail)


def _laplace_quantile(q: Array) -> Array:
    return np.where(q < 0.5, np.log(2 * q), -np.log(2 * (1 - q)))


_FUNCTIONS = {Normal: (ndtr, ndtri), Laplace: (_laplace_below, _laplace_quantile)}
