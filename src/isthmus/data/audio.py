"""Read audio files: one, or a folder of them as windows of one sampling rate and length."""

from __future__ import annotations

from collections import Counter
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from isthmus._optional import import_optional
from isthmus.data.images import IMAGE_SUFFIXES
from isthmus.data.limits import check_memory
from isthmus.data.media_folders import class_labels, file_names, find_media, visible_files
from isthmus.data.wav import AudioClip, check_samples, read_wav, resample
from isthmus.data.windows import Windows

__all__ = [
    "AUDIO_SUFFIXES",
    "COMPRESSED_SUFFIXES",
    "AudioFolder",
    "is_audio_folder",
    "read_audio",
    "read_audio_folder",
]

COMPRESSED_SUFFIXES = frozenset({".flac", ".ogg", ".mp3"})
AUDIO_SUFFIXES = frozenset({".wav", ".wave"}) | COMPRESSED_SUFFIXES
CONTAINERS = ("FLAC", "OGG", "MP3")  # of the more than twenty that libsndfile knows
UNKNOWN_LENGTH = 2**63 - 1  # libsndfile's length of a stream
SAMPLE_FORMATS = {"PCM_S8": "u8", "PCM_24": "i24"}  # all others are written as 16 bits


class AudioFolder(NamedTuple):
    """Windows of the audio files of a folder.

    X (n, 1, window) is float32 in [-1, 1]; `labels` (n,) are the subfolders, or None if there are
    none; `notes` are remarks for the user; `rate` is in hertz; `files` (n,) are the indices of the
    windows' files in sorted order, to hold out whole files; `ids` are columns that name each
    window: "file", and "start" in seconds.
    """

    X: np.ndarray
    labels: np.ndarray | None
    notes: tuple[str, ...]
    rate: int
    files: np.ndarray
    ids: dict[str, np.ndarray]


def read_audio_folder(
    path: str | PathLike[str],
    window: int = 4096,
    *,
    overlap: float = 0.5,
    rate: int | None = None,
) -> AudioFolder:
    """Read all audio files of a folder as overlapping windows; its subfolders are the classes.

    FLAC, Ogg and MP3 need the extra `audio`; without it they are skipped if there are WAV files.
    Channels are averaged and files of another rate are resampled. The last window of a file ends
    with it; files shorter than a window are padded with silence. Hidden files are skipped.

    Parameters
    ----------
    path : str or path-like
        A folder of audio files, or of one subfolder per class; or one such file.
    window : int, default=4096
        Samples per window.
    overlap : float, default=0.5
        Fraction of a window that the next one also covers.
    rate : int, optional
        Sampling rate in hertz; by default the most common one of the files.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`.
    ImportError
        If all files are compressed and `audio` is not installed.
    ValueError
        If a setting is out of range, the folder has no audio files, or one is damaged.

    See Also
    --------
    isthmus.data.read_image_folder : The same for images.

    Examples
    --------
    >>> import tempfile
    >>> from isthmus.data.wav import write_wav
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_wav(f"{folder}/a.wav", AudioClip(np.ones((2, 10_000)) / 2, 8000))
    ...     audio = read_audio_folder(folder)
    >>> audio.X.shape, audio.rate, audio.notes
    ((4, 1, 4096), 8000, ('mixed 1 of 1 files to one channel',))
    """
    root = Path(path)
    if not root.exists():
        raise FileNotFoundError(f"{root}: expected a folder of audio files; check the path.")
    for name, value in (("window", window), ("rate", 1 if rate is None else rate)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a positive whole number, got {value!r}.")
    windows = Windows((window,), overlap)
    is_folder = root.is_dir()
    found, notes = find_media(root, AUDIO_SUFFIXES, "audio files") if is_folder else ([root], [])
    files = _readable(found)
    if len(files) < len(found):
        n = len(found) - len(files)
        notes.append(f"skipped files that need soundfile (pip install 'isthmus[audio]'): {n}")
    clips = [read_audio(file) for file in files]
    rate = rate or Counter(clip.rate for clip in clips).most_common(1)[0][0]
    samples = [_one_channel(clip, rate, window) for clip in clips]
    pieces = [windows.cut(each) for each in samples]
    starts = np.concatenate([windows.starts(each.shape[-1]) for each in samples])
    counts = [len(piece) for piece in pieces]
    notes += _notes(clips, rate, window)
    labels = class_labels(files, root, "audio files", notes)
    return AudioFolder(
        np.concatenate(pieces)[:, None].astype(np.float32),
        None if labels is None else np.repeat(labels, counts),
        tuple(notes),
        rate,
        np.repeat(np.arange(len(files)), counts),
        {"file": np.repeat(file_names(files, root), counts), "start": (starts / rate).round(6)},
    )


def read_audio(path: str | PathLike[str]) -> AudioClip:
    """Read a WAV, FLAC, Ogg or MP3 file, chosen by the suffix.

    Samples of lossy files may exceed 1 slightly; their `kind` is i16. A truncated Ogg file is read
    as far as it goes. Compressed files need soundfile (``pip install 'isthmus[audio]'``).
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in COMPRESSED_SUFFIXES:
        return read_wav(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected an audio file, found none; check the path.")
    soundfile = import_optional(
        "soundfile", extra="audio", what=f"{path}: reading {suffix}", instead="convert it to WAV"
    )
    try:
        return _read_compressed(soundfile, path)
    except soundfile.LibsndfileError as error:
        raise _invalid(path, "it is damaged") from error


def _read_compressed(soundfile: Any, path: Path) -> AudioClip:
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


def is_audio_folder(path: str | PathLike[str]) -> bool:
    """Return whether a folder holds audio files and no images."""
    suffixes = {file.suffix.lower() for file in visible_files(Path(path))}
    return bool(suffixes & AUDIO_SUFFIXES) and not suffixes & IMAGE_SUFFIXES


def _readable(files: list[Path]) -> list[Path]:
    """Return the files that installed libraries can read; all files if there are none."""
    wav = [file for file in files if file.suffix.lower() not in COMPRESSED_SUFFIXES]
    if len(wav) in (0, len(files)):
        return files
    try:
        import_optional("soundfile", extra="audio", what="reading them")
    except ImportError:
        return wav
    return files


def _one_channel(clip: AudioClip, rate: int, window: int) -> np.ndarray:
    """Return (1, time) at a rate, no shorter than a window."""
    samples = resample(clip.samples.mean(0, keepdims=True), clip.rate, rate)
    return np.pad(samples, ((0, 0), (0, max(0, window - samples.shape[-1]))))


def _notes(clips: list[AudioClip], rate: int, window: int) -> list[str]:
    resampled = sum(clip.rate != rate for clip in clips)
    mixed = sum(len(clip.samples) > 1 for clip in clips)
    short = sum(clip.samples.shape[-1] * rate < window * clip.rate for clip in clips)
    notes = {
        f"resampled {resampled} of {len(clips)} files to {rate} Hz": resampled,
        f"mixed {mixed} of {len(clips)} files to one channel": mixed,
        f"padded {short} of {len(clips)} files to a window of {window} samples": short,
    }
    return [note for note, count in notes.items() if count]
