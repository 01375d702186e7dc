import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils import estimator_checks as checks

from isthmus import VAE, Autoencoder, ConditionalVAE, DenoisingAutoencoder, load
from isthmus.applications.corruptions import BackgroundNoise
from isthmus.applications.denoising import Denoiser, denoise_audio
from isthmus.cli import denoise
from isthmus.cli._parser import make_parser
from isthmus.data.audio import read_audio
from isthmus.data.wav import AudioClip, read_wav, write_wav
from isthmus.nn.pyramid import Pyramid
from isthmus.nn.stft import Spectral
from isthmus.registry import backbone_of

FAST = {"epochs": 2, "hidden": (16,), "n_components": 4, "random_state": 0}
DIGITS = (load_digits().images / 16).astype(np.float32)
RNG = np.random.default_rng(0)


def squared(a, b):
    return float(np.mean((np.asarray(a, float) - b) ** 2))


class Unchanged(torch.nn.Module):
    def forward(self, x):
        return x.flatten(1)


def identity_model(X):
    """Return a fitted model whose reconstruction is its input."""
    n = int(np.prod(X.shape[1:]))
    model = Autoencoder(
        n_components=n,
        backbone=lambda shapes: (Unchanged(), Scaled(n)),
        likelihood="gaussian",
        epochs=1,
        validation_fraction=0,
        learning_rate=1e-30,
        random_state=0,
    )
    return model.fit(X)


class Scaled(torch.nn.Module):
    def __init__(self, n):
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(n))

    def forward(self, z):
        return z * self.one


# -------------------------------------------------------------------- contract


@checks.parametrize_with_checks(
    [Denoiser(DenoisingAutoencoder(**FAST))],
    expected_failed_checks=lambda _: {
        f"check_sample_weight_equivalence_on_{kind}_data": "rows and noise are drawn by rows"
        for kind in ("dense", "sparse")
    },
)
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "check",
    [
        checks.check_set_output_transform_pandas,
        checks.check_global_output_transform_pandas,
        checks.check_transformer_get_feature_names_out,
        checks.check_transformer_get_feature_names_out_pandas,
        checks.check_n_features_in_after_fitting,
    ],
)
@pytest.mark.filterwarnings("ignore:X (has|does not have)")
def test_further_scikit_learn_checks(check):
    check("Denoiser", Denoiser(DenoisingAutoencoder(**FAST)))


def test_pipeline_and_clone():
    X = DIGITS.reshape(-1, 64)[:200]
    pipeline = make_pipeline(MinMaxScaler(), Denoiser(DenoisingAutoencoder(**FAST))).fit(X)
    assert pipeline.transform(X).shape == X.shape
    with pytest.raises(NotFittedError):
        clone(pipeline[-1]).transform(X)


# -------------------------------------------------------------------- denoising


@pytest.fixture(scope="module")
def denoiser():
    settings = {"epochs": 25, "hidden": (128,), "learning_rate": 3e-3, "random_state": 0}
    model = DenoisingAutoencoder(n_components=48, likelihood="bernoulli", **settings)
    kinds = ("gaussian", "masking", "salt-and-pepper")
    return Denoiser(model, corruption=kinds, level=(0.3, 0.5, 0.2)).fit(DIGITS[:1500])


def noises():
    X, rng = DIGITS[1500:], np.random.default_rng(1)
    hit = rng.random(X.shape)
    yield X + 0.3 * rng.normal(size=X.shape).astype(np.float32)
    yield np.where(hit < 0.5, 0, X).astype(np.float32)
    yield np.where(hit < 0.2, (hit < 0.1).astype(np.float32), X)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_denoising_beats_principal_components(denoiser, number):
    clean, noisy = DIGITS[1500:], list(noises())[number]
    pca = PCA(16).fit(DIGITS[:1500].reshape(-1, 64))
    flat = pca.inverse_transform(pca.transform(noisy.reshape(-1, 64)))
    cleaned = denoiser.transform(noisy)
    assert squared(cleaned, clean) < 0.6 * squared(noisy, clean)
    assert squared(cleaned, clean) < squared(flat.reshape(clean.shape), clean)


