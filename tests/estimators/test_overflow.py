"""Values that are finite in float64 and overflow float32: refused or flagged, never scored 0."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import isthmus
from isthmus.applications import (
    AnomalyDetector,
    LatentCodec,
    LatentImputer,
    LatentIndex,
    meta_estimator,
)
from isthmus.applications.anomaly_detection import best_f1_threshold, fraction_threshold
from isthmus.applications.anomaly_scores import SCORES
from isthmus.applications.unscored_rows import unscored_note
from isthmus.bulk import Score
from isthmus.cli import main
from isthmus.estimators.validation import RowError, check_finite, check_results

TINY = {"n_components": 2, "hidden": (8,), "epochs": 1, "random_state": 0, "progress": "none"}
X = np.random.default_rng(0).normal(size=(120, 3))
NODATA, FAR = -3.4e38, 1e20


def with_cell(value, row=12, column=2, base=X):
    out = base.copy()
    out[row, column] = value
    return out


@pytest.fixture(scope="module")
def model():
    return isthmus.VAE(**TINY, missing="ignore").fit(X)


# ------------------------------------------------------------------ estimators


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (NODATA, r"X\[12, 2\] is -3\.4e\+38, which overflows float32; rescale the column or mark"),
        (1e300, r"X\[12, 2\] is 1e\+300, which overflows float32"),
        (FAR, r"X\[12, 2\] is 1e\+20, which is so far from the values seen during fit"),
        (-1e17, r"X\[12, 2\] is -1e\+17, which is so far"),
    ],
)
def test_predictions_name_the_cell(model, value, problem):
    bad = with_cell(value)
    bad[12, 0] = np.nan  # gaps beside outliers
    methods = ("transform", "posterior", "reconstruct", "score_samples", "score", "tensors")
    for method in (*methods, "rate_distortion", "partial_fit"):
        with pytest.raises(ValueError, match=problem):
            getattr(model, method)(bad)


def test_far_values_within_the_range_of_float32_have_finite_results(model):
    far = with_cell(1e14)
    for result in (model.transform(far), model.reconstruct(far), model.score_samples(far)):
        assert np.isfinite(result).all()


def test_fit_refuses_before_training():
    for value in (NODATA, 1e38, 3e38):
        with pytest.raises(RowError, match=r"X\[12, 2\] is .* overflows float32"):
            isthmus.VAE(**TINY).fit(with_cell(value))
    frame = pd.DataFrame(with_cell(NODATA), columns=["age", "height", "income"])
    with pytest.raises(ValueError, match=r"^X\[12, 'income'\] is -3\.4e\+38, which overflows"):
        isthmus.VAE(**TINY).fit(frame)
    mixed = frame.assign(kind=["a", "b"] * 60)
    with pytest.raises(ValueError, match=r"^X\[12, 'income'\] is -3\.4e\+38, which overflows"):
        isthmus.VAE(**TINY).fit(mixed)
    with pytest.raises(ValueError, match=r"X\[3, 0\] is 1e\+20"):  # without scaling
        isthmus.VAE(likelihood="poisson", **TINY).fit(with_cell(1e20, 3, 0, np.abs(X).round()))


def test_large_units_are_scaled():
    large = X * 1e30
    model = isthmus.VAE(**TINY).fit(large)
    np.testing.assert_allclose(model.transform(large), isthmus.VAE(**TINY).fit(X).transform(X))
    assert np.isfinite(model.score_samples(large.astype(np.float32))).all()


def test_images_name_the_pixel():
    images = np.random.default_rng(0).normal(size=(20, 4, 5))
    model = isthmus.VAE(**TINY).fit(images)
    images[7, 2, 3] = NODATA
    with pytest.raises(ValueError, match=r"X\[7, 2, 3\] is -3\.4e\+38"):
        model.transform(images)
    with pytest.raises(ValueError, match=r"X\[7, 2, 3\] is -3\.4e\+38"):
        isthmus.VAE(**TINY).fit(images)


def test_streams_and_rows_on_disk_name_the_row(tmp_path):
    with pytest.raises(ValueError, match=r"X\[12, 2\] is 1e\+20"):
        isthmus.VAE(**TINY).fit_loader([X], valid=with_cell(FAR))
    np.save(tmp_path / "rows.npy", with_cell(NODATA, 100))
    with pytest.raises(ValueError, match=r"X\[100, 2\] is -3\.4e\+38"):
        isthmus.VAE(**TINY).fit(np.load(tmp_path / "rows.npy", mmap_mode="r"))


def test_codes_and_conditions_that_overflow_are_refused(model):
    with pytest.raises(ValueError, match=r"^Z\[1, 0\] is 1e\+39, which overflows float32; check"):
        model.decode([[0.0, 0.0], [1e39, 0.0]])
    conditional = isthmus.ConditionalVAE(**TINY).fit(X, X[:, 0])
    with pytest.raises(ValueError, match=r"condition\[0, 0\] is "):
        conditional.transform(X, condition=1e39)


def test_results_that_are_not_finite_are_never_returned(model):
    broken = isthmus.VAE(**TINY).fit(X)
    with torch.no_grad():
        for weights in broken.model_.parameters():
            weights.mul_(1e25)
    for method in ("transform", "reconstruct", "score_samples"):
        with pytest.raises(RowError, match=r"^X\[0\] is so far from the rows seen during fit"):
            getattr(broken, method)(X)
    with pytest.raises(RowError, match=r"^Z\[0\]"):
        broken.sample(3, random_state=0)
    with pytest.raises(RowError, match=r"^X\[2\]"):
        check_results((np.array([0.0, 1.0, np.inf]),))


def test_nan_and_infinity_keep_their_message_and_all_rows_are_known():
    X = np.array([[0.0, NODATA], [1.0, 2.0], [1e38, 0.0]])
    with pytest.raises(RowError) as caught:
        check_finite(X)
    np.testing.assert_array_equal(caught.value.rows, [0, 2])
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    X[1] = np.inf
    with pytest.raises(ValueError, match="contains infinity: the first at row 1, feature 0"):
        check_finite(X)


# ------------------------------------------------------------------ detectors


@pytest.mark.parametrize("score_method", sorted(SCORES))
@pytest.mark.parametrize("value", [NODATA, FAR, np.inf])
def test_detectors_flag_rows_that_overflow(model, score_method, value):
    detector = AnomalyDetector(model, score_method=score_method, random_state=0).fit(X)
    bad = with_cell(value)
    with pytest.warns(
        UserWarning, match="^row 12 holds no value or one that overflows float32"
    ) as caught:
        scores = detector.anomaly_score(bad)
    assert len(caught) == 1
    np.testing.assert_array_equal(np.flatnonzero(np.isinf(scores)), [12])
    others = np.delete(np.arange(len(X)), 12)
    np.testing.assert_array_equal(scores[others], detector.anomaly_score(X)[others])
    with pytest.warns(UserWarning, match="overflow"):
        assert detector.predict(bad)[12] == -1
    with pytest.warns(UserWarning, match="overflow"):
        p = detector.anomaly_pvalue(bad)[12]
    assert p == 1 / (1 + len(detector.calibration_scores_))


def test_rows_that_overflow_do_not_calibrate_a_detector(model):
    bad = with_cell(FAR, 50, 1, with_cell(NODATA))
    clean = AnomalyDetector(model, random_state=0).fit(np.delete(X, [12, 50], 0))
    with pytest.warns(UserWarning, match="^2 rows, the first of them row 12, hold no value or one"):
        detector = AnomalyDetector(model, random_state=0).fit(bad)
    assert detector.offset_ == clean.offset_
    with pytest.warns(UserWarning, match="^2 rows"):
        detector.calibrate(bad)
    np.testing.assert_array_equal(detector.calibration_scores_, clean.calibration_scores_)
    with pytest.warns(UserWarning, match="^2 rows"):
        share = AnomalyDetector(model, contamination=2 / 120, random_state=0).fit(bad)
    with pytest.warns(UserWarning, match="^2 rows"):
        np.testing.assert_array_equal(np.flatnonzero(share.predict(bad) == -1), [12, 50])
    with pytest.warns(UserWarning, match="^2 rows"):
        share.tune_threshold(bad, np.where(np.isin(np.arange(120), [12, 50]), -1, 1))
    assert np.isfinite(share.offset_)
    with (
        pytest.warns(UserWarning, match="120 rows"),
        pytest.raises(ValueError, match="no row has a finite score"),
    ):
        detector.calibrate(np.full_like(X, NODATA))


def test_thresholds_are_finite():
    scores = np.array([-np.inf, -np.inf, 1.0, 2.0])
    assert fraction_threshold(scores, 0.25) == 1.0
    assert fraction_threshold(scores, 0.5) == 1.0
    assert best_f1_threshold(scores, np.array([True, True, False, False])) == 1.0


def test_an_unfitted_detector_refuses_and_explanations_name_the_cell(model):
    with pytest.raises(ValueError, match=r"X\[12, 2\] is -3\.4e\+38"):
        AnomalyDetector(isthmus.Autoencoder(**TINY), random_state=0).fit(with_cell(NODATA))
    detector = AnomalyDetector(model, random_state=0).fit(X)
    with pytest.raises(ValueError, match=r"X\[12, 2\] is -3\.4e\+38"):
        detector.explain(with_cell(NODATA))
    with pytest.raises(ValueError, match="contains infinity: the first at row 12"):
        AnomalyDetector(isthmus.Autoencoder(**TINY), random_state=0).fit(with_cell(np.inf))


def test_batch_maps_flag_rows(model):
    score = Score(AnomalyDetector(model, random_state=0).fit(X), column="x")
    with pytest.warns(UserWarning, match="row 12"):
        out = score({"x": with_cell(NODATA)})
    assert out["anomaly_score"][12] == np.inf
    assert out["prediction"][12] == -1


# ------------------------------------------------------------------ other applications


@pytest.mark.parametrize("method", ["decode", "optimize", "predict", "sample"])
def test_imputer_names_the_cell_beside_a_gap(model, method):
    imputer = LatentImputer(model, method=method, n_draws=5, random_state=0).fit(X)
    for value in (NODATA, FAR):
        bad = with_cell(value)
        bad[12, 0] = np.nan
        with pytest.raises(ValueError, match=r"X\[12, 2\] is "):
            imputer.transform(bad)
        if method == "optimize":
            continue
        values, std = imputer.impute(bad, mask=np.abs(bad) > 1e19)  # marked as missing
        assert np.isfinite(values).all()
        assert np.isfinite(std).all()
    far = with_cell(1e14)
    far[12, 0] = np.nan
    if method != "optimize":
        assert np.isfinite(imputer.transform(far)).all()


def test_index_and_codec_name_the_cell(model, monkeypatch):
    monkeypatch.setattr(meta_estimator, "CHUNK", 50)
    bad = with_cell(NODATA, 110)
    for application in (LatentIndex(model), LatentCodec(model)):
        with pytest.raises(ValueError, match=r"X\[110, 2\] is -3\.4e\+38"):
            application.fit(bad)
    with pytest.raises(ValueError, match=r"X\[110, 2\] is -3\.4e\+38"):
        LatentCodec(model).fit(X).compress(bad)
    with pytest.raises(ValueError, match=r"X\[110, 2\] is -3\.4e\+38"):
        LatentIndex(model).fit(X).kneighbors(bad)


# ------------------------------------------------------------------ command line


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["age", "height", "income"]
    pd.DataFrame(X, columns=names).to_csv("ok.csv", index=False)
    for name, value in (("nodata", NODATA), ("far", FAR), ("inf", np.inf)):
        pd.DataFrame(with_cell(value), columns=names).to_csv(f"{name}.csv", index=False)
    fit = ["fit", "ok.csv", "--out", "run", "--epochs", "1", "--hidden", "8", "--quiet"]
    assert main([*fit, "--random-state", "0"]) == 0
    return tmp_path


def test_fit_leaves_the_old_run_untouched(folder, capsys):
    before = {path.name: path.read_bytes() for path in (folder / "run").iterdir()}
    again = ["--out", "run", "--force", "--epochs", "1", "--hidden", "8", "--quiet"]
    assert main(["fit", "nodata.csv", *again]) == 2
    assert "X[12, 'income'] is -3.4e+38, which overflows float32" in capsys.readouterr().err
    far = pd.read_csv("far.csv")
    for seed in range(100):  # until the row is held out
        test_rows = np.random.default_rng(seed).permutation(120)[:12]
        if 12 in test_rows:
            break
    assert main(["fit", "far.csv", *again, "--random-state", str(seed)]) == 2
    message = capsys.readouterr().err
    assert "held out for the summary, X[12, 'income'] is 1e+20" in message
    assert len(far) == 120
    assert {path.name: path.read_bytes() for path in (folder / "run").iterdir()} == before


def test_detect_flags_rows_of_one_file_and_of_many(folder, capsys):
    assert main(["detect", "run", "nodata.csv", "--out", "scores.csv"]) == 0
    notes = [s for s in capsys.readouterr().err.splitlines() if "calibration rows" not in s]
    assert notes == [f"note: {unscored_note(12, 1)}"]
    table = pd.read_csv("scores.csv")
    assert table.anomaly_score[12] == np.inf
    assert table.prediction[12] == -1
    assert table.pvalue[12] == table.pvalue.min()
    files = ["nodata.csv", "far.csv", "ok.csv"]
    assert main(["detect", "run", *files, "--normal", "ok.csv", "--out", "out/"]) == 0
    notes = capsys.readouterr().err.splitlines()
    assert notes == [f"note: {name}: {unscored_note(12, 1)}" for name in ("nodata.csv", "far.csv")]
    assert pd.read_parquet("out/far.parquet").prediction[12] == -1


def test_transform_and_impute_fail_in_one_line_that_names_the_cell(folder, capsys):
    for command in (["transform", "run", "far.csv", "codes/"], ["impute", "run", "nodata.csv"]):
        assert main(command) != 0
        (line,) = [s for s in capsys.readouterr().err.splitlines() if "X[" in s]
        assert "X[12, 'income'] is " in line


def test_no_warning_without_overflow(model):
    detector = AnomalyDetector(model, random_state=0).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector.predict(X)
