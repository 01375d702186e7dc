import wave

import numpy as np
import pytest
from scipy.io import wavfile

from isthmus.data.wav import AudioClip, read_wav, resample, write_wav


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("kind", ["u8", "i16", "i24", "i32", "f32", "f64"])
def test_write_and_read_round_trip(kind, channels, tmp_path):
    rng = np.random.default_rng(0)
    if kind.startswith("f"):
        samples = rng.normal(size=(channels, 50)).astype(f"f{int(kind[1:]) // 8}").astype(float)
    else:
        half = 2 ** (int(kind[1:]) - 1)
        samples = rng.integers(-half, half, size=(channels, 50)) / half
        samples[0, :2] = -1, (half - 1) / half
    assert write_wav(tmp_path / "a.wav", AudioClip(samples, 11025, kind)) == 0
    again = read_wav(tmp_path / "a.wav")
    assert (again.rate, again.kind) == (11025, kind)
    np.testing.assert_array_equal(again.samples, samples)


@pytest.mark.parametrize(("dtype", "kind"), [("u1", "u8"), ("i2", "i16"), ("i4", "i32")])
def test_files_written_by_scipy_are_read(dtype, kind, tmp_path):
    info = np.iinfo(dtype)
    data = np.array([[info.min, info.max], [0, 100]], dtype)
    wavfile.write(tmp_path / "a.wav", 8000, data)
    sound = read_wav(tmp_path / "a.wav")
    middle, half = (128, 128) if kind == "u8" else (0, -float(info.min))
    assert sound.kind == kind
    np.testing.assert_array_equal(sound.samples, ((data.astype(float) - middle) / half).T)


def test_standard_library_reads_24_bit_files(tmp_path):
    write_wav(tmp_path / "a.wav", AudioClip(np.array([[0.5, -0.25]]), 8000, "i24"))
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getsampwidth(), file.getframerate(), file.getnchannels()) == (3, 8000, 1)
        assert file.readframes(2) == b"\x00\x00\x40" + b"\x00\x00\xe0"


def test_samples_out_of_range_are_clipped_and_counted(tmp_path):
    n = write_wav(tmp_path / "a.wav", AudioClip(np.array([[1.0, 1.5, -2.0, 0.0]]), 8000))
    assert n == 2
    samples = read_wav(tmp_path / "a.wav").samples
    np.testing.assert_allclose(samples, [[1, 1, -1, 0]], atol=1e-4)


def test_other_chunks_are_skipped(tmp_path):
    path = tmp_path / "a.wav"
    write_wav(path, AudioClip(np.array([[0.25]]), 8000, "i24"))
    content = path.read_bytes()
    size = (int.from_bytes(content[4:8], "little") + 12).to_bytes(4, "little")
    path.write_bytes(
        content[:4] + size + content[8:12] + b"LIST\x03\x00\x00\x00abc\x00" + content[12:]
    )
    assert read_wav(path).kind == "i24"


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"not a sound at all", b"RIFF\x10\x00\x00\x00WAVE"]
)
def test_corrupt_files_raise_a_one_line_error(content, tmp_path):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.wav: expected a valid WAV file") as error:
        read_wav(tmp_path / "a.wav")
    assert "\n" not in str(error.value)


def test_empty_missing_or_infinite_files_raise(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a WAV file, found none"):
        read_wav(tmp_path / "a.wav")
    wavfile.write(tmp_path / "a.wav", 8000, np.zeros(0, np.int16))
    with pytest.raises(ValueError, match=r"at least one sample|can be read"):
        read_wav(tmp_path / "a.wav")
    wavfile.write(tmp_path / "b.wav", 8000, np.array([0.0, np.nan], np.float32))
    with pytest.raises(ValueError, match="NaN or infinite"):
        read_wav(tmp_path / "b.wav")
    with pytest.raises(ValueError, match="kind"):
        write_wav(tmp_path / "c.wav", AudioClip(np.zeros((1, 2)), 8000, "i12"))


def test_resampling_a_tone_there_and_back():
    t = np.arange(8000) / 8000
    tone = np.sin(2 * np.pi * 440 * t)[None]
    there = resample(tone, 8000, 22050)
    expected = np.sin(2 * np.pi * 440 * np.arange(there.shape[1]) / 22050)
    np.testing.assert_allclose(there[0, 500:-500], expected[500:-500], atol=2e-3)
    back = resample(there, 22050, 8000)
    np.testing.assert_allclose(back[:, 200:-200], tone[:, 200:-200], atol=5e-3)
    assert resample(tone, 8000, 8000) is tone
    with pytest.raises(ValueError, match="at least 1 Hz"):
        resample(tone, 8000, 0)
