"""Convolutional backbones for images and signals of any size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.nn.dense import NONLINEARITIES, Dense, Shapes, linear_layer
from isthmus.nn.fft_conv import FFT_PAYS_FROM_1D, FFTConv1d

__all__ = ["conv", "conv1d", "resnet"]

SMALLEST_SIDE = 4  # strided layers stop here
MOST_CHANNELS = 256
Networks = tuple[nn.Module, nn.Module]


@dataclass(frozen=True)
class Layers:
    """The layers of a convolutional network along one or two axes.

    Parameters
    ----------
    axes : {1, 2}
    kernel_size : int
        Odd, so that a layer with stride 2 maps a side s to ceil(s / 2).
    nonlinearity : str
    dropout : float
        Share of channels dropped during training.
    residual : bool
        Add a residual block after each layer.
    """

    axes: int = 2
    kernel_size: int = 3
    nonlinearity: str = "relu"
    dropout: float = 0.0
    residual: bool = False

    def down(self, n_in: int, n_out: int) -> nn.Module:
        """Return a layer that halves the sides; the norm after it provides the bias."""
        k = self.kernel_size
        if self.axes == 1 and k >= FFT_PAYS_FROM_1D:
            return HalvingFFT(n_in, n_out, k)
        return self.module("Conv")(n_in, n_out, k, stride=2, padding=k // 2, bias=False)

    def up(self, n_in: int, n_out: int, extra: tuple[int, ...], bias: bool) -> nn.Module:
        """Return a layer that doubles the sides, minus one if `extra` is 0."""
        k = self.kernel_size
        if self.axes == 1 and k >= FFT_PAYS_FROM_1D:
            return DoublingFFT(n_in, n_out, k, extra[0], bias)
        transposed = self.module("ConvTranspose")
        return transposed(n_in, n_out, k, 2, k // 2, output_padding=extra, bias=bias)

    def after(self, n: int) -> list[nn.Module]:
        """Return the layers after each convolution except the last."""
        layers = [self.module("BatchNorm")(n), NONLINEARITIES[self.nonlinearity]()]
        if self.residual:
            layers.append(Residual(self, n))
        if self.dropout:
            layers.append(self.module("Dropout")(self.dropout))
        return layers

    def module(self, name: str) -> Any:
        """Return the class of `torch.nn` for the number of axes, such as Conv2d."""
        return getattr(nn, f"{name}{self.axes}d")


class Residual(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), for any nonlinearity.

    Source: Deep residual learning for image recognition (He, Zhang, Ren, Sun, 2016).
    """

    def __init__(self, layers: Layers, n: int) -> None:
        super().__init__()
        Conv, norm = layers.module("Conv"), layers.module("BatchNorm")
        self.function = NONLINEARITIES[layers.nonlinearity]()
        self.block = nn.Sequential(
            Conv(n, n, 3, padding=1, bias=False),
            norm(n),
            self.function,
            Conv(n, n, 3, padding=1, bias=False),
            norm(n),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, *sides) to the same shape."""
        return self.function(x + self.block(x))


class HalvingFFT(nn.Module):
    """A convolution with stride 2 by FFT, for long kernels."""

    def __init__(self, n_in: int, n_out: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = FFTConv1d(n_in, n_out, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, n_in, time) to (n, n_out, ceil(time / 2))."""
        return self.conv(x)[..., ::2]


