"""Scaling, starting points and conditions are learned from training rows, not validation rows."""

import numpy as np
import pytest
from scipy import sparse

import isthmus
from isthmus.data.disk_array import DiskArray
from isthmus.distributions.priors import VampPrior

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)) * [1, 10, 100, 0.1] + [0, 5, -7, 1]
N = 15  # validation rows
OTHER = X.copy()
OTHER[-N:] = 1e3 * X[-N:] + 50
WEIGHTS = RNG.uniform(0.5, 2, 60)
TINY = {"n_components": 2, "hidden": (8,), "epochs": 1, "random_state": 0, "progress": "none"}
TIME = {**TINY, "validation_fraction": N / 60, "validation_split": "time", "learning_rate": 1e-12}


def in_memory(model, X, **options):
    return model.fit(X, **options)


def on_disk(model, X, **options):
    return model.fit(DiskArray.of(X, block_bytes=128), **options)


def as_sparse(model, X, **options):
    return model.fit(DiskArray.of(sparse_rows(X), block_bytes=128), **options)


def sparse_rows(X):
    from isthmus.data.sparse_rows import SparseRows

    return SparseRows.of(sparse.csr_array(X))


def in_a_sweep(model, X, **options):
    # Its test rows, a quarter, are the last ones as well.
    more = np.concatenate([X, X[:20]])
    if "sample_weight" in options:
        weights = options["sample_weight"]
        options["sample_weight"] = np.concatenate([weights, weights[:20]])
    sweep = isthmus.Sweep(model, {"beta_epochs": [1, 2]}, test_fraction=0.25, random_state=0)
    return sweep.fit(more, **options).best_estimator_


WAYS = [in_memory, on_disk, as_sparse, in_a_sweep]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scaling", ["standard", "global"])
def test_scaling_does_not_see_validation_rows(way, weighted, scaling):
    weights = WEIGHTS if weighted else None
    options = {"sample_weight": weights} if weighted else {}
    a, b = (way(isthmus.VAE(scaling=scaling, **TIME), rows, **options) for rows in (X, OTHER))
    axis = 0 if scaling == "standard" else None
    trained = X[:-N] if scaling == "standard" else X[:-N].reshape(-1)
    w = None if weights is None else np.repeat(weights[:-N], 1 if axis == 0 else 4)
    np.testing.assert_allclose(a.scaler_.shift, np.average(trained, 0, w), rtol=1e-6)
    np.testing.assert_array_equal(a.scaler_.shift, b.scaler_.shift)
    np.testing.assert_array_equal(a.scaler_.scale, b.scaler_.scale)
    start = [dict(m.model_.named_parameters()) for m in (a, b)]
    for name, weight in start[0].items():
        np.testing.assert_allclose(
            weight.detach(), start[1][name].detach(), atol=1e-6, err_msg=name
        )


def test_random_validation_rows_and_groups_are_left_out():
    one = X.copy()
    one[7] = 1e6
    seen = [
        isthmus.VAE(**TINY | {"random_state": seed, "validation_fraction": 0.5}).fit(one)
        for seed in range(6)
    ]
    assert {bool(m.scaler_.shift.max() > 1e3) for m in seen} == {True, False}
    groups = np.repeat(np.arange(6), 10)
    late = {**TIME, "validation_fraction": 0.2}
    model = isthmus.VAE(**late).fit(OTHER, groups=groups)
    np.testing.assert_allclose(model.scaler_.shift, OTHER[:50].mean(0))


@pytest.mark.parametrize("way", [in_memory, on_disk])
def test_pseudo_inputs_are_training_rows(way):
    model = way(isthmus.VAE(prior="vamp", prior_modes=200, **TIME), OTHER)
    assert isinstance(model.model_.prior, VampPrior)
    pseudo = model.model_.prior.pseudo_inputs.detach().numpy()
    assert np.abs(pseudo).max() < 10  # validation rows are thousands of standard deviations away


def test_numeric_conditions_are_scaled_by_training_rows_and_labels_are_those_of_all_rows():
    y = RNG.normal(size=60)
    y[-N:] += 1e4
    model = isthmus.ConditionalVAE(**TIME).fit(X, y)
    assert model.condition_encoder_.shift == pytest.approx((y[:-N].mean(),))
    labels = np.array(["a"] * (60 - N) + ["b"] * N)
    assert isthmus.ConditionalVAE(**TIME).fit(X, labels).classes_.tolist() == ["a", "b"]


def test_all_rows_are_checked():
    gap = X.copy()
    gap[-1, 2] = np.nan
    with pytest.raises(ValueError, match="NaN: the first at row 59, feature 2"):
        isthmus.VAE(**TIME).fit(gap)
    bits = (X > 0).astype(float)
    bits[-1, 0] = 1.5  # would be refused by the Bernoulli likelihood
    assert isthmus.VAE(**TIME).fit(bits).likelihood_ == "gaussian-per-feature"
    numbers = RNG.integers(0, 3, (60, 2)).astype(float)
    numbers[-1] = 5
    assert isthmus.VAE(likelihood="categorical", **TIME).fit(numbers).likelihood_ == "categorical:6"


def test_members_of_a_stack_that_hold_out_other_rows_equal_their_own_fits():
    model = isthmus.VAE(**TINY | {"epochs": 3})
    grid = {"random_state": [0, 1, 2]}
    sweep = isthmus.Sweep(model, grid, random_state=0).fit(X, sample_weight=WEIGHTS)
    assert {row["stacked"] for row in sweep.results_} == {3}
    rows = sweep.train_rows_
    scales = set()
    for row, member in zip(sweep.results_, sweep.estimators_, strict=True):
        own = isthmus.VAE(**TINY | {"epochs": 3} | row["params"])
        own.fit(X[rows], sample_weight=WEIGHTS[rows])
        np.testing.assert_allclose(member.scaler_.scale, own.scaler_.scale, rtol=1e-12)
        np.testing.assert_allclose(member.transform(X), own.transform(X), atol=1e-5)
        assert member.history_[-1]["valid_loss"] == pytest.approx(own.history_[-1]["valid_loss"])
        scales.add(own.scaler_.scale[0])
    assert len(scales) == 3


def test_a_stack_is_limited_to_what_fits_memory(monkeypatch):
    monkeypatch.setattr("isthmus.search.candidates.MAX_STACKED_BYTES", 2 * 4 * X.size)
    model = isthmus.VAE(**TINY)
    sweep = isthmus.Sweep(model, {"random_state": [0, 1, 2]}, random_state=0).fit(X)
    assert sorted(row["stacked"] for row in sweep.results_) == [1, 2, 2]
    sweep = isthmus.Sweep(model, {"beta_epochs": [1, 2, 3]}, random_state=0).fit(X)
    assert {row["stacked"] for row in sweep.results_} == {3}
