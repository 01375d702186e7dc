"""The pyod adapter, with the checks that pyod runs on its own detectors."""

import pickle
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from sklearn.utils import get_tags

from isthmus import Autoencoder
from isthmus.applications import AnomalyDetector

DIGITS = load_digits()
ZEROS, FOURS = (DIGITS.data[DIGITS.target == k] / 16 for k in (0, 4))
X = np.concatenate([ZEROS[:110], FOURS[:10]])
Y = np.repeat([0, 1], [110, 10])
NEW, NEW_Y = np.concatenate([ZEROS[110:], FOURS[10:40]]), np.repeat([0, 1], [len(ZEROS) - 110, 30])


def detector(**settings):
    model = Autoencoder(n_components=6, hidden=(32,), epochs=10, random_state=0)
    return AnomalyDetector(model, random_state=0, **settings)


def test_missing_pyod_names_the_package(monkeypatch):
    monkeypatch.delitem(sys.modules, "isthmus.applications.pyod_adapter", raising=False)
    monkeypatch.setitem(sys.modules, "pyod", None)
    monkeypatch.setitem(sys.modules, "pyod.models.base", None)
    with pytest.raises(ImportError, match="pip install pyod"):
        AnomalyDetector().to_pyod()


@pytest.fixture(scope="module")
def fitted():
    return detector(contamination=0.1).to_pyod().fit(X)