def test_output_type_matches_input_type(denoiser):
    noisy = np.clip(next(noises()), 0, 1)
    cleaned = denoiser.transform(noisy)
    assert cleaned.dtype == np.float32
    assert denoiser.transform(noisy.astype(np.float64)).dtype == np.float64
    assert denoiser.transform((noisy > 0.5).astype(int)).dtype == np.float64
    as_bytes = np.rint(noisy * 255).astype(np.uint8)
    out = denoiser.transform(as_bytes)
    assert out.dtype == np.uint8
    assert np.abs(out / 255 - denoiser.transform(as_bytes / 255)).max() <= 0.5 / 255 + 1e-6
    flat = denoiser.transform(noisy.reshape(-1, 64))
    np.testing.assert_array_equal(flat.reshape(noisy.shape), cleaned)


def test_output_is_in_data_units():
    X = 1000 + 50 * DIGITS[:500].astype(np.float64)
    model = DenoisingAutoencoder(n_components=16, epochs=20, random_state=0)
    denoiser = Denoiser(model, corruption="gaussian", level=15.0).fit(X)
    noisy = X + RNG.normal(0, 15, X.shape)
    assert squared(denoiser.transform(noisy), X) < 0.6 * 15**2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"corruption": "gausian"}, "Did you mean 'gaussian'"),
        ({"corruption": "masking", "level": 2}, "share of corrupted features"),
        ({"corruption": "gaussian", "level": -1}, "non-negative"),
        ({"corruption": ("gaussian", "masking"), "level": (1,)}, "one level for each"),
        ({"level": 0.3}, "pass one"),
        ({"estimator": PCA()}, "isthmus autoencoder.*got PCA"),
        ({"patch_size": 2.5}, "tuple of integers"),
        ({"patch_size": (9, 9)}, "does not fit"),
        ({"patch_size": (4, 4), "overlap": 1}, "overlap"),
        ({"patch_size": (4, 4), "n_patches": 1}, "n_patches"),
    ],
)
def test_invalid_parameters_raise_and_change_nothing(settings, message):
    denoiser = Denoiser(**{"estimator": DenoisingAutoencoder(**FAST), **settings})
    before = dict(vars(denoiser))
    with pytest.raises(ValueError, match=message):
        denoiser.fit(DIGITS[:20])
    assert vars(denoiser) == before


def test_labels_reach_a_conditional_estimator():
    model = ConditionalVAE(**FAST)
    labels = load_digits().target[:100]
    denoiser = Denoiser(model, corruption="gaussian").fit(DIGITS[:100], labels)
    assert denoiser.transform(DIGITS[:3]).shape == (3, 8, 8)


# ---------------------------------------------------------------------- frozen


def test_frozen_model_is_not_trained():
    model = DenoisingAutoencoder(**FAST).fit(DIGITS[:100])
    expected = model.reconstruct(DIGITS[:5])
    for denoiser in (
        Denoiser(FrozenEstimator(model)),
        Denoiser(FrozenEstimator(model)).fit(DIGITS[:100]),
    ):
        np.testing.assert_array_equal(denoiser.transform(DIGITS[:5]), expected)
        with pytest.raises(ValueError, match="shape"):
            denoiser.transform(np.zeros((2, 9, 9)))


def test_frozen_model_rejects_other_parameters_and_shapes():
    frozen = FrozenEstimator(DenoisingAutoencoder(**FAST).fit(DIGITS[:100]))
    for settings, X, message in (
        ({"corruption": "gaussian"}, DIGITS, "no effect"),
        ({"patch_size": (4, 4)}, DIGITS, "patch_size is"),
        ({}, np.zeros((5, 9, 9)), "fitted on"),
    ):
        with pytest.raises(ValueError, match=message):
            Denoiser(frozen, **settings).fit(X)
    with pytest.raises(NotFittedError):
        Denoiser(FrozenEstimator(DenoisingAutoencoder(**FAST))).fit(DIGITS)


