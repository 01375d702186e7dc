"""The complete scikit-learn check suite, and conventions that it does not check."""

import copy
import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils import estimator_checks as checks

from isthmus.estimators import ESTIMATORS
from isthmus.search import Sweep

NAMES = sorted(ESTIMATORS)
FAST = {"epochs": 1, "hidden": (8,), "n_components": 3, "random_state": 0}
TINY = {"epochs": 1, "hidden": (4,), "n_components": 2}
DIGITS = load_digits()
X, Y = DIGITS.data[:200] / 16, DIGITS.target[:200]


def fails_by_design(estimator):
    """Return the checks that a model fails because it draws random numbers for each row."""
    if estimator.corruption is None and estimator.prior is None:
        return {}
    reason = "random numbers are drawn by rows, so that rows of weight 2 differ from repeated ones"
    kinds = ("dense", "sparse")
    return {f"check_sample_weight_equivalence_on_{kind}_data": reason for kind in kinds}


@checks.parametrize_with_checks(
    [ESTIMATORS[name](**TINY, learning_rate=1e-3, validation_fraction=0) for name in NAMES],
    expected_failed_checks=fails_by_design,
)
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore:X (has|does not have)")  # these checks mix frames and arrays
@pytest.mark.parametrize("name", ["autoencoder", "conditional-vae"])  # all share this code
@pytest.mark.parametrize(
    "check",
    [
        checks.check_set_output_transform,
        checks.check_set_output_transform_pandas,
        checks.check_set_output_transform_polars,
        checks.check_global_output_transform_pandas,
        checks.check_global_set_output_transform_polars,
        checks.check_transformer_get_feature_names_out,
        checks.check_transformer_get_feature_names_out_pandas,
        checks.check_n_features_in_after_fitting,
        checks.check_get_feature_names_out_error,
    ],
)
def test_checks_missing_from_check_estimator(name, check):
    check(name, ESTIMATORS[name](**TINY))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_transform_returns_data_frames_if_configured(name, library):
    frames = pytest.importorskip(library)
    frame = (
        frames.DataFrame(X[:, :5], [f"f{i}" for i in range(5)])
        if library == "polars"
        else (frames.DataFrame(X[:, :5], columns=[f"f{i}" for i in range(5)]))
    )
    model = ESTIMATORS[name](**FAST).set_output(transform=library).fit(frame, Y)
    out = model.transform(frame)
    assert isinstance(out, frames.DataFrame)
    assert list(out.columns) == list(model.get_feature_names_out())
    assert list(model.feature_names_in_) == list(frame.columns)


@pytest.mark.parametrize("name", NAMES)
def test_columns_are_matched_by_name(name):
    frames = pytest.importorskip("pandas")
    frame = frames.DataFrame(X[:, :5], columns=list("abcde"))
    model = ESTIMATORS[name](**FAST).fit(frame, Y)
    with pytest.raises(ValueError, match=r"feature names should match.*\n.*unseen.*\n- z"):
        model.transform(frame.rename(columns={"a": "z"}))
    np.testing.assert_array_equal(model.transform(frame[list("edcba")]), model.transform(frame))


@pytest.mark.filterwarnings("ignore:X (has|does not have)")
def test_the_check_of_column_names_fails_only_at_another_order():
    """scikit-learn refuses another order; isthmus matches columns by name."""
    with pytest.raises(AssertionError, match="transform did not raise"):
        checks.check_dataframe_column_names_consistency("vae", ESTIMATORS["vae"](**TINY))


def test_nan_error_names_the_column():
    frames = pytest.importorskip("pandas")
    frame = frames.DataFrame(X[:, :3].copy(), columns=["age", "height", "weight"])
    frame.loc[4, "height"] = np.nan
    with pytest.raises(ValueError, match=r"NaN: the first at row 4, feature 1 \('height'\)"):
        ESTIMATORS["vae"](**FAST).fit(frame)


@pytest.mark.parametrize("name", NAMES)
def test_feature_names_out_start_with_the_class_name(name):
    model = ESTIMATORS[name](**FAST).fit(X, Y)
    prefix = type(model).__name__.lower()
    assert list(model.get_feature_names_out()) == [f"{prefix}{i}" for i in range(3)]


def test_set_output_works_for_images():
    frames = pytest.importorskip("pandas")
    model = ESTIMATORS["vae"](**FAST).set_output(transform="pandas").fit(DIGITS.images[:50] / 16)
    out = model.transform(DIGITS.images[:50] / 16)
    assert isinstance(out, frames.DataFrame)
    assert out.shape == (50, 3)


@pytest.mark.parametrize("name", NAMES)
def test_pipeline_grid_search_and_cross_validation(name):
    model = ESTIMATORS[name](**FAST)
    pipeline = Pipeline(
        [("scale", MinMaxScaler()), ("code", model), ("classify", LogisticRegression())]
    )
    grid = GridSearchCV(pipeline, {"code__n_components": [2, 3]}, cv=2).fit(X, Y)
    assert set(grid.cv_results_["param_code__n_components"]) == {2, 3}
    assert np.isfinite(cross_val_score(model, X, Y, cv=2)).all()


