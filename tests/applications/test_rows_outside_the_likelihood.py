"""Detectors flag a row with a value that the likelihood does not take; other calls refuse it."""

import numpy as np
import pandas as pd
import pytest

import isthmus
from isthmus.applications import AnomalyDetector, LatentIndex
from isthmus.applications.anomaly_scores import SCORES
from isthmus.applications.unscored_rows import unscored_note
from isthmus.bulk import Score
from isthmus.cli import main
from isthmus.estimators.validation import RowError

RNG = np.random.default_rng(0)
TINY = {"n_components": 2, "hidden": (8,), "epochs": 1, "random_state": 0}
N = 60
DATA = {
    "bernoulli": RNG.integers(0, 2, (N, 4)).astype(float),
    "continuous-bernoulli": RNG.random((N, 4)),
    "poisson": RNG.poisson(3, (N, 4)).astype(float),
    "negative-binomial": RNG.poisson(50, (N, 4)).astype(float),
    "categorical": RNG.integers(0, 3, (N, 4)).astype(float),
    "gaussian,bernoulli,categorical:3,poisson": np.c_[
        RNG.normal(size=N), RNG.integers(0, 2, N), RNG.integers(0, 3, N), RNG.poisson(2, N)
    ],
}
WRONG = [(7, 2, -9999.0), (9, 1, 9999.0), (11, 3, -50.0)]


def spoiled(X, cells=WRONG):
    X = X.copy()
    for row, column, value in cells:
        X[row, column] = value
    return X


def fitted(name):
    return isthmus.VAE(likelihood=name, **TINY).fit(DATA[name])


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("score", ["reconstruction", "likelihood", "whitened"])
def test_one_warning_and_the_other_rows_keep_their_scores(name, score):
    X, model = DATA[name], fitted(name)
    rows = [7, 11] if name in ("poisson", "negative-binomial") else [7, 9, 11]  # counts are large
    detector = AnomalyDetector(model, score_method=score, random_state=0).fit(X)
    with pytest.warns(UserWarning, match=unscored_note(7, len(rows))) as caught:
        scores = detector.anomaly_score(spoiled(X))
    assert len(caught) == 1
    assert np.flatnonzero(np.isinf(scores)).tolist() == rows
    others = np.delete(np.arange(N), [7, 9, 11])
    np.testing.assert_array_equal(scores[others], detector.anomaly_score(X)[others])


@pytest.mark.parametrize("score", SCORES)
def test_verdict_pvalue_and_calibration(score):
    X, model = DATA["continuous-bernoulli"], fitted("continuous-bernoulli")
    bad = spoiled(X, WRONG[:1])
    clean = AnomalyDetector(model, score_method=score, random_state=0).fit(np.delete(X, 7, 0))
    detector = AnomalyDetector(model, score_method=score, random_state=0).fit(X)
    with pytest.warns(UserWarning, match="^row 7 holds no value or one"):
        assert detector.predict(bad)[7] == -1
    with pytest.warns(UserWarning, match="^row 7"):
        p = detector.anomaly_pvalue(bad)
    assert p[7] == 1 / (1 + len(detector.calibration_scores_))
    if not SCORES[score].is_fitted:
        with pytest.warns(UserWarning, match="^row 7"):
            other = AnomalyDetector(model, score_method=score, random_state=0).fit(bad)
        assert other.offset_ == clean.offset_
    with (
        pytest.warns(UserWarning, match="60 rows"),
        pytest.raises(ValueError, match=r"no row has a finite score: .* does not take"),
    ):
        detector.calibrate(np.full_like(X, -9999))


@pytest.mark.parametrize("name", DATA)
def test_other_calls_name_the_cell(name):
    X, model = DATA[name], fitted(name)
    bad = spoiled(X, WRONG[:1])
    for call in (model.transform, model.reconstruct, model.score_samples, LatentIndex(model).fit):
        with pytest.raises(RowError, match=r"X has -9999 in row 7"):
            call(bad)
    with pytest.raises(RowError, match=r"X has -9999 in row 7"):
        AnomalyDetector(model).fit(X).explain(bad)
    with pytest.raises(RowError, match=r"X has -9999 in row 7"):
        isthmus.VAE(likelihood=name, **TINY).fit(bad)


def test_images_several_models_and_batches():
    images = RNG.random((N, 1, 4, 4))
    models = [isthmus.Autoencoder(likelihood="bernoulli", **TINY).fit(images) for _ in range(2)]
    detector = AnomalyDetector(models, random_state=0).fit(images)
    bad = images.copy()
    bad[5, 0, 2, 3] = -9999
    with pytest.warns(UserWarning, match="^row 5"):
        assert np.flatnonzero(np.isinf(detector.anomaly_score(bad))).tolist() == [5]
    with pytest.warns(UserWarning, match="^row 5"):
        out = Score(detector, column="x")({"x": bad})
    assert out["prediction"][5] == -1


def test_columns_of_a_frame():
    frame = pd.DataFrame(
        {"count": RNG.poisson(3, N), "x": RNG.normal(size=N), "k": ["a", "b"] * 30}
    )
    model = isthmus.VAE(likelihood="poisson,gaussian,bernoulli", **TINY).fit(frame)
    detector = AnomalyDetector(model, random_state=0).fit(frame)
    bad = frame.copy()
    bad.loc[3, "count"] = -9999
    with pytest.warns(UserWarning, match="^row 3"):
        assert np.flatnonzero(np.isinf(detector.anomaly_score(bad))).tolist() == [3]


def test_rows_are_counted_in_the_data_of_the_user(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("isthmus.runs.report.write_report", lambda *_, **__: None)  # takes seconds
    X = DATA["continuous-bernoulli"]
    np.save("ok.npy", X)
    np.save("bad.npy", spoiled(X, [(57, 2, -9999.0)]))
    fit = ["--likelihood", "bernoulli", "--epochs", "1", "--hidden", "8", "--quiet", "--out", "run"]
    assert main(["fit", "bad.npy", *fit]) == 2
    assert "X has -9999 in row 57, feature 2" in capsys.readouterr().err
    assert main(["fit", "ok.npy", *fit]) == 0
    capsys.readouterr()
    assert main(["detect", "run", "bad.npy", "--out", "one.csv"]) == 0
    assert f"note: {unscored_note(57, 1)}" in capsys.readouterr().err
    assert main(["detect", "run", "bad.npy", "ok.npy", "--out", "many/"]) == 0
    assert f"note: bad.npy: {unscored_note(57, 1)}" in capsys.readouterr().err
    for table in (pd.read_csv("one.csv"), pd.read_parquet("many/bad.parquet")):
        assert np.flatnonzero(np.isinf(table["anomaly_score"])).tolist() == [57]
    assert main(["transform", "run", "bad.npy", "codes/"]) != 0
    assert "X has -9999 in row 57" in capsys.readouterr().err