# --------------------------------------------------------------------- patches


def test_patches_denoise_images_of_any_size():
    y, x = np.mgrid[:64, :64]
    waves = np.stack([0.5 + 0.4 * np.sin(x / (3 + k) + k) * np.cos(y / 4) for k in range(6)])
    model = DenoisingAutoencoder(n_components=12, hidden=(64,), epochs=8, random_state=0)
    denoiser = Denoiser(
        model, corruption="gaussian", level=0.2, patch_size=(8, 8), n_patches=2000, random_state=0
    ).fit(waves[:, :48])
    assert denoiser.feature_shape_ == (48, 64)
    assert denoiser.estimator_.feature_shape_ == (8, 8)
    large = np.concatenate([waves[:2], waves[:2, ::-1]], 2)[:, :37]
    noisy = large + 0.2 * np.random.default_rng(1).normal(size=large.shape)
    cleaned = denoiser.transform(noisy)
    assert cleaned.shape == large.shape
    assert squared(cleaned, large) < 0.3 * squared(noisy, large)
    assert denoiser.transform(noisy[:, :5, :6]).shape == (2, 5, 6)
    with pytest.raises(ValueError, match=r"expected X of shape \(n, any, any\)"):
        denoiser.transform(noisy[0])
    with pytest.raises(ValueError, match="NaN"):
        denoiser.transform(np.full((1, 9, 9), np.nan))


@pytest.mark.parametrize(
    ("shape", "patch", "other"),
    [((9, 12), (9,), (30,)), ((5, 2, 12), 12, (2, 7)), ((5, 3, 6, 6), (6, 6), (3, 13, 8))],
)
def test_identity_model_preserves_images_of_any_size(shape, patch, other):
    size = np.atleast_1d(patch)
    model = identity_model(RNG.normal(size=(*shape[: len(shape) - len(size)], *size)))
    X = RNG.normal(size=(3, *other))
    out = Denoiser(FrozenEstimator(model), patch_size=patch).transform(X)
    np.testing.assert_allclose(out, X, atol=1e-6)


def test_pyramid_backbone_encodes_images_at_several_scales():
    pyramid = Pyramid((4, 6))
    X = RNG.random((60, 3, 13, 10)).astype(np.float32)
    denoiser = Denoiser(
        DenoisingAutoencoder(backbone=pyramid, epochs=1, random_state=0), corruption="gaussian"
    ).fit(X)
    assert denoiser.estimator_.n_components == 4 * 7 * 5 + 6 * 4 * 3
    assert denoiser.transform(X).shape == X.shape


# ----------------------------------------------------------------------- audio


@pytest.mark.parametrize("length", [1, 5, 63, 64, 65, 1000])
@pytest.mark.parametrize("shape", [(64,), (1, 64), (2, 64)])
def test_identity_model_preserves_audio_of_any_length(shape, length):
    model = identity_model(RNG.normal(size=(5, *shape)))
    samples = RNG.normal(size=(2, length))
    np.testing.assert_allclose(denoise_audio(model, samples, 8000), samples, atol=1e-6)


def test_audio_is_resampled_to_the_rate_of_the_model():
    model = identity_model(RNG.normal(size=(5, 1, 64)))
    t = np.arange(22051) / 22050
    tone = np.stack([np.sin(2 * np.pi * 300 * t), np.cos(2 * np.pi * 200 * t)])
    out = denoise_audio(model, tone, 22050, 8000)
    assert out.shape == tone.shape
    np.testing.assert_allclose(out[:, 500:-500], tone[:, 500:-500], atol=0.01)


def test_audio_with_other_channels_raises():
    model = identity_model(RNG.normal(size=(5, 3, 16)))
    with pytest.raises(ValueError, match=r"fitted on examples of shape \(3, 16\)"):
        denoise_audio(model, np.zeros((2, 50)), 8000)


