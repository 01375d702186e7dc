"""Convolutions by FFT: the same layers as torch's, faster for long kernels.

For small kernels direct convolution and its relatives (a matrix product over patches, Winograd)
are faster; ``docs/fft-convolution.md`` shows where the two cross.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor, nn

__all__ = ["FFT_PAYS_FROM_1D", "FFTConv1d", "FFTConv2d", "fft_convolve"]

#: Kernel length from which `FFTConv1d` was measured to be the faster one, forward and backward.
FFT_PAYS_FROM_1D = 65


def fft_convolve(x: Tensor, weight: Tensor, dilation: Sequence[int], groups: int = 1) -> Tensor:
    """Cross-correlate x with kernels by FFT, without padding.

    Parameters
    ----------
    x : Tensor (n, channels, *sides)
    weight : Tensor (out_channels, channels / groups, *kernel)
    dilation : sequence of int
        One for each side.
    groups : int

    Returns
    -------
    Tensor (n, out_channels, *(side - dilation * (kernel - 1)))

    Examples
    --------
    >>> x, w = torch.randn(2, 3, 50), torch.randn(4, 3, 9)
    >>> torch.allclose(fft_convolve(x, w, [2]), F.conv1d(x, w, dilation=2), atol=1e-4)
    True
    """
    weight = _spread(weight, dilation)
    sides, kernel = x.shape[2:], weight.shape[2:]
    axes = list(range(-len(sides), 0))
    # Wrapped-around values land in front of the last kernel's width: those are cut off below.
    sizes = [next_fast_len(s, real=True) for s in sides]
    spectrum = torch.fft.rfftn(x, sizes, axes)  # (n, channels, *frequencies)
    kernels = torch.fft.rfftn(weight, sizes, axes).conj()
    product = _mix(spectrum, kernels, groups)
    out = torch.fft.irfftn(product, sizes, axes)
    for axis, (side, width) in enumerate(zip(sides, kernel, strict=True), start=2):
        out = out.narrow(axis, 0, side - width + 1)
    return out


def _spread(weight: Tensor, dilation: Sequence[int]) -> Tensor:
    """Put zeros between a kernel's values."""
    if all(d == 1 for d in dilation):
        return weight
    sides = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True)]
    out = weight.new_zeros(*weight.shape[:2], *sides)
    places: Any = (..., *(slice(None, None, d) for d in dilation))
    out[places] = weight
    return out


def _mix(spectrum: Tensor, kernels: Tensor, groups: int) -> Tensor:
    """Multiply by the kernels and sum over channels: a matrix product at each frequency."""
    n, channels, *frequencies = spectrum.shape
    x = spectrum.reshape(n, groups, channels // groups, -1).permute(1, 3, 0, 2)
    w = kernels.reshape(groups, -1, channels // groups, x.shape[1]).permute(0, 3, 2, 1)
    product = x @ w  # (groups, frequencies, n, out / groups)
    return product.permute(2, 0, 3, 1).reshape(n, -1, *frequencies)


class _ByFFT:
    """What the two layers share: torch's parameters and padding, another product."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        stride: tuple[int, ...] = self.stride  # type: ignore[attr-defined]
        if any(s != 1 for s in stride):
            raise ValueError(
                f"{type(self).__name__} has stride 1, got {stride}: take every n-th value of its "
                "output, or torch's own layer."
            )

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        layer: Any = self
        axes = len(layer.kernel_size)
        batched = x if x.ndim == axes + 2 else x[None]
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        padded = F.pad(batched, layer._reversed_padding_repeated_twice, mode=mode)
        span = [d * (k - 1) + 1 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        if any(side < width for side, width in zip(padded.shape[2:], span, strict=True)):
            raise ValueError(
                f"the padded input has sides {tuple(padded.shape[2:])}, the kernel spans "
                f"{tuple(span)}: it must not be larger."
            )
        out = fft_convolve(padded, weight, layer.dilation, layer.groups)
        if bias is not None:
            out = out + bias.reshape(-1, *[1] * axes)
        return out if x.ndim == axes + 2 else out[0]


class FFTConv1d(_ByFFT, nn.Conv1d):
    """`torch.nn.Conv1d` of stride 1, computed by FFT.

    The same arguments, parameters and results (to rounding); a ``state_dict`` goes from one to
    the other.

    Examples
    --------
    >>> layer, same = FFTConv1d(2, 3, 65, padding="same"), nn.Conv1d(2, 3, 65, padding="same")
    >>> _ = same.load_state_dict(layer.state_dict())
    >>> x = torch.randn(4, 2, 300)
    >>> torch.allclose(layer(x), same(x), atol=1e-5)
    True
    """


class FFTConv2d(_ByFFT, nn.Conv2d):
    """`torch.nn.Conv2d` of stride 1, computed by FFT; see `FFTConv1d`.

    Examples
    --------
    >>> FFTConv2d(1, 4, 15, padding=7)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 4, 28, 28])
    """
