"""Decompositions of torch operations that ONNX or browser runtimes do not have."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv1d, conv_transpose1d

__all__ = ["DECOMPOSITIONS"]

GAMMA_SHIFT = 8  # Stirling's series up to x^-7 is exact to 1e-11 above this


def _lgamma(x: Tensor) -> Tensor:
    """Return log Γ(x) for x > 0 by Stirling's series; in float64, since terms nearly cancel."""
    below = x.double()
    shifted = below + GAMMA_SHIFT
    for i in range(1, GAMMA_SHIFT):
        below = below * (x.double() + i)
    square = shifted**-2
    series = (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680))) / shifted
    half_log = 0.5 * math.log(2 * math.pi)
    whole = (shifted - 0.5) * shifted.log() - shifted + half_log + series
    return (whole - below.log()).to(x.dtype)


def _solve_triangular(
    a: Tensor, b: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """Solve a x = b for a lower triangular a by forward substitution."""
    if upper or not left or unitriangular:
        raise ValueError("only a x = b with a lower triangular a can be exported.")
    rows: list[Tensor] = []
    for i in range(a.shape[-1]):
        rest = b[..., i, :]
        if rows:
            rest = rest - (a[..., i : i + 1, :i] @ torch.stack(rows, -2))[..., 0, :]
        rows.append(rest / a[..., i, i, None])
    return torch.stack(rows, -2)


def _dft_kernel(n: int, window: Tensor) -> Tensor:
    """Return the windowed cosine and -sine waves of a DFT, (2, n // 2 + 1, n)."""
    cycles = torch.outer(torch.arange(n // 2 + 1), torch.arange(n)) % n
    angle = cycles.double() * (2 * math.pi / n)
    return torch.stack([angle.cos(), -angle.sin()]).to(window.dtype) * window


def _stft(
    x: Tensor, n_fft: int, hop_length: int, win_length: int, window: Tensor, *_: Any, **__: Any
) -> Tensor:
    """Return the short-time Fourier transform of x (n, time), as a convolution."""
    kernel = _dft_kernel(n_fft, window).flatten(0, 1)[:, None]
    parts = conv1d(x[:, None], kernel, stride=hop_length).unflatten(1, (2, -1))
    return torch.view_as_complex(parts.movedim(1, -1).contiguous())


def _istft(
    spectrum: Tensor,
    n_fft: int,
    hop_length: int,
    win_length: int,
    window: Tensor,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
) -> Tensor:
    """Return the waveform (n, time) of a spectrogram, as a transposed convolution."""
    bins = n_fft // 2 + 1
    once = torch.arange(bins) % (bins - 1) == 0  # the other bins count for their conjugates too
    kernel = _dft_kernel(n_fft, window) * torch.where(once, 1.0, 2.0)[:, None] / n_fft
    parts = torch.view_as_real(spectrum).movedim(-1, 1).flatten(1, 2)
    sound = conv_transpose1d(parts, kernel.flatten(0, 1)[:, None], stride=hop_length)[:, 0]
    ones = torch.ones(1, 1, spectrum.shape[-1], dtype=window.dtype)
    weight = conv_transpose1d(ones, window.square()[None, None], stride=hop_length)[0]
    start = n_fft // 2
    return (sound / weight.clamp(min=1e-11))[:, start:][:, :length]


def _cross_entropy(logits: Tensor, target: Tensor, *_: Any) -> Tensor:
    """Return the Bernoulli cross-entropy from logits, finite for saturated ones."""
    return logits.relu() - logits * target + (-logits.abs()).exp().log1p()


aten = torch.ops.aten

#: Torch operations and the functions that replace them, for `ExportedProgram.run_decompositions`.
DECOMPOSITIONS: dict[Any, Callable[..., Tensor]] = {
    aten.binary_cross_entropy_with_logits.default: _cross_entropy,
    aten.lgamma.default: _lgamma,
    aten.linalg_solve_triangular.default: _solve_triangular,
    aten.stft.default: _stft,
    aten.istft.default: _istft,
}
