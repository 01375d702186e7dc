"""A convolutional backbone whose code holds several scales: for cleaning pictures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from isthmus.nn.dense import Shapes

__all__ = ["Pyramid"]


@dataclass(frozen=True)
class Pyramid:
    """A backbone for cleaning pictures: the code is what convolutions see at several scales.

    The code holds the feature maps of every scale, so that fine detail need not pass through
    the coarsest. It is larger than the picture: only a corruption keeps it from being copied.

    Parameters
    ----------
    channels : tuple of int, default=(24, 48, 96)
        Of the feature maps, each half as large as the one before; the first are half as large
        as the picture.

    References
    ----------
    U-Net: convolutional networks for biomedical image segmentation (Ronneberger, Fischer,
    Brox, 2015).

    Examples
    --------
    >>> pyramid = Pyramid((4, 8))
    >>> encoder, decoder = pyramid(Shapes((9, 12), pyramid.n_components((9, 12))))
    >>> decoder(encoder(torch.zeros(2, 9, 12))).shape
    torch.Size([2, 1, 9, 12])
    """

    channels: tuple[int, ...] = (24, 48, 96)

    def sides(self, features: tuple[int, ...]) -> list[tuple[int, int]]:
        """Return height and width of the feature maps."""
        sides = [(features[-2], features[-1])]
        for _ in self.channels:
            sides.append((math.ceil(sides[-1][0] / 2), math.ceil(sides[-1][1] / 2)))
        return sides[1:]

    def n_components(self, features: tuple[int, ...]) -> int:
        """Return the numbers in the code of a picture of that shape."""
        if len(features) not in (2, 3):
            raise ValueError(
                "the pyramid is for pictures (n, [channels,] height, width), but one example of X "
                f"has shape {features}."
            )
        return sum(c * h * w for c, (h, w) in zip(self.channels, self.sides(features), strict=True))

    def __call__(self, shapes: Shapes) -> tuple[nn.Module, nn.Module]:
        """Make the two networks for pictures ([channels,] height, width)."""
        wanted = self.n_components(shapes.features)
        if shapes.code != wanted or shapes.posterior_outputs != 1 or shapes.condition:
            raise ValueError(
                f"the pyramid codes pictures of shape {shapes.features} by {wanted} numbers, of an "
                "autoencoder without labels and prior: set n_components to that."
            )
        n_in = math.prod(shapes.encoder_inputs) // math.prod(shapes.features[-2:])
        n_out = shapes.decoder_outputs // math.prod(shapes.features[-2:])
        sides = self.sides(shapes.features)
        return (
            Narrowing(n_in, self.channels, shapes.features[-2:]),
            Widening(n_out, self.channels, sides, shapes.features),
        )


def _layer(n_in: int, n_out: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(n_out), nn.ReLU())


class Narrowing(nn.Module):
    """Feature maps of a picture at several scales, one after another."""

    def __init__(self, n_in: int, channels: tuple[int, ...], sides: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = (n_in, *sides)
        pairs = zip((n_in, *channels), channels, strict=False)
        self.stages = nn.ModuleList(
            nn.Sequential(_layer(a, b, stride=2), _layer(b, b)) for a, b in pairs
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, *features) to (n, numbers of the code)."""
        x, maps = x.reshape(x.shape[0], *self.shape), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x.flatten(1))
        return torch.cat(maps, 1)


class Widening(nn.Module):
    """The picture of feature maps, joined from the coarsest to the finest."""

    def __init__(
        self,
        n_out: int,
        channels: tuple[int, ...],
        sides: list[tuple[int, int]],
        features: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.shapes = [(c, *side) for c, side in zip(channels, sides, strict=True)]
        self.sides = features[-2:]
        self.up = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in itertools.pairwise(channels))
        self.mix = nn.ModuleList(
            nn.Sequential(_layer(2 * c, c), _layer(c, c)) for c in channels[:-1]
        )
        self.last = nn.Conv2d(channels[0], 4 * n_out, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """Map (n, numbers of the code) to (n, channels, height, width)."""
        parts = z.split([math.prod(shape) for shape in self.shapes], 1)
        maps = [p.reshape(z.shape[0], *s) for p, s in zip(parts, self.shapes, strict=True)]
        x = maps[-1]
        for up, mix, finer in zip(self.up[::-1], self.mix[::-1], maps[-2::-1], strict=True):
            x = mix(torch.cat([_doubled(up(x), finer.shape[-2:]), finer], 1))
        return _doubled(self.last(x), self.sides)


def _doubled(x: Tensor, sides: Sequence[int]) -> Tensor:
    """Return four channels as one of twice the sides, less what is too much."""
    return nn.functional.pixel_shuffle(x, 2)[..., : sides[0], : sides[1]]
