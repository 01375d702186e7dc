"""Corruptions of the input during training: x~ ~ M(x~ | x).

A corruption is a callable ``(x, generator) -> x~`` that keeps the shape. Source: Extracting and
composing robust features with denoising autoencoders (Vincent, Larochelle, Bengio, Manzagol,
2008).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

__all__ = ["CORRUPTIONS", "Binarize", "Corruption", "GaussianNoise", "Masking", "SaltAndPepper"]

Corruption = Callable[[Tensor, Generator | None], Tensor]


def _uniform(x: Tensor, generator: Generator | None) -> Tensor:
    return torch.rand(x.shape, device=x.device, generator=generator)


def _chosen(x: Tensor, share: float, generator: Generator | None) -> Tensor:
    """Mark the same number of random features in every row."""
    noise = _uniform(x, generator).flatten(1)  # (n, features)
    count = round(share * noise.shape[1])
    if count == 0:
        return torch.zeros_like(x, dtype=torch.bool)
    highest = noise.kthvalue(count, dim=1, keepdim=True).values
    return (noise <= highest).reshape(x.shape)


@dataclass(frozen=True)
class Masking:
    """Set a random share of each row's features to `value`.

    NaN marks them as missing; 0 would be a category for categorical data.

    Examples
    --------
    >>> Masking(0.25)(torch.ones(3, 8), None).sum(1)
    tensor([6., 6., 6.])
    """

    share: float
    value: float = 0.0

    def __post_init__(self) -> None:
        _check_share("masking", self.share)

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Return the corrupted copy of x (n, *features)."""
        return x.masked_fill(_chosen(x, self.share, generator), self.value)


@dataclass(frozen=True)
class GaussianNoise:
    """Add normal noise with standard deviation `scale` to every feature."""

    scale: float

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Return the corrupted copy of x (n, *features)."""
        noise = torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
        return x + self.scale * noise


@dataclass(frozen=True)
class SaltAndPepper:
    """Set a random share of each row's features to the lowest or highest value of the batch."""

    share: float

    def __post_init__(self) -> None:
        _check_share("salt-and-pepper", self.share)

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Return the corrupted copy of x (n, *features)."""
        hit = _chosen(x, self.share, generator)
        salt = _uniform(x, generator) < 0.5
        highest, lowest = x.nan_to_num(-torch.inf).amax(), x.nan_to_num(torch.inf).amin()
        return torch.where(hit, torch.where(salt, highest, lowest), x)


@dataclass(frozen=True)
class Binarize:
    """Draw each value in [0, 1] as 0 or 1; NaN is kept."""

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Return the drawn copy of x (n, *features)."""
        drawn = torch.bernoulli(x.nan_to_num(0.0), generator=generator)
        return torch.where(x.isnan(), x, drawn)


def _check_share(name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(
            f"corruption_level must be between 0 and 1 for {name}, the share of corrupted "
            f"features; got {share!r}."
        )


CORRUPTIONS: dict[str, Callable[[float], Corruption]] = {
    "masking": Masking,
    "gaussian": GaussianNoise,
    "salt-and-pepper": SaltAndPepper,
}
