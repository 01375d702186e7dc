import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits

import isthmus
from isthmus.metrics import aggregate_posterior_kl, annealed_importance, importance_weighted

DIGITS = load_digits()
X = DIGITS.images / 16
RNG = np.random.default_rng(0)
CAUSES = RNG.normal(size=(600, 2))
TABLE = 50 + 7 * (CAUSES @ RNG.normal(size=(2, 5)) + 0.5 * RNG.normal(size=(600, 5)))


@pytest.fixture(scope="module")
def linear():
    """A linear-Gaussian model: its likelihood is known in closed form, whatever its weights."""
    return isthmus.VAE(
        n_components=2, hidden=(), scaling="global", epochs=60, learning_rate=1e-2, random_state=0
    ).fit(TABLE)


def exact(model, data):
    layer, scaler = model.model_.decoder.layers[0], model.scaler_
    weight = layer.weight.detach().double().numpy() * scaler.scale
    mean = layer.bias.detach().double().numpy() * scaler.scale + scaler.shift
    p = model.model_.decode(torch.zeros(1, 2))
    sigma = p.scale.detach().double().numpy()[0] * scaler.scale
    return multivariate_normal(mean, weight @ weight.T + np.diag(sigma**2)).logpdf(data)


def test_importance_weighting_gives_the_exact_likelihood_within_its_error(linear):
    found = importance_weighted(linear, TABLE[:200], 2000)
    off = (found.log_likelihood - exact(linear, TABLE[:200])) / found.standard_error
    assert np.abs(off).max() < 6
    assert np.abs(off).mean() < 1.5
    assert abs((found.log_likelihood - exact(linear, TABLE[:200])).mean()) < 0.02


def test_annealing_agrees(linear):
    rows = TABLE[:40]
    found = annealed_importance(linear, rows, n_chains=32, n_steps=400)
    assert abs((found.log_likelihood - exact(linear, rows)).mean()) < 0.1
    assert 0.4 < found.acceptance_rate.mean() < 0.9
    assert (found.effective_sample_size > 4).all()


def test_the_bound_rises_with_the_samples():
    model = isthmus.VAE(n_components=2, hidden=(16,), epochs=40, random_state=0).fit(X)
    rising = [importance_weighted(model, X, k).log_likelihood.mean() for k in (1, 10, 300)]
    assert rising[0] == pytest.approx(model.score(X), abs=0.2)
    assert rising[0] < rising[1] < rising[2]


def test_memory_is_bounded_however_many_samples(linear):
    seen = []
    hook = linear.model_.decoder.register_forward_hook(lambda m, a, out: seen.append(len(a[0])))
    found = importance_weighted(linear, TABLE[:3], 5000, max_bytes=20_000)
    hook.remove()
    assert max(seen) * 5 * 4 <= 20_000  # five numbers of four bytes, at the least
    assert 15_000 <= sum(seen) <= 15_010
    np.testing.assert_allclose(found.log_likelihood, exact(linear, TABLE[:3]), atol=0.1)


@pytest.mark.parametrize("prior", ["standard", "vamp", "mixture"])
@pytest.mark.parametrize("family", ["normal", "full-normal", "flow"])
def test_every_prior_and_posterior_can_be_measured(prior, family):
    model = isthmus.VAE(
        n_components=2, hidden=(16,), prior=prior, posterior_family=family, epochs=3, random_state=0
    ).fit(X)
    found = importance_weighted(model, X[:20], 300)
    assert (found.log_likelihood > model.score_samples(X[:20]) - 1.0).all()
    assert np.isfinite(aggregate_posterior_kl(model, X[:200]).kl)


def test_a_conditional_model_is_told():
    model = isthmus.ConditionalVAE(n_components=2, hidden=(16,), epochs=3).fit(X, DIGITS.target)
    found = importance_weighted(model, X[:20], 100, condition=DIGITS.target[:20])
    assert np.isfinite(found.log_likelihood).all()
    annealed_ = annealed_importance(model, X[:5], n_steps=10, condition=DIGITS.target[:5])
    assert np.isfinite(annealed_.log_likelihood).all()


def test_the_seed_repeats():
    model = isthmus.VAE(n_components=2, hidden=(16,), epochs=2, random_state=0).fit(X)
    a, b = (importance_weighted(model, X[:9], 50, random_state=4) for _ in range(2))
    np.testing.assert_array_equal(a.log_likelihood, b.log_likelihood)


def test_the_aggregate_kl_and_the_information_are_the_rate(linear):
    kl, information, _ = aggregate_posterior_kl(linear, TABLE)
    rate = linear.rate_distortion(TABLE).rate.mean()
    assert kl + information == pytest.approx(rate, abs=0.25)
    assert 0 < information < np.log(len(TABLE))


def test_codes_that_say_nothing_have_no_information():
    model = isthmus.VAE(n_components=2, hidden=(), epochs=1, random_state=0).fit(TABLE)
    with torch.no_grad():
        for p in model.model_.encoder.parameters():
            p.zero_()
    kl, information, _ = aggregate_posterior_kl(model, TABLE)
    assert kl == pytest.approx(0.0, abs=1e-4)
    assert information == pytest.approx(0.0, abs=1e-4)


def test_mistakes_are_said(linear):
    with pytest.raises(ValueError, match="n_samples must be at least 1"):
        importance_weighted(linear, TABLE, 0)
    plain = isthmus.Autoencoder(epochs=1).fit(TABLE)
    with pytest.raises(ValueError, match="has no prior"):
        importance_weighted(plain, TABLE)
    broken = isthmus.VAE(n_components=2, hidden=(), epochs=1).fit(TABLE)
    with torch.no_grad():
        next(broken.model_.decoder.parameters()).fill_(float("nan"))
    with pytest.raises(ValueError, match=r"the likelihood is not finite for .* row 0"):
        importance_weighted(broken, TABLE, 5)
