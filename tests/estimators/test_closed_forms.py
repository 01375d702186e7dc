"""Fitted estimators against closed forms and libraries."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

import isthmus
from isthmus.objectives.corruptions import CORRUPTIONS

DIGITS = load_digits()
X = DIGITS.data / 16
TRAIN, TEST = X[:1400], X[1400:]
SOME = X[:600]


def low_rank(n=1000, d=12, k=3, noise=0.3, seed=0):
    """Return data of a linear-Gaussian model: n rows, d features, k causes."""
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(k, d)) * np.array([[3.0], [2.0], [1.0]])
    return rng.normal(size=(n, k)) @ loadings + noise * rng.normal(size=(n, d)) + 5.0


def squared_error(a, b):
    return np.sum((a - b) ** 2, axis=1).mean()


@pytest.mark.parametrize("scaling", ["global", "none"])
def test_linear_autoencoder_reaches_the_error_of_pca(scaling):
    data = low_rank(n=300, noise=1.0) - 5.0
    model = isthmus.Autoencoder(
        n_components=3,
        hidden=(),
        likelihood="gaussian",
        scaling=scaling,
        epochs=400,
        learning_rate=2e-2,
        batch_size=300,
        validation_fraction=0.0,
        random_state=0,
    ).fit(data)
    pca = PCA(3).fit(data)
    best = squared_error(data, pca.inverse_transform(pca.transform(data)))
    assert best <= squared_error(data, model.reconstruct(data)) * (1 + 1e-9) + 1e-9
    assert squared_error(data, model.reconstruct(data)) < 1.01 * best


@pytest.mark.slow
@pytest.mark.parametrize(
    ("corruption", "level"),
    [
        ("gaussian", 0.3),
        pytest.param("masking", 0.5, marks=pytest.mark.slow),
        pytest.param("salt-and-pepper", 0.2, marks=pytest.mark.slow),
    ],
)
def test_denoising_autoencoder_beats_pca_and_a_plain_autoencoder(corruption, level):
    settings = {"n_components": 32, "hidden": (200,), "epochs": 80, "random_state": 0}
    denoiser = isthmus.DenoisingAutoencoder(
        corruption=corruption, corruption_level=level, **settings
    ).fit(TRAIN)
    plain = isthmus.Autoencoder(**settings).fit(TRAIN)
    noise = CORRUPTIONS[corruption](level)
    seen = noise(torch.tensor(TEST, dtype=torch.float32), torch.Generator().manual_seed(1)).numpy()
    pca = PCA(32).fit(TRAIN)
    cleaned = squared_error(denoiser.reconstruct(seen), TEST)
    assert cleaned < 0.8 * squared_error(seen, TEST)
    assert cleaned < squared_error(pca.inverse_transform(pca.transform(seen)), TEST)
    assert cleaned < squared_error(plain.reconstruct(seen), TEST)


def test_activity_decreases_with_the_l1_weight():
    settings = {"n_components": 30, "hidden": (64,), "epochs": 40, "random_state": 0}
    settings["likelihood"] = "bernoulli"
    activity = [
        isthmus.SparseAutoencoder(penalty="l1", penalty_weight=w, **settings)
        .fit(SOME)
        .transform(SOME)
        .mean()
        for w in (0.0, 0.1, 0.3)
    ]
    assert activity == sorted(activity, reverse=True)
    assert activity[0] > 2 * activity[1]


def test_kl_sparse_decoder_receives_the_penalized_activations():
    model = isthmus.SparseAutoencoder(
        penalty="kl",
        penalty_weight=10.0,
        sparsity_target=0.1,
        likelihood="bernoulli",
        n_components=40,
        hidden=(),
        epochs=60,
        random_state=0,
    ).fit(SOME)
    codes = model.transform(SOME)
    assert codes.min() >= 0
    assert codes.max() <= 1
    assert abs(codes.mean() - 0.1) < 0.04
    np.testing.assert_array_equal(model.inverse_transform(codes), model.reconstruct(SOME))
    q = model.model_.encode(torch.tensor(X[:9], dtype=torch.float32))
    assert torch.equal(q.rsample(), q.mean)


def test_both_parametrizations_of_sigma_reach_the_same_bound():
    settings = {"n_components": 5, "hidden": (64,), "epochs": 20, "random_state": 0}
    settings["likelihood"] = "bernoulli"
    scores = [
        isthmus.VAE(posterior_family=name, **settings).fit(TRAIN).score(TEST)
        for name in ("normal", "normal-softplus")
    ]
    assert scores[0] == pytest.approx(scores[1], abs=0.5)


@pytest.fixture(scope="module")
def linear_gaussian():
    data = low_rank(n=2000)
    model = isthmus.VAE(
        n_components=3,
        hidden=(),
        likelihood="gaussian",
        scaling="global",
        epochs=200,
        batch_size=500,
        learning_rate=2e-2,
        n_samples=4,
        validation_fraction=0.0,
        random_state=0,
    ).fit(data)
    model.set_params(learning_rate=1e-3)
    for _ in range(60):
        model.partial_fit(data)
    return model, data, PCA(3).fit(data).score(data)


def test_linear_gaussian_vae_reaches_the_likelihood_of_probabilistic_pca(linear_gaussian):
    model, data, exact = linear_gaussian
    assert model.score(data) == pytest.approx(exact, abs=0.05)


@pytest.mark.slow
def test_marginal_likelihood_of_a_linear_gaussian_vae_is_nearly_maximal(linear_gaussian):
    model, data, exact = linear_gaussian
    weight, bias = (
        p.detach().double().numpy() for p in model.model_.decoder.layers[0].parameters()
    )
    noise, scaler = float(model.model_.likelihood.scale.detach()), model.scaler_
    covariance = (weight @ weight.T + noise**2 * np.eye(12)) * scaler.scale**2
    mean = bias * scaler.scale + scaler.shift
    marginal = multivariate_normal(mean, covariance).logpdf(data).mean()
    assert exact - 0.03 < marginal <= exact + 1e-6  # probabilistic PCA is its maximum
    assert model.score(data) < marginal + 0.03  # a bound, but for the sampling error


def test_kl_and_active_units_decrease_with_beta():
    settings = {"n_components": 10, "hidden": (64,), "epochs": 30, "random_state": 0}
    kls, active = [], []
    for beta in (0.1, 1.0, 4.0):
        model = isthmus.BetaVAE(beta=beta, **settings).fit(SOME)
        kls.append(model.rate_distortion(SOME).rate.mean())
        active.append((model.transform(SOME).var(0) > 0.01).sum())
    assert kls == sorted(kls, reverse=True)
    assert active == sorted(active, reverse=True)


def test_generated_digits_show_the_requested_class():
    settings = {"n_components": 8, "hidden": (64,), "epochs": 60, "random_state": 0}
    model = isthmus.ConditionalVAE(learning_rate=3e-3, **settings).fit(X, DIGITS.target)
    classifier = LogisticRegression(max_iter=2000).fit(X, DIGITS.target)
    requested = np.repeat(np.arange(10), 30)
    samples = model.sample(len(requested), random_state=0, y=requested)
    assert (classifier.predict(samples) == requested).mean() >= 0.95
