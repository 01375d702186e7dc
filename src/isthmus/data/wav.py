"""Sound: overlapping windows, WAV files of any kind, and resampling.

Samples are float64 in [-1, 1], channels first: (channels, time).
"""

from __future__ import annotations

import math
import os
import struct
import warnings
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from isthmus.data.limits import check_bytes

__all__ = [
    "Sound",
    "Windows",
    "check_samples",
    "read_wav",
    "resample",
    "wav_bytes",
    "write_wav",
]

Array = NDArray[Any]
BLOCK = 2**22  # numbers handled in one go
KINDS = ("u8", "i16", "i24", "i32", "f32", "f64")
MOST_CHUNKS = 1000  # parts of one file
FILTER = 20  # taps for each step of the finer rate, as scipy makes them
LOUDEST = {"u8": 2**7, "i16": 2**15, "i24": 2**31, "i32": 2**31}  # as scipy reads them


@dataclass(frozen=True)
class Windows:
    """Overlapping windows over the last axes of arrays, done one by one and blended again.

    Parameters
    ----------
    size : tuple of int
        Of a window, along the last axes.
    overlap : float, default=0.5
        Share of a window that the next one also covers, in [0, 1).

    Notes
    -----
    Windows are weighed by a squared sine that is nowhere 0, and the sum is divided by the sum
    of the weights: where the function changes nothing, neither does `apply`, for any length.
    Arrays shorter than a window are mirrored at their end.

    References
    ----------
    Signal estimation from modified short-time Fourier transform (Griffin, Lim, 1984).

    Examples
    --------
    >>> X = np.arange(10.0)[None]
    >>> Windows((4,)).cut(X).shape
    (4, 4)
    >>> np.allclose(Windows((4,)).apply(lambda w: 2 * w, X), 2 * X)
    True
    """

    size: tuple[int, ...]
    overlap: float = 0.5

    def __post_init__(self) -> None:
        if not self.size or any(s < 1 for s in self.size):
            raise ValueError(f"expected windows of positive sizes, got {self.size!r}.")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"overlap must be at least 0 and below 1, got {self.overlap!r}.")

    def cut(self, X: Array) -> Array:
        """Return the windows of all rows of X (n, ..., *sides), in order, (m, ..., *size)."""
        X = self._padded(X)
        return self._views(X)[tuple(self._index(X))]

    def apply(self, function: Callable[[Array], Array], X: Array) -> Array:
        """Return X with the function done to its windows.

        Parameters
        ----------
        function : callable
            From windows (m, ..., *size) to as many of that shape.
        X : ndarray (n, ..., *sides)

        Returns
        -------
        ndarray of float64, of the shape of X
        """
        padded = self._padded(X)
        views, index = self._views(padded), self._index(padded)
        total = np.zeros(padded.shape)
        weights, weight = np.zeros(padded.shape[-len(self.size) :]), self.weight
        rows = max(1, BLOCK // math.prod(views.shape[1 + len(self.size) :]))
        for start in range(0, len(index[0]), rows):
            block = tuple(i[start : start + rows] for i in index)
            done = np.asarray(function(views[block]), dtype=np.float64) * weight
            for window, row, *corner in zip(done, *block, strict=True):
                place = self._place(corner)
                total[row][(..., *place)] += window
                if row == 0:  # the same for all rows
                    weights[place] += weight
        kept: Any = (..., *(slice(s) for s in X.shape[-len(self.size) :]))
        return (total / weights)[kept]

    @property
    def weight(self) -> Array:
        """How much each place of a window counts where windows overlap, of shape `size`."""
        weight = np.ones(self.size if self.overlap else (1,) * len(self.size))
        for axis, length in enumerate(self.size if self.overlap else ()):
            sine = np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2
            weight *= sine.reshape([-1 if a == axis else 1 for a in range(len(self.size))])
        return np.broadcast_to(weight, self.size)

    def starts(self, length: int, axis: int = 0) -> Array:
        """Return where windows begin along an axis; the last one ends with the array."""
        size = self.size[axis]
        hop = max(1, round(size * (1 - self.overlap)))
        return np.append(np.arange(0, length - size, hop), length - size)

    def _padded(self, X: Array) -> Array:
        sides = X.shape[-len(self.size) :]
        lack = [max(0, size - side) for size, side in zip(self.size, sides, strict=True)]
        if X.ndim <= len(self.size) or 0 in sides:
            raise ValueError(f"expected rows with sides to be cut, got the shape {X.shape}.")
        if not any(lack):
            return X
        return np.pad(X, [(0, 0)] * (X.ndim - len(lack)) + [(0, k) for k in lack], "symmetric")

    def _views(self, X: Array) -> Array:
        """Return every window there is as views, (n, *places, ..., *size)."""
        axes = tuple(range(-len(self.size), 0))
        views = sliding_window_view(X, self.size, axes)  # (n, ..., *places, *size)
        k = len(self.size)
        places = tuple(range(-2 * k, -k))
        return np.moveaxis(views, places, tuple(range(1, 1 + k)))

    def _index(self, X: Array) -> list[Array]:
        """Return the row and the corner of each window."""
        sides = X.shape[-len(self.size) :]
        corners = [self.starts(side, axis) for axis, side in enumerate(sides)]
        grid = np.meshgrid(np.arange(len(X)), *corners, indexing="ij")
        return [g.ravel() for g in grid]

    def _place(self, corner: Sequence[int]) -> tuple[slice, ...]:
        return tuple(slice(c, c + s) for c, s in zip(corner, self.size, strict=True))


# ------------------------------------------------------------------------ files


class Sound(NamedTuple):
    """Samples in [-1, 1], (channels, time); their rate in hertz; how a file holds them."""

    samples: Array
    rate: int
    kind: str = "i16"


def read_wav(path: str | os.PathLike[str]) -> Sound:
    """Read a WAV file of 8, 16, 24 or 32-bit integers, or of floats, of any channels.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Sound
        Integers are divided by their largest value, floats stay as they are.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no WAV file that can be read, or has no samples.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_wav(f"{folder}/a.wav", Sound(np.array([[0.0, 0.5, -1.0]]), 8000))
    ...     read_wav(f"{folder}/a.wav")
    Sound(samples=array([[ 0. ,  0.5, -1. ]]), rate=8000, kind='i16')
    """
    from scipy.io import wavfile

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; check the name.")
    try:
        bits = _bits(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # of chunks that are not sound
            rate, data = wavfile.read(path)
    except Exception as error:  # scipy fails in many ways on a damaged file
        told = isinstance(error, ValueError) and str(error)
        reason = " ".join(told.split()) if told else "it is damaged"
        raise ValueError(
            f"{path}: expected a WAV file that can be read ({reason}); convert or remove it."
        ) from error
    kind = f"{data.dtype.kind}{bits}"
    if kind not in KINDS:
        raise ValueError(f"{path}: expected 8, 16, 24 or 32 bits a sample, got {bits}; convert it.")
    check_samples(path, data if rate else data[:0])
    return Sound(_unit(data, kind).reshape(len(data), -1).T, int(rate), kind)


def check_samples(path: Path, samples: Array) -> None:
    """Raise a ValueError where a file has no samples, or some that are no numbers."""
    if not samples.size:
        raise ValueError(f"{path}: expected at least one sample, got none; remove the file.")
    if not np.isfinite(samples).all():
        raise ValueError(f"{path}: some samples are NaN or infinite; repair or remove the file.")


def write_wav(path: str | os.PathLike[str], sound: Sound) -> int:
    """Write a WAV file; return how many samples were beyond its range and were cut off.

    Parameters
    ----------
    path : path-like
    sound : Sound
        Of kind u8, i16, i24, i32, f32 or f64: what one sample of the file is.

    Returns
    -------
    int
        0 for floats, which have no such range.
    """
    content, n_cut = wav_bytes(sound)
    Path(path).write_bytes(content)
    return n_cut


def wav_bytes(sound: Sound) -> tuple[bytes, int]:
    """Return the content of a WAV file, and how many samples were cut off."""
    if sound.kind not in KINDS:
        raise ValueError(f"expected a kind of {', '.join(KINDS)}, got {sound.kind!r}.")
    samples = np.asarray(sound.samples, dtype=np.float64).T
    stream = BytesIO()
    if sound.kind.startswith("f"):
        from scipy.io import wavfile

        wavfile.write(stream, sound.rate, samples.astype(f"f{int(sound.kind[1:]) // 8}"))
        return stream.getvalue(), 0
    values, n_cut = _integers(samples, int(sound.kind[1:]))
    with wave.open(stream, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(values.shape[-1])
        file.setframerate(sound.rate)
        file.writeframes(values.tobytes())
    return stream.getvalue(), n_cut


def resample(samples: Array, rate: int, new_rate: int) -> Array:
    """Return samples (..., time) at another rate, by a polyphase filter without delay.

    Raises
    ------
    ValueError
        For rates below one hertz, or so far apart that the sound would become a hundred times
        longer and more than 64 MiB.

    Examples
    --------
    >>> resample(np.zeros((2, 441)), 44100, 8000).shape
    (2, 80)
    """
    if rate == new_rate:
        return samples
    if min(rate, new_rate) < 1:
        raise ValueError(f"expected rates of at least 1 hertz, got {rate} and {new_rate}.")
    from scipy.signal import resample_poly  # takes a second to load, and most data are no sounds

    common = math.gcd(rate, new_rate)
    most = max(rate, new_rate) // common
    made = samples.size * new_rate // rate
    # A file that calls its rate one hertz would become as many times longer.
    check_bytes("resampling", 8 * (made + FILTER * most), 8 * samples.size)
    return resample_poly(samples, new_rate // common, rate // common, axis=-1)


def _unit(data: Array, kind: str) -> Array:
    if kind.startswith("f"):
        return data.astype(np.float64)
    return data.astype(np.float64) / LOUDEST[kind] - (kind == "u8")


def _integers(samples: Array, bits: int) -> tuple[Array, int]:
    """Return the bytes of each sample, (time, channels, bytes), and how many were cut off."""
    half = 2 ** (bits - 1)
    values = np.rint(samples * half)
    # A full-scale tone reaches +1, which has no integer: one step less is not called cut.
    n_cut = int(((values < -half) | (values > half)).sum())
    values = np.clip(values, -half, half - 1).astype("<i8") + (half if bits == 8 else 0)
    as_bytes = np.ascontiguousarray(values)[..., None].view("u1")
    return np.ascontiguousarray(as_bytes[..., : bits // 8]), n_cut


def _bits(path: Path) -> int:
    """Return the bits of one sample as the file's own header has them; walk all its chunks."""
    bits, n_bytes = None, path.stat().st_size
    with path.open("rb") as file:
        order = ">" if file.read(12)[:4] == b"RIFX" else "<"
        for _ in range(MOST_CHUNKS):
            head = file.read(8)
            if len(head) < 8:
                break
            name, size = struct.unpack(f"{order}4sI", head)
            end = file.tell() + size + size % 2
            if name == b"fmt " and bits is None:
                bits = int(struct.unpack(f"{order}14xH", file.read(16))[0])
            if name == b"data" and size < 2**32 - 1 and end - size % 2 > n_bytes:
                raise ValueError(f"it says {size:,} bytes of sound and holds {n_bytes:,} in all")
            file.seek(min(end, n_bytes))
        else:
            raise ValueError(f"it has more than {MOST_CHUNKS} parts")
    if bits is None:
        raise ValueError("it does not say how many bits a sample has")
    return bits
