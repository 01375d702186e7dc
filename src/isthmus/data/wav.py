"""Read and write WAV files of any sample format, and resample audio.

Samples are float64 in [-1, 1], channels first: (channels, time).
"""

from __future__ import annotations

import math
import os
import struct
import warnings
import wave
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.data.limits import check_memory

__all__ = [
    "AudioClip",
    "check_samples",
    "read_wav",
    "resample",
    "wav_bytes",
    "write_wav",
]

Array = NDArray[Any]
SAMPLE_FORMATS = ("u8", "i16", "i24", "i32", "f32", "f64")
MOST_CHUNKS = 1000  # parts of one file
FILTER = 20  # taps for each step of the finer rate, as scipy makes them
LOUDEST = {"u8": 2**7, "i16": 2**15, "i24": 2**31, "i32": 2**31}  # as scipy reads them


class AudioClip(NamedTuple):
    """Samples in [-1, 1], (channels, time); their rate in hertz; how a file holds them."""

    samples: Array
    rate: int
    kind: str = "i16"


def read_wav(path: str | os.PathLike[str]) -> AudioClip:
    """Read a WAV file of 8, 16, 24 or 32-bit integers, or of floats, of any channels.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    AudioClip
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
    ...     _ = write_wav(f"{folder}/a.wav", AudioClip(np.array([[0.0, 0.5, -1.0]]), 8000))
    ...     read_wav(f"{folder}/a.wav")
    AudioClip(samples=array([[ 0. ,  0.5, -1. ]]), rate=8000, kind='i16')
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
    if kind not in SAMPLE_FORMATS:
        raise ValueError(f"{path}: expected 8, 16, 24 or 32 bits a sample, got {bits}; convert it.")
    check_samples(path, data if rate else data[:0])
    return AudioClip(_unit(data, kind).reshape(len(data), -1).T, int(rate), kind)


def check_samples(path: Path, samples: Array) -> None:
    """Raise a ValueError where a file has no samples, or some that are no numbers."""
    if not samples.size:
        raise ValueError(f"{path}: expected at least one sample, got none; remove the file.")
    if not np.isfinite(samples).all():
        raise ValueError(f"{path}: some samples are NaN or infinite; repair or remove the file.")


def write_wav(path: str | os.PathLike[str], sound: AudioClip) -> int:
    """Write a WAV file; return how many samples were beyond its range and were cut off.

    Parameters
    ----------
    path : path-like
    sound : AudioClip
        Of kind u8, i16, i24, i32, f32 or f64: what one sample of the file is.

    Returns
    -------
    int
        0 for floats, which have no such range.
    """
    content, n_cut = wav_bytes(sound)
    Path(path).write_bytes(content)
    return n_cut


def wav_bytes(sound: AudioClip) -> tuple[bytes, int]:
    """Return the content of a WAV file, and how many samples were cut off."""
    if sound.kind not in SAMPLE_FORMATS:
        raise ValueError(f"expected a kind of {', '.join(SAMPLE_FORMATS)}, got {sound.kind!r}.")
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
    check_memory("resampling", 8 * (made + FILTER * most), 8 * samples.size)
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
