"""Planted faults are named first, and healthy models get no warning."""

import copy

import numpy as np
import pytest
import torch

from isthmus import VAE, Autoencoder, BetaVAE, ConditionalVAE, SparseAutoencoder
from isthmus.estimators.base import Posterior
from isthmus.evaluation import check
from isthmus.evaluation.checks.context import Context, Rows
from isthmus.evaluation.checks.registry import CHECKS
from isthmus.evaluation.checks.remedies import default_rate

RNG = np.random.default_rng(100)
WEIGHTS = RNG.normal(size=(3, 8))
LABELS = RNG.integers(0, 3, 900)
LINEAR = RNG.normal(size=(900, 3)) @ WEIGHTS + 0.4 * RNG.normal(size=(900, 8))
GROUPS = LINEAR + 3 * np.eye(3, 8)[LABELS]
GREY = (LINEAR - LINEAR.min()) / np.ptp(LINEAR)
TRAIN, TEST = slice(None, 700), slice(700, None)
FAST = {"hidden": (16,), "epochs": 150, "learning_rate": 0.01, "random_state": 0}


@pytest.fixture(scope="module")
def linear():
    return fitted(VAE, n_components=4)


def fitted(cls, X=LINEAR, y=None, **settings):
    return cls(**FAST | settings).fit(X[TRAIN], None if y is None else y[TRAIN])


def findings(model, X=LINEAR, y=None):
    y_train, y_test = (None, None) if y is None else (y[TRAIN], y[TEST])
    found = check(model, X[TRAIN], X[TEST], y_train=y_train, y_test=y_test)
    assert {each.name for each in found} <= {name for each in CHECKS for name in each.names}
    assert not [reason for _, reason in found.not_made if "failed" in reason]
    return found


def by_name(model, *data):
    return {finding.name: finding for finding in findings(model, *data)}


@pytest.mark.parametrize(
    ("cls", "X", "settings"),
    [
        (VAE, LINEAR, {"n_components": 4}),
        (VAE, (LINEAR > 0) * 1.0, {"n_components": 4}),
        (
            VAE,
            np.random.default_rng(0).poisson(np.exp(0.5 * LINEAR + 1)),
            {"likelihood": "poisson"},
        ),
        (VAE, RNG.normal(size=(900, 6)), {"n_components": 3}),  # nothing to learn
        (Autoencoder, LINEAR, {"n_components": 3}),
        (SparseAutoencoder, LINEAR, {"n_components": 12, "hidden": (), "activation": "topk"}),
    ],
)
def test_healthy_models_get_no_warning(cls, X, settings):
    found = findings(fitted(cls, X, **settings), X)
    assert not found.important, str(found)


def test_collapse_by_beta_is_named():
    first, *_ = findings(fitted(BetaVAE, beta=50.0, n_components=4))
    assert (first.name, first.severity) == ("collapsed units", "failure")
    assert first.evidence.value == 0
    assert first.remedy.settings == {"beta": 1.0}


def test_a_learning_rate_that_is_too_low_is_named():
    first, *_ = findings(fitted(VAE, n_components=4, learning_rate=1e-5, epochs=30))
    assert first.name == "unconverged training"
    assert first.remedy.settings == {"learning_rate": default_rate()}


@pytest.mark.parametrize("epochs", [1, 4])
def test_too_few_epochs_are_named(epochs):
    first, *_ = findings(fitted(VAE, n_components=4, epochs=epochs, learning_rate=2e-3))
    assert first.name == "unconverged training"
    assert first.remedy.settings == {"epochs": None, "patience": None}


