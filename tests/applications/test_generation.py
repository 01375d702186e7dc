import json
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits

from isthmus import VAE, Autoencoder, ConditionalVAE, SparseAutoencoder, cli
from isthmus.applications.generation import LatentSampler, variations
from isthmus.data import load

DIGITS = load_digits()
X, Y = DIGITS.images[:400] / 16, DIGITS.target[:400]
FAST = {"n_components": 3, "hidden": (16,), "epochs": 3, "random_state": 0}


class Identity(BaseEstimator):
    """A model whose codes are the rows, as points or with a given spread."""

    conditional = False

    def __init__(self, std=0.0):
        self.std = std

    def fit(self, X, y=None):
        self.model_ = SimpleNamespace(prior=None if self.std == 0 else "standard")
        return self

    def posterior(self, X, condition=None):
        return SimpleNamespace(mean=X, std=np.full(X.shape, self.std))

    def transform(self, X):
        return X

    columns_ = None

    def decode(self, Z, noise=False, random_state=None, condition=None):
        return Z

    def as_input_type(self, X):
        return X


@pytest.fixture(scope="module")
def vae():
    return VAE(**FAST).fit(X)


@pytest.fixture(scope="module")
def plain():
    return Autoencoder(**FAST).fit(X)


def test_mixture_of_one_normal_has_the_moments_of_the_codes():
    rng = np.random.default_rng(0)
    mixing = np.array([[1.0, 0.0, 0.0], [300.0, 40.0, 0.0], [0.0, 0.001, 0.002]])
    codes = rng.standard_normal((4000, 3)) @ mixing.T + [5.0, 0.0, -1.0]
    sampler = LatentSampler(Identity(), n_modes=1, random_state=0).fit(codes)
    drawn = sampler.sample_codes(50_000, random_state=1).astype(np.float64)
    spread = codes.std(0)
    np.testing.assert_allclose((drawn.mean(0) - codes.mean(0)) / spread, 0, atol=0.02)
    np.testing.assert_allclose(np.cov((drawn / spread).T), np.cov((codes / spread).T), atol=0.03)


def test_mixture_includes_the_posterior_variance():
    rows = np.random.default_rng(1).normal(size=(5000, 1)) * 2
    sampler = LatentSampler(Identity(std=1.5), source="mixture", n_modes=1, random_state=0)
    drawn = sampler.fit(rows).sample_codes(50_000, random_state=1)
    np.testing.assert_allclose(drawn.var(), rows.var() + 1.5**2, rtol=0.05)


def test_each_class_has_its_own_mixture():
    rng = np.random.default_rng(0)
    y = np.repeat(["low", "high"], [100, 300])
    codes = rng.normal(size=(400, 2)) + np.where(y == "low", -10, 10)[:, None]
    sampler = LatentSampler(Identity(), n_modes=1, random_state=0).fit(codes, y)
    assert list(sampler.classes_) == ["high", "low"]
    requested = np.array(["low", "high", "high", "low"])
    drawn = sampler.sample(4, random_state=0, y=requested)
    assert ((drawn > 0).all(1) == (requested == "high")).all()
    share = (sampler.sample(4000, random_state=0)[:, 0] > 0).mean()
    assert abs(share - 0.75) < 0.03


def test_constant_and_nonnegative_codes_are_preserved():
    codes = np.maximum(np.random.default_rng(0).normal(size=(500, 3)), 0)
    codes[:, 2] = 0.25
    drawn = LatentSampler(Identity(), n_modes=3, random_state=0).fit(codes).sample_codes(2000, 0)
    assert drawn.min() >= 0
    assert (drawn[:, 2] == np.float32(0.25)).all()


def test_prior_source_equals_estimator_sample(vae):
    sampler = LatentSampler.from_fitted(vae).fit(X)
    assert sampler.source_ == "prior"
    np.testing.assert_array_equal(sampler.sample(5, 3), vae.sample(5, 3))


