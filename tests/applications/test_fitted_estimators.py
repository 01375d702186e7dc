"""A fitted estimator is used as it is; an unfitted one is cloned and trained."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV

import isthmus
from isthmus.applications import (
    AnomalyDetector,
    AttributeVectors,
    Denoiser,
    LatentCodec,
    LatentImputer,
    LatentIndex,
    LatentMap,
    LatentSampler,
)

X = np.random.default_rng(0).normal(size=(60, 4))
Y = np.arange(60) % 2
GAPS = np.where(np.random.default_rng(1).random(X.shape) < 0.2, np.nan, X)
FAST = {"n_components": 2, "hidden": (8,), "epochs": 2, "random_state": 0}
APPLICATIONS = [
    AnomalyDetector,
    AttributeVectors,
    Denoiser,
    LatentCodec,
    LatentImputer,
    LatentIndex,
    LatentMap,
    LatentSampler,
]


@pytest.fixture(scope="module")
def model():
    return isthmus.VAE(**FAST).fit(X)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("wrap", [lambda e: e, FrozenEstimator], ids=["fitted", "frozen"])
@pytest.mark.parametrize("application", APPLICATIONS)
def test_fitted_estimator_is_used_as_it_is(application, wrap, model, monkeypatch):
    monkeypatch.setattr(isthmus.VAE, "fit", None)
    before = {name: w.clone() for name, w in model.model_.state_dict().items()}
    fitted = application(wrap(model)).fit(X, Y)
    assert fitted.estimator_ is model
    assert all((before[name] == w).all() for name, w in model.model_.state_dict().items())


@pytest.mark.parametrize("application", APPLICATIONS)
def test_clone_and_unfitted_estimator_are_trained(application, model):
    for unfitted in (application(isthmus.VAE(**FAST)), clone(application(model))):
        fitted = unfitted.fit(X, Y)
        assert fitted.estimator_ is not fitted.estimator
        assert not hasattr(fitted.estimator, "model_")
        assert hasattr(fitted.estimator_, "model_")
    assert clone(application(FrozenEstimator(model))).fit(X, Y).estimator_ is model


def test_cross_validation_trains_a_fitted_estimator(model):
    grid = {"estimator__n_components": [1, 3]}
    search = GridSearchCV(AnomalyDetector(model, random_state=0), grid, cv=2).fit(X)
    found = search.best_estimator_
    assert found.estimator_.n_components_ == found.estimator.n_components != model.n_components_


@pytest.mark.parametrize("application", [AnomalyDetector, LatentIndex, LatentImputer])
def test_settings_changed_after_the_fit_are_named(application):
    model = isthmus.VAE(**FAST).fit(X)
    changed = application(model).set_params(estimator__n_components=3)
    with pytest.warns(UserWarning, match="n_components of the fitted VAE changed"):
        changed.fit(X, Y)
    assert changed.estimator_.n_components_ == 2


def test_denoiser_of_a_fitted_estimator_needs_no_fit(model):
    np.testing.assert_array_equal(Denoiser(model).transform(X), model.reconstruct(X))


def test_lists_of_fitted_and_unfitted_estimators(model):
    both = AnomalyDetector([model, isthmus.VAE(**FAST)], random_state=0).fit(X)
    assert both.estimators_[0] is model
    assert len(both.calibration_scores_) == 12
    fitted = AnomalyDetector([model, both.estimators_[1]]).fit(X)
    assert len(fitted.calibration_scores_) == 60
    other = isthmus.VAE(**FAST).fit(X[:, :3])
    with pytest.raises(ValueError, match="must take the same rows"):
        AnomalyDetector([model, other]).fit(X)


# ---------------------------------------------------------------- missing values


@pytest.mark.parametrize("score", ["reconstruction", "likelihood", "nap", "whitened"])
def test_detector_of_a_model_that_ignores_missing_values_scores_rows_with_gaps(score):
    model = isthmus.VAE(missing="ignore", **FAST).fit(GAPS)
    for estimator in (model, FrozenEstimator(model), isthmus.VAE(missing="ignore", **FAST)):
        detector = AnomalyDetector(estimator, score_method=score, random_state=0).fit(GAPS)
        assert np.isfinite(detector.score_samples(GAPS)).all()


def test_detector_of_a_model_of_complete_rows_names_the_gap(model):
    row, column = np.argwhere(np.isnan(GAPS))[0]
    expected = rf"NaN: the first at row {row}, feature {column}.*isthmus fit --missing ignore"
    with pytest.raises(ValueError, match=expected):
        AnomalyDetector(model).fit(GAPS)
    with pytest.raises(ValueError, match=expected):
        AnomalyDetector(model).fit(X).predict(GAPS)


@pytest.mark.parametrize("method", ["decode", "optimize", "predict", "sample"])
def test_imputer_uses_a_model_of_complete_rows(model, method):
    imputer = LatentImputer(model, method=method, n_draws=4, random_state=0).fit(GAPS)
    filled = imputer.transform(GAPS)
    assert imputer.estimator_ is model
    assert np.isfinite(filled).all()
    observed = ~np.isnan(GAPS)
    assert (filled[observed] == GAPS[observed]).all()


def test_imputer_checks_rows_for_a_fitted_model(model):
    with pytest.raises(ValueError, match="4 features"):
        LatentImputer(model).fit(X[:, :3])


def test_frames_keep_the_categories_of_a_fitted_model():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": X[:, 0], "pet": ["cat", "dog", "eel"] * 20})
    model = isthmus.VAE(**FAST).fit(frame)
    some = frame[frame.pet != "cat"]  # whose own categories would be numbered differently
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector = AnomalyDetector(model).fit(some)
    np.testing.assert_array_equal(
        detector.score_samples(some), AnomalyDetector(model).fit(frame).score_samples(some)
    )
