import wave

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

from isthmus.applications.corruptions import BackgroundNoise
from isthmus.data.wav import AudioClip, read_wav, resample, write_wav
from isthmus.data.windows import Windows
from isthmus.nn.dense import Shapes
from isthmus.nn.stft import Spectral


def unchanged(windows):
    return windows


# --------------------------------------------------------------------- windows


@settings(deadline=None, max_examples=60)
@given(
    size=st.integers(1, 40),
    length=st.integers(1, 150),
    overlap=st.sampled_from([0.0, 0.1, 0.5, 0.75, 0.9]),
    rows=st.integers(1, 3),
)
def test_a_function_that_changes_nothing_changes_nothing(size, length, overlap, rows):
    X = np.random.default_rng(0).normal(size=(rows, 2, length))
    out = Windows((size,), overlap).apply(unchanged, X)
    assert out.shape == X.shape
    np.testing.assert_allclose(out, X, atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 17, 23), (2, 3, 5, 40), (1, 4, 4)])
def test_pictures_of_any_size_are_blended_exactly(shape):
    X = np.random.default_rng(0).normal(size=shape)
    np.testing.assert_allclose(Windows((8, 6), 0.5).apply(unchanged, X), X, atol=1e-12)


def test_blocks_of_windows_are_joined_as_one(monkeypatch):
    X = np.random.default_rng(0).normal(size=(3, 100))
    windows = Windows((8,), 0.75)
    whole = windows.apply(np.tanh, X)
    monkeypatch.setattr("isthmus.data.windows.BLOCK", 40)
    np.testing.assert_allclose(windows.apply(np.tanh, X), whole, atol=1e-14)


def test_a_function_of_each_value_alone_is_that_function():
    X = np.random.default_rng(0).normal(size=(2, 31, 29))
    np.testing.assert_allclose(Windows((8, 8)).apply(np.square, X), X**2, atol=1e-12)


def test_windows_are_those_of_a_plain_loop_and_the_last_ends_with_the_array():
    X = np.arange(46.0).reshape(2, 23)
    windows = Windows((8,), 0.5)
    starts = [0, 4, 8, 12, 15]
    assert windows.starts(23).tolist() == starts
    expected = np.stack([row[s : s + 8] for row in X for s in starts])
    np.testing.assert_array_equal(windows.cut(X), expected)


def test_what_two_windows_say_is_blended_by_their_weights():
    values = iter([np.zeros((1, 4)), np.ones((1, 4))])
    windows = Windows((4,), 0.5)
    out = windows.apply(lambda w: np.concatenate([next(values), next(values)]), np.zeros((1, 6)))
    w = np.sin(np.pi * (np.arange(4) + 0.5) / 4) ** 2
    np.testing.assert_allclose(out[0], [0, 0, w[0] / (w[0] + w[2]), w[1] / (w[1] + w[3]), 1, 1])


@pytest.mark.parametrize("bad", [{"size": ()}, {"size": (0,)}, {"size": (4,), "overlap": 1.0}])
def test_impossible_windows_are_refused(bad):
    with pytest.raises(ValueError, match=r"must be positive|overlap"):
        Windows(**bad)


# ----------------------------------------------------------------------- files


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("kind", ["u8", "i16", "i24", "i32", "f32", "f64"])
def test_every_kind_of_file_comes_back_as_it_was(kind, channels, tmp_path):
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
def test_files_of_scipy_are_read_as_scipy_means_them(dtype, kind, tmp_path):
    info = np.iinfo(dtype)
    data = np.array([[info.min, info.max], [0, 100]], dtype)
    wavfile.write(tmp_path / "a.wav", 8000, data)
    sound = read_wav(tmp_path / "a.wav")
    middle, half = (128, 128) if kind == "u8" else (0, -float(info.min))
    assert sound.kind == kind
    np.testing.assert_array_equal(sound.samples, ((data.astype(float) - middle) / half).T)