@pytest.mark.skipif(find_spec("pyod") is None, reason="pyod is not installed")
class TestPyod:
    def test_is_a_detector_of_pyod(self, fitted):
        from pyod.models.base import BaseDetector

        assert isinstance(fitted, BaseDetector)
        assert get_tags(fitted).estimator_type == "outlier_detector"
        assert fitted._mu == pytest.approx(fitted.decision_scores_.mean())
        assert fitted._sigma == pytest.approx(fitted.decision_scores_.std())

    def test_outliers_have_higher_scores_and_label_1(self, fitted):
        scores, labels = fitted.decision_function(NEW), fitted.predict(NEW)
        assert roc_auc_score(NEW_Y, scores) > 0.9
        assert roc_auc_score(Y, fitted.decision_scores_) > 0.9
        assert scores == pytest.approx(-fitted.detector_.score_samples(NEW), abs=0)
        assert (labels == (scores > fitted.threshold_)).all()
        assert labels[NEW_Y == 1].mean() > 0.8 > 0.3 > labels[NEW_Y == 0].mean()

    def test_contamination_fraction_is_flagged(self, fitted):
        assert fitted.decision_scores_.shape == fitted.labels_.shape == (len(X),)
        assert fitted.labels_.sum() == 12
        assert set(fitted.labels_) == {0, 1}
        assert (fitted.decision_function(X) == fitted.decision_scores_).all()
        assert (fitted.predict(X) == fitted.labels_).all()

    @pytest.mark.parametrize("method", ["linear", "unify"])
    def test_predict_proba_returns_probabilities(self, fitted, method):
        proba, confidence = fitted.predict_proba(NEW, method=method, return_confidence=True)
        assert proba.shape == (len(NEW), 2)
        assert proba.min() >= 0
        assert proba.max() <= 1
        assert proba.sum(1) == pytest.approx(np.ones(len(NEW)))
        assert (np.diff(proba[np.argsort(fitted.decision_function(NEW)), 1]) >= 0).all()
        assert confidence.min() >= 0
        assert confidence.max() <= 1
        assert set(fitted.predict_with_rejection(NEW, c_r=0.1)) <= {-2, 0, 1}
        with pytest.raises(ValueError, match="method"):
            fitted.predict_proba(NEW, method="no method")

    def test_ranks_are_those_of_its_scores(self, fitted):
        ranks = fitted._predict_rank(X)
        assert ranks == pytest.approx(rankdata(fitted.decision_scores_) - 1, abs=1)
        assert fitted._predict_rank(NEW, normalized=True).max() <= 1

    @pytest.mark.filterwarnings("ignore:Function fit_predict:FutureWarning")
    def test_fit_predict(self, fitted):
        again = clone(fitted)
        assert (again.fit_predict(X) == fitted.labels_).all()
        assert again.fit_predict_score(X, Y) > 0.9
        assert again.fit_predict_score(X, Y, scoring="prc_n_score") > 0.3

    def test_clone_is_unfitted(self, fitted):
        new = clone(fitted).set_params(contamination=0.2, detector__estimator__n_components=3)
        assert not hasattr(new, "decision_scores_")
        assert fitted.detector.estimator.n_components == 6
        new.fit(X)
        assert new.labels_.sum() == 24
        assert new.detector_.estimator_.n_components_ == 3

    def test_pickle_and_pyod_files_round_trip(self, fitted, tmp_path):
        loaded = [pickle.loads(pickle.dumps(fitted))]
        try:
            from pyod.utils import persistence
        except ImportError:  # an old pyod
            pass
        else:
            persistence.save(fitted, tmp_path / "detector")
            loaded.append(persistence.load(tmp_path / "detector", trusted=True))
        for each in loaded:
            assert (each.decision_function(NEW) == fitted.decision_function(NEW)).all()
            assert (each.predict(NEW) == fitted.predict(NEW)).all()

    @pytest.mark.slow  # importing these takes ten seconds
    @pytest.mark.parametrize("name", ["auto_encoder.AutoEncoder", "vae.VAE"])
    def test_outputs_match_those_of_pyod_networks(self, fitted, name):
        module, kind = name.split(".")
        rival = getattr(pytest.importorskip(f"pyod.models.{module}"), kind)
        rival = rival(epoch_num=1, verbose=0).fit(X)
        for method in ("decision_function", "predict", "predict_proba", "predict_confidence"):
            ours, theirs = getattr(fitted, method)(NEW), getattr(rival, method)(NEW)
            assert ours.shape == theirs.shape
            assert ours.dtype.kind == theirs.dtype.kind
        for name in ("decision_scores_", "labels_", "threshold_"):
            assert np.shape(getattr(fitted, name)) == np.shape(getattr(rival, name))

    @pytest.mark.parametrize("settings", [{}, {"contamination": 0.2}, {"score_method": "nap"}])
    def test_a_fitted_detector_keeps_its_threshold(self, settings):
        given = detector(**settings).fit(X)
        pyods = given.to_pyod()
        assert (pyods.predict(NEW) == (given.predict(NEW) == -1)).all()
        assert (pyods.decision_function(NEW) == given.anomaly_score(NEW)).all()
        assert (np.sort(pyods.decision_scores_) == np.sort(-given.calibration_scores_)).all()
        assert pyods.predict_proba(NEW).max() <= 1
        assert pyods.contamination == settings.get("contamination", 0.05)
        given.calibrate(ZEROS[110:140])
        assert pyods.threshold_ != -given.offset_  # the two are independent

    def test_a_frozen_model_is_not_trained_again(self):
        model = detector().estimator.fit(ZEROS[:110])
        pyods = AnomalyDetector(FrozenEstimator(model), contamination=0.1).to_pyod().fit(X)
        assert pyods.detector_.estimator_.model_ is model.model_
        assert pyods.labels_.sum() == 12

    def test_images_keep_their_shape(self):
        images = X.reshape(-1, 8, 8)
        pyods = detector(contamination=0.1).to_pyod().fit(images)
        assert pyods.predict_proba(images).shape == (len(X), 2)
        assert pyods.detector_.anomaly_map(images).shape == (len(X), 8, 8)

    def test_failed_fit_keeps_the_fitted_state(self, fitted):
        before = fitted.decision_function(NEW)
        with pytest.raises(ValueError, match="NaN"):
            fitted.fit(np.full((9, 64), np.nan))
        assert (fitted.decision_function(NEW) == before).all()

    def test_invalid_conversions_raise(self):
        unheld = detector(contamination=0.1, calibration_fraction=0).fit(X)
        with pytest.raises(ValueError, match="calibrate"):
            unheld.to_pyod()
        assert unheld.calibrate(NEW).to_pyod().decision_scores_.shape == (len(NEW),)
        with pytest.raises(ValueError, match=r"contamination must be in \(0, 0.5\]"):
            detector(false_alarm_rate=0.7).to_pyod()
        with pytest.raises(ValueError, match="not fitted"):
            detector().to_pyod().predict(NEW)
