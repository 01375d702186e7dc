"""The `likelihood` setting of the estimators, mixed tables included."""

import numpy as np
import pytest

import isthmus

RNG = np.random.default_rng(0)
CAUSE = RNG.normal(size=300)
TABLE = np.column_stack(
    [
        1e5 + 5e3 * CAUSE,
        CAUSE > 0,
        np.digitize(CAUSE, [-1, 0, 1]),
        RNG.poisson(np.exp(1 + 0.5 * CAUSE)),
    ]
)
NAMES = "gaussian,bernoulli,categorical,negative-binomial"
FAST = {"n_components": 2, "hidden": (32,), "random_state": 0}


@pytest.fixture(scope="module")
def mixed():
    return isthmus.VAE(likelihood=NAMES, epochs=80, learning_rate=5e-3, **FAST).fit(TABLE)


def test_mixed_table_gets_one_likelihood_per_column(mixed):
    assert mixed.likelihood_ == "gaussian,bernoulli,categorical:4,negative-binomial"
    again = mixed.reconstruct(TABLE)
    assert np.corrcoef(again[:, 0], TABLE[:, 0])[0, 1] > 0.9
    assert (again[:, 2] == TABLE[:, 2]).mean() > 0.7
    assert set(np.unique(again[:, 2])) <= {0, 1, 2, 3}


def test_only_real_columns_are_scaled(mixed):
    np.testing.assert_array_equal(mixed.scaler_.scale[1:], 1.0)
    np.testing.assert_array_equal(mixed.scaler_.shift[1:], 0.0)
    # Learned from the training rows, nine of ten.
    assert mixed.scaler_.scale[0] == pytest.approx(TABLE[:, 0].std(), rel=0.05)
    model = isthmus.VAE(likelihood=NAMES, epochs=1, validation_fraction=0.0, **FAST).fit(TABLE)
    assert model.scaler_.scale[0] == pytest.approx(TABLE[:, 0].std())


def test_samples_have_the_types_of_the_columns(mixed):
    samples = mixed.sample(500, random_state=0, noise=True)
    assert set(np.unique(samples[:, 1])) == {0, 1}
    assert set(np.unique(samples[:, 2])) <= {0, 1, 2, 3}
    assert (samples[:, 3] == samples[:, 3].round()).all()
    assert samples[:, 3].min() >= 0
    assert samples[:, 0].mean() == pytest.approx(1e5, rel=0.02)


def test_a_mixed_model_is_saved_and_loaded(mixed, tmp_path):
    mixed.save(tmp_path)
    again = isthmus.load(tmp_path)
    np.testing.assert_array_equal(again.score_samples(TABLE), mixed.score_samples(TABLE))


@pytest.mark.parametrize(
    "name",
    [
        "poisson",
        "negative-binomial",
        "categorical",
        "laplace",
        "gaussian",
        "gaussian-fixed",
        "gaussian-per-feature",
        "gaussian-network",
    ],
)
@pytest.mark.parametrize("prior", ["standard", "vamp"])
def test_every_likelihood_learns_counts(name, prior):
    counts = RNG.poisson(np.exp(1 + 0.5 * CAUSE[:, None] * np.ones(6))).astype(float)
    model = isthmus.VAE(likelihood=name, prior=prior, prior_modes=10, epochs=8, **FAST).fit(counts)
    assert model.history_[-1]["loss"] < model.history_[0]["loss"]
    assert np.isfinite(model.score_samples(counts)).all()
    assert model.sample(3, random_state=0).shape == (3, 6)


def test_bytes_are_counts_for_a_count_likelihood():
    counts = RNG.poisson(5, (100, 4)).astype(np.uint8)
    model = isthmus.VAE(likelihood="poisson", epochs=80, learning_rate=1e-2, **FAST).fit(counts)
    assert model.reconstruct(counts).mean() == pytest.approx(counts.mean(), rel=0.1)


@pytest.mark.parametrize(
    ("likelihood", "X", "message"),
    [
        ("poisson", -np.ones((5, 2)), "'poisson' takes the whole numbers"),
        ("poisson", np.full((5, 2), 0.5), "'poisson' takes the whole numbers"),
        ("categorical:2", np.full((5, 2), 3.0), "row 0, feature 0"),
        ("poison", np.ones((5, 2)), "Did you mean 'poisson'"),
        ("gaussian,bernoulli", np.ones((5, 3)), "names 2 columns"),
        ("gaussian,bernoulli", np.full((5, 2), 3.0), "column 1: likelihood 'bernoulli'"),
        ("continuous-bernoulli", np.full((5, 2), 3.0), "continuous-bernoulli"),
    ],
)
def test_unsuitable_data_raise(likelihood, X, message):
    with pytest.raises(ValueError, match=message):
        isthmus.VAE(likelihood=likelihood, **FAST).fit(X)


def test_convolutions_reject_mixed_columns():
    with pytest.raises(ValueError, match="backbone='mlp'"):
        isthmus.VAE(likelihood=NAMES, backbone="conv1d", **FAST).fit(TABLE)
