"""A backbone that gates the short-time spectrum, for denoising audio."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from isthmus.nn.dense import Shapes

__all__ = ["Spectral"]


@dataclass(frozen=True)
class Spectral:
    """A backbone for audio, whose code is the gated spectrogram of the window.

    The encoder takes the short-time Fourier transform and predicts, from the log-magnitudes of each
    frame and its neighbours, the share of signal in each bin; the decoder is the inverse transform.
    Training on clean targets minimises the squared error of the waveform. The output scales with
    the loudness of the input.

    Parameters
    ----------
    frame : int, default=256
        Samples per frame, even; frames overlap by half.
    width : int, default=192
        Channels of the layers.
    depth : int, default=6
        Residual layers, each with twice the dilation of the one before.

    References
    ----------
    Phase-sensitive and recognition-boosted speech separation using deep recurrent neural
    networks (Erdogan, Hershey, Watanabe, Le Roux, 2015).
    Conv-TasNet: surpassing ideal time-frequency magnitude masking for speech separation (Luo,
    Mesgarani, 2019).

    Examples
    --------
    >>> spectral = Spectral(frame=64, width=8, depth=2)
    >>> n = spectral.n_components((1, 512))
    >>> encoder, decoder = spectral(Shapes((1, 512), n))
    >>> decoder(encoder(torch.randn(3, 1, 512))).shape
    torch.Size([3, 1, 512])
    """

    frame: int = 256
    width: int = 192
    depth: int = 6

    def n_components(self, features: tuple[int, ...]) -> int:
        """Return the code size for windows of a given shape."""
        return 2 * (self.frame // 2 + 1) * (2 * features[-1] // self.frame + 1)

    def __call__(self, shapes: Shapes) -> tuple[nn.Module, nn.Module]:
        """Build the two networks for windows (time,) or (1, time)."""
        time, wanted = shapes.features[-1], self.n_components(shapes.features)
        if math.prod(shapes.features) != time or shapes.likelihood_outputs != 1 or shapes.condition:
            raise ValueError(
                "backbone='spectral' expects windows (n, time) or (n, 1, time), an estimator "
                f"without labels, and likelihood 'gaussian-fixed' or 'gaussian'; got {shapes}."
            )
        if self.frame % 2 or time < self.frame:
            raise ValueError(
                f"frame must be even and at most the window length {time}, got {self.frame}."
            )
        if shapes.code != wanted or shapes.posterior_outputs != 1:
            raise ValueError(
                f"backbone='spectral' needs n_components={wanted} for windows of {time} samples."
            )
        return GatedSpectrum(self), Waveform(self.frame, shapes.features)


class GatedSpectrum(nn.Module):
    """Compute the short-time spectrum of a window, each bin times a learned gate in [0, 1]."""

    window: Tensor

    def __init__(self, choice: Spectral) -> None:
        super().__init__()
        self.frame = choice.frame
        self.register_buffer("window", torch.hann_window(choice.frame), persistent=False)
        bins, width = choice.frame // 2 + 1, choice.width
        blocks = [TimeBlock(width, 2**i) for i in range(choice.depth)]
        self.gate = nn.Sequential(
            nn.Conv1d(bins, width, 3, padding=1), *blocks, nn.Conv1d(width, bins, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, [1,] time) to (n, code size)."""
        x = x.flatten(1)
        spectrum = torch.stft(
            x, self.frame, self.frame // 2, window=self.window, return_complex=True
        )
        power = torch.view_as_real(spectrum).square().sum(-1)  # (n, bins, frames)
        floor = 1e-6 * power.mean((1, 2), keepdim=True) + 1e-12
        level = (power + floor).log()
        gate = self.gate((level - level.mean((1, 2), keepdim=True)) / 3)
        return torch.view_as_real(spectrum * gate).flatten(1)


class TimeBlock(nn.Module):
    """x + dilated convolution along time."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm1d(width),
            nn.SiLU(),
            nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, width, frames) to the same shape."""
        return x + self.layers(x)


class Waveform(nn.Module):
    """Compute the waveform of a short-time spectrum."""

    window: Tensor

    def __init__(self, frame: int, features: tuple[int, ...]) -> None:
        super().__init__()
        self.frame, self.features = frame, features
        self.register_buffer("window", torch.hann_window(frame), persistent=False)

    def forward(self, z: Tensor) -> Tensor:
        """Map (n, code size) to (n, *features)."""
        spectrum = torch.view_as_complex(z.reshape(z.shape[0], self.frame // 2 + 1, -1, 2))
        x = torch.istft(
            spectrum, self.frame, self.frame // 2, window=self.window, length=self.features[-1]
        )
        return x.reshape(z.shape[0], *self.features)