def test_spectral_backbone_denoises_tones():
    rng, t = np.random.default_rng(0), np.arange(256) / 8000
    tones = np.stack([np.sin(2 * np.pi * f * t + p) for f, p in rng.uniform(200, 2000, (300, 2))])
    noise = BackgroundNoise(rng.normal(size=9000), snr=(0, 10), power=0.5)
    model = Autoencoder(
        backbone=Spectral(frame=64, width=16, depth=2), likelihood="gaussian", epochs=8,
        batch_size=32, learning_rate=5e-3, random_state=0,
    )  # fmt: skip
    denoiser = Denoiser(model, corruption=noise).fit(tones[:250, None])
    noisy = tones[250:] + rng.normal(0, 0.4, (50, 256))
    cleaned = denoiser.transform(noisy[:, None])[:, 0]
    assert squared(cleaned, tones[250:]) < 0.4 * squared(noisy, tones[250:])


def snr(clean, found):
    return 10 * np.log10((clean**2).sum() / ((clean - found) ** 2).sum())


def tones(n):
    phase, frequency = RNG.uniform(0, 6, (n, 1)), RNG.uniform(0.1, 1.2, (n, 1))
    return (0.2 * np.sin(frequency * np.arange(256) + phase)).astype(np.float32)[:, None]


def test_the_default_improves_audio(tmp_path):
    clean, test = tones(120), tones(30)
    noisy = test + RNG.normal(0, 0.057, test.shape).astype(np.float32)  # 8 dB
    model = DenoisingAutoencoder(epochs=3, warmup=0, batch_size=16, random_state=0).fit(clean)
    assert snr(test, Denoiser(model).transform(noisy)) > 11  # 0.4 dB with dense networks
    assert model.n_components_ == model.transform(test).shape[1] == 774  # of the spectrum
    model.save(tmp_path / "run")
    np.testing.assert_array_equal(load(tmp_path / "run").transform(test), model.transform(test))


@pytest.mark.parametrize(
    ("settings", "shape", "expected"),
    [
        ({}, (1, 4096), "spectral"),
        ({}, (1, 255), "mlp"),  # shorter than a frame
        ({}, (4096,), "mlp"),  # rows of a table
        ({}, (2, 4096), "mlp"),
        ({"n_components": 8}, (1, 4096), "mlp"),
        ({"hidden": (50,)}, (1, 4096), "mlp"),
        ({"likelihood": "laplace"}, (1, 4096), "mlp"),
        ({"missing": "ignore"}, (1, 4096), "mlp"),
        ({"backbone": "conv1d"}, (1, 4096), "conv1d"),
    ],
)
def test_the_default_networks_follow_the_data(settings, shape, expected):
    model = DenoisingAutoencoder(**settings)
    likelihood = settings.get("likelihood", "gaussian")
    assert backbone_of(model, shape, likelihood) == expected


def test_auto_is_dense_for_models_that_do_not_denoise():
    assert backbone_of(VAE(backbone="auto"), (1, 4096)) == "mlp"
    X = np.clip(tones(20) + 0.5, 0, 1)  # in [0, 1]: not audio
    model = DenoisingAutoencoder(epochs=1, likelihood="bernoulli", random_state=0).fit(X)
    assert model.n_components_ == 20


# ---------------------------------------------------------------- command line


@pytest.fixture
def command(capsys):
    def call(*words):
        code = denoise.run(make_parser().parse_args(["denoise", *map(str, words)]))
        assert code == 0
        return capsys.readouterr().out

    return call


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    DenoisingAutoencoder(**FAST).fit(DIGITS[:100]).save(folder / "grey")
    DenoisingAutoencoder(**FAST).fit(rng.random((20, 3, 8, 8))).save(folder / "colour")
    DenoisingAutoencoder(**FAST).fit(rng.normal(0, 0.1, (20, 1, 64))).save(folder / "sound")
    DenoisingAutoencoder(**FAST).fit(rng.normal(size=(20, 5))).save(folder / "table")
    return folder


