"""Noise for training: pieces of recorded or made sound, added at a given ratio."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Generator, Tensor

__all__ = ["AddedSound"]


@dataclass(frozen=True)
class AddedSound:
    """A corruption: adds a random piece of recorded or made noise at a random loudness.

    Parameters
    ----------
    noise : array-like (time,) or list of such
        Each at least as long as a window.
    snr : (float, float), default=(-5, 15)
        Bounds of the signal-to-noise ratio in decibels, drawn uniformly.
    power : float, optional
        Mean square of the clean recordings, to which the ratio refers; by default that of each
        batch. One window may be silence, so that its own would say nothing.

    Examples
    --------
    >>> x = torch.ones(2, 1, 8)
    >>> noisy = AddedSound(np.ones(20), snr=(0, 0))(x, None)
    >>> noisy[0, 0, 0].item()
    2.0
    """

    noise: ArrayLike | Sequence[ArrayLike]
    snr: tuple[float, float] = (-5.0, 15.0)
    power: float | None = None

    def __post_init__(self) -> None:
        given = self.noise if isinstance(self.noise, list | tuple) else [self.noise]
        if not given or np.isscalar(given[0]):
            given = [self.noise]
        pieces = [torch.from_numpy(np.array(a, dtype=np.float32).ravel()) for a in given]
        if any(not p.square().mean() > 0 for p in pieces):
            raise ValueError("noise must hold sounds that are not silent.")
        unit = [p / p.square().mean().sqrt() for p in pieces]
        object.__setattr__(self, "noise", unit)

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Return x (n, ..., time) with noise added, the same in all channels."""
        n, time = len(x), x.shape[-1]
        kind, place, loudness = torch.rand(3, n, generator=generator, device=x.device).unbind()
        noise = torch.stack(list(self._pieces(kind, place, time))).to(x)
        low, high = self.snr
        power = x.square().mean() if self.power is None else torch.tensor(self.power).to(x)
        scale = (power / 10 ** ((low + (high - low) * loudness) / 10)).sqrt()
        return x + (scale[:, None] * noise).reshape(n, *[1] * (x.ndim - 2), time)

    def _pieces(self, kind: Tensor, place: Tensor, time: int) -> Iterator[Tensor]:
        bank: Any = self.noise
        for k, p in zip(kind.tolist(), place.tolist(), strict=True):
            piece = bank[int(k * len(bank))]
            if len(piece) < time:
                raise ValueError(
                    f"noise must be at least as long as a window of {time} samples, got "
                    f"{len(piece)}."
                )
            start = int(p * (len(piece) - time + 1))
            yield piece[start : start + time]