def test_models_without_a_prior_use_a_mixture(plain):
    sampler = LatentSampler.from_fitted(plain, n_modes=3, random_state=0).fit(X)
    assert sampler.source_ == "mixture"
    made = sampler.sample(6, random_state=1)
    assert made.shape == (6, 8, 8)
    np.testing.assert_array_equal(made, sampler.sample(6, random_state=1))
    assert not np.array_equal(made, sampler.sample(6, random_state=2))


@pytest.fixture(scope="module")
def conditional():
    settings = {"hidden": (64,), "epochs": 25, "batch_size": 32, "learning_rate": 3e-3}
    return ConditionalVAE(n_components=2, random_state=0, **settings).fit(X, Y)


@pytest.mark.parametrize("source", ["prior", "mixture"])
def test_conditional_model_generates_the_requested_class(conditional, source):
    sampler = LatentSampler.from_fitted(conditional, source=source, n_modes=1, random_state=0)
    sampler.fit(X, Y)
    zeros, ones = (sampler.sample(30, random_state=0, y=k).mean(0) for k in (0, 1))
    centre = (slice(3, 5), slice(3, 5))  # empty in a zero, filled in a one
    assert ones[centre].mean() > zeros[centre].mean() + 0.3


def test_sampled_sparse_codes_are_nonnegative():
    model = SparseAutoencoder(**FAST).fit(X)
    sampler = LatentSampler.from_fitted(model, n_modes=2, random_state=0).fit(X)
    assert sampler.sample_codes(200, 0).min() >= 0


def test_invalid_requests_raise(vae, plain):
    with pytest.raises(ValueError, match="cannot generate a class"):
        LatentSampler.from_fitted(vae).fit(X).sample(2, y=1)
    with pytest.raises(ValueError, match="use a VAE"):
        LatentSampler.from_fitted(plain, source="prior").fit(X)
    with pytest.raises(ValueError, match="without labels"):
        LatentSampler.from_fitted(plain).fit(X).sample(2, y=1)
    with pytest.raises(ValueError, match="unknown label 77"):
        LatentSampler.from_fitted(plain).fit(X, Y).sample(2, y=77)
    with pytest.raises(ValueError, match="source must be"):
        LatentSampler(VAE(), source="hat").fit(X)
    with pytest.raises(ValueError, match="class 9 has 2 rows"):
        LatentSampler.from_fitted(plain).fit(X[:22], np.r_[np.zeros(20, int), 9, 9])
    with pytest.raises(ValueError, match="are points: pass scale"):
        variations(plain, X[:1])
    with pytest.raises(ValueError, match="spread nonnegative"):
        variations(vae, X[:1], spread=-1)


def test_variations_with_zero_spread_are_reconstructions(vae):
    made = variations(vae, X[:3], 4, spread=0)
    assert made.shape == (3, 4, 8, 8)
    for k in range(4):
        np.testing.assert_allclose(made[:, k], vae.reconstruct(X[:3]), atol=1e-6)


def test_variations_have_the_posterior_spread():
    rows = np.array([[1.0, -2.0], [0.0, 5.0]])
    made = variations(Identity(std=0.5).fit(rows), rows, 20_000, spread=2.0, random_state=0)
    np.testing.assert_allclose(made.mean(1), rows, atol=0.03)
    np.testing.assert_allclose(made.std(1), 1.0, atol=0.02)
    made = variations(Identity().fit(rows), rows, 20_000, scale=[1, 0], random_state=0)
    np.testing.assert_allclose(made.std(1), [[1, 0], [1, 0]], atol=0.02)


def test_variations_of_points_have_the_spread_of_their_mode():
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(-50, 1, (300, 1)), rng.normal(50, 5, (300, 1))])
    sampler = LatentSampler(Identity(), n_modes=2, random_state=0).fit(rows)
    made = sampler.variations(np.array([[-50.0], [50.0]]), 5000, random_state=0)
    np.testing.assert_allclose(made.std(1)[:, 0], [1, 5], rtol=0.1)


