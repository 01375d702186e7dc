"""Sounds that are compressed, FLAC, Ogg and MP3, read by libsndfile; an extra, `audio`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from isthmus._optional import import_optional
from isthmus.data.limits import check_memory
from isthmus.data.wav import AudioClip, check_samples, read_wav

__all__ = ["AUDIO_SUFFIXES", "COMPRESSED_SUFFIXES", "read_audio"]

WAV = frozenset({".wav", ".wave"})
COMPRESSED_SUFFIXES = frozenset({".flac", ".ogg", ".mp3"})
AUDIO_SUFFIXES = WAV | COMPRESSED_SUFFIXES
CONTAINERS = ("FLAC", "OGG", "MP3")  # as libsndfile calls them; it knows twenty more
UNKNOWN = 2**63 - 1  # the length of a stream, as libsndfile calls it
SAMPLE_FORMATS = {"PCM_S8": "u8", "PCM_24": "i24"}  # what else is held in 16 bits


def read_audio(path: str | os.PathLike[str]) -> AudioClip:
    """Read a sound: WAV as `isthmus.data.wav.read_wav` does, or FLAC, Ogg or MP3.

    Parameters
    ----------
    path : path-like
        Its ending says how it is read.

    Returns
    -------
    AudioClip
        Of lossy files samples may pass 1 by a little. They have no bits a sample: their kind, as
        which they would be written, is i16. An Ogg file that was cut is read as far as it goes.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        Where the library lacks: ``pip install 'isthmus[audio]'`` brings it. WAV needs none.
    ValueError
        If it cannot be read, has no samples, or would become too large (`isthmus.data.limits`).

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from isthmus.data.wav import write_wav
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_wav(f"{folder}/a.wav", AudioClip(np.array([[0.0, 0.5]]), 8000))
    ...     read_audio(f"{folder}/a.wav").samples
    array([[0. , 0.5]])
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
        raise ValueError(f"{path}: {_refused('it is damaged')}") from error


def _read(soundfile: Any, path: Path) -> AudioClip:
    """Read a file that promises no more than its size allows, and holds what it promises."""
    with soundfile.SoundFile(path) as file:
        if file.format not in CONTAINERS:
            raise ValueError(
                f"{path}: expected {', '.join(CONTAINERS)}, got {file.format}; convert it."
            )
        if file.frames == UNKNOWN:
            raise ValueError(f"{path}: {_refused('it does not say how long it is')}")
        check_memory(path, 8 * file.frames * file.channels, path.stat().st_size)
        samples = file.read(dtype="float64", always_2d=True).T
        if samples.shape[1] < file.frames:
            said = f"it says {file.frames:,} samples and holds {samples.shape[1]:,}"
            raise ValueError(f"{path}: {_refused(said)}")
        check_samples(path, samples)
        return AudioClip(samples, file.samplerate, SAMPLE_FORMATS.get(file.subtype, "i16"))


def _refused(reason: str) -> str:
    return f"expected a sound that can be read ({reason}); convert or remove it."
