"""A convolutional backbone with a multi-scale code, for denoising images."""

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
    """A backbone for denoising images, whose code holds the feature maps of several scales.

    Fine detail need not pass through the coarsest scale. The code is larger than the image: only
    a corruption prevents the network from copying its input.

    Parameters
    ----------
    channels : tuple of int, default=(24, 48, 96)
        Channels of the feature maps. The first are half as large as the image, each further
        one half as large as the one before.

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

    def shapes(self, features: tuple[int, ...]) -> list[tuple[int, int, int]]:
        """Return the shapes of the feature maps of an image ([channels,] height, width)."""
        if len(features) not in (2, 3):
            raise ValueError(
                "backbone='pyramid' expects images (n, [channels,] height, width), but one example "
                f"of X has shape {features}."
            )
        height, width = features[-2:]
        halvings = enumerate(self.channels, 1)
        return [(c, -(-height // 2**i), -(-width // 2**i)) for i, c in halvings]

    def n_components(self, features: tuple[int, ...]) -> int:
        """Return the code size for images of a given shape."""
        return sum(map(math.prod, self.shapes(features)))

    def __call__(self, shapes: Shapes) -> tuple[nn.Module, nn.Module]:
        """Build the two networks for images ([channels,] height, width)."""
        wanted = self.n_components(shapes.features)
        if shapes.code != wanted or shapes.posterior_outputs != 1 or shapes.condition:
            raise ValueError(
                f"backbone='pyramid' needs n_components={wanted} for images of shape "
                f"{shapes.features}, and an autoencoder without labels and prior."
            )
        sides = shapes.features[-2:]
        n_in = math.prod(shapes.encoder_inputs) // math.prod(sides)
        n_out = shapes.decoder_outputs // math.prod(sides)
        return (
            Narrowing((n_in, *sides), self.channels),
            Widening(self.shapes(shapes.features), (n_out, *sides)),
        )


def _layer(n_in: int, n_out: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(n_out), nn.ReLU())


class Narrowing(nn.Module):
    """Compute the feature maps of an image at several scales, concatenated."""

    def __init__(self, shape: tuple[int, ...], channels: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.stages = nn.ModuleList(
            nn.Sequential(_layer(a, b, stride=2), _layer(b, b))
            for a, b in itertools.pairwise((shape[0], *channels))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, *features) to (n, code size)."""
        x, maps = x.reshape(x.shape[0], *self.shape), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x.flatten(1))
        return torch.cat(maps, 1)


class Widening(nn.Module):
    """Compute an image from feature maps, joined from the coarsest to the finest."""

    def __init__(self, shapes: list[tuple[int, int, int]], shape: tuple[int, ...]) -> None:
        super().__init__()
        n_out, *self.sides = shape
        self.shapes, channels = shapes, [c for c, *_ in shapes]
        self.up = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in itertools.pairwise(channels))
        self.mix = nn.ModuleList(
            nn.Sequential(_layer(2 * c, c), _layer(c, c)) for c in channels[:-1]
        )
        self.last = nn.Conv2d(channels[0], 4 * n_out, 3, padding=1)

    @property
    def output_bias(self) -> Tensor:
        """The biases of each channel of the outputs, (channels, 4): one per corner."""
        bias = self.last.bias
        assert bias is not None
        return bias.reshape(-1, 4)

    def forward(self, z: Tensor) -> Tensor:
        """Map (n, code size) to (n, channels, height, width)."""
        parts = z.split([math.prod(shape) for shape in self.shapes], 1)
        maps = [p.reshape(z.shape[0], *s) for p, s in zip(parts, self.shapes, strict=True)]
        x = maps[-1]
        for up, mix, finer in zip(self.up[::-1], self.mix[::-1], maps[-2::-1], strict=True):
            x = mix(torch.cat([_doubled(up(x), finer.shape[-2:]), finer], 1))
        return _doubled(self.last(x), self.sides)


def _doubled(x: Tensor, sides: Sequence[int]) -> Tensor:
    """Rearrange four channels into one of twice the sides, cropped to `sides`."""
    return nn.functional.pixel_shuffle(x, 2)[..., : sides[0], : sides[1]]