def write_image(path, mode="L", size=(8, 8)):
    Image.fromarray((RNG.random((*size[::-1], 3)) * 255).astype(np.uint8)).convert(mode).save(path)
    return path


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "I;16"])
@pytest.mark.parametrize("run", ["grey", "colour"])
def test_command_denoises_images_of_every_mode(run, mode, runs, tmp_path, command):
    source = write_image(tmp_path / "a.png", mode)
    before = source.read_bytes()
    said = command(runs / run, source)
    assert "8 x 8 pixels" in said
    assert "on white" not in said  # opaque
    with Image.open(tmp_path / "a-denoised.png") as image:
        assert image.size == (8, 8)
    assert source.read_bytes() == before


def test_command_matches_the_model(runs, tmp_path, command):
    pixels = np.rint(DIGITS[0] * 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    command(runs / "grey", tmp_path / "a.png", "--out", tmp_path / "new" / "b.png")
    model = DenoisingAutoencoder(**FAST).fit(DIGITS[:100])
    expected = Denoiser(FrozenEstimator(model)).transform(pixels[None])[0]
    with Image.open(tmp_path / "new" / "b.png") as image:
        np.testing.assert_array_equal(np.asarray(image), expected)


def test_command_keeps_16_bits(runs, tmp_path, command):
    pixels = np.rint(DIGITS[0] * 40_000).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert "8 x 8 pixels, grey, 16 bits" in command(runs / "grey", tmp_path / "a.png")
    expected = Denoiser(FrozenEstimator(load(runs / "grey"))).transform(pixels[None] / 65535)[0]
    with Image.open(tmp_path / "a-denoised.png") as image:
        found = np.asarray(image) / 65535
    np.testing.assert_allclose(found, expected.clip(0, 1), atol=1e-5)
    said = command(runs / "grey", tmp_path / "a.png", "--out", tmp_path / "b.jpg")
    assert "grey, 8 bits" in said


def test_command_names_what_it_cannot_keep(runs, tmp_path, command):
    Image.new("LA", (8, 8), (0, 100)).save(tmp_path / "a.png")
    assert "placed the image with transparent pixels on white" in command(
        runs / "grey", tmp_path / "a.png"
    )
    frames = [Image.new("L", (8, 8), value) for value in (1, 2)]
    frames[0].save(tmp_path / "b.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"b\.gif: expected one image, got 2 pages or frames"):
        command(runs / "grey", tmp_path / "b.gif")


def test_command_denoises_each_channel_and_patches_of_any_size(runs, tmp_path, command):
    source = write_image(tmp_path / "a.jpg", "RGB", (30, 21))
    said = command(runs / "grey", source, "--patches", "--out", tmp_path / "out")
    assert "21 x 30 pixels, RGB" in said
    with Image.open(tmp_path / "out" / "a.jpg") as image:
        assert (image.size, image.format, image.mode) == ((30, 21), "JPEG", "RGB")


@pytest.mark.parametrize("kind", ["u8", "i16", "i24", "f32"])
def test_command_keeps_rate_bits_channels_and_length(kind, runs, tmp_path, command):
    noisy = AudioClip(np.round(RNG.uniform(-0.5, 0.5, (2, 777)) * 64) / 128, 44100, kind)
    write_wav(tmp_path / "a.wav", noisy)
    said = command(runs / "sound", tmp_path / "a.wav", "--rate", 8000)
    clean = read_wav(tmp_path / "a-denoised.wav")
    assert (clean.rate, clean.kind, clean.samples.shape) == (44100, kind, (2, 777))
    assert "44100 Hz, 2 channels" in said
    assert "resampled to the run's 8000 Hz and back, which removes what is above 4000 Hz" in said


def test_command_tells_how_much_it_removed(runs, tmp_path, command):
    write_wav(tmp_path / "a.wav", AudioClip(RNG.normal(0, 0.1, (1, 300)), 8000))
    removed = int(command(runs / "sound", tmp_path / "a.wav").split("removed ")[1].split("%")[0])
    noisy, clean = (read_wav(tmp_path / f"a{end}.wav").samples for end in ("", "-denoised"))
    assert removed == pytest.approx(100 * squared(noisy, clean) / squared(noisy, 0), abs=1)
    VAE(n_components=2, hidden=(8,), epochs=1).fit(RNG.normal(size=(20, 1, 64))).save(
        tmp_path / "vae"
    )
    said = command(tmp_path / "vae", tmp_path / "a.wav", "--force")
    assert "a VAE is not trained to remove noise: see `isthmus fit --model denoising`" in said


def test_command_reports_an_unknown_rate(runs, tmp_path, command):
    write_wav(tmp_path / "a.wav", AudioClip(np.zeros((1, 3)), 8000))
    assert "records no sample rate" in command(runs / "sound", tmp_path / "a.wav")


@pytest.mark.parametrize("suffix", [".FLAC", ".ogg", ".mp3"])
def test_command_writes_compressed_audio_as_wav(suffix, runs, tmp_path, command):
    soundfile = pytest.importorskip("soundfile")
    samples = 0.5 * np.sin(np.arange(2 * 4000).reshape(4000, 2) / 5)
    source = tmp_path / f"a{suffix}"
    soundfile.write(source, samples, 8000, format=suffix[1:].upper())
    before = source.read_bytes()
    command(runs / "sound", source, "--rate", 8000)
    clean, noisy = read_wav(tmp_path / "a-denoised.wav"), read_audio(source)
    assert (clean.rate, clean.kind, clean.samples.shape) == (8000, "i16", noisy.samples.shape)
    expected = denoise_audio(load(runs / "sound"), noisy.samples, 8000)
    np.testing.assert_allclose(clean.samples, expected, atol=2**-15)
    assert source.read_bytes() == before
    source.write_text("x")
    with pytest.raises(ValueError, match="expected a valid audio file"):
        command(runs / "sound", source, "--force")


def test_command_overwrites_only_with_force(runs, tmp_path, command):
    source = write_image(tmp_path / "a.png")
    (tmp_path / "a-denoised.png").write_text("mine")
    with pytest.raises(ValueError, match="add --force"):
        command(runs / "grey", source)
    assert (tmp_path / "a-denoised.png").read_text() == "mine"
    command(runs / "grey", source, "--force")
    with Image.open(tmp_path / "a-denoised.png") as image:
        assert image.size == (8, 8)


@pytest.mark.parametrize(
    ("run", "files", "options", "message"),
    [
        ("grey", ["none.png"], [], "no such file"),
        ("grey", ["a.txt"], [], "expected an image or an audio file"),
        ("grey", ["big.png"], [], r"expected 8 x 8 pixels .* got 9 x 12; resize it, or add"),
        ("grey", ["a.wav"], [], r"a\.wav: the model was fitted on examples of shape \(8, 8\)"),
        ("sound", ["a.png"], [], "are not images"),
        ("table", ["a.png"], [], "are not images"),
        ("grey", ["a.png"], ["--out", "a.png", "--force"], "is one of the inputs"),
        ("grey", ["a.png", "sub/a.png"], ["--out", "out"], "two files"),
        ("grey", ["a.png", "a.wav"], ["--out", "b.png"], "name a folder"),
        ("grey", ["a.png"], ["--out", "b.wav"], "is written as .png"),
        ("sound", ["a.wav"], ["--out", "b.mp3"], "is written as .wav"),
        ("sound", ["a.mp3"], ["--out", "b.mp3"], "is written as .wav"),
        ("sound", ["a.wav", "a.mp3"], [], "two files"),
        ("grey", ["a.png"], ["--overlap", "1"], "overlap"),
        ("grey", ["bad.png"], [], "expected a valid image"),
    ],
)
def test_command_rejects_invalid_input(
    run, files, options, message, runs, tmp_path, command, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for name, size in (("a.png", (8, 8)), ("sub/a.png", (8, 8)), ("big.png", (12, 9))):
        write_image(tmp_path / name, size=size)
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "bad.png").write_text("x")
    (tmp_path / "a.mp3").write_text("x")
    write_wav(tmp_path / "a.wav", AudioClip(np.zeros((1, 9)), 8000))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        command(runs / run, *files, *options)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before
