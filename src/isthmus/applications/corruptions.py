"""Training noise for `Denoiser`: recorded background noise, random choice, data units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Generator, Tensor

from isthmus._messages import did_you_mean
from isthmus.estimators.scaling import Scaler
from isthmus.objectives.corruptions import CORRUPTIONS, Corruption

__all__ = ["BackgroundNoise", "InDataUnits", "RandomChoice", "make_corruption"]

DEFAULT_LEVEL = 0.3


@dataclass(frozen=True)
class BackgroundNoise:
    """Add a random segment of recorded noise at a random signal-to-noise ratio.

    Parameters
    ----------
    noise : array-like (time,) or list of such
        Noise recordings, each at least as long as a training window.
    snr : (float, float), default=(-5, 15)
        Bounds of the signal-to-noise ratio in decibels, drawn uniformly.
    power : float, optional
        Mean square of the clean recordings, relative to which the ratio is defined. Defaults to
        that of each batch; the power of a single window is unsuitable because it may be silent.

    Examples
    --------
    >>> x = torch.ones(2, 1, 8)
    >>> noisy = BackgroundNoise(np.ones(20), snr=(0, 0))(x, None)
    >>> noisy[0, 0, 0].item()
    2.0
    """

    noise: ArrayLike | Sequence[ArrayLike]
    snr: tuple[float, float] = (-5.0, 15.0)
    power: float | None = None

    def __post_init__(self) -> None:
        noise: Any = self.noise
        several = isinstance(noise, list | tuple) and len(noise) > 0 and not np.isscalar(noise[0])
        recordings = noise if several else [noise]
        tensors = [torch.from_numpy(np.array(a, dtype=np.float32).ravel()) for a in recordings]
        if any(not t.square().mean() > 0 for t in tensors):
            raise ValueError("noise must not contain silent or empty recordings.")
        object.__setattr__(self, "noise", [t / t.square().mean().sqrt() for t in tensors])

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Return x (n, ..., time) with noise added, the same in all channels."""
        n, time = len(x), x.shape[-1]
        recording, offset, level = torch.rand(3, n, generator=generator, device=x.device).unbind()
        segments = map(self._segment, recording.tolist(), offset.tolist(), [time] * n)
        noise = torch.stack(list(segments)).to(x)
        low, high = self.snr
        power = x.square().mean() if self.power is None else torch.tensor(self.power).to(x)
        scale = (power / 10 ** ((low + (high - low) * level) / 10)).sqrt()
        return x + (scale[:, None] * noise).reshape(n, *[1] * (x.ndim - 2), time)

    def _segment(self, recording: float, offset: float, time: int) -> Tensor:
        recordings: Any = self.noise
        noise = recordings[int(recording * len(recordings))]
        if len(noise) < time:
            raise ValueError(
                f"noise must be at least as long as a window of {time} samples, got a recording "
                f"of {len(noise)}."
            )
        start = int(offset * (len(noise) - time + 1))
        return noise[start : start + time]


@dataclass(frozen=True)
class RandomChoice:
    """Apply one of several corruptions (x, generator) -> x to each row, chosen at random.

    Examples
    --------
    >>> from isthmus.objectives.corruptions import Masking
    >>> x = RandomChoice((Masking(0.0), Masking(1.0)))(torch.ones(100, 2), None)
    >>> sorted(set(x.sum(1).tolist()))
    [0.0, 2.0]
    """

    corruptions: tuple[Corruption, ...]

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Return the corrupted copy of x (n, *features)."""
        u = torch.rand(len(x), *[1] * (x.ndim - 1), generator=generator, device=x.device)
        choice = (u * len(self.corruptions)).long()
        out = x
        for i, corruption in enumerate(self.corruptions):
            out = torch.where(choice == i, corruption(x, generator), out)
        return out


@dataclass(frozen=True)
class InDataUnits:
    """Apply a corruption, defined in the units of the data (bytes as [0, 1]), to scaled rows."""

    corruption: Corruption
    scaler: Scaler

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Return the corrupted copy of x (n, *features), scaled as x is."""
        if self.scaler.identity:
            return self.corruption(x, generator)
        shift = torch.from_numpy(self.scaler.shift).to(x)
        scale = torch.from_numpy(self.scaler.scale).to(x)
        return (self.corruption(x * scale + shift, generator) - shift) / scale


def make_corruption(corruption: Any, level: Any = None) -> Corruption | None:
    """Build one corruption from a name, a callable or a sequence of both, with their levels."""
    if corruption is None:
        if level is not None:
            raise ValueError("level requires a corruption: pass one, such as 'gaussian'.")
        return None
    several = isinstance(corruption, Sequence) and not isinstance(corruption, str)
    kinds = list(corruption) if several else [corruption]
    levels = list(level) if isinstance(level, Sequence) else [level] * len(kinds)
    if not kinds or len(levels) != len(kinds):
        raise ValueError(
            f"expected one level for each of {len(kinds)} corruptions, got {len(levels)}."
        )
    made = tuple(_one_corruption(kind, each) for kind, each in zip(kinds, levels, strict=True))
    return made[0] if len(made) == 1 else RandomChoice(made)


def _one_corruption(kind: Any, level: Any) -> Corruption:
    if callable(kind):
        return kind
    if kind not in CORRUPTIONS:
        known = ", ".join(map(repr, CORRUPTIONS))
        raise ValueError(
            f"corruption must be one of {known}, or a callable, got {kind!r}."
            f"{did_you_mean(kind, CORRUPTIONS)}"
        )
    level = DEFAULT_LEVEL if level is None else level
    if isinstance(level, bool) or not isinstance(level, int | float | np.number) or not level >= 0:
        raise ValueError(f"level must be a non-negative number, got {level!r}.")
    return CORRUPTIONS[kind](float(level))
