"""Columns that are constant in all but a few rows: scaling, the learned scale, early stopping."""

import numpy as np
import pytest
import torch

import isthmus
from isthmus.distributions.likelihoods import FAR, RARE_FLOOR, SCALE_FLOOR, GaussianFamily
from isthmus.estimators.scaling import PEAK, Scaler

RNG = np.random.default_rng(0)
GOOD = RNG.normal(size=(600, 3)) @ RNG.normal(size=(3, 8)) + 0.3 * RNG.normal(size=(600, 8))
RARE = np.zeros((600, 12))
for _column in range(12):
    RARE[RNG.choice(600, 1 + _column % 2, replace=False), _column] = 10.0 ** RNG.uniform(-3, 3)
BOTH = np.column_stack([GOOD, RARE])
FAST = {"n_components": 4, "hidden": (32,), "random_state": 0, "progress": "none"}
TIME = {"validation_fraction": 0.1, "validation_split": "time"}


def test_ordinary_columns_of_any_unit_are_standardised():
    X = RNG.normal(size=(500, 4)) * [1e-6, 1e6, 1, 3] + [0, 1e9, 5, -1]
    scaler = Scaler.fit(X, "standard")
    np.testing.assert_allclose(scaler.scale, X.std(0), rtol=1e-12)


@pytest.mark.parametrize("weights", [None, RNG.uniform(0.5, 2, 600)])
def test_rare_values_are_at_most_10_units_away_and_scaling_is_exactly_invertible(weights):
    scaler = Scaler.fit(BOTH, "standard", weights)
    scaled = scaler.transform(BOTH)
    assert np.abs(scaled).max() == pytest.approx(PEAK)
    np.testing.assert_allclose(scaler.inverse_transform(scaled), BOTH, rtol=1e-5, atol=1e-6)
    gaps = np.where(RNG.random(BOTH.shape) < 0.1, np.nan, BOTH)
    assert np.nanmax(np.abs(Scaler.fit(gaps, "standard").transform(gaps))) <= PEAK * 1.0001


def test_scores_of_tables_with_rare_values_are_densities_in_their_units():
    settings = {**FAST, "epochs": 2, "likelihood": "gaussian-per-feature"}
    model = isthmus.Autoencoder(**settings).fit(BOTH)
    noise = model.model_.likelihood.scale.detach().double().numpy() * model.scaler_.scale
    errors = (BOTH - model.reconstruct(BOTH)) / noise
    density = -(0.5 * errors**2 + np.log(noise) + 0.5 * np.log(2 * np.pi)).sum(1)
    np.testing.assert_allclose(model.score_samples(BOTH), density, rtol=1e-4, atol=1e-2)


def test_the_floor_of_a_learned_scale_follows_rare_values():
    family = GaussianFamily((3,), scale="per-feature")
    x = torch.zeros(1000, 3)
    x[:, 0] = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    x[0, 1] = PEAK
    family.start_from(x)
    deviations = x - x.mean(0)
    scale = deviations.square().mean(0).sqrt()
    rare = RARE_FLOOR * (deviations[0, 1].abs() - FAR * scale[1])
    wanted = torch.stack([SCALE_FLOOR * scale[0], rare, torch.tensor(SCALE_FLOOR)])
    torch.testing.assert_close(family.floor, wanted)
    assert (family.scale >= family.floor).all()
    with torch.no_grad():
        family.log_scale.fill_(-1e6)
    torch.testing.assert_close(family.scale, family.floor, atol=1e-4, rtol=0)
    again = GaussianFamily((3,), scale="per-feature")
    again.load_state_dict(family.state_dict())
    torch.testing.assert_close(again.scale, family.scale)


def test_a_value_in_a_column_that_is_constant_in_training_does_not_end_training():
    X = np.column_stack([GOOD, np.zeros(600)])
    X[-1, -1] = 1e6
    settings = {**FAST, **TIME, "epochs": 15, "learning_rate": 3e-3}
    model = isthmus.VAE(**settings).fit(X)
    X[-1, -1] = 0
    same = isthmus.VAE(**settings).fit(X)
    assert [r["valid_loss"] for r in model.history_] == [r["valid_loss"] for r in same.history_]


def test_validation_values_slightly_outside_the_range_of_training_count():
    X = GOOD.copy()
    X[-1, 0] = GOOD[:-60, 0].max() + 1
    settings = {**FAST, **TIME, "epochs": 1, "batch_size": 600}
    model, other = isthmus.VAE(**settings).fit(X), isthmus.VAE(**settings).fit(GOOD)
    assert model.history_[-1]["valid_loss"] != other.history_[-1]["valid_loss"]
