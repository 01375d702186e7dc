"""The floor: the matrix products and convolutions of a piece of work, and nothing else.

Which products there are is not written down a second time: a pass through the model is watched,
and each linear and convolutional layer noted with the shape that it was given. Timed are then, for
each of them, the forward product, the gradient of the weights, and the gradient of the input, but
for the first layers, whose input is data and has no gradient. Same type, same sizes, same layout
as in the model; matrix products write into memory that is there, convolutions (for which torch has
no such form) make their result anew, as they do in training. No bias, no function, no loss, no
optimiser, no data: nothing that trains can be as fast, so a ratio to the floor is a ratio to what
the machine's library of products can do. It runs with all of torch's threads.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from speed.race import Contender
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

Layer = Any


@dataclass(frozen=True)
class Use:
    """One use of a layer: the layer, the shape it was given, whether that needs a gradient."""

    layer: Layer
    shape: tuple[int, ...]
    input_gradient: bool

    def product(self, backward: bool) -> Callable[[], object]:
        """Return what does the layer's products."""
        with torch.inference_mode():
            make = _convolution if isinstance(self.layer, _ConvNd) else _matrix
            return make(self, backward)

    def operations(self, backward: bool) -> float:
        """Return additions and multiplications."""
        return self._forward() * (1 + backward * (1 + self.input_gradient))

    def _forward(self) -> float:
        if not isinstance(self.layer, _ConvNd):
            return 2.0 * math.prod(self.shape) * self.layer.out_features
        x = torch.empty(self.shape, device="meta")
        weight = self.layer.weight
        places = x if self.layer.transposed else _convolve(self.layer, x, weight.to("meta"))
        return 2.0 * len(x) * math.prod(places.shape[2:]) * weight.numel()


def watch(model: nn.Module, run: Callable[[], object]) -> list[Use]:
    """Return the uses of linear and convolutional layers in a run."""
    uses: list[Use] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (x,) = inputs
        uses.append(Use(layer, tuple(x.shape), x.requires_grad))

    with contextlib.ExitStack() as hooks:
        for layer in model.modules():
            if isinstance(layer, nn.Linear | _ConvNd):
                hooks.callback(layer.register_forward_pre_hook(note).remove)
        run()
    return uses


def floor(uses: list[Use], times: int, *, backward: bool) -> Contender:
    """Return the contender that does the products of these uses, so many times over."""
    products = [use.product(backward) for use in uses]

    def epoch() -> float:
        with torch.inference_mode():
            for _ in range(times):
                for product in products:
                    product()
        return math.nan

    return Contender(epoch)


def _matrix(use: Use, backward: bool) -> Callable[[], object]:
    w = use.layer.weight.detach()
    x = torch.randn(math.prod(use.shape[:-1]), use.shape[-1], device=w.device)
    y = torch.empty(len(x), len(w), device=w.device)
    g = torch.randn_like(y)
    dw, dx = torch.empty_like(w), torch.empty_like(x)

    def product() -> None:
        torch.mm(x, w.t(), out=y)
        if backward:
            torch.mm(g.t(), x, out=dw)
        if backward and use.input_gradient:
            torch.mm(g, w, out=dx)

    return product


def _convolution(use: Use, backward: bool) -> Callable[[], object]:
    layer, w = use.layer, use.layer.weight.detach()
    x = torch.randn(use.shape, device=w.device)
    g = torch.randn_like(_convolve(layer, x, w))
    wanted = [use.input_gradient, True, False]

    def product() -> None:
        _convolve(layer, x, w)
        if backward:
            torch.ops.aten.convolution_backward(g, x, w, None, *_how(layer), wanted)

    return product


def _convolve(layer: Layer, x: Tensor, w: Tensor) -> Tensor:
    return torch.convolution(x, w, None, *_how(layer))


def _how(layer: Layer) -> tuple[Any, ...]:
    before = (layer.stride, layer.padding, layer.dilation, layer.transposed)
    return (*before, layer.output_padding, layer.groups)
