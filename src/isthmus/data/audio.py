"""Reading a folder of sounds into windows of one rate and length."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from isthmus._optional import import_optional
from isthmus.data.audio_codecs import AUDIO_SUFFIXES, COMPRESSED_SUFFIXES, read_audio
from isthmus.data.images import IMAGE_SUFFIXES as PICTURES
from isthmus.data.limits import is_inside, is_regular_file
from isthmus.data.wav import AudioClip, resample
from isthmus.data.windows import Windows

__all__ = ["AudioFolder", "is_audio_folder", "read_audio_folder"]


class AudioFolder(NamedTuple):
    """Windows of a folder of sounds.

    Parameters
    ----------
    X : numpy.ndarray of float32, shape (n, 1, window)
        Samples in [-1, 1].
    labels : numpy.ndarray of str, shape (n,), or None
        The sub-folder of each window's file; None where there are no sub-folders.
    class_names : tuple of str
        The classes, sorted.
    notes : tuple of str
        One line for each thing a user should know.
    rate : int
        Samples a second.
    files : numpy.ndarray of int, shape (n,)
        Which file each window is of, counted in sorted order: to hold out whole files.
    """

    X: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    notes: tuple[str, ...]
    rate: int
    files: np.ndarray


def read_audio_folder(
    path: str | PathLike[str],
    window: int = 4096,
    *,
    overlap: float = 0.5,
    rate: int | None = None,
) -> AudioFolder:
    """Read every sound under a folder as overlapping windows; its sub-folders are the classes.

    WAV, and FLAC, Ogg and MP3 where the extra `audio` is installed; without it they are passed
    over where there is WAV beside them.

    Channels are mixed to one, and files of another rate are resampled. The last window of a
    file ends with it; files shorter than a window are filled up with silence. Files are taken
    in sorted order; hidden ones are passed over.

    Parameters
    ----------
    path : str or path-like
        The folder, holding sounds or one sub-folder of them for each class.
    window : int, default=4096
        Samples of one window.
    overlap : float, default=0.5
        Share of a window that the next one also covers.
    rate : int, optional
        Samples a second; None keeps the files' own, or the most common one where they differ.

    Returns
    -------
    AudioFolder

    Raises
    ------
    FileNotFoundError
        If there is no folder at `path`.
    ImportError
        Where all files are compressed and `audio` is not installed.
    ValueError
        If the settings are out of bounds, the folder holds no sound, or one cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from isthmus.data.wav import write_wav
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_wav(f"{folder}/a.wav", AudioClip(np.ones((2, 10_000)) / 2, 8000))
    ...     sounds = read_audio_folder(folder)
    >>> sounds.X.shape, sounds.rate, sounds.notes
    ((4, 1, 4096), 8000, ('mixed 1 of 1 files to one channel',))
    """
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: expected a folder of sounds; check the path.")
    for name, value in (("window", window), ("rate", 1 if rate is None else rate)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a positive whole number of samples, got {value!r}.")
    windows = Windows((window,), overlap)
    files, notes = _find(root)
    sounds = [read_audio(file) for file in files]
    rate = rate or Counter(sound.rate for sound in sounds).most_common(1)[0][0]
    pieces = [windows.cut(_one_channel(sound, rate, window)) for sound in sounds]
    counts = [len(piece) for piece in pieces]
    notes += _said(sounds, rate, window)
    labels, class_names = _label(files, root, notes)
    return AudioFolder(
        np.concatenate(pieces)[:, None].astype(np.float32),
        None if labels is None else np.repeat(labels, counts),
        class_names,
        tuple(notes),
        rate,
        np.repeat(np.arange(len(files)), counts),
    )


def is_audio_folder(path: str | PathLike[str]) -> bool:
    """Return whether a folder holds sounds and no pictures.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     is_audio_folder(folder)
    False
    """
    suffixes = {file.suffix.lower() for file in _files(Path(path))}
    return bool(suffixes & AUDIO_SUFFIXES) and not suffixes & PICTURES


def _files(root: Path) -> Iterator[Path]:
    """Yield every file under a folder that is not hidden."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _find(root: Path) -> tuple[list[Path], list[str]]:
    """Return the sounds under `root`, sorted, with a note of what was left out."""
    found = list(_files(root))
    sounds = [f for f in found if f.suffix.lower() in AUDIO_SUFFIXES and is_regular_file(f)]
    inside = [file for file in sounds if is_inside(file, root)]
    files = _readable(inside)
    skipped = {
        "files that are no sounds": len(found) - len(sounds),
        "links to other folders": len(sounds) - len(inside),
        "files that need soundfile (pip install 'isthmus[audio]')": len(inside) - len(files),
    }
    if not files:
        known = ", ".join(sorted(AUDIO_SUFFIXES))
        raise ValueError(f"{root}: expected sounds ({known}), found none; check the folder.")
    return sorted(files), [f"skipped {what}: {n}" for what, n in skipped.items() if n]


def _readable(files: list[Path]) -> list[Path]:
    """Return what the libraries there are can read; all where that is nothing, for the error."""
    plain = [file for file in files if file.suffix.lower() not in COMPRESSED_SUFFIXES]
    if len(plain) in (0, len(files)):
        return files
    try:
        import_optional("soundfile", extra="audio", what="reading them")
    except ImportError:
        return plain
    return files


def _one_channel(sound: AudioClip, rate: int, window: int) -> np.ndarray:
    """Return (1, time) at a rate, no shorter than a window."""
    samples = resample(sound.samples.mean(0, keepdims=True), sound.rate, rate)
    return np.pad(samples, ((0, 0), (0, max(0, window - samples.shape[-1]))))


def _said(sounds: list[AudioClip], rate: int, window: int) -> list[str]:
    resampled = sum(sound.rate != rate for sound in sounds)
    mixed = sum(len(sound.samples) > 1 for sound in sounds)
    short = sum(sound.samples.shape[-1] * rate < window * sound.rate for sound in sounds)
    said = {
        f"resampled {resampled} of {len(sounds)} files to {rate} Hz": resampled,
        f"mixed {mixed} of {len(sounds)} files to one channel": mixed,
        f"filled {short} of {len(sounds)} files up to a window of {window} samples": short,
    }
    return [line for line, count in said.items() if count]


def _label(
    files: list[Path], root: Path, notes: list[str]
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    parts = [file.relative_to(root).parts for file in files]
    labels = [p[0] if len(p) > 1 else "" for p in parts]
    class_names = tuple(sorted(set(labels) - {""}))
    if not class_names:
        return None, ()
    if "" in labels:
        notes.append(f"sounds in no sub-folder, their label left empty: {labels.count('')}")
    return np.array(labels), class_names
