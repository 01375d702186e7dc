"""The probability integral transform: uniform for the right model, whatever the likelihood."""

import numpy as np
import pytest
from exact import NOISE, linear_model
from measured import context_of, findings_of
from scipy.stats import kstest

from isthmus import VAE, Autoencoder
from isthmus.evaluation.checks.calibration import calibration, integral_transform
from isthmus.evaluation.checks.claim import CannotCheckError

RNG = np.random.default_rng(0)


def right_model(n_rows):
    """Return a linear-Gaussian model with orthogonal loadings, its exact posterior, and rows."""
    model, X = linear_model(6, 1, width=1.0)
    weight = model.model_.decoder.layers[0].weight.detach().numpy()
    rows = RNG.normal(size=(n_rows, 1)) @ weight.T + NOISE * RNG.normal(size=(n_rows, 6))
    return model, X, rows * model.scaler_.scale + model.scaler_.shift


def test_the_transform_of_the_right_model_is_uniform():
    model, X, rows = right_model(2000)
    transform = integral_transform(context_of(model, X, rows).test, 0)
    assert kstest(transform.ravel(), "uniform").pvalue > 0.01
    found = findings_of(calibration, model, X, rows)["calibration"]
    assert found.severity == "ok"
    assert "contain 9" in found.verdict or "contain 8" in found.verdict


@pytest.mark.parametrize(("factor", "covered"), [(0.3, "100%"), (4.0, "3")])
def test_wrong_noise_is_found_with_the_coverage(factor, covered):
    model, X, _ = right_model(1)
    weight = model.model_.decoder.layers[0].weight.detach().numpy()
    rows = RNG.normal(size=(600, 1)) @ weight.T + factor * NOISE * RNG.normal(size=(600, 6))
    rows = rows * model.scaler_.scale + model.scaler_.shift
    found = findings_of(calibration, model, X, rows)["calibration"]
    assert found.severity in ("note", "warning")
    assert f"90% intervals contain {covered}" in found.verdict


def test_a_constant_column_is_not_called_uncalibrated():
    X = np.column_stack([RNG.normal(size=(500, 2)), np.full(500, 3.0)])
    model = VAE(n_components=1, hidden=(), epochs=5, random_state=0).fit(X[:300])
    assert findings_of(calibration, model, X[:300], X[300:])["calibration"].severity == "ok"


def test_counts_categories_and_bits_have_a_uniform_transform():
    n = 1500
    draws = {
        "poisson": RNG.poisson(3.0, size=(n, 2)),
        "bernoulli": RNG.random((n, 2)) < 0.2,
        "categorical": RNG.choice(3, p=(0.6, 0.3, 0.1), size=(n, 2)),
    }
    for likelihood, X in draws.items():
        model = VAE(likelihood=likelihood, n_components=1, hidden=(), epochs=5, random_state=0)
        model.fit(X[:750].astype(float))
        found = findings_of(calibration, model, X[:750].astype(float), X[750:].astype(float))
        assert found["calibration"].severity == "ok", likelihood


def test_grey_values_of_a_bernoulli_likelihood_are_probabilities():
    X = RNG.beta(0.5, 0.5, size=(800, 3, 3))
    model = VAE(likelihood="bernoulli", n_components=1, hidden=(), epochs=5, random_state=0)
    assert findings_of(calibration, model.fit(X), X, X)["calibration"].severity == "ok"


def test_missing_values_have_no_transform():
    X = RNG.normal(size=(300, 4))
    X[::3, 1] = np.nan
    model = Autoencoder(n_components=1, hidden=(), epochs=5, missing="ignore", random_state=0).fit(
        X
    )
    transform = integral_transform(context_of(model, X, X).test, 0)
    assert np.array_equal(np.isnan(transform), np.isnan(X))
    assert findings_of(calibration, model, X, X)


def test_few_rows_say_nothing_about_calibration():
    X = RNG.normal(size=(60, 3))
    model = Autoencoder(n_components=1, hidden=(), epochs=1, random_state=0).fit(X)
    with pytest.raises(CannotCheckError, match="at least 50 test rows"):
        findings_of(calibration, model, X, X[:20])