@pytest.mark.parametrize("name", NAMES)
def test_clone_is_unfitted_and_pickle_is_fitted(name):
    model = ESTIMATORS[name](**FAST).fit(X, Y)
    assert not hasattr(clone(model), "model_")
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(X), model.transform(X))


@pytest.mark.parametrize("name", NAMES)
def test_training_a_deep_copy_leaves_the_original_unchanged(name):
    model = ESTIMATORS[name](**FAST).fit(X, Y)
    before = model.transform(X)
    other = copy.deepcopy(model)
    np.testing.assert_array_equal(other.transform(X), before)
    other.partial_fit(X, Y)
    np.testing.assert_array_equal(model.transform(X), before)


@pytest.mark.parametrize("name", NAMES)
def test_refitting_a_shallow_copy_leaves_the_original_unchanged(name):
    model = ESTIMATORS[name](**FAST).fit(X, Y)
    before = model.transform(X)
    copy.copy(model).set_params(random_state=1).fit(X, Y)
    np.testing.assert_array_equal(model.transform(X), before)


@pytest.mark.parametrize("name", NAMES)
def test_unfitted_model_raises_not_fitted_error(name):
    model = ESTIMATORS[name](**FAST)
    for use in (model.transform, model.reconstruct, model.score_samples, model.inverse_transform):
        with pytest.raises(NotFittedError):
            use(X)
    with pytest.raises(NotFittedError):
        model.sample()


def test_condition_is_routed_as_metadata():
    with sklearn.config_context(enable_metadata_routing=True):
        model = ESTIMATORS["conditional-vae"](**FAST).set_transform_request(condition=True)
        pipeline = make_pipeline(MinMaxScaler(), model).fit(X, Y)
        with_condition = pipeline.transform(X, condition=Y)
        scaled = pipeline[0].transform(X)
    np.testing.assert_array_equal(with_condition, pipeline[1].transform(scaled, condition=Y))
    assert not np.array_equal(with_condition, pipeline[1].transform(scaled))


def test_sample_weights_are_routed_in_pipelines_searches_and_sweeps():
    weights = np.arange(200) % 3
    with sklearn.config_context(enable_metadata_routing=True):
        scale = MinMaxScaler()
        model = ESTIMATORS["beta-vae"](**FAST, likelihood="gaussian")
        model.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipeline = make_pipeline(scale, model).fit(X, sample_weight=weights)
        search = GridSearchCV(model, {"beta": [1.0, 2.0]}, cv=2).fit(X, sample_weight=weights)
        sweep = Sweep(model, {"beta": [1.0, 2.0]}, random_state=0)
        sweep = make_pipeline(scale, sweep.set_fit_request(sample_weight=True))
        sweep.fit(X, sample_weight=weights)
    scaled = scale.fit_transform(X)
    expected = clone(model).fit(scaled, sample_weight=weights)
    np.testing.assert_array_equal(pipeline.transform(X), expected.transform(scaled))
    expected = clone(model).set_params(**search.best_params_).fit(X, sample_weight=weights)
    np.testing.assert_array_equal(search.transform(X), expected.transform(X))
    assert len(sweep[1].test_rows_) + len(sweep[1].train_rows_) == (weights > 0).sum()


def test_validation_rows_pass_the_steps_before_the_model():
    held, labels = X[:50] + 0.1, Y[:50]
    model = ESTIMATORS["conditional-vae"](**FAST, likelihood="gaussian")
    with sklearn.config_context(enable_metadata_routing=True):
        model.set_fit_request(X_val=True, y_val=True)
        steps = [("scale", MinMaxScaler()), ("code", model)]
        pipeline = Pipeline(steps, transform_input=["X_val"])
        pipeline.fit(X, Y, X_val=held, y_val=labels)
    scale = pipeline["scale"]
    expected = clone(model).fit(scale.transform(X), Y, X_val=scale.transform(held), y_val=labels)
    losses = [m.history_[0]["valid_loss"] for m in (pipeline["code"], expected)]
    assert losses[0] == losses[1]


def test_codes_are_not_metadata():
    requests = ESTIMATORS["vae"]().get_metadata_routing()
    assert set(requests.inverse_transform.requests) == {"condition"}


def test_condition_is_routed_to_the_score():
    with sklearn.config_context(enable_metadata_routing=True):
        model = ESTIMATORS["conditional-vae"](**FAST).set_score_request(condition=True)
        with_condition = cross_val_score(model, X, Y, cv=2, params={"condition": Y})
        model.set_score_request(condition=False)
        without = cross_val_score(model, X, Y, cv=2)
    assert np.isfinite(with_condition).all()
    assert not np.array_equal(with_condition, without)
