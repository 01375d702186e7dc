import struct
import sys

import numpy as np
import pytest

from isthmus.data.audio import is_audio_folder, read_audio, read_audio_folder
from isthmus.data.limits import FREE_BYTES
from isthmus.data.wav import AudioClip, write_wav


def write(path, *lengths, rate=8000, channels=1):
    path.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i, length in enumerate(lengths):
        samples = np.round(rng.uniform(-1, 1, (channels, length)) * 2**14) / 2**15
        write_wav(path / f"{rate}-{channels}-{i}.wav", AudioClip(samples, rate))


def test_windows_cover_each_file_in_order(tmp_path):
    write(tmp_path, 300, 100)
    sounds = read_audio_folder(tmp_path, 100)
    assert sounds.X.shape == (6, 1, 100)
    assert sounds.X.dtype == np.float32
    assert sounds.files.tolist() == [0] * 5 + [1]
    assert (sounds.rate, sounds.labels, sounds.notes) == (8000, None, ())
    np.testing.assert_array_equal(sounds.X[0, 0, 50:], sounds.X[1, 0, :50])
    assert len(read_audio_folder(tmp_path, 100, overlap=0).X) == 4


def test_subfolders_are_labels(tmp_path):
    write(tmp_path / "a", 200)
    write(tmp_path / "b" / "deep", 100)
    write(tmp_path, 100)
    sounds = read_audio_folder(tmp_path, 100)
    assert sounds.labels.tolist() == ["", "a", "a", "a", "b"]
    assert sounds.notes == ("audio files in no subfolder, with an empty label: 1",)


def test_notes_list_changes_to_the_files(tmp_path):
    write(tmp_path, 400, 401)  # sorted: 16000-1-0, 8000-1-0, 8000-1-1, 8000-2-0
    write(tmp_path, 800, rate=16000)
    write(tmp_path, 30, channels=2)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.wav").write_text("x")
    sounds = read_audio_folder(tmp_path, 100)
    assert sounds.rate == 8000
    assert sounds.notes == (
        "skipped files that are not audio files: 1",
        "resampled 1 of 4 files to 8000 Hz",
        "mixed 1 of 4 files to one channel",
        "padded 1 of 4 files to a window of 100 samples",
    )
    short = sounds.X[sounds.files == 3]
    assert short.shape == (1, 1, 100)
    assert not short[0, 0, 30:].any()


def test_rate_resamples_the_files(tmp_path):
    write(tmp_path, 800)
    sounds = read_audio_folder(tmp_path, 100, overlap=0, rate=4000)
    assert (sounds.rate, len(sounds.X)) == (4000, 4)


def test_a_folder_with_images_is_not_an_audio_folder(tmp_path):
    assert not is_audio_folder(tmp_path)
    write(tmp_path / "a", 100)
    (tmp_path / "notes.txt").write_text("x")
    assert is_audio_folder(tmp_path)
    (tmp_path / "a" / "cover.png").write_text("x")
    assert not is_audio_folder(tmp_path)


def test_bad_folders_and_settings_raise_clear_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a folder"):
        read_audio_folder(tmp_path / "none")
    with pytest.raises(ValueError, match="found none"):
        read_audio_folder(tmp_path)
    write(tmp_path, 100)
    with pytest.raises(ValueError, match="window must be a positive whole number"):
        read_audio_folder(tmp_path, 0)
    with pytest.raises(ValueError, match="rate must be"):
        read_audio_folder(tmp_path, rate=-1)
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"bad\.wav: expected a valid WAV file"):
        read_audio_folder(tmp_path, 50)


def compressed(path, samples, rate=8000, **options):
    """Write a file by libsndfile, in the format of its suffix."""
    soundfile = pytest.importorskip("soundfile")
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples.T, rate, **options)


def tones(channels=2, length=8000):
    time = np.arange(length) / 8000
    return np.stack([0.5 * np.sin(2 * np.pi * 440 * (c + 1) * time) for c in range(channels)])


