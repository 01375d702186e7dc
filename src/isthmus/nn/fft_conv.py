"""Convolutional layers by FFT: equivalent to those of torch, faster for long kernels.

For small kernels direct convolution and its variants (matrix products over patches, Winograd) are
faster; ``docs/fft-convolution.md`` shows where the two cross.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor, nn

__all__ = ["FFT_PAYS_FROM_1D", "FFTConv1d", "FFTConv2d", "fft_convolve"]

#: Measured kernel length from which `FFTConv1d` is faster, forward and backward, even if half of
#: its output is discarded to emulate a stride of 2.
FFT_PAYS_FROM_1D = 65

SMALLEST_BLOCK = 512  # samples; transforms of this length fit the fastest cache
KERNELS_IN_A_BLOCK = 4  # so that at most a quarter of the work is overlap


def fft_convolve(x: Tensor, weight: Tensor, dilation: Sequence[int], groups: int = 1) -> Tensor:
    """Cross-correlate x with kernels by FFT, without padding.

    Signals much longer than the kernel are cut into overlapping blocks, whose short transforms
    stay in the cache. Source: High-speed convolution and correlation (Stockham, 1966).

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
    block = next_fast_len(max(SMALLEST_BLOCK, KERNELS_IN_A_BLOCK * weight.shape[-1]), real=True)
    if len(dilation) == 1 and x.shape[-1] > block:
        return _in_blocks(x, weight, groups, block)
    return _whole(x, weight, groups)


def _in_blocks(x: Tensor, weight: Tensor, groups: int, block: int) -> Tensor:
    """Convolve (n, channels, time) in overlapping blocks (overlap-save)."""
    side, overlap = x.shape[-1], weight.shape[-1] - 1
    step = block - overlap
    count = -(-(side - overlap) // step)
    steps = F.pad(x, (0, (count + 1) * step - side)).unflatten(-1, (count + 1, step))
    steps = steps.transpose(1, 2)  # (n, count + 1, channels, step)
    blocks = torch.cat([steps[:, :-1], steps[:, 1:, :, :overlap]], -1)
    out = _whole(blocks.flatten(0, 1), weight, groups).unflatten(0, (len(x), count))
    return out.transpose(1, 2).flatten(2)[..., : side - overlap]


def _whole(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Convolve in one transform."""
    sides, kernel = x.shape[2:], weight.shape[2:]
    axes = list(range(-len(sides), 0))
    # Circular wrap-around affects only positions that are cut off below.
    sizes = [next_fast_len(s, real=True) for s in sides]
    spectrum = torch.fft.rfftn(x, sizes, axes)  # (n, channels, *frequencies)
    kernels = torch.fft.rfftn(weight, sizes, axes)
    out = torch.fft.irfftn(_mix(spectrum, kernels, groups), sizes, axes)
    for axis, (side, width) in enumerate(zip(sides, kernel, strict=True), start=2):
        out = out.narrow(axis, 0, side - width + 1)
    return out


def _spread(weight: Tensor, dilation: Sequence[int]) -> Tensor:
    """Insert zeros between the values of a dilated kernel."""
    if all(d == 1 for d in dilation):
        return weight
    sides = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True)]
    out = weight.new_zeros(*weight.shape[:2], *sides)
    places: Any = (..., *(slice(None, None, d) for d in dilation))
    out[places] = weight
    return out


def _mix(spectrum: Tensor, kernels: Tensor, groups: int) -> Tensor:
    """Multiply by the conjugate kernels and sum over channels: one matrix product per frequency.

    With real numbers, because torch copies each conjugate in batched complex products.
    """
    n, channels, *frequencies = spectrum.shape
    x = torch.view_as_real(spectrum).reshape(n, groups, channels // groups, -1, 2)
    x = x.permute(1, 3, 0, 2, 4).flatten(3)  # (groups, frequencies, n, channels and parts)
    w = torch.view_as_real(kernels).reshape(groups, -1, channels // groups, x.shape[1], 2)
    real, imag = w.permute(0, 3, 2, 1, 4).unbind(-1)  # each (groups, frequencies, in, out)
    from_real, from_imag = torch.stack([real, -imag], -1), torch.stack([imag, real], -1)
    w = torch.stack([from_real, from_imag], 3).flatten(4).flatten(2, 3)
    product = (x @ w).unflatten(3, (-1, 2)).permute(2, 0, 3, 1, 4)
    return torch.view_as_complex(product.reshape(n, -1, *frequencies, 2))


class _ByFFT:
    """The common part of both layers: parameters and padding of torch, convolution by FFT."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        stride: tuple[int, ...] = self.stride  # type: ignore[attr-defined]
        if any(s != 1 for s in stride):
            raise ValueError(
                f"{type(self).__name__} supports only stride 1, got {stride}: take every n-th "
                "value of its output, or use the layer of torch."
            )

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        layer: Any = self
        axes = len(layer.kernel_size)
        if not len(x) or not _fits(layer, x):  # torch handles empty batches and raises errors
            return super()._conv_forward(x, weight, bias)  # type: ignore[misc]
        batched = x if x.ndim == axes + 2 else x[None]
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        padded = F.pad(batched, layer._reversed_padding_repeated_twice, mode=mode)
        out = fft_convolve(padded, weight, layer.dilation, layer.groups)
        if bias is not None:
            out = out + bias.reshape(-1, *[1] * axes)
        return out if x.ndim == axes + 2 else out[0]


def _fits(layer: Any, x: Tensor) -> bool:
    """Whether x has the axes and channels of a layer, and sides as long as its kernel."""
    axes = len(layer.kernel_size)
    if x.ndim not in (axes + 1, axes + 2) or x.shape[-axes - 1] != layer.in_channels:
        return False
    pads = layer._reversed_padding_repeated_twice[::-1]
    return all(
        side + sum(pads[2 * i : 2 * i + 2]) > layer.dilation[i] * (layer.kernel_size[i] - 1)
        for i, side in enumerate(x.shape[-axes:])
    )


class FFTConv1d(_ByFFT, nn.Conv1d):
    """`torch.nn.Conv1d` of stride 1, computed by FFT.

    Arguments, parameters and results (up to rounding) are the same, and a ``state_dict`` of one
    layer loads into the other.

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