def test_24_bits_are_read_as_the_standard_library_reads_them(tmp_path):
    write_wav(tmp_path / "a.wav", AudioClip(np.array([[0.5, -0.25]]), 8000, "i24"))
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getsampwidth(), file.getframerate(), file.getnchannels()) == (3, 8000, 1)
        assert file.readframes(2) == b"\x00\x00\x40" + b"\x00\x00\xe0"


def test_what_is_too_loud_is_cut_off_and_counted(tmp_path):
    n = write_wav(tmp_path / "a.wav", AudioClip(np.array([[1.0, 1.5, -2.0, 0.0]]), 8000))
    assert n == 2
    samples = read_wav(tmp_path / "a.wav").samples
    np.testing.assert_allclose(samples, [[1, 1, -1, 0]], atol=1e-4)


def test_a_chunk_that_is_not_sound_is_passed_over(tmp_path):
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
def test_a_damaged_file_is_one_clear_line(content, tmp_path):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.wav: expected a valid WAV file") as error:
        read_wav(tmp_path / "a.wav")
    assert "\n" not in str(error.value)


def test_an_empty_or_missing_or_infinite_file_is_refused(tmp_path):
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


def test_a_tone_survives_another_rate_and_back():
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


# -------------------------------------------------------------------- learning


def test_background_noise_has_the_requested_snr():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(64, 1, 2000)).astype(np.float32))
    noise = [rng.normal(size=9000), 5 * rng.normal(size=5000)]
    y = BackgroundNoise(noise, snr=(5, 5))(x, torch.Generator().manual_seed(0))
    ratio = 10 * torch.log10(x.square().mean((1, 2)) / (y - x).square().mean((1, 2)))
    np.testing.assert_allclose(ratio, 5, atol=0.6)
    between = BackgroundNoise(noise, snr=(-5, 15), power=1.0)(x, torch.Generator().manual_seed(0))
    ratio = 10 * torch.log10(1 / (between - x).square().mean((1, 2)))
    assert -6 < ratio.min() < 0
    assert 10 < ratio.max() < 16


def test_background_noise_is_reproducible_and_rejects_silence():
    x = torch.zeros(4, 100)
    noise = BackgroundNoise(np.random.default_rng(0).normal(size=300), power=1.0)
    one, two = (noise(x, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one[0], one[1])
    with pytest.raises(ValueError, match="silent"):
        BackgroundNoise(np.zeros(300))
    with pytest.raises(ValueError, match="at least as long"):
        BackgroundNoise(np.ones(50), power=1.0)(x, None)


@pytest.fixture
def networks():
    spectral = Spectral(frame=32, width=8, depth=2)
    torch.manual_seed(0)
    encoder, decoder = spectral(Shapes((1, 200), spectral.n_components((1, 200))))
    return encoder.eval(), decoder.eval()


def test_open_gates_let_everything_through(networks):
    encoder, decoder = networks
    encoder.gate = torch.nn.Sequential(encoder.gate, OpenGate())
    x = torch.randn(3, 1, 200)
    torch.testing.assert_close(decoder(encoder(x)), x, atol=1e-5, rtol=0)


class OpenGate(torch.nn.Module):
    def forward(self, gate):
        return torch.ones_like(gate)


def test_gates_only_weaken_and_louder_goes_in_louder_comes_out(networks):
    encoder, decoder = networks
    x = torch.randn(3, 1, 200)
    torch.testing.assert_close(
        decoder(encoder(10 * x)), 10 * decoder(encoder(x)), rtol=1e-3, atol=1e-4
    )
    assert decoder(encoder(x)).square().sum() < x.square().sum()
    assert decoder(encoder(torch.zeros(2, 1, 200))).abs().max() == 0


def test_the_spectral_backbone_says_what_it_needs():
    spectral = Spectral(frame=32)
    with pytest.raises(ValueError, match="needs n_components="):
        spectral(Shapes((200,), 20))
    with pytest.raises(ValueError, match="expects windows"):
        spectral(Shapes((2, 200), spectral.n_components((2, 200))))
    with pytest.raises(ValueError, match="frame must be even"):
        spectral(Shapes((20,), 20))
