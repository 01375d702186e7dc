from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits

from isthmus import VAE, Autoencoder, ConditionalVAE, SparseAutoencoder
from isthmus.uses.generation import LatentSampler, variations

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

    def posterior(self, X):
        return SimpleNamespace(mean=X, std=np.full(X.shape, self.std))

    def transform(self, X):
        return X

    def inverse_transform(self, Z):
        return Z


@pytest.fixture(scope="module")
def vae():
    return VAE(**FAST).fit(X)


@pytest.fixture(scope="module")
def plain():
    return Autoencoder(**FAST).fit(X)


def test_a_mixture_of_one_normal_has_the_moments_of_the_codes():
    rng = np.random.default_rng(0)
    mixing = np.array([[1.0, 0.0, 0.0], [300.0, 40.0, 0.0], [0.0, 0.001, 0.002]])
    codes = rng.standard_normal((4000, 3)) @ mixing.T + [5.0, 0.0, -1.0]
    sampler = LatentSampler(Identity(), n_modes=1, random_state=0).fit(codes)
    drawn = sampler.sample_codes(50_000, random_state=1).astype(np.float64)
    spread = codes.std(0)
    np.testing.assert_allclose((drawn.mean(0) - codes.mean(0)) / spread, 0, atol=0.02)
    np.testing.assert_allclose(np.cov((drawn / spread).T), np.cov((codes / spread).T), atol=0.03)


def test_the_aggregate_posterior_has_the_width_of_q_besides():
    rows = np.random.default_rng(1).normal(size=(5000, 1)) * 2
    sampler = LatentSampler(Identity(std=1.5), source="mixture", n_modes=1, random_state=0)
    drawn = sampler.fit(rows).sample_codes(50_000, random_state=1)
    np.testing.assert_allclose(drawn.var(), rows.var() + 1.5**2, rtol=0.05)


def test_each_class_has_a_mixture_of_its_own():
    rng = np.random.default_rng(0)
    y = np.repeat(["low", "high"], [100, 300])
    codes = rng.normal(size=(400, 2)) + np.where(y == "low", -10, 10)[:, None]
    sampler = LatentSampler(Identity(), n_modes=1, random_state=0).fit(codes, y)
    assert list(sampler.classes_) == ["high", "low"]
    asked = np.array(["low", "high", "high", "low"])
    drawn = sampler.sample(4, random_state=0, y=asked)
    assert ((drawn > 0).all(1) == (asked == "high")).all()
    share = (sampler.sample(4000, random_state=0)[:, 0] > 0).mean()
    assert abs(share - 0.75) < 0.03


def test_constant_latents_stay_and_rectified_codes_stay_above_zero():
    codes = np.maximum(np.random.default_rng(0).normal(size=(500, 3)), 0)
    codes[:, 2] = 0.25
    drawn = LatentSampler(Identity(), n_modes=3, random_state=0).fit(codes).sample_codes(2000, 0)
    assert drawn.min() >= 0
    assert (drawn[:, 2] == np.float32(0.25)).all()


def test_from_the_prior_it_is_the_estimators_own_sample(vae):
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
def test_a_conditional_model_generates_what_is_asked(conditional, source):
    sampler = LatentSampler.from_fitted(conditional, source=source, n_modes=1, random_state=0)
    sampler.fit(X, Y)
    zeros, ones = (sampler.sample(30, random_state=0, y=k).mean(0) for k in (0, 1))
    centre = (slice(3, 5), slice(3, 5))  # empty in a nought, inked in a one
    assert ones[centre].mean() > zeros[centre].mean() + 0.3


def test_sparse_codes_are_drawn_without_negative_ones():
    model = SparseAutoencoder(**FAST).fit(X)
    sampler = LatentSampler.from_fitted(model, n_modes=2, random_state=0).fit(X)
    assert sampler.sample_codes(200, 0).min() >= 0


def test_what_cannot_be_generated_is_said_with_what_can(vae, plain):
    with pytest.raises(ValueError, match="ConditionalVAE can"):
        LatentSampler.from_fitted(vae).fit(X).sample(2, y=1)
    with pytest.raises(ValueError, match="a VAE has"):
        LatentSampler.from_fitted(plain, source="prior").fit(X)
    with pytest.raises(ValueError, match="without labels"):
        LatentSampler.from_fitted(plain).fit(X).sample(2, y=1)
    with pytest.raises(ValueError, match="no class 77"):
        LatentSampler.from_fitted(plain).fit(X, Y).sample(2, y=77)
    with pytest.raises(ValueError, match="source must be"):
        LatentSampler(VAE(), source="hat").fit(X)
    with pytest.raises(ValueError, match="class 9 has 2 rows"):
        LatentSampler.from_fitted(plain).fit(X[:22], np.r_[np.zeros(20, int), 9, 9])
    with pytest.raises(ValueError, match="a VAE's have one"):
        variations(plain, X[:1])
    with pytest.raises(ValueError, match="spread from 0"):
        variations(vae, X[:1], spread=-1)


def test_variations_of_no_spread_are_the_reconstruction(vae):
    made = variations(vae, X[:3], 4, spread=0)
    assert made.shape == (3, 4, 8, 8)
    for k in range(4):
        np.testing.assert_allclose(made[:, k], vae.reconstruct(X[:3]), atol=1e-6)


def test_variations_spread_as_the_posterior_does():
    rows = np.array([[1.0, -2.0], [0.0, 5.0]])
    made = variations(Identity(std=0.5).fit(rows), rows, 20_000, spread=2.0, random_state=0)
    np.testing.assert_allclose(made.mean(1), rows, atol=0.03)
    np.testing.assert_allclose(made.std(1), 1.0, atol=0.02)
    made = variations(Identity().fit(rows), rows, 20_000, scale=[1, 0], random_state=0)
    np.testing.assert_allclose(made.std(1), [[1, 0], [1, 0]], atol=0.02)


def test_variations_of_points_take_the_width_of_their_mode():
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(-50, 1, (300, 1)), rng.normal(50, 5, (300, 1))])
    sampler = LatentSampler(Identity(), n_modes=2, random_state=0).fit(rows)
    made = sampler.variations(np.array([[-50.0], [50.0]]), 5000, random_state=0)
    np.testing.assert_allclose(made.std(1)[:, 0], [1, 5], rtol=0.1)
