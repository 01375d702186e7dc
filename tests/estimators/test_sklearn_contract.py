"""scikit-learn's own suite, and what it leaves out."""

import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils import estimator_checks as checks

from isthmus.estimators import ESTIMATORS

NAMES = sorted(ESTIMATORS)
FAST = {"epochs": 3, "hidden": (16,), "n_components": 3, "random_state": 0}
DIGITS = load_digits()
X, Y = DIGITS.data[:200] / 16, DIGITS.target[:200]


@checks.parametrize_with_checks([ESTIMATORS[name](epochs=5) for name in NAMES])
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore:X (has|does not have)")  # these checks mix frames and arrays
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "check",
    [
        checks.check_set_output_transform,
        checks.check_set_output_transform_pandas,
        checks.check_set_output_transform_polars,
        checks.check_global_output_transform_pandas,
        checks.check_global_set_output_transform_polars,
        checks.check_dataframe_column_names_consistency,
        checks.check_transformer_get_feature_names_out,
        checks.check_transformer_get_feature_names_out_pandas,
        checks.check_n_features_in_after_fitting,
        checks.check_get_feature_names_out_error,
    ],
)
def test_checks_that_check_estimator_leaves_out(name, check):
    check(name, ESTIMATORS[name](epochs=2))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames_go_in_and_come_out(name, library):
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
def test_pipelines_grids_and_cross_validation(name):
    model = ESTIMATORS[name](**FAST)
    pipeline = Pipeline(
        [("scale", MinMaxScaler()), ("code", model), ("read", LogisticRegression())]
    )
    grid = GridSearchCV(pipeline, {"code__n_components": [2, 3]}, cv=2).fit(X, Y)
    assert set(grid.cv_results_["param_code__n_components"]) == {2, 3}
    assert np.isfinite(cross_val_score(model, X, Y, cv=2)).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_clone_is_unfitted_and_a_pickle_is_fitted(name):
    model = ESTIMATORS[name](**FAST).fit(X, Y)
    assert not hasattr(clone(model), "model_")
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(X), model.transform(X))


def test_the_condition_is_routed_as_metadata():
    with sklearn.config_context(enable_metadata_routing=True):
        model = ESTIMATORS["conditional-vae"](**FAST).set_transform_request(condition=True)
        pipeline = make_pipeline(MinMaxScaler(), model).fit(X, Y)
        told = pipeline.transform(X, condition=Y)
        scaled = pipeline[0].transform(X)
    np.testing.assert_array_equal(told, pipeline[1].transform(scaled, condition=Y))
    assert not np.array_equal(told, pipeline[1].transform(scaled))