class DoublingFFT(nn.Module):
    """A transposed convolution with stride 2 by FFT: insert zeros, then convolve."""

    def __init__(self, n_in: int, n_out: int, kernel_size: int, extra: int, bias: bool) -> None:
        super().__init__()
        self.extra = extra
        self.conv = FFTConv1d(n_in, n_out, kernel_size, padding=kernel_size // 2, bias=bias)

    @property
    def bias(self) -> Tensor | None:
        """The bias of each channel, (n_out,)."""
        return self.conv.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, n_in, time) to (n, n_out, 2 * time - 1 + extra)."""
        spread = torch.stack([x, torch.zeros_like(x)], -1).flatten(-2)
        return self.conv(spread[..., : 2 * x.shape[-1] - 1 + self.extra])


class Then(nn.Module):
    """Two networks in sequence; the dense one takes the condition."""

    def __init__(self, dense: nn.Module, convolutions: nn.Sequential, *, dense_first: bool) -> None:
        super().__init__()
        self.dense, self.convolutions, self.dense_first = dense, convolutions, dense_first

    @property
    def output_bias(self) -> Any:
        """The bias of each channel of a decoder's outputs."""
        return self.convolutions[-1].bias

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Apply both."""
        if self.dense_first:
            return self.convolutions(self.dense(x, condition))
        return self.dense(self.convolutions(x.flatten(1)), condition)


def conv(
    shapes: Shapes,
    hidden: Sequence[int] = (400,),
    nonlinearity: str = "relu",
    dropout: float = 0.0,
    layers: Layers | None = None,
) -> Networks:
    """Build strided convolutions with batch norm, dense layers, and their mirror image.

    Each layer halves the sides (rounding up) until one is at most 4. The first layer has 32
    channels and each further layer twice as many, up to 256.

    Parameters
    ----------
    shapes : Shapes
        Features (height, width) or (channels, height, width); along one axis (time,) or
        (channels, time).
    hidden : sequence of int
        Widths of dense layers between the convolutions and the code.
    nonlinearity : str
    dropout : float
        Share of channels, and of hidden dense units, dropped during training.
    layers : Layers, optional
        The convolutional layers; by default 2-D with kernel size 3.

    Examples
    --------
    >>> encoder, decoder = conv(Shapes((3, 30, 17), 8, posterior_outputs=2))
    >>> encoder(torch.zeros(5, 3, 30, 17)).shape, decoder(torch.zeros(5, 8)).shape
    (torch.Size([5, 16]), torch.Size([5, 3, 30, 17]))
    """
    if shapes.decoder_outputs != shapes.n_features * shapes.likelihood_outputs:
        raise ValueError("mixed tables cannot be convolved: use backbone='mlp'.")
    layers = layers or Layers(2, 3, nonlinearity, dropout)
    channels, sizes = _stages(shapes.features, layers.axes)
    # A one-hot embedding adds categories as channels.
    n_in = math.prod(shapes.encoder_inputs) // math.prod(sizes[0])
    n_out = shapes.decoder_outputs // math.prod(sizes[0])
    n_middle = channels[-1] * math.prod(sizes[-1])
    layer = linear_layer(nonlinearity)
    inward = [n_middle, *hidden, shapes.encoder_outputs]
    outward = [shapes.code, *list(hidden)[::-1], n_middle]
    down = _downward([n_in, *channels], sizes, layers)
    up = _upward([n_out, *channels], sizes, layers)
    return (
        Then(Dense(inward, layer, shapes.condition, dropout), down, dense_first=False),
        Then(Dense(outward, layer, shapes.condition, dropout), up, dense_first=True),
    )


def _stages(features: tuple[int, ...], axes: int) -> tuple[list[int], list[tuple[int, ...]]]:
    """Return the channels after each layer, and the sides before each layer and after the last."""
    if len(features) not in (axes, axes + 1):
        kind = {1: "signals (n, [channels,] time)", 2: "images (n, [channels,] height, width)"}
        raise ValueError(
            f"this convolutional backbone expects {kind[axes]}, but one example of X has shape "
            f"{features}; reshape X or use backbone='mlp'."
        )
    channels: list[int] = []
    sizes = [tuple(features[-axes:])]
    while not channels or min(sizes[-1]) > SMALLEST_SIDE:
        channels.append(min(32 * 2 ** len(channels), MOST_CHANNELS))
        sizes.append(tuple(math.ceil(s / 2) for s in sizes[-1]))
    return channels, sizes


def _downward(channels: list[int], sizes: list[tuple[int, ...]], layers: Layers) -> nn.Sequential:
    out: list[nn.Module] = [nn.Unflatten(1, (channels[0], *sizes[0]))]
    for n_in, n_out in itertools.pairwise(channels):
        out += [layers.down(n_in, n_out), *layers.after(n_out)]
    return nn.Sequential(*out)


def _upward(channels: list[int], sizes: list[tuple[int, ...]], layers: Layers) -> nn.Sequential:
    out: list[nn.Module] = [
        NONLINEARITIES[layers.nonlinearity](),
        nn.Unflatten(1, (channels[-1], *sizes[-1])),
    ]
    for i in range(len(channels) - 1, 0, -1):
        # A side s became ceil(s / 2); the output padding restores an odd or even s.
        extra = tuple(a - (2 * b - 1) for a, b in zip(sizes[i - 1], sizes[i], strict=True))
        out.append(layers.up(channels[i], channels[i - 1], extra, bias=i == 1))
        out += [] if i == 1 else layers.after(channels[i - 1])
    return nn.Sequential(*out)


def resnet(
    shapes: Shapes,
    hidden: Sequence[int] = (400,),
    nonlinearity: str = "relu",
    dropout: float = 0.0,
) -> Networks:
    """Build `conv` with a residual block after each layer."""
    layers = Layers(2, 3, nonlinearity, dropout, residual=True)
    return conv(shapes, hidden, nonlinearity, dropout, layers)


def conv1d(
    shapes: Shapes,
    hidden: Sequence[int] = (400,),
    nonlinearity: str = "relu",
    dropout: float = 0.0,
    kernel_size: int = 9,
) -> Networks:
    """Build `conv` along one axis, for signals (n, time) or (n, channels, time).

    Kernels of length `FFT_PAYS_FROM_1D` or more are applied by FFT.

    Examples
    --------
    >>> encoder, decoder = conv1d(Shapes((2, 100), 4), kernel_size=5)
    >>> encoder(torch.zeros(3, 2, 100)).shape, decoder(torch.zeros(3, 4)).shape
    (torch.Size([3, 4]), torch.Size([3, 2, 100]))
    """
    if kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd, got {kernel_size}.")
    layers = Layers(1, kernel_size, nonlinearity, dropout)
    return conv(shapes, hidden, nonlinearity, dropout, layers)