@pytest.mark.parametrize("epochs", [8, 15])
def test_few_steps_in_many_epochs_are_named(epochs):
    few = {"epochs": epochs, "batch_size": 700, "learning_rate": 1e-3, "patience": None}
    model = fitted(VAE, n_components=4, **few)
    found = by_name(model)["unconverged training"]
    assert (found.severity, found.evidence.value) == ("failure", epochs)
    for record in model.history_[epochs // 2 :]:
        record["valid_loss"] = 1.0
    assert by_name(model)["unconverged training"].severity == "warning"  # it may be enough


def test_few_steps_are_enough_if_they_are_not_very_few(linear):
    model = copy.copy(linear)
    loss = np.r_[np.linspace(10, 0, 30), np.full(30, 0.0)]
    model.history_ = [
        {"loss": each, "seconds": 1.0, "examples_per_second": 2.0 * model.batch_size}
        for each in loss
    ]
    assert by_name(model)["unconverged training"].severity == "ok"


def test_training_beyond_the_default_is_proposed_after_it(linear):
    model = copy.copy(linear)
    model.n_iter_ = 10**5
    model.history_ = [{"loss": 10.0 - 0.1 * i, "seconds": 1.0} for i in range(50)]
    finding = by_name(model)["unconverged training"]
    assert finding.remedy.settings["epochs"] == 4 * 10**5


def test_divergence_is_named(linear):
    model = copy.copy(linear)
    model.stopped_ = "diverged"
    first, *_ = findings(model)
    assert (first.name, first.severity) == ("unconverged training", "failure")
    assert first.remedy.settings == {"learning_rate": 0.001}


def test_a_bumpy_loss_that_ends_below_none_before_is_converged(linear):
    model = copy.copy(linear)
    loss = np.r_[np.linspace(10, 0, 30), np.linspace(3, 1, 10)]
    model.history_ = [{"loss": each} for each in loss]
    assert by_name(model)["unconverged training"].severity == "ok"


def test_the_warm_up_of_beta_is_no_trend(linear):
    model = copy.copy(linear)
    loss = np.r_[np.linspace(0, 10, 20), np.full(20, 5.0)]  # rises with β
    model.history_ = [{"loss": each} for each in loss]
    model.set_params(beta_schedule="linear", beta_epochs=20)
    assert by_name(model)["unconverged training"].severity == "ok"
    model.set_params(beta_schedule="cyclical")
    assert "unconverged training" in [name for name, _ in findings(model).not_made]


def test_a_narrow_code_is_named():
    first, *_ = findings(fitted(VAE, n_components=1))
    assert (first.name, first.severity) == ("narrow code", "warning")
    assert first.remedy.settings == {"n_components": 3}


def test_a_bernoulli_likelihood_of_grey_values_is_named():
    first, *_ = findings(fitted(VAE, GREY, likelihood="bernoulli"), GREY)
    assert (first.name, first.remedy.settings) == ("likelihood", {"likelihood": "gaussian"})


def test_a_density_of_binary_values_is_named():
    X = (LINEAR > 0) * 1.0
    first, *_ = findings(fitted(VAE, X, likelihood="gaussian"), X)
    assert (first.name, first.remedy.settings) == ("likelihood", {"likelihood": "bernoulli"})


def test_dead_units_are_named():
    settings = {"hidden": (), "n_components": 64, "dictionary": False, "revive_every": None}
    model = fitted(SparseAutoencoder, penalty_weight=5.0, learning_rate=0.05, **settings)
    first, *_ = findings(model)
    assert first.name == "dead units"
    assert first.remedy.settings == {"revive_every": 250}


def test_a_code_that_is_not_sparse_is_noted():
    found = by_name(fitted(SparseAutoencoder, n_components=4, penalty_weight=1e-4))
    assert found["dense code"].severity == "note"
    model = fitted(SparseAutoencoder, n_components=12, activation="identity", penalty_weight=1e-4)
    assert by_name(model)["dense code"].severity == "warning"


def test_a_condition_that_was_hidden_or_wrong_in_training_is_named():
    def verdict(labels, **settings):
        model = fitted(ConditionalVAE, GROUPS, labels, n_components=3, **settings)
        return by_name(model, GROUPS, LABELS)["ignored condition"]

    assert verdict(LABELS).severity == "ok"
    hidden = verdict(LABELS, condition_dropout=0.99)
    assert (hidden.severity, hidden.remedy.settings) == ("failure", {"condition_dropout": 0.1})
    shuffled = verdict(RNG.permutation(LABELS))
    assert (shuffled.severity, shuffled.evidence.value < 0.1) == ("warning", True)


def test_labels_that_say_nothing_are_noted():
    labels = RNG.permutation(LABELS)
    found = by_name(fitted(ConditionalVAE, LINEAR, labels, n_components=3), LINEAR, labels)
    assert found["ignored condition"].severity == "note"
    assert found["ignored condition"].evidence.value < 0.01


def test_conditions_of_numbers_are_swapped_too():
    X, y = LINEAR[:, 1:], LINEAR[:, 0]
    assert by_name(fitted(ConditionalVAE, X, y), X, y)["ignored condition"].severity == "ok"


def test_overfitting_is_named():
    X = np.random.default_rng(0).normal(size=(300, 20)) @ np.diag([2.0] * 4 + [1.0] * 16)
    settings = {"hidden": (200,), "n_components": 5, "epochs": 200, "patience": 0, "ema": 0.0}
    model = Autoencoder(**FAST | settings, validation_fraction=0).fit(X[:40])
    found = check(model, X[:40], X[40:])
    assert "overfitting" in [f.name for f in found if f.severity == "warning"], str(found)


def test_a_model_worse_than_simple_distributions_is_named():
    model = VAE(n_components=3, **FAST | {"epochs": 1}).fit(LINEAR[TRAIN])
    found = by_name(model)
    assert found["normal distribution"].severity == "warning"
    assert found["reconstruction"].severity == "warning"
    with torch.no_grad():
        for parameter in model.model_.decoder.parameters():
            parameter += 1.0
    assert by_name(model)["independent features"].severity == "failure"


def test_a_mixture_as_the_prior_is_noted_for_clusters():
    corners = np.repeat([[3, 3, 3, 0], [-3, -3, 3, 3], [3, -3, -3, -3]], 300, axis=0)
    X = RNG.permutation(corners + 0.2 * RNG.normal(size=corners.shape))
    found = by_name(fitted(VAE, X, n_components=2), X)
    found = found["prior mismatch"]
    assert (found.severity, found.remedy.settings["prior"]) == ("note", "mixture")
    learned = by_name(fitted(VAE, X, n_components=2, prior="mixture"), X)["prior mismatch"]
    assert (learned.severity, "ROC" in learned.evidence.quantity) == ("ok", True)


SPREADS = np.array([3.0, 2.0, 1.0, 0.5, 0.2, 0.1])
TURN = np.linalg.qr(RNG.normal(size=(6, 6)))[0]


def linear_vae(noise, **settings):
    """Return a model with a linear decoder and fixed noise, in whose units the rows are."""
    X = RNG.normal(size=(2000, 6)) * SPREADS @ TURN / noise
    X = X - X.mean(0)
    fixed = {"likelihood": "gaussian-fixed", "scaling": "none", "hidden": (), "random_state": 0}
    return VAE(n_components=6, **fixed, **settings), X


def context_of(model, X):
    return Context(model, Rows.draw(model, X, None, "training", RNG), None, None, 0)


@pytest.mark.parametrize(("noise", "expected"), [(0.15, 5), (0.35, 4), (0.75, 3), (4.0, 0)])
def test_a_linear_model_uses_as_many_components_as_eigenvalues_above_the_noise(noise, expected):
    model, X = linear_vae(noise)
    context = context_of(model.begin(X), X)
    assert context.signal_components == expected
    values, vectors = np.linalg.eigh(np.cov(X.T))
    values = np.maximum(values, 1)  # the noise; the optimum of Lucas et al., in closed form
    mean = X @ vectors * (values - 1) ** 0.5 / values
    context.train.__dict__["posterior"] = Posterior(mean, np.tile(values**-0.5, (2000, 1)))
    assert context.train.in_use == expected


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "expected"), [(0.35, 4), (0.75, 3)])
def test_training_finds_as_many_components_as_eigenvalues_above_the_noise(noise, expected):
    settings = {"batch_size": 500, "learning_rate": 0.02, "n_samples": 4, "epochs": 1500}
    model, X = linear_vae(noise, **settings, lr_schedule="cosine", validation_fraction=0.0)
    context = context_of(model.fit(X), X)
    assert context.train.in_use == expected == context.signal_components


def test_costly_parts_are_made_once(monkeypatch, linear):
    model = linear
    calls = []
    posterior = type(model).posterior
    monkeypatch.setattr(
        type(model), "posterior", lambda *a, **k: calls.append(1) or posterior(*a, **k)
    )
    findings(model)
    assert len(calls) <= 3  # training rows, test rows, and those of the mixture


@pytest.mark.filterwarnings("error")
def test_columns_without_values_and_rows_without_numbers_are_checked():
    X = LINEAR.copy()
    X[:, 2] = np.nan
    model = fitted(VAE, X, n_components=3, missing="ignore")
    assert {f.name for f in findings(model, X)} >= {"heavy tails", "memorisation", "copied rows"}
