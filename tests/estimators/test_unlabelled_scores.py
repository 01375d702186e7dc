"""Scores of a conditional model without labels are those of the mixture of all classes."""

import json

import numpy as np
import pytest
from scipy.special import logsumexp

import isthmus
from isthmus import ConditionalVAE
from isthmus.applications.anomaly_detection import AnomalyDetector
from isthmus.estimators import model_io
from isthmus.evaluation import importance_weighted

RNG = np.random.default_rng(0)
Y = np.repeat(["a", "b", "c"], [60, 30, 10])
X = RNG.normal(size=(100, 4)) + 3 * np.unique(Y, return_inverse=True)[1][:, None]
FAST = {"n_components": 2, "hidden": (8,), "epochs": 30, "random_state": 0}
LOG_P = np.log([0.6, 0.3, 0.1])[:, None]


@pytest.fixture(scope="module")
def model():
    return ConditionalVAE(**FAST).fit(X, Y)


def given(model):
    """Return rate and distortion given each label, (3, n) each."""
    return np.stack([model.rate_distortion(X, condition=label) for label in "abc"], 1)


def test_the_score_marginalises_over_labels(model):
    rate, distortion = given(model)
    expected = logsumexp(LOG_P - rate - distortion, axis=0)
    np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-5)
    assert model.score(X, Y) == pytest.approx(expected.mean(), rel=1e-5)  # y is ignored
    weights = np.exp(LOG_P - rate - distortion - expected)
    mean = (weights * distortion).sum(0)
    np.testing.assert_allclose(model.rate_distortion(X).distortion, mean, rtol=1e-4, atol=1e-4)
    assert (model.rate_distortion(X).rate >= 0).all()


def test_sample_weights_count_in_the_frequencies():
    weights = np.where(Y == "a", 0.5, 1.0)
    weights[0] = 0
    model = ConditionalVAE(**FAST | {"epochs": 1, "validation_fraction": 0.0}).fit(X, Y, weights)
    assert model.condition_encoder_.frequencies == pytest.approx(np.array([29.5, 30, 10]) / 69.5)


def test_a_class_of_no_weight_does_not_count():
    model = ConditionalVAE(**FAST | {"epochs": 1}).fit(X, Y)
    encoder = model.condition_encoder_
    object.__setattr__(encoder, "frequencies", (0.0, 1.0, 0.0))
    given_b = model.score_samples(X, condition="b")
    np.testing.assert_allclose(model.score_samples(X), given_b, rtol=1e-5)


def test_a_far_row_has_a_finite_score(model):
    assert np.isfinite(model.score_samples(np.full((1, 4), 1e4))).all()


def test_importance_weighting_marginalises(model):
    each = [importance_weighted(model, X, 20, condition=label) for label in "abc"]
    expected = logsumexp(LOG_P + np.stack([e.log_likelihood for e in each]), axis=0)
    found = importance_weighted(model, X, 20)
    np.testing.assert_allclose(found.log_likelihood, expected)
    assert ((found.effective_sample_size >= 1) & (found.effective_sample_size <= 20)).all()
    assert np.isfinite(found.standard_error).all()


def test_saved_models_keep_the_frequencies_and_older_ones_count_classes_alike(model, tmp_path):
    model.save(tmp_path / "new")
    loaded = isthmus.load(tmp_path / "new")
    np.testing.assert_array_equal(loaded.score_samples(X), model.score_samples(X))
    context = json.loads((tmp_path / "new" / "config.json").read_text())["fitted"]["context"]
    assert context["frequencies"] == [0.6, 0.3, 0.1]
    object.__setattr__(loaded.condition_encoder_, "frequencies", ())  # as in older versions
    rate, distortion = given(model)
    expected = logsumexp(-np.log(3) - rate - distortion, axis=0)
    np.testing.assert_allclose(loaded.score_samples(X), expected, rtol=1e-5)


@pytest.mark.parametrize("shares", [[1.0], [0.5, 0.5, 0.5], [2.0, -0.5, -0.5], "abc"])
def test_damaged_frequencies_are_refused(model, shares):
    config = model_io._config(model, {})
    config["fitted"]["context"]["frequencies"] = shares
    from isthmus.persistence.schema import _check_context

    with pytest.raises(ValueError, match="one share per class"):
        _check_context(config["fitted"]["context"] | {"classes": ["a", "b", "c"]})


def test_numeric_conditions_stay_unknown():
    model = ConditionalVAE(**FAST | {"epochs": 1}).fit(X, X[:, :2])
    assert model.label_conditions() is None
    assert np.isfinite(model.score_samples(X)).all()


def test_a_detector_scores_the_mixture_and_explains_it(model):
    detector = AnomalyDetector(model, score_method="likelihood").fit(X)
    np.testing.assert_allclose(detector.score_samples(X), model.score_samples(X), rtol=1e-6)
    maps = detector.explain(X)
    distortion = model.rate_distortion(X).distortion
    np.testing.assert_allclose(np.sum(maps, 1), distortion, rtol=1e-4, atol=1e-4)
