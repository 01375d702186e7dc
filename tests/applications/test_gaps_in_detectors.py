"""Detectors and densities of rows with missing values: no row is normal for lack of values."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import isthmus
from isthmus.applications import AnomalyDetector
from isthmus.applications.anomaly_scores import SCORES
from isthmus.applications.unscored_rows import unscored_note
from isthmus.cli import main

pandas = pytest.importorskip("pandas")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 2)) @ RNG.normal(size=(2, 8)) + 0.3 * RNG.normal(size=(120, 8))
EMPTY = X[:8].copy()
EMPTY[[2, 5]] = np.nan
EMPTY[3, :3] = np.nan
FAST = {"n_components": 2, "hidden": (16,), "epochs": 5, "random_state": 0}
NOTE = "^2 rows, the first of them row 2, hold no value or one that overflows float32"


@pytest.fixture(scope="module")
def model():
    return isthmus.VAE(missing="ignore", **FAST).fit(X)


def check_flagged(detector, rows, usual=X[:8]):
    with pytest.warns(UserWarning, match=NOTE) as caught:
        scores = detector.anomaly_score(rows)
    assert len(caught) == 1
    assert np.flatnonzero(np.isinf(scores)).tolist() == [2, 5]
    complete = [0, 1, 4, 6, 7]
    np.testing.assert_array_equal(scores[complete], detector.anomaly_score(usual)[complete])
    with pytest.warns(UserWarning, match=NOTE):
        assert detector.predict(rows)[[2, 5]].tolist() == [-1, -1]
    with pytest.warns(UserWarning, match=NOTE):
        p = detector.anomaly_pvalue(rows)
    assert (p[[2, 5]] == 1 / (1 + len(detector.calibration_scores_))).all()


@pytest.mark.parametrize("score", SCORES)
def test_rows_without_values_are_anomalous(model, score):
    detector = AnomalyDetector(model, score_method=score, random_state=0).fit(X)
    check_flagged(detector, EMPTY)
    parts = detector.explain(EMPTY, "reconstruction")
    assert np.flatnonzero(np.isinf(parts).all(1)).tolist() == [2, 5]
    assert (parts[3, :3] == 0).all()


@pytest.mark.parametrize("score", ["likelihood", "whitened"])
@pytest.mark.parametrize("contamination", ["auto", 0.1])
def test_rows_without_values_do_not_change_what_is_fitted(model, score, contamination):
    settings = {"score_method": score, "contamination": contamination, "random_state": 0}
    rows = X.copy()
    rows[:40:2] = np.nan
    with pytest.warns(UserWarning, match="hold no value"):
        detector = AnomalyDetector(model, **settings).fit(rows)
    assert np.isfinite(detector.offset_)
    assert np.isfinite(detector.calibration_scores_).all()
    check_flagged(detector, EMPTY)


@pytest.mark.filterwarnings("ignore:120 rows")
def test_a_detector_needs_a_row_with_values(model):
    with pytest.raises(ValueError, match="no row has a finite score: each row holds no value"):
        AnomalyDetector(model).fit(np.full_like(X, np.nan))


def test_images_frames_and_several_models():
    images = RNG.random((30, 4, 4))
    holed = images[:8].copy()
    holed[[2, 5]] = np.nan
    pair = [isthmus.Autoencoder(missing="ignore", **FAST | {"epochs": 1}) for _ in range(2)]
    check_flagged(AnomalyDetector(pair, random_state=0).fit(images), holed, images[:8])
    frame = pandas.DataFrame({"x": X[:60, 0], "pet": ["cat", "dog", "eel"] * 20})
    rows = frame[:8].copy()
    rows.loc[[2, 5]] = None
    mixed = isthmus.VAE(missing="ignore", **FAST)
    detector = AnomalyDetector(mixed, handle_unknown="missing", random_state=0).fit(frame)
    check_flagged(detector, rows, frame[:8])
    rows.loc[[2, 5], "pet"] = "yak"  # unknown, hence missing
    with pytest.warns(UserWarning, match="hold no value"):
        assert np.flatnonzero(np.isinf(detector.anomaly_score(rows))).tolist() == [2, 5]


@pytest.mark.parametrize("score", ["reconstruction", "likelihood"])
@pytest.mark.parametrize("unit", [1.0, 1000.0])
def test_gaps_do_not_make_a_row_normal(score, unit):
    rows = X * unit
    model = isthmus.VAE(missing="ignore", **FAST).fit(rows)
    detector = AnomalyDetector(model, score_method=score, random_state=0).fit(rows)
    few = rows.copy()
    few[np.random.default_rng(1).random(X.shape).argsort(1) < 6] = np.nan  # 2 of 8 values are left
    usual, gaps = detector.anomaly_score(rows), detector.anomaly_score(few)
    assert abs(np.mean(gaps) - np.mean(usual)) < 0.3 * abs(np.mean(usual))


def hide(rows, share):
    """Hide nested sets of the values of each row, and never all of them."""
    draws = np.random.default_rng(1).random(rows.shape)
    last = draws == draws.max(tuple(range(1, rows.ndim)), keepdims=True)
    return np.where((draws < share) & ~last, np.nan, rows)


@pytest.mark.parametrize("score", SCORES)
def test_scores_do_not_depend_on_the_share_of_missing_values(model, score):
    detector = AnomalyDetector(model, score_method=score, random_state=0).fit(X)
    usual = detector.anomaly_score(X)
    for share in (0.1, 0.3, 0.5, 0.7, 0.85):
        scores = detector.anomaly_score(hide(X, share))
        assert abs(scores.mean() / usual.mean() - 1) < 0.3
        labels = np.repeat([0, 1], len(X))
        assert 0.38 < roc_auc_score(labels, np.r_[usual, scores]) < 0.62
    far = detector.anomaly_score(hide(4 * X, 0.5))  # anomalous in spite of the gaps
    assert roc_auc_score(labels, np.r_[detector.anomaly_score(hide(X, 0.5)), far]) > 0.75


@pytest.mark.parametrize("score", ["nap", "paths"])
def test_gaps_in_bytes_and_images_with_channels_last(score):
    images = RNG.random((60, 6, 6, 3)).astype(np.float32)
    images[..., 0] = images.mean((1, 2, 3), keepdims=True)[..., 0]
    model = isthmus.Autoencoder(missing="ignore", **FAST).fit(images)
    detector = AnomalyDetector(model, score_method=score, random_state=0).fit(images)
    usual, gaps = detector.anomaly_score(images), detector.anomaly_score(hide(images, 0.5))
    assert abs(gaps.mean() / usual.mean() - 1) < 0.3
    grey = (255 * images).astype(np.uint8)
    again = AnomalyDetector(model, score_method=score, random_state=0).fit(grey)
    assert again._measures[0].gaps.table == pytest.approx(detector._measures[0].gaps.table, rel=0.1)


@pytest.mark.parametrize("score", ["latent", "whitened"])
def test_the_scale_of_gaps_is_saved(model, score, tmp_path):
    detector = AnomalyDetector(model, score_method=score, random_state=0).fit(X)
    detector.save(tmp_path)
    holed = hide(X, 0.5)
    again = AnomalyDetector.load(tmp_path)
    np.testing.assert_array_equal(again.anomaly_score(holed), detector.anomaly_score(holed))
    measure = detector._measures[0]
    arrays = measure.arrays()
    measure.restore({name: arrays[name] for name in ("mean", "directions")})  # of an older version
    np.testing.assert_array_equal(detector.anomaly_score(X), again.anomaly_score(X))
    for damaged in (arrays["gaps"][:2], -arrays["gaps"], np.zeros((3, 0))):
        with pytest.raises(ValueError, match="the gaps do not hold"):
            measure.restore(arrays | {"gaps": damaged})


def test_the_reconstruction_error_is_the_mean_of_the_observed_ones(model):
    detector = AnomalyDetector(model).fit(X)
    with pytest.warns(UserWarning, match=NOTE):
        score = detector.anomaly_score(EMPTY)[3]
    assert score == pytest.approx(detector.explain(EMPTY)[3, 3:].mean() * 8)


def test_densities_warn_of_rows_without_values(model):
    note = "^2 rows, the first of them row 2, have no observed value"
    for method in (model.score_samples, model.rate_distortion, model.score):
        with pytest.warns(UserWarning, match=note) as caught:
            method(EMPTY)
        assert len(caught) == 1
    with pytest.warns(UserWarning, match="^row 0 has no observed value"):
        assert model.rate_distortion(EMPTY[2:3]).distortion == 0


def test_pyod_flags_rows_without_values(model):
    pytest.importorskip("pyod")
    for detector in (
        AnomalyDetector(model, random_state=0).fit(X).to_pyod(),
        AnomalyDetector(isthmus.VAE(missing="ignore", **FAST), random_state=0).to_pyod().fit(X),
    ):
        with pytest.warns(UserWarning, match=NOTE):
            assert detector.predict(EMPTY)[[2, 5]].tolist() == [1, 1]
        with pytest.warns(UserWarning, match=NOTE):
            p = detector.predict_proba(EMPTY)
        assert (p[[2, 5], 1] == 1).all()
    holed = X.copy()
    holed[7:37] = np.nan  # more rows than `contamination` flags
    with pytest.warns(UserWarning, match="30 rows, the first of them row 7, hold no value"):
        refitted = detector.fit(holed)
    assert refitted.labels_[7:37].all()
    assert refitted.predict(X[:40]).sum() < 40
    for method in ("linear", "unify"):
        assert np.isfinite(refitted.predict_proba(X, method)).all()


def test_detect_flags_rows_without_values_of_one_file_and_of_many(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    names = [f"x{i}" for i in range(8)]
    for name, rows in {"ok": X, "holed": EMPTY}.items():
        pandas.DataFrame(rows, columns=names).to_csv(f"{name}.csv", index=False)
    words = ["--missing", "ignore", "--epochs", "1", "--hidden", "8", "--quiet", "--out", "run"]
    monkeypatch.setattr("isthmus.runs.report.write_report", lambda *_, **__: None)  # takes seconds
    assert main(["fit", "ok.csv", *words]) == 0
    capsys.readouterr()
    note = unscored_note(2, 2)
    assert main(["detect", "run", "holed.csv", "--out", "scores.csv"]) == 0
    assert f"note: {note}" in capsys.readouterr().err
    assert main(["detect", "run", "holed.csv", "ok.csv", "--out", "out/"]) == 0
    assert f"note: holed.csv: {note}" in capsys.readouterr().err
    for table in (pandas.read_csv("scores.csv"), pandas.read_parquet("out/holed.parquet")):
        assert np.flatnonzero(np.isinf(table["anomaly_score"])).tolist() == [2, 5]
        assert table["prediction"][[2, 5]].tolist() == [-1, -1]
        assert (table["pvalue"][[2, 5]] == table["pvalue"].min()).all()
        assert np.isfinite(table["anomaly_score"][3])