NAMES = np.array(["nought", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


@pytest.mark.parametrize("labels", [None, Y, NAMES[Y]])
@pytest.mark.parametrize("kind", [Autoencoder, SparseAutoencoder, VAE, ConditionalVAE])
def test_loaded_mixture_draws_the_same_examples(kind, labels, tmp_path):
    model = kind(**FAST).fit(X, Y if labels is None else labels)
    fitted = LatentSampler.from_fitted(model, source="mixture", n_modes=2, random_state=3)
    fitted.fit(X, Y if labels is None and model.conditional else labels)
    fitted.save(tmp_path / "new" / "folder")
    again = LatentSampler.load(tmp_path / "new" / "folder", model)
    assert again.get_params(deep=False).keys() == fitted.get_params(deep=False).keys()
    assert (again.n_modes, again.random_state, again.source_) == (2, 3, "mixture")
    np.testing.assert_array_equal(again.sample(20, 1), fitted.sample(20, 1))
    np.testing.assert_array_equal(
        again.variations(X[:3], 2, 1.0, 1), fitted.variations(X[:3], 2, 1.0, 1)
    )
    if labels is not None:
        requested = labels[:20]
        assert again.classes_.dtype == fitted.classes_.dtype
        np.testing.assert_array_equal(
            again.sample(20, 1, y=requested), fitted.sample(20, 1, y=requested)
        )


@pytest.fixture
def stored(plain, tmp_path):
    LatentSampler.from_fitted(plain, n_modes=2, random_state=0).fit(X, Y).save(tmp_path / "stored")
    return tmp_path / "stored"


def of_other_shape(folder):
    arrays = load_file(folder / "mixture.safetensors")
    save_file(arrays | {"means_": arrays["means_"][:, :1]}, folder / "mixture.safetensors")


def without_an_array(folder):
    arrays = load_file(folder / "mixture.safetensors")
    save_file({k: v for k, v in arrays.items() if k != "floor"}, folder / "mixture.safetensors")


def of_fewer_classes(folder):
    record = json.loads((folder / "mixture.json").read_text())
    (folder / "mixture.json").write_text(json.dumps(record | {"classes": record["classes"][1:]}))


def cut(name):
    def damage(folder):
        (folder / name).write_bytes((folder / name).read_bytes()[:-100])

    return damage


def with_another_setting(folder):
    record = json.loads((folder / "mixture.json").read_text())
    (folder / "mixture.json").write_text(json.dumps(record | {"settings": {"hat": 1}}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut("mixture.safetensors"), r"mixture\.safetensors is corrupt; delete the folder"),
        (of_other_shape, r"mixture\.safetensors is corrupt"),
        (without_an_array, r"mixture\.safetensors is corrupt"),
        (of_fewer_classes, r"mixture\.json is corrupt or has another format version"),
        (cut("mixture.json"), r"mixture\.json is corrupt or has another format version"),
        (with_another_setting, r"mixture\.json is corrupt or has another format version"),
    ],
)
def test_corrupt_mixtures_raise(damage, words, stored, plain):
    LatentSampler.load(stored, plain)
    damage(stored)
    with pytest.raises(ValueError, match=words) as raised:
        LatentSampler.load(stored, plain)
    assert "\n" not in str(raised.value)


def test_missing_or_foreign_mixtures_raise(stored, plain, vae, tmp_path):
    with pytest.raises(FileNotFoundError, match="contains no mixture"):
        LatentSampler.load(tmp_path, plain)
    with pytest.raises(ValueError, match="another model"):
        LatentSampler.load(stored, vae)
    with pytest.raises(ValueError, match="saved with the model"):
        LatentSampler.from_fitted(vae).fit(X).save(tmp_path / "prior")
    assert not (tmp_path / "prior").exists()


class TestCommand:
    """`isthmus sample` stores the mixture in the run and reuses it."""

    @pytest.fixture
    def run(self, plain, tmp_path):
        plain.save(tmp_path / "run")
        np.savez(tmp_path / "rows.npz", X=X, y=Y)
        return tmp_path / "run"

    def sample(self, run, *flags, code=0):
        out = run.parent / "made.npy"
        words = ["sample", run, "-n", 5, "--modes", 2, "--save", out, *flags]
        assert cli.main([str(word) for word in words]) == code
        return np.load(out) if code == 0 else None

    @pytest.mark.parametrize("of", [[], ["--of", 3, 5]])
    def test_stored_mixture_is_reused_without_the_data(self, run, of, capsys):
        data = run.parent / "rows.npz"
        first = self.sample(run, "--source", "mixture", "--data", data, *of)
        assert "fitted a mixture" in capsys.readouterr().out
        again = self.sample(run, "--mixture", "--data", data, *of)
        assert "fitted" not in capsys.readouterr().out
        data.unlink()
        np.testing.assert_array_equal(first, again)
        np.testing.assert_array_equal(first, self.sample(run, *of))
        assert not np.array_equal(first, self.sample(run, "--random-state", 1, *of))

    def test_other_data_labels_or_modes_fit_a_new_mixture(self, run, capsys):
        data = run.parent / "rows.npz"
        for rows, labels, modes in ((X, Y, 2), (X[::2], Y[::2], 2), (X, Y // 5, 2), (X, Y, 3)):
            np.savez(data, X=rows, y=labels)
            self.sample(run, "--data", data, "--of", 1, "--modes", modes)
            assert "fitted a mixture" in capsys.readouterr().out
        model = VAE(**FAST).fit(X)
        model.save(run)
        self.sample(run, "--data", data, "--of", 1, "--source", "mixture")
        assert "fitted a mixture" in capsys.readouterr().out

    def test_corrupt_mixture_raises_a_one_line_error(self, run, capsys):
        data = run.parent / "rows.npz"
        first = self.sample(run, "--data", data)
        cut("mixture.safetensors")(run / "mixture")
        capsys.readouterr()
        self.sample(run, "--data", data, code=2)
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "delete the folder" in said
        (run / "mixture" / "mixture.json").unlink()
        np.testing.assert_array_equal(self.sample(run, "--data", data), first)

    def test_read_only_run_can_be_sampled(self, run, capsys):
        (run / "mixture").write_text("no folder")
        assert self.sample(
            run, "--data", run.parent / "rows.npz", "--out", run.parent / "o.png"
        ).size
        assert "not stored: " in capsys.readouterr().out

    def test_missing_prior_is_reported(self, run, capsys):
        self.sample(run, "--source", "prior", code=2)
        assert "has no prior" in capsys.readouterr().err

    def test_samples_of_a_table_are_written_as_a_table(self, tmp_path):
        table, run, made = tmp_path / "t.csv", tmp_path / "run", tmp_path / "made.csv"
        rng = np.random.default_rng(0)
        rows = [f"{rng.normal():.3f},{rng.choice(['low', 'high'])}" for _ in range(60)]
        table.write_text("\n".join(["height,kind", *rows]))
        Autoencoder(**FAST).fit(load(table).rows).save(run)
        flags = ["--data", table, "--modes", 1, "-n", 4]
        for kind in (".csv", ".npy"):
            words = ["sample", run, *flags, "--save", made.with_suffix(kind)]
            assert cli.main([str(word) for word in words]) == 0
        header, *lines = made.read_text().splitlines()
        assert header == "height,kind"
        assert {line.split(",")[1] for line in lines} <= {"low", "high"}
        assert len(lines) == len(np.load(made.with_suffix(".npy"))) == 4

    def test_unknown_file_type_is_reported(self, run, capsys):
        assert cli.main(["sample", str(run), "--save", "made.csv"]) == 2
        assert "must end in .npy, got" in capsys.readouterr().err
