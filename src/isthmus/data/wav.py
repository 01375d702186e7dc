"""Read and write WAV files of any sample format, and resample audio.

scipy decodes the samples. The header is checked here first, because scipy does not tell 24-bit
from 32-bit samples and reads truncated files without an error. Samples are float64 in [-1, 1],
channels first: (channels, time).
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

from isthmus._messages import one_line
from isthmus.data.limits import check_memory

__all__ = ["AudioClip", "check_samples", "read_wav", "resample", "wav_bytes", "write_wav"]

Array = NDArray[Any]
SAMPLE_FORMATS = ("u8", "i16", "i24", "i32", "f32", "f64")
MAX_CHUNKS = 1000  # of a file
FILTER_TAPS = 20  # of scipy's resampling filter, per sample at the higher rate
# What scipy returns for +1: it shifts 24-bit samples to 32 bits.
FULL_SCALE = {"u8": 2**7, "i16": 2**15, "i24": 2**31, "i32": 2**31}


class AudioClip(NamedTuple):
    """Samples in [-1, 1], (channels, time); sampling rate in hertz; sample format of the file."""

    samples: Array
    rate: int
    kind: str = "i16"


def read_wav(path: str | os.PathLike[str]) -> AudioClip:
    """Read a WAV file of 8, 16, 24 or 32-bit integers or of floats, with any number of channels.

    Integers are divided by their largest value; floats stay as they are.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a valid WAV file or has no samples.

    See Also
    --------
    isthmus.data.audio.read_audio : Reads FLAC, Ogg and MP3 too.

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
        raise FileNotFoundError(f"{path}: expected a WAV file, found none; check the path.")
    try:
        bits = _check_header(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # about chunks of metadata
            rate, data = wavfile.read(path)
    except Exception as error:  # scipy raises errors of many types for a damaged file
        reason = (isinstance(error, ValueError) and one_line(error)) or "it is damaged"
        raise ValueError(
            f"{path}: expected a valid WAV file ({reason}); convert or remove it."
        ) from error
    kind = f"{data.dtype.kind}{bits}"
    if kind not in SAMPLE_FORMATS:
        raise ValueError(
            f"{path}: expected 8, 16, 24 or 32 bits per sample, got {bits}; convert it."
        )
    check_samples(path, data if rate else data[:0])
    samples = data.astype(np.float64)
    if kind in FULL_SCALE:
        samples = samples / FULL_SCALE[kind] - (kind == "u8")
    return AudioClip(samples.reshape(len(data), -1).T, int(rate), kind)


def check_samples(path: Path, samples: Array) -> None:
    """Raise a ValueError if a file has no samples, or any that are NaN or infinite."""
    if not samples.size:
        raise ValueError(f"{path}: expected at least one sample, got none; remove the file.")
    if not np.isfinite(samples).all():
        raise ValueError(f"{path}: some samples are NaN or infinite; repair or remove the file.")


def write_wav(path: str | os.PathLike[str], clip: AudioClip) -> int:
    """Write a WAV file and return how many samples were clipped to the range of its format."""
    content, n_clipped = wav_bytes(clip)
    Path(path).write_bytes(content)
    return n_clipped


def wav_bytes(clip: AudioClip) -> tuple[bytes, int]:
    """Return the content of a WAV file, and how many samples were clipped."""
    if clip.kind not in SAMPLE_FORMATS:
        raise ValueError(f"kind must be one of {', '.join(SAMPLE_FORMATS)}, got {clip.kind!r}.")
    samples = np.asarray(clip.samples, dtype=np.float64).T
    stream = BytesIO()
    if clip.kind.startswith("f"):
        from scipy.io import wavfile

        wavfile.write(stream, clip.rate, samples.astype(f"f{int(clip.kind[1:]) // 8}"))
        return stream.getvalue(), 0
    values, n_clipped = _to_integers(samples, int(clip.kind[1:]))
    with wave.open(stream, "wb") as file:  # scipy cannot write 24 bits
        file.setnchannels(samples.shape[1])
        file.setsampwidth(values.shape[-1])
        file.setframerate(clip.rate)
        file.writeframes(values.tobytes())
    return stream.getvalue(), n_clipped


def resample(samples: Array, rate: int, new_rate: int) -> Array:
    """Resample (..., time) from one rate to another by a polyphase filter without delay."""
    if rate == new_rate:
        return samples
    if min(rate, new_rate) < 1:
        raise ValueError(f"rates must be at least 1 Hz, got {rate} and {new_rate}.")
    from scipy.signal import resample_poly  # takes a second to import, and few data are audio

    common = math.gcd(rate, new_rate)
    filter_length = FILTER_TAPS * max(rate, new_rate) // common
    n_samples = samples.size * new_rate // rate
    # A file that claims a rate of 1 Hz would become thousands of times longer.
    check_memory("resampling", 8 * (n_samples + filter_length), 8 * samples.size)
    return resample_poly(samples, new_rate // common, rate // common, axis=-1)


def _to_integers(samples: Array, bits: int) -> tuple[Array, int]:
    """Return the bytes of each sample, (time, channels, bytes), and how many were clipped."""
    half = 2 ** (bits - 1)
    values = np.rint(samples * half)
    # +1 has no integer: a full-scale tone becomes one step less, which does not count as clipping.
    n_clipped = int(((values < -half) | (values > half)).sum())
    values = np.clip(values, -half, half - 1).astype("<i8") + (half if bits == 8 else 0)
    as_bytes = np.ascontiguousarray(values)[..., None].view("u1")
    return np.ascontiguousarray(as_bytes[..., : bits // 8]), n_clipped


def _check_header(path: Path) -> int:
    """Return the bits per sample that the header announces, after a walk over all chunks."""
    bits, n_bytes = None, path.stat().st_size
    with path.open("rb") as file:
        order = ">" if file.read(12)[:4] == b"RIFX" else "<"
        for _ in range(MAX_CHUNKS):
            head = file.read(8)
            if len(head) < 8:
                break
            name, size = struct.unpack(f"{order}4sI", head)
            end = file.tell() + size + size % 2
            if name == b"fmt " and bits is None:
                bits = int(struct.unpack(f"{order}14xH", file.read(16))[0])
            if name == b"data" and size < 2**32 - 1 and end - size % 2 > n_bytes:
                raise ValueError(
                    f"it announces {size:,} bytes of samples, but has {n_bytes:,} in all"
                )
            file.seek(min(end, n_bytes))
        else:
            raise ValueError(f"it has more than {MAX_CHUNKS} chunks")
    if bits is None:
        raise ValueError("it does not announce the bits per sample")
    return bits
