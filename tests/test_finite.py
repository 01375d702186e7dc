"""Training stays finite and lowers the objective for any data, or raises a clear error."""

import gc
import warnings
from itertools import product

import numpy as np
import pytest
import scipy.stats
import torch

import isthmus
from isthmus.distributions.likelihoods import LIKELIHOODS
from isthmus.distributions.mixed import MOST_CATEGORIES, count_categories
from isthmus.estimators import ESTIMATORS
from isthmus.estimators.condition import ConditionEncoder
from isthmus.estimators.scaling import Scaler

N, D, STEPS = 64, 6, 100
REAL = {"gaussian", "gaussian-fixed", "gaussian-per-feature", "gaussian-network", "laplace"}
COUNTS = {"poisson", "negative-binomial"}
KINDS = ["constant", "zero", "one-hot", "cauchy", "1e-8", "1e8", "duplicates", "wide"]


def ordinary(likelihood):
    """Return rows with two factors that suit the likelihood."""
    rng = np.random.default_rng(1)
    u = rng.normal(size=(N, 2)) @ rng.normal(size=(2, D))
    if likelihood in REAL:
        return u + 0.1 * rng.normal(size=(N, D))
    if likelihood == "bernoulli":
        return (u > 0).astype(float)
    if likelihood == "continuous-bernoulli":
        return 1 / (1 + np.exp(-u))
    if likelihood == "categorical":
        return np.clip(np.round(u + 1.5), 0, 3)
    return rng.poisson(np.exp(np.clip(u, -3, 3))).astype(float)


