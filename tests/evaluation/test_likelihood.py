import numpy as np
import pytest
import torch
from exact import by_grid, linear_model, of_linear
from sklearn.datasets import load_digits

import isthmus
from isthmus.evaluation import aggregate_posterior_kl, annealed_importance, importance_weighted

DIGITS = load_digits()
X = DIGITS.images / 16
PRIORS = ("standard", "mixture", "vamp", "flow")


@pytest.fixture(scope="module")
def linear():
    return linear_model(5, 2)


def fitted(n_components=1, conditional=False, data=X, **choices):
    cls = isthmus.ConditionalVAE if conditional else isthmus.VAE
    choices = {"likelihood": "bernoulli"} | choices
    model = cls(n_components=n_components, hidden=(16,), epochs=2, random_state=0, **choices)
    return model.fit(data[:600], DIGITS.target[:600]) if conditional else model.fit(data[:600])


# ------------------------------------------------------------ importance weighting


@pytest.mark.parametrize("n_samples", [30, 300, 3000])
@pytest.mark.parametrize(
    ("n_features", "n_components", "scaling"),
    [(5, 2, "standard"), (5, 2, "global"), (40, 6, "standard"), (2, 1, "standard")],
)
def test_importance_weighting_is_exact_within_its_error(
    n_features, n_components, scaling, n_samples
):
    model, data = linear_model(n_features, n_components, scaling)
    found = importance_weighted(model, data, n_samples)
    off = found.log_likelihood - of_linear(model, data)
    z = off / found.standard_error
    assert 0.8 < np.sqrt(np.mean(z**2)) < 1.3  # 300 rows: the errors are those that are claimed
    assert np.abs(z).max() < 8
    # The bias of a logarithm is half its variance; the rest is chance.
    bias, chance = np.mean(found.standard_error**2) / 2, np.std(off) / np.sqrt(len(off))
    assert abs(off.mean() + bias) < 4 * chance + 0.2 * bias


def test_exact_posterior_gives_zero_error():
    model, data = linear_model(3, 1, width=1.0)  # with one component the posterior is exact
    found = importance_weighted(model, data[:50], 10)
    np.testing.assert_allclose(found.log_likelihood, of_linear(model, data[:50]), atol=1e-3)
    assert found.standard_error.max() < 1e-3
    np.testing.assert_allclose(found.effective_sample_size, 10, rtol=1e-4)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("prior", PRIORS)
def test_estimate_matches_a_sum_over_a_grid_for_any_prior(prior, conditional):
    model = fitted(prior=prior, prior_modes=10, conditional=conditional)
    labels = DIGITS.target[:8] if conditional else None
    truth = by_grid(model, X[:8], labels)
    # The weights of the flow have heavy tails.
    found = importance_weighted(model, X[:8], 20_000 if prior == "flow" else 2000, condition=labels)
    off = found.log_likelihood - truth
    assert np.abs(off / found.standard_error).max() < 6
    assert np.abs(off).max() < (0.5 if prior == "flow" else 0.2)
    annealed = annealed_importance(
        model, X[:8], n_chains=16, n_steps=40, leapfrogs=3, condition=labels, random_state=1
    )
    assert np.abs(annealed.log_likelihood - truth).max() < 0.8
    assert abs(np.mean(annealed.log_likelihood - truth)) < 0.25


@pytest.mark.parametrize("family", ["full-normal", "flow"])
def test_estimate_matches_a_sum_over_a_grid_for_any_posterior(family):
    model = fitted(posterior_family=family, prior="vamp", prior_modes=10)
    found = importance_weighted(model, X[:8], 2000)
    off = found.log_likelihood - by_grid(model, X[:8])
    assert np.abs(off / found.standard_error).max() < 6


