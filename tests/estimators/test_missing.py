"""Data with missing values: the likelihood is that of the observed values."""

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
MISSING = RNG.random(X.shape) < 0.3
INCOMPLETE = np.where(MISSING, np.nan, X)
FAST = {"n_components": 2, "hidden": (16,), "epochs": 2, "random_state": 0, "missing": "ignore"}
MIXED = np.column_stack(
    [RNG.normal(size=200), RNG.random(200) < 0.3, RNG.integers(0, 3, 200), RNG.poisson(3, 200)]
).astype(float)
MIXED_NAMES = "gaussian, bernoulli, categorical, poisson"


def incomplete(data, share=0.3):
    return np.where(RNG.random(data.shape) < share, np.nan, data)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_every_model_fits_incomplete_data(name):
    model = ESTIMATORS[name](**FAST).fit(INCOMPLETE, Y)
    for numbers in (
        model.transform(INCOMPLETE),
        model.reconstruct(INCOMPLETE),
        model.score_samples(INCOMPLETE),
        [v for record in model.history_ for v in record.values()],
    ):
        assert np.isfinite(numbers).all()
    assert all(torch.isfinite(p).all() for p in model.model_.parameters())
    model.partial_fit(INCOMPLETE, Y)
    assert np.isfinite(model.score(INCOMPLETE))


@pytest.mark.parametrize("name", ["autoencoder", "vae"])
def test_scores_of_complete_data_do_not_depend_on_the_missing_setting(name):
    a = ESTIMATORS[name](**FAST).fit(X)
    b = ESTIMATORS[name](**FAST | {"missing": "refuse"}).fit(X)
    np.testing.assert_array_equal(a.score_samples(X), b.score_samples(X))


def test_score_is_the_log_likelihood_of_observed_values():
    model = isthmus.Autoencoder(**FAST).fit(INCOMPLETE)
    x, _ = model.tensors(INCOMPLETE)
    with torch.no_grad():
        z = model.model_.encode(x).mean
        each = model.model_.decode(z).log_prob(x.nan_to_num(0.0)) - model.model_.log_unit
    expected = np.where(MISSING, 0.0, each.double().numpy()).sum(1)
    np.testing.assert_allclose(model.score_samples(INCOMPLETE), expected, rtol=1e-5, atol=1e-4)


def test_a_row_without_values_has_no_distortion():
    model = isthmus.VAE(**FAST | {"epochs": 5}).fit(INCOMPLETE)
    nothing = np.full((1, X.shape[1]), np.nan)
    rate, distortion = model.rate_distortion(nothing)
    assert distortion[0] == 0
    assert -rate[0] == model.score_samples(nothing)[0]


def test_reconstruction_of_missing_values_beats_the_mean():
    hidden = np.random.default_rng(1).normal(size=(500, 2))
    table = hidden @ np.random.default_rng(2).normal(size=(2, 8))
    table += 0.1 * np.random.default_rng(3).normal(size=table.shape)
    gaps = np.random.default_rng(4).random(table.shape) < 0.2
    data = np.where(gaps, np.nan, table)
    model = isthmus.VAE(**FAST | {"epochs": 30, "hidden": (32,), "learning_rate": 1e-2}).fit(data)
    error = np.abs(model.reconstruct(data) - table)[gaps].mean()
    assert error < 0.6 * np.abs(table - table.mean(0))[gaps].mean()


def test_scaling_uses_observed_values():
    model = isthmus.VAE(**FAST | {"validation_fraction": 0.0}).fit(INCOMPLETE)
    np.testing.assert_allclose(model.scaler_.shift, np.nanmean(INCOMPLETE, 0))
    np.testing.assert_allclose(model.scaler_.scale, np.nanstd(INCOMPLETE, 0))


@pytest.mark.parametrize(("names", "used"), [("auto", "gaussian"), ("bernoulli", "bernoulli")])
def test_images_with_missing_values(names, used):
    images = incomplete(load_digits().images[:200] / 16)
    model = isthmus.VAE(**FAST | {"likelihood": names, "backbone": "conv"}).fit(images)
    assert model.likelihood_ == used
    assert np.isfinite(model.score_samples(images)).all()


def test_mixed_table_with_missing_values():
    table = incomplete(MIXED, 0.2)
    model = isthmus.VAE(**FAST | {"likelihood": MIXED_NAMES}).fit(table)
    assert model.likelihood_ == "gaussian,bernoulli,categorical:3,poisson"
    assert np.isfinite(model.score_samples(table)).all()
    assert set(model.reconstruct(table)[:, 2]) <= {0.0, 1.0, 2.0}


@pytest.mark.parametrize(
    ("corruption", "binarize"),
    list(itertools.product(["masking", "salt-and-pepper"], [False, True])),
)
def test_corruption_and_binarization_keep_values_missing(corruption, binarize):
    data = incomplete(load_digits().data[:200] / 16)
    settings = {"corruption": corruption, "binarize": binarize, "likelihood": "bernoulli"}
    model = isthmus.DenoisingAutoencoder(**FAST | settings).fit(data)
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
def test_other_priors_posteriors_and_bounds(settings):
    assert np.isfinite(isthmus.VAE(**FAST | settings).fit(INCOMPLETE).score(INCOMPLETE))


@pytest.mark.parametrize("activation", ["topk", "gated"])
def test_dictionary_with_missing_values(activation):
    model = isthmus.SparseAutoencoder(**FAST | {"hidden": (), "activation": activation})
    assert np.isfinite(model.fit(INCOMPLETE).score(INCOMPLETE))


def test_saved_model_gives_the_same_scores(tmp_path):
    model = isthmus.VAE(**FAST).fit(INCOMPLETE)
    model.save(tmp_path)
    again = isthmus.load(tmp_path)
    np.testing.assert_array_equal(again.score_samples(INCOMPLETE), model.score_samples(INCOMPLETE))


def test_nan_raises_unless_missing_is_ignore():
    with pytest.raises(ValueError, match=r"NaN: the first at row .* missing='ignore'"):
        isthmus.VAE(**FAST | {"missing": "refuse"}).fit(INCOMPLETE)
    model = isthmus.VAE(**FAST).fit(INCOMPLETE)
    with pytest.raises(ValueError, match="infinity"):
        model.transform(np.full_like(X, np.inf))
    strict = isthmus.VAE(**FAST | {"missing": "refuse"}).fit(X).set_params(missing="ignore")
    with pytest.raises(ValueError, match="NaN"):
        strict.transform(INCOMPLETE)
