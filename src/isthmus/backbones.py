"""Backbones: the two networks of a model, made for given shapes.

A backbone is a function ``(shapes) -> (encoder, decoder)``. The encoder takes x (n, *features)
and returns (n, shapes.encoder_outputs); the decoder takes z (n, shapes.code) and returns
shapes.decoder_outputs numbers a row, in any shape. Both take a second argument, the context
(n, shapes.context), where the model has one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["BACKBONES", "NONLINEARITIES", "Backbone", "Dense", "Shapes", "conv", "mlp"]

NONLINEARITIES: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "leaky-relu": nn.LeakyReLU,
}

SMALLEST_SIDE = 4  # strided layers stop here
MOST_CHANNELS = 256


@dataclass(frozen=True)
class Shapes:
    """What the networks of a backbone take and return, for one example.

    Parameters
    ----------
    features : tuple of int
        Shape of one example.
    code : int
        Numbers in a code.
    posterior_outputs : int
        Numbers the encoder returns for each dimension of the code.
    likelihood_outputs : int
        Numbers the decoder returns for each feature.
    context : int
        Numbers of context beside x and beside z; 0 for none.
    inputs : tuple of int, optional
        Shape of one example as the encoder sees it, where that is another than `features`.
    """

    features: tuple[int, ...]
    code: int
    posterior_outputs: int = 1
    likelihood_outputs: int = 1
    context: int = 0
    inputs: tuple[int, ...] | None = None

    @property
    def encoder_inputs(self) -> tuple[int, ...]:
        """Shape of one example as the encoder sees it."""
        return self.features if self.inputs is None else self.inputs

    @property
    def n_features(self) -> int:
        """Numbers in one example."""
        return math.prod(self.features)

    @property
    def encoder_outputs(self) -> int:
        """Numbers the encoder returns a row."""
        return self.code * self.posterior_outputs

    @property
    def decoder_outputs(self) -> int:
        """Numbers the decoder returns a row."""
        return self.n_features * self.likelihood_outputs


Backbone = Callable[[Shapes], tuple[nn.Module, nn.Module]]


class Dense(nn.Module):
    """Dense layers on the flattened input, the context beside it.

    Parameters
    ----------
    widths : sequence of int
        Input, hidden and output widths.
    nonlinearity : str
    context : int
        Numbers of context joined to the input.

    Examples
    --------
    >>> Dense([4, 8, 2], context=3)(torch.zeros(5, 2, 2), torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """

    def __init__(self, widths: Sequence[int], nonlinearity: str = "relu", context: int = 0) -> None:
        super().__init__()
        first, *rest = widths
        layers: list[nn.Module] = []
        for n_in, n_out in zip([first + context, *rest], rest, strict=False):
            layers += [nn.Linear(n_in, n_out), NONLINEARITIES[nonlinearity]()]
        self.layers = nn.Sequential(*layers[:-1])  # no function after the last

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Map (n, *shape) and (n, context) to (n, widths[-1])."""
        x = x.flatten(1)
        return self.layers(x if c is None else torch.cat([x, c], 1))


def mlp(
    shapes: Shapes, hidden: Sequence[int] = (400,), nonlinearity: str = "relu"
) -> tuple[nn.Module, nn.Module]:
    """Make a dense encoder and its mirror image.

    Examples
    --------
    >>> encoder, decoder = mlp(Shapes((28, 28), 20, posterior_outputs=2))
    >>> encoder(torch.zeros(5, 28, 28)).shape, decoder(torch.zeros(5, 20)).shape
    (torch.Size([5, 40]), torch.Size([5, 784]))
    """
    hidden = list(hidden)
    down = [math.prod(shapes.encoder_inputs), *hidden, shapes.encoder_outputs]
    up = [shapes.code, *hidden[::-1], shapes.decoder_outputs]
    return (
        Dense(down, nonlinearity, shapes.context),
        Dense(up, nonlinearity, shapes.context),
    )


class Then(nn.Module):
    """One network after another, the context given to the one that takes it."""

    def __init__(self, dense: nn.Module, convolutions: nn.Module, *, dense_first: bool) -> None:
        super().__init__()
        self.dense, self.convolutions, self.dense_first = dense, convolutions, dense_first

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Run both in turn."""
        if self.dense_first:
            return self.convolutions(self.dense(x, c))
        return self.dense(self.convolutions(x), c)


def conv(
    shapes: Shapes, hidden: Sequence[int] = (400,), nonlinearity: str = "relu", axes: int = 2
) -> tuple[nn.Module, nn.Module]:
    """Make strided convolutions with batch norm, dense layers, and their mirror image.

    Each layer halves the sides (rounding up) until one is at most four; the first has 32
    channels, each next twice as many, up to 256. Any size of picture or length of signal.

    Parameters
    ----------
    shapes : Shapes
        Features (height, width) or (channels, height, width); for ``axes=1`` (time,) or
        (channels, time).
    hidden : sequence of int
        Widths of dense layers between the convolutions and the code.
    nonlinearity : str
    axes : {1, 2}
        Axes along which to convolve.

    Examples
    --------
    >>> encoder, decoder = conv(Shapes((3, 30, 17), 8, posterior_outputs=2))
    >>> encoder(torch.zeros(5, 3, 30, 17)).shape, decoder(torch.zeros(5, 8)).shape
    (torch.Size([5, 16]), torch.Size([5, 3, 30, 17]))
    """
    channels, sizes = _stages(shapes.features, axes)
    down = _downward(channels, sizes, nonlinearity, axes)
    up = _upward(channels, sizes, shapes.likelihood_outputs, nonlinearity, axes)
    n_middle = channels[-1] * math.prod(sizes[-1])
    return (
        Then(
            Dense([n_middle, *hidden, shapes.encoder_outputs], nonlinearity, shapes.context),
            down,
            dense_first=False,
        ),
        Then(
            Dense([shapes.code, *list(hidden)[::-1], n_middle], nonlinearity, shapes.context),
            up,
            dense_first=True,
        ),
    )


def _stages(features: tuple[int, ...], axes: int) -> tuple[list[int], list[tuple[int, ...]]]:
    """Return the channels and the sides before each layer and after the last."""
    if len(features) not in (axes, axes + 1):
        kind = {1: "signals (n, [channels,] time)", 2: "pictures (n, [channels,] height, width)"}
        raise ValueError(
            f"this convolutional backbone is for {kind[axes]}, but one example of X has shape "
            f"{features}; reshape X or use backbone='mlp'."
        )
    channels = [features[0] if len(features) == axes + 1 else 1]
    sizes = [tuple(features[-axes:])]
    while len(sizes) == 1 or min(sizes[-1]) > SMALLEST_SIDE:
        sizes.append(tuple(math.ceil(s / 2) for s in sizes[-1]))
        channels.append(min(32 * 2 ** (len(sizes) - 2), MOST_CHANNELS))
    return channels, sizes


def _downward(
    channels: list[int], sizes: list[tuple[int, ...]], nonlinearity: str, axes: int
) -> nn.Sequential:
    Conv, Norm = ((nn.Conv1d, nn.BatchNorm1d), (nn.Conv2d, nn.BatchNorm2d))[axes - 1]
    layers: list[nn.Module] = [Reshape(channels[0], *sizes[0])]
    for n_in, n_out in itertools.pairwise(channels):
        # The norm that follows has an offset of its own.
        layers += [Conv(n_in, n_out, 3, stride=2, padding=1, bias=False), Norm(n_out)]
        layers += [NONLINEARITIES[nonlinearity]()]
    return nn.Sequential(*layers)


def _upward(
    channels: list[int], sizes: list[tuple[int, ...]], outputs: int, nonlinearity: str, axes: int
) -> nn.Sequential:
    Conv: Any = (nn.ConvTranspose1d, nn.ConvTranspose2d)[axes - 1]
    Norm = (nn.BatchNorm1d, nn.BatchNorm2d)[axes - 1]
    layers: list[nn.Module] = [NONLINEARITIES[nonlinearity](), Reshape(channels[-1], *sizes[-1])]
    for i in range(len(channels) - 1, 0, -1):
        last = i == 1
        n_out = channels[0] * outputs if last else channels[i - 1]
        # A side s became ceil(s / 2); the padding says which of the two s it was.
        extra = tuple(
            big - (2 * small - 1) for big, small in zip(sizes[i - 1], sizes[i], strict=True)
        )
        layers += [Conv(channels[i], n_out, 3, 2, 1, output_padding=extra, bias=last)]
        layers += [] if last else [Norm(n_out), NONLINEARITIES[nonlinearity]()]
    return nn.Sequential(*layers)


class Reshape(nn.Module):
    """Give each row a shape."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, ...) to (n, *shape)."""
        return x.reshape(len(x), *self.shape)


def conv1d(
    shapes: Shapes, hidden: Sequence[int] = (400,), nonlinearity: str = "relu"
) -> tuple[nn.Module, nn.Module]:
    """Make `conv` along one axis: for signals (n, time) or (n, channels, time)."""
    return conv(shapes, hidden, nonlinearity, axes=1)


BACKBONES: dict[str, Callable[..., tuple[nn.Module, nn.Module]]] = {
    "mlp": mlp,
    "conv": conv,
    "conv1d": conv1d,
}