def make(kind, likelihood):
    """Return rows of a kind, as close to the support of the likelihood as possible."""
    x, rng = ordinary(likelihood), np.random.default_rng(2)
    if kind == "constant":
        return np.full((N, D), 0.5 if likelihood == "continuous-bernoulli" else 1.0)
    if kind == "cauchy":
        values = rng.standard_cauchy((N, D))
        return np.floor(np.abs(values)) if likelihood in COUNTS else values
    return {
        "zero": np.zeros((N, D)),
        "one-hot": np.eye(D)[rng.integers(0, D, N)],
        "1e-8": x * 1e-8,
        "1e8": x * 1e8,
        "duplicates": np.repeat(x[:2], N // 2, axis=0),
        "wide": np.tile(x[:8], 17)[:, :100],  # 8 rows of 100 features
    }[kind]


def expected_error(kind, likelihood):
    """Return the error for rows outside the support of the likelihood, or None."""
    if likelihood in REAL:
        return None
    if likelihood.endswith("bernoulli"):
        return {"cauchy": "between 0 and 1", "1e8": "between 0 and 1"}.get(kind)
    numbers = {"1e-8": "whole numbers 0"}
    if likelihood == "categorical":
        numbers |= {"cauchy": "whole numbers 0", "1e8": "renumber them from 0"}
    return numbers.get(kind)


class Losses(isthmus.training.Callback):
    """Record the loss of each epoch, which is one step."""

    def __init__(self):
        self.values = []

    def on_epoch(self, trainer, record):
        self.values.append(record["loss"])


def train(name, likelihood, x, **settings):
    settings = {"n_components": 2, "hidden": (16,), "epochs": STEPS, **settings}
    model = ESTIMATORS[name](
        likelihood=likelihood,
        batch_size=256,
        validation_fraction=0.0,
        random_state=0,
        **settings,
    )
    losses = Losses()
    model.fit(x, np.arange(len(x)) % 2 if model.conditional else None, callbacks=[losses])
    return model, np.array(losses.values)


def assert_finite_and_falling(model, losses, x):
    assert np.isfinite(losses).all()
    assert losses[-len(losses) // 5 :].mean() < losses[:5].mean()
    assert all(p.isfinite().all() for p in model.model_.state_dict().values())
    for answer in (*model.posterior(x), model.reconstruct(x), *model.rate_distortion(x)):
        assert np.isfinite(answer).all()
    if model.prior:
        assert np.isfinite(model.sample(5, random_state=0)).all()


def check(name, likelihood, kind, **settings):
    x, reason = make(kind, likelihood), expected_error(kind, likelihood)
    if reason is not None:
        assert_raises(name, likelihood, x, reason, **settings)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model, losses = train(name, likelihood, x, **settings)
        assert len(losses) == settings.get("epochs", STEPS)
        assert_finite_and_falling(model, losses, x)


def assert_raises(name, likelihood, x, reason, **settings):
    with pytest.raises(ValueError, match=reason) as caught:
        train(name, likelihood, x, **settings)
    assert "\n" not in str(caught.value)


def some_combinations():
    """Return about half of the pairs of model and likelihood, each with one kind of data."""
    names, likelihoods = sorted(ESTIMATORS), sorted(LIKELIHOODS)
    return [
        (name, likelihood, KINDS[(i + j) % len(KINDS)])
        for (i, name), (j, likelihood) in product(enumerate(names), enumerate(likelihoods))
        if (i + j) % 2
    ]


@pytest.mark.parametrize(("name", "likelihood", "kind"), some_combinations())
def test_every_model_trains_on_any_data(name, likelihood, kind):
    check(name, likelihood, kind, epochs=40, learning_rate=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("likelihood", sorted(LIKELIHOODS))
@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_every_model_trains_on_any_data_all_combinations(name, likelihood, kind):
    check(name, likelihood, kind)


def variants():
    """Yield settings that change the objective or the model."""
    for posterior, prior in product(
        ("normal", "normal-softplus", "full-normal", "flow"),
        ("standard", "mixture", "vamp", "flow"),
    ):
        yield "vae", {"posterior_family": posterior, "prior": prior, "prior_modes": 10}
    for bound in ("iwae", "dreg"):
        yield "vae", {"bound": bound, "n_samples": 3}
    for activation, hidden in product(
        ("identity", "relu", "topk", "batchtopk", "jumprelu", "gated"), ((16,), ())
    ):
        yield "sparse", {"activation": activation, "hidden": hidden, "revive_every": 20}
    yield "sparse", {"penalty": "kl"}
    for corruption in ("gaussian", "salt-and-pepper"):
        yield "denoising", {"corruption": corruption}
    yield "contractive", {"hidden": (), "activation": "sigmoid"}
    yield "beta-vae", {"decomposed": True}
    yield "beta-vae", {"capacity": 5.0, "beta_epochs": 1}  # the objective is fixed after one epoch
    yield "vae", {"free_bits": 0.1}
    yield "vae", {"missing": "ignore"}
    yield "vae", {"normalize_gradients": True}
    yield "vae", {"backbone": "gated"}
    for scaling in ("none", "global"):
        yield "vae", {"scaling": scaling}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "settings"), list(variants()))
def test_every_variant_trains_on_any_data(name, settings, kind):
    if settings.keys() & {"prior", "posterior_family"}:
        pytest.importorskip("zuko")
    check(name, "gaussian", kind, **settings)


@pytest.mark.parametrize("likelihood", sorted(set(LIKELIHOODS) - REAL))
def test_data_outside_the_support_raise(likelihood):
    for kind in KINDS:
        reason = expected_error(kind, likelihood)
        if reason is not None:
            assert_raises("vae", likelihood, make(kind, likelihood), reason)


@pytest.mark.parametrize("name", ["autoencoder", "sparse", "conditional-vae"])
def test_partial_fit_takes_one_row_but_fit_does_not(name):
    likelihood = "gaussian"
    x = ordinary(likelihood)
    assert_raises(name, likelihood, x[:1], "1 sample")
    labels = np.arange(N) % 2
    model = ESTIMATORS[name](hidden=(16,), epochs=1, random_state=0).fit(x, labels)
    gc.freeze()  # each copy of the model runs the garbage collector
    for _ in range(50):
        model.partial_fit(x[:1], labels[:1])
    gc.unfreeze()
    assert_finite_and_falling(model, np.array([r["loss"] for r in model.history_[1:]]), x)


@pytest.mark.parametrize("exponent", [-300, -160, -30, 30, 160, 300])
def test_unit_of_the_data_does_not_change_the_scaled_values(exponent):
    x = ordinary("gaussian")
    scaler = Scaler.fit(x * 10.0**exponent, "standard")
    plain = Scaler.fit(x, "standard")
    np.testing.assert_allclose(scaler.scale / 10.0**exponent, plain.scale, rtol=1e-12)
    np.testing.assert_allclose(
        scaler.transform(x * 10.0**exponent), plain.transform(x), rtol=1e-5, atol=1e-6
    )


def test_power_of_two_as_unit_scales_exactly():
    x = ordinary("gaussian") + 3.0
    plain, large = (Scaler.fit(u * x, "standard") for u in (1.0, 2.0**600))
    np.testing.assert_array_equal(large.scale, plain.scale * 2.0**600)
    np.testing.assert_array_equal(large.shift, plain.shift * 2.0**600)


def test_feature_without_observed_values_is_ignored():
    x = ordinary("gaussian")
    x[:, 2] = np.nan
    model, losses = train("vae", "gaussian", x, missing="ignore")
    assert_finite_and_falling(model, losses, x)


def test_condition_that_varies_only_by_rounding_is_constant():
    y = np.full(10, 0.1)  # rounding makes the mean differ from 0.1 and the deviation from 0
    assert ConditionEncoder.fit(y, 10).scale == (1.0,)
    assert np.abs(ConditionEncoder.fit(y, 10).encode([0.2] * 10, 10)).max() < 1


def test_too_many_categories_raise():
    X = np.array([[0.0], [MOST_CATEGORIES - 1.0]])
    assert count_categories("categorical", X) == f"categorical:{MOST_CATEGORIES}"
    with pytest.raises(ValueError, match=r"X goes to 65536, .* 65537 categories .* renumber them"):
        count_categories("categorical", X + 1)
    with pytest.raises(ValueError, match="renumber them"):
        isthmus.VAE(likelihood="gaussian,categorical").fit(np.array([[0.5, 0], [0.1, 1e8]]))


@pytest.mark.parametrize("likelihood", ["poisson", "negative-binomial"])
@pytest.mark.parametrize("activation", ["relu", "topk", "gated"])
def test_dictionary_of_counts_starts_near_them_and_improves(likelihood, activation):
    """The decoder returns logarithms of rates, so it must not start at the counts themselves."""
    rng = np.random.default_rng(0)
    parts = 3 * rng.gamma(0.5, 1, (10, 30))
    x = rng.poisson(rng.gamma(0.3, 1, (500, 10)) @ parts).astype(float)
    model = isthmus.SparseAutoencoder(
        n_components=30,
        hidden=(),
        activation=activation,
        likelihood=likelihood,
        epochs=20,
        revive_every=20,
        random_state=0,
    ).fit(x)
    errors = [record["reconstruction"] for record in model.history_]
    constant = scipy.stats.poisson(x.mean(0)).logpmf(x).sum(1).mean()
    assert errors[0] < 2 * -constant
    assert errors[-1] < 0.95 * errors[0]


@pytest.mark.parametrize("likelihood", ["poisson", "negative-binomial"])
def test_initial_decoder_of_a_dictionary_returns_the_mean_counts(likelihood):
    model = isthmus.SparseAutoencoder(
        hidden=(), likelihood=likelihood, epochs=1, learning_rate=1e-12, random_state=0
    )
    counts = np.array([1.0, 7.0, 300.0, 2e5])
    model.fit(np.tile(counts, (20, 1)))
    np.testing.assert_allclose(model.reconstruct(counts[None])[0], counts, rtol=1e-3)


@pytest.mark.parametrize("likelihood", sorted(LIKELIHOODS))
def test_gradients_are_finite_for_extreme_outputs(likelihood):
    spec = "categorical:4" if likelihood == "categorical" else likelihood
    family = isthmus.distributions.mixed.make_likelihood(spec, (D,))
    outputs = torch.tensor([-1e9, -1e4, 0.0, 1e4, 1e9]).repeat_interleave(family.total_outputs)
    outputs = outputs.reshape(5, -1).requires_grad_()
    x = torch.tensor(ordinary(likelihood)[:5], dtype=torch.float32)
    log_p = family(outputs).log_prob(x)
    log_p.sum().backward()
    assert log_p.isfinite().all()
    assert outputs.grad.isfinite().all()