@pytest.mark.parametrize(("subtype", "kind"), [("PCM_16", "i16"), ("PCM_24", "i24")])
def test_flac_has_the_samples_of_wav(tmp_path, subtype, kind):
    rng = np.random.default_rng(0)
    samples = np.round(rng.uniform(-1, 1, (2, 500)) * 2**14) / 2**15
    write_wav(tmp_path / "a.wav", AudioClip(samples, 8000, kind))
    compressed(tmp_path / "a.FLAC", samples, format="FLAC", subtype=subtype)
    wav, flac = read_audio(tmp_path / "a.wav"), read_audio(tmp_path / "a.FLAC")
    np.testing.assert_array_equal(wav.samples, flac.samples)
    assert (flac.rate, flac.kind) == (wav.rate, wav.kind)


@pytest.mark.parametrize("suffix", [".ogg", ".mp3"])
def test_lossy_files_are_close_to_wav(tmp_path, suffix):
    compressed(tmp_path / f"a{suffix}", tones())
    sound = read_audio(tmp_path / f"a{suffix}")
    assert (sound.samples.shape, sound.rate, sound.kind) == ((2, 8000), 8000, "i16")
    for channel, tone in zip(sound.samples, tones(), strict=True):
        assert np.corrcoef(channel, tone)[0, 1] > 0.99


def test_formats_in_a_folder_are_resampled_to_one_rate(tmp_path):
    compressed(tmp_path / "a" / "1.flac", tones(1))
    write_wav(tmp_path / "a" / "0.wav", AudioClip(tones(1), 8000))
    compressed(tmp_path / "b" / "2.ogg", tones(2, 16000), 16000)
    sounds = read_audio_folder(tmp_path, 800, overlap=0)
    assert sounds.X.shape == (30, 1, 800)
    assert sounds.notes == (
        "resampled 1 of 3 files to 8000 Hz",
        "mixed 1 of 3 files to one channel",
    )


def flac_of_length(path, n_samples):
    """Write a FLAC file whose header announces a length: 36 bits, from the middle of byte 21."""
    compressed(path, tones(1))
    content = bytearray(path.read_bytes())
    (low,) = struct.unpack(">B", content[21:22])
    content[21:26] = ((low >> 4 << 36) | n_samples).to_bytes(5, "big")
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("n_samples", "words"),
    [
        (2**36 - 1, "would become 549,755,813,880 in memory"),
        (FREE_BYTES // 8 + 1, "would become"),
        (0, "it does not announce its length"),
        (9000, "expected a valid audio file"),
    ],
)
def test_an_impossible_length_is_refused(tmp_path, n_samples, words):
    flac_of_length(tmp_path / "a.flac", n_samples)
    with pytest.raises(ValueError, match=words) as error:
        read_audio(tmp_path / "a.flac")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".mp3"])
@pytest.mark.parametrize("kept", [0, 20, 0.5])
def test_truncated_or_invalid_files_are_refused(tmp_path, suffix, kept):
    path = tmp_path / f"a{suffix}"
    compressed(path, tones(1))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept < 1 else kept])
    with pytest.raises(ValueError, match="expected a valid audio file"):
        read_audio(path)


def test_files_with_a_wrong_suffix_are_refused(tmp_path):
    compressed(tmp_path / "a.flac", tones(1), format="AIFF")
    with pytest.raises(ValueError, match="expected FLAC, OGG, MP3, got AIFF"):
        read_audio(tmp_path / "a.flac")
    compressed(tmp_path / "b.ogg", np.zeros((1, 0)))
    with pytest.raises(ValueError, match="expected at least one sample"):
        read_audio(tmp_path / "b.ogg")
    with pytest.raises(FileNotFoundError, match="expected an audio file, found none"):
        read_audio(tmp_path / "c.mp3")


def test_a_missing_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    (tmp_path / "a.mp3").write_bytes(b"x")
    with pytest.raises(ImportError, match=r"a\.mp3: reading \.mp3 needs soundfile: pip install "):
        read_audio_folder(tmp_path)
    write(tmp_path, 100)
    sounds = read_audio_folder(tmp_path, 50)
    assert (len(sounds.X), set(sounds.files)) == (3, {0})
    note = "skipped files that need soundfile (pip install 'isthmus[audio]'): 1"
    assert sounds.notes == (note,)
