"""Read compressed audio (FLAC, Ogg and MP3) by libsndfile, which the extra `audio` installs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from isthmus._optional import import_optional
from isthmus.data.limits import check_memory
from isthmus.data.wav import AudioClip, check_samples, read_wav

__all__ = ["AUDIO_SUFFIXES", "COMPRESSED_SUFFIXES", "read_audio"]

COMPRESSED_SUFFIXES = frozenset({".flac", ".ogg", ".mp3"})
AUDIO_SUFFIXES = frozenset({".wav", ".wave"}) | COMPRESSED_SUFFIXES
CONTAINERS = ("FLAC", "OGG", "MP3")  # of the more than twenty that libsndfile knows
UNKNOWN_LENGTH = 2**63 - 1  # libsndfile's length of a stream
SAMPLE_FORMATS = {"PCM_S8": "u8", "PCM_24": "i24"}  # all others are written as 16 bits


def read_audio(path: str | os.PathLike[str]) -> AudioClip:
    """Read a WAV, FLAC, Ogg or MP3 file, chosen by the suffix.

    Samples of lossy files may exceed 1 slightly; their `kind` is i16. A truncated Ogg file is read
    as far as it goes. Compressed files need soundfile (``pip install 'isthmus[audio]'``).
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in COMPRESSED_SUFFIXES:
        return read_wav(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; check the name.")
    soundfile = import_optional(
        "soundfile", extra="audio", what=f"{path}: reading {suffix}", instead="convert it to WAV"
    )
    try:
        return _read(soundfile, path)
    except soundfile.LibsndfileError as error:
        raise _invalid(path, "it is damaged") from error


def _read(soundfile: Any, path: Path) -> AudioClip:
    with soundfile.SoundFile(path) as file:
        if file.format not in CONTAINERS:
            raise ValueError(
                f"{path}: expected {', '.join(CONTAINERS)}, got {file.format}; convert it."
            )
        if file.frames == UNKNOWN_LENGTH:
            raise _invalid(path, "it does not announce its length")
        check_memory(path, 8 * file.frames * file.channels, path.stat().st_size)
        samples = file.read(dtype="float64", always_2d=True).T
        if samples.shape[1] < file.frames:
            found = f"it announces {file.frames:,} samples, but has {samples.shape[1]:,}"
            raise _invalid(path, found)
        check_samples(path, samples)
        return AudioClip(samples, file.samplerate, SAMPLE_FORMATS.get(file.subtype, "i16"))


def _invalid(path: Path, reason: str) -> ValueError:
    return ValueError(f"{path}: expected a valid audio file ({reason}); convert or remove it.")
