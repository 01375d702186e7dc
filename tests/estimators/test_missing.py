"""Data with missing values: the likelihood is that of what was observed."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_wine

import isthmus
from isthmus.estimators import ESTIMATORS

RNG = np.random.default_rng(0)
X = load_wine().data
Y = load_wine().target
GAPS = RNG.random(X.shape) < 0.3
HOLED = np.where(GAPS, np.nan, X)
FAST = {"n_components": 2, "hidden": (16,), "epochs": 3, "random_state": 0, "missing": "ignore"}
MIXED = np.column_stack(
    [RNG.normal(size=200), RNG.random(200) < 0.3, RNG.integers(0, 3, 200), RNG.poisson(3, 200)]
).astype(float)
MIXED_NAMES = "gaussian, bernoulli, categorical, poisson"


def holed(data, share=0.3):
    return np.where(RNG.random(data.shape) < share, np.nan, data)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_every_model_learns_from_what_is_there(name):
    model = ESTIMATORS[name](**FAST).fit(HOLED, Y)
    for numbers in (
        model.transform(HOLED),
        model.reconstruct(HOLED),
        model.score_samples(HOLED),
        [v for record in model.history_ for v in record.values()],
    ):
        assert np.isfinite(numbers).all()
    assert all(torch.isfinite(p).all() for p in model.model_.parameters())
    model.partial_fit(HOLED, Y)
    assert np.isfinite(model.score(HOLED))


@pytest.mark.parametrize("name", ["autoencoder", "vae"])
def test_without_gaps_nothing_changes(name):
    a = ESTIMATORS[name](**FAST).fit(X)
    b = ESTIMATORS[name](**FAST | {"missing": "refuse"}).fit(X)
    np.testing.assert_array_equal(a.score_samples(X), b.score_samples(X))


def test_the_score_is_that_of_the_observed_features():
    model = isthmus.Autoencoder(**FAST).fit(HOLED)
    x, _ = model.tensors(HOLED)
    with torch.no_grad():
        z = model.model_.encode(x).mean
        each = model.model_.decode(z).log_prob(x.nan_to_num(0.0)) - model.model_.log_unit
    expected = np.where(GAPS, 0.0, each.double().numpy()).sum(1)
    np.testing.assert_allclose(model.score_samples(HOLED), expected, rtol=1e-5, atol=1e-4)


def test_a_row_without_any_value_is_its_prior():
    model = isthmus.VAE(**FAST | {"epochs": 50}).fit(HOLED)
    nothing = np.full((1, X.shape[1]), np.nan)
    rate, distortion = model.rate_distortion(nothing)
    assert distortion[0] == 0
    assert -rate[0] == model.score_samples(nothing)[0]


def test_what_is_filled_in_is_better_than_the_mean():
    hidden = np.random.default_rng(1).normal(size=(500, 2))
    table = hidden @ np.random.default_rng(2).normal(size=(2, 8))
    table += 0.1 * np.random.default_rng(3).normal(size=table.shape)
    gaps = np.random.default_rng(4).random(table.shape) < 0.2
    model = isthmus.VAE(**FAST | {"epochs": 300, "hidden": (64,)}).fit(
        np.where(gaps, np.nan, table)
    )
    made = model.reconstruct(np.where(gaps, np.nan, table))
    error = np.abs(made - table)[gaps].mean()
    assert error < 0.6 * np.abs(table - table.mean(0))[gaps].mean()


def test_scaling_is_by_what_was_observed():
    model = isthmus.VAE(**FAST).fit(HOLED)
    np.testing.assert_allclose(model.scaler_.shift, np.nanmean(HOLED, 0))
    np.testing.assert_allclose(model.scaler_.scale, np.nanstd(HOLED, 0))


@pytest.mark.parametrize("names", ["auto", "bernoulli"])
def test_pictures_with_gaps(names):
    pictures = holed(load_digits().images[:200] / 16)
    model = isthmus.VAE(**FAST | {"likelihood": names, "backbone": "conv"}).fit(pictures)
    assert model.likelihood_ == "bernoulli"
    assert np.isfinite(model.score_samples(pictures)).all()


def test_a_mixed_table_with_gaps():
    table = holed(MIXED, 0.2)
    model = isthmus.VAE(**FAST | {"likelihood": MIXED_NAMES}).fit(table)
    assert model.likelihood_ == "gaussian,bernoulli,categorical:3,poisson"
    assert np.isfinite(model.score_samples(table)).all()
    assert set(model.reconstruct(table)[:, 2]) <= {0.0, 1.0, 2.0}


@pytest.mark.parametrize(
    ("corruption", "binarize"),
    list(itertools.product(["masking", "salt-and-pepper"], [False, True])),
)
def test_corruptions_and_draws_leave_gaps_gaps(corruption, binarize):
    data = holed(load_digits().data[:200] / 16)
    model = isthmus.DenoisingAutoencoder(
        **FAST | {"corruption": corruption, "binarize": binarize}
    ).fit(data)
    assert all(np.isfinite(record["loss"]) for record in model.history_)


@pytest.mark.parametrize(
    "settings",
    [
        {"prior": "vamp", "prior_modes": 20},
        {"posterior_family": "flow"},
        {"bound": "iwae", "n_samples": 3},
    ],
    ids=lambda s: min(s),
)
def test_other_parts_with_gaps(settings):
    assert np.isfinite(isthmus.VAE(**FAST | settings).fit(HOLED).score(HOLED))


@pytest.mark.parametrize("activation", ["topk", "gated"])
def test_a_dictionary_with_gaps(activation):
    model = isthmus.SparseAutoencoder(**FAST | {"hidden": (), "activation": activation})
    assert np.isfinite(model.fit(HOLED).score(HOLED))


def test_it_is_saved(tmp_path):
    model = isthmus.VAE(**FAST).fit(HOLED)
    model.save(tmp_path)
    again = isthmus.load(tmp_path)
    np.testing.assert_array_equal(again.score_samples(HOLED), model.score_samples(HOLED))


def test_gaps_are_refused_unless_allowed():
    with pytest.raises(ValueError, match=r"NaN: the first at row .* missing='ignore'"):
        isthmus.VAE(**FAST | {"missing": "refuse"}).fit(HOLED)
    model = isthmus.VAE(**FAST).fit(HOLED)
    with pytest.raises(ValueError, match="infinity"):
        model.transform(np.full_like(X, np.inf))
    strict = isthmus.VAE(**FAST | {"missing": "refuse"}).fit(X).set_params(missing="ignore")
    with pytest.raises(ValueError, match="NaN"):
        strict.transform(HOLED)
