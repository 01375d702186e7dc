import numpy as np
import pytest

from isthmus.data.sounds import is_sound_folder, read_sound_folder
from isthmus.data.waves import Sound, write_wav


def write(path, *lengths, rate=8000, channels=1):
    path.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i, length in enumerate(lengths):
        samples = np.round(rng.uniform(-1, 1, (channels, length)) * 2**14) / 2**15
        write_wav(path / f"{rate}-{channels}-{i}.wav", Sound(samples, rate))


def test_windows_cover_each_file_in_order(tmp_path):
    write(tmp_path, 300, 100)
    sounds = read_sound_folder(tmp_path, 100)
    assert sounds.X.shape == (6, 1, 100)
    assert sounds.X.dtype == np.float32
    assert sounds.files.tolist() == [0] * 5 + [1]
    assert (sounds.rate, sounds.labels, sounds.notes) == (8000, None, ())
    np.testing.assert_array_equal(sounds.X[0, 0, 50:], sounds.X[1, 0, :50])
    assert len(read_sound_folder(tmp_path, 100, overlap=0).X) == 4


def test_sub_folders_are_labels(tmp_path):
    write(tmp_path / "a", 200)
    write(tmp_path / "b" / "deep", 100)
    write(tmp_path, 100)
    sounds = read_sound_folder(tmp_path, 100)
    assert sounds.class_names == ("a", "b")
    assert sounds.labels.tolist() == ["", "a", "a", "a", "b"]
    assert sounds.notes == ("sounds in no sub-folder, their label left empty: 1",)


def test_what_was_done_to_the_files_is_said(tmp_path):
    write(tmp_path, 400, 401)  # sorted: 16000-1-0, 8000-1-0, 8000-1-1, 8000-2-0
    write(tmp_path, 800, rate=16000)
    write(tmp_path, 30, channels=2)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.wav").write_text("x")
    sounds = read_sound_folder(tmp_path, 100)
    assert sounds.rate == 8000
    assert sounds.notes == (
        "skipped files that are not WAV: 1",
        "resampled 1 of 4 files to 8000 Hz",
        "mixed 1 of 4 files to one channel",
        "filled 1 of 4 files up to a window of 100 samples",
    )
    short = sounds.X[sounds.files == 3]
    assert short.shape == (1, 1, 100)
    assert not short[0, 0, 30:].any()


def test_a_rate_can_be_asked_for(tmp_path):
    write(tmp_path, 800)
    sounds = read_sound_folder(tmp_path, 100, overlap=0, rate=4000)
    assert (sounds.rate, len(sounds.X)) == (4000, 4)


def test_a_folder_of_pictures_is_none_of_sounds(tmp_path):
    assert not is_sound_folder(tmp_path)
    write(tmp_path / "a", 100)
    (tmp_path / "notes.txt").write_text("x")
    assert is_sound_folder(tmp_path)
    (tmp_path / "a" / "cover.png").write_text("x")
    assert not is_sound_folder(tmp_path)


def test_bad_folders_and_settings_are_one_clear_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a folder"):
        read_sound_folder(tmp_path / "none")
    with pytest.raises(ValueError, match="found none"):
        read_sound_folder(tmp_path)
    write(tmp_path, 100)
    with pytest.raises(ValueError, match="window must be a positive whole number"):
        read_sound_folder(tmp_path, 0)
    with pytest.raises(ValueError, match="rate must be"):
        read_sound_folder(tmp_path, rate=-1)
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"bad\.wav: expected a WAV file"):
        read_sound_folder(tmp_path, 50)