def test_bytes_count_as_values_in_the_unit_interval():
    for likelihood in ("bernoulli", "gaussian"):
        grey = (X * 255).astype(np.uint8)
        model = fitted(data=grey, likelihood=likelihood)
        found = importance_weighted(model, grey[:8], 2000)
        off = found.log_likelihood - by_grid(model, grey[:8])
        assert np.abs(off / found.standard_error).max() < 6
        same = importance_weighted(model, grey[:8] / 255, 2000)
        np.testing.assert_allclose(same.log_likelihood, found.log_likelihood, atol=1e-3)


def test_bound_rises_with_the_number_of_samples():
    model = isthmus.VAE(n_components=2, hidden=(16,), epochs=20, random_state=0).fit(X)
    rising = [importance_weighted(model, X[:600], k).log_likelihood.mean() for k in (1, 10, 300)]
    assert rising[0] == pytest.approx(model.score(X[:600]), abs=0.3)
    assert rising[0] < rising[1] < rising[2]


@pytest.mark.parametrize("max_bytes", [1, 3_000, 10**5, 10**9])
def test_chunking_does_not_change_the_result(linear, max_bytes):
    model, data = linear
    found = importance_weighted(model, data[:9], 60, max_bytes=max_bytes)
    usual = importance_weighted(model, data[:9], 60)
    for a, b in zip(found, usual, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


def test_samples_of_a_row_do_not_depend_on_other_rows(linear):
    model, data = linear
    some, all_ = (importance_weighted(model, data[:n], 50).log_likelihood for n in (7, 90))
    np.testing.assert_allclose(some, all_[:7], rtol=1e-5)
    twice = importance_weighted(model, data[[3, 3]], 50).log_likelihood
    assert twice[0] != twice[1]  # so that errors of equal rows average out


def test_memory_is_bounded_however_many_samples(linear):
    model, data = linear
    seen = []
    hook = model.model_.decoder.register_forward_hook(lambda m, a, out: seen.append(len(a[0])))
    found = importance_weighted(model, data[:3], 50_000, max_bytes=200_000)
    hook.remove()
    assert max(seen) * 5 * 4 <= 200_000  # five numbers of four bytes, at the least
    assert 150_000 <= sum(seen) <= 150_010
    np.testing.assert_allclose(found.log_likelihood, of_linear(model, data[:3]), atol=0.03)


def test_memory_is_bounded_for_many_rows_and_few_samples(linear):
    model, data = linear
    seen = []
    hook = model.model_.encoder.register_forward_hook(lambda m, a, out: seen.append(len(a[0])))
    importance_weighted(model, np.tile(data, (10, 1)), 1, max_bytes=20_000)
    hook.remove()
    assert max(seen) * 5 * 4 <= 20_000


def test_random_state_makes_the_estimate_repeatable(linear):
    model, data = linear

    def drawn(seed):
        return importance_weighted(model, data[:9], 20, random_state=seed).log_likelihood

    np.testing.assert_array_equal(drawn(4), drawn(4))
    for other in (5, 4 + 2**24, 4 + 2**40, None):
        assert not np.isclose(drawn(4), drawn(other)).any()
    assert not np.isclose(drawn(None), drawn(None)).any()


def test_one_sample_has_no_standard_error(linear):
    found = importance_weighted(*linear, 1)
    assert np.isfinite(found.log_likelihood).all()
    assert np.isnan(found.standard_error).all()
    np.testing.assert_allclose(found.effective_sample_size, 1)


# ------------------------------------------------------------ aggregate posterior


def test_aggregate_kl_and_information_add_up_to_the_rate(linear):
    model, data = linear
    kl, information, _ = aggregate_posterior_kl(model, data, 4)
    assert kl + information == pytest.approx(model.rate_distortion(data).rate.mean(), abs=0.1)
    assert 0 < information < np.log(len(data))


def test_aggregate_kl_matches_a_sum_over_all_pairs(linear):
    model, data = linear
    q = model.posterior(data[:60])
    means, stds = torch.from_numpy(q.mean).double(), torch.from_numpy(q.std).double()
    z = means + stds * torch.randn(
        1000, 60, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    log_q = torch.stack(
        [
            torch.distributions.Normal(m, s).log_prob(z).sum(-1)
            for m, s in zip(means, stds, strict=True)
        ]
    ).logsumexp(0) - np.log(60)
    log_p = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    found = aggregate_posterior_kl(model, data[:60], 200)
    assert found.kl == pytest.approx(float((log_q - log_p).mean()), abs=4 * found.standard_error)
    assert found.standard_error < 0.03


def test_two_clusters_give_one_bit(linear):
    model, _ = linear
    with torch.no_grad():
        far = model.model_.encoder.layers[0].weight @ torch.ones(5)
    rows = np.tile([[-1.0], [1.0]], (40, 5)) * 1000 * float(far[0].sign())
    found = aggregate_posterior_kl(model, rows, 3)
    assert found.mutual_information == pytest.approx(np.log(2), abs=1e-4)


def test_uninformative_codes_have_zero_mutual_information():
    model, data = linear_model(5, 2)
    with torch.no_grad():
        for p in model.model_.encoder.parameters():
            p.zero_()
    kl, information, _ = aggregate_posterior_kl(model, data)
    assert kl == pytest.approx(0.0, abs=1e-4)
    assert information == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("family", ["normal", "full-normal", "flow"])
def test_estimates_agree_with_the_elbo_for_every_prior_and_posterior(prior, family):
    model = fitted(2, prior=prior, posterior_family=family, prior_modes=10)
    few = importance_weighted(model, X[:20], 100)
    assert (few.log_likelihood > model.score_samples(X[:20]) - 2.0).all()
    kl, information, _ = aggregate_posterior_kl(model, X[:100])
    rate = model.rate_distortion(X[:100]).rate.mean()
    assert kl + information == pytest.approx(rate, abs=0.6)


# ------------------------------------------------------------ errors


def test_invalid_arguments_raise(linear):
    model, data = linear
    for wrong in (0, -3, 2.5):
        with pytest.raises(ValueError, match="n_samples must be at least 1"):
            importance_weighted(model, data, wrong)
    with pytest.raises(ValueError, match="max_bytes must be at least 1"):
        importance_weighted(model, data, max_bytes=0)
    with pytest.raises(ValueError, match="random_state must be an integer of at least 0"):
        importance_weighted(model, data, random_state=-1)
    with pytest.raises(ValueError, match="was not trained with labels"):
        importance_weighted(model, data[:3], condition=[0, 1, 2])
    plain = isthmus.Autoencoder(epochs=1).fit(data)
    with pytest.raises(ValueError, match="has no prior"):
        importance_weighted(plain, data)


@pytest.mark.parametrize("max_bytes", [None, 1])
@pytest.mark.parametrize("measure", [importance_weighted, annealed_importance])
def test_rows_without_finite_density_are_named(linear, measure, max_bytes):
    model, data = linear
    rows = data[:20].copy()
    rows[[7, 15]] *= 1e30
    options = {"n_samples": 9} if measure is importance_weighted else {"n_steps": 1, "n_chains": 2}
    with pytest.raises(ValueError, match=r"^X\[7, 0\] is .* that float32 overflows"):
        measure(model, rows, max_bytes=max_bytes, **options)


def test_term_without_finite_density_is_named():
    model = fitted(prior="mixture")
    with torch.no_grad():
        model.model_.prior.logits.fill_(float("nan"))
    message = "the prior is not finite for rows 0, 1, 2, 3, 4 and 15 more of X"
    with pytest.raises(ValueError, match=message):
        importance_weighted(model, X[:20], 9)
    with pytest.raises(ValueError, match="the prior is not finite for rows 0, 1"):
        annealed_importance(model, X[:20], start="posterior")
    with pytest.raises(ValueError, match=message):
        aggregate_posterior_kl(model, X[:20])
