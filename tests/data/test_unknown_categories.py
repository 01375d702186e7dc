"""Categories that were not seen during fit: an error, missing values, or flagged rows."""

import csv

import numpy as np
import pytest

import isthmus
from isthmus.applications import AnomalyDetector, LatentImputer, LatentIndex
from isthmus.bulk import Encode, Score
from isthmus.cli import main

pandas = pytest.importorskip("pandas")
RNG = np.random.default_rng(0)
FRAME = pandas.DataFrame(
    {
        "x": RNG.normal(size=60),
        "pet": ["cat", "dog", "eel"] * 20,
        "sure": ["no", "yes"] * 30,
    }
)
ODD = FRAME[:6].copy()
ODD.loc[2, "pet"], ODD.loc[4, "pet"], ODD.loc[4, "sure"] = "axolotl", "yak", "maybe"
GAPS = ODD.where(~ODD.isin(["axolotl", "yak", "maybe"]), None)
FAST = {"n_components": 2, "hidden": (8,), "epochs": 2, "random_state": 0}
NOTE = r"column 'pet': 2 values were not seen during fit, such as 'axolotl'"


@pytest.fixture(scope="module")
def refusing():
    return isthmus.VAE(**FAST).fit(FRAME)


@pytest.fixture
def model():
    return isthmus.VAE(missing="ignore", **FAST).fit(FRAME)


def test_by_default_the_cell_is_named(refusing):
    with pytest.raises(ValueError, match=r"'axolotl' in row 2; .*handle_unknown='missing'"):
        refusing.transform(ODD)


@pytest.mark.parametrize("handling", ["missing", "flag"])
def test_unknown_categories_count_as_missing(model, handling, tmp_path):
    expected = model.transform(GAPS)
    fitted = isthmus.VAE(missing="ignore", handle_unknown=handling, **FAST).fit(FRAME)
    fitted.save(tmp_path)
    for each in (fitted, isthmus.load(tmp_path), model.set_params(handle_unknown=handling)):
        with pytest.warns(UserWarning, match=NOTE):
            np.testing.assert_array_equal(each.transform(ODD), expected)
        with pytest.warns(UserWarning, match=NOTE):
            np.testing.assert_array_equal(each.score_samples(ODD), each.score_samples(GAPS))


@pytest.mark.filterwarnings("ignore:column")
def test_siblings_that_read_frames(model):
    model.set_params(handle_unknown="missing")
    index = LatentIndex(model).fit(FRAME)
    np.testing.assert_array_equal(index.kneighbors(ODD)[1], index.kneighbors(GAPS)[1])
    filled = LatentImputer(model, random_state=0).fit(FRAME).transform(ODD)
    assert set(filled["pet"]) <= {"cat", "dog", "eel"}
    model.set_params(handle_unknown="flag")
    kept = LatentImputer(model, random_state=0).fit(FRAME).transform(ODD)
    assert kept["pet"].tolist() == ODD["pet"].tolist()
    assert Encode(model)(ODD)["unknown"].tolist() == ["", "", "pet", "", "pet, sure", ""]


@pytest.mark.filterwarnings("ignore:column")
def test_a_model_of_complete_rows_refuses_missing_values(refusing):
    model = isthmus.VAE(handle_unknown="missing", **FAST).fit(FRAME)
    with pytest.raises(ValueError, match=r"row 2, feature 1 \('pet'\).*missing='ignore'"):
        model.transform(ODD)
    with pytest.raises(ValueError, match="row 2, feature 1"):
        AnomalyDetector(refusing, handle_unknown="missing").fit(FRAME).predict(ODD)


@pytest.mark.parametrize("score", ["reconstruction", "likelihood", "nap", "whitened"])
@pytest.mark.parametrize("missing", ["refuse", "ignore"])
def test_detectors_flag_unknown_categories(score, missing):
    model = isthmus.VAE(missing=missing, **FAST)
    detector = AnomalyDetector(model, score_method=score, random_state=0).fit(FRAME)
    with pytest.warns(UserWarning, match=NOTE + ".*; flagged"):
        scores = detector.anomaly_score(ODD)
    assert np.isinf(scores).tolist() == [False, False, True, False, True, False]
    usual = ODD.drop(index=[2, 4])
    np.testing.assert_array_equal(scores[[0, 1, 3, 5]], detector.anomaly_score(usual))
    with pytest.warns(UserWarning, match=NOTE):
        assert detector.predict(ODD)[[2, 4]].tolist() == [-1, -1]
    with pytest.warns(UserWarning, match=NOTE):
        p = detector.anomaly_pvalue(ODD)
    assert (p[[2, 4]] == 1 / (1 + len(detector.calibration_scores_))).all()
    with pytest.warns(UserWarning, match=NOTE):
        unknown = detector.find_unknown(ODD)
    assert np.argwhere(unknown).tolist() == [[2, 1], [4, 1], [4, 2]]
    with pytest.warns(UserWarning, match=NOTE):
        parts = detector.explain(ODD, "likelihood")
    np.testing.assert_array_equal(np.isinf(parts), unknown)


@pytest.mark.filterwarnings("ignore:column")
def test_unknown_categories_in_calibration_rows_do_not_hide_others(refusing):
    detector = AnomalyDetector(refusing).fit(ODD)  # fewer rows than the false alarm rate needs
    assert np.isfinite(detector.offset_)
    assert detector.predict(ODD)[[2, 4]].tolist() == [-1, -1]
    detector.set_params(handle_unknown="error")
    with pytest.raises(ValueError, match="'axolotl' in row 2"):
        detector.predict(ODD)


@pytest.mark.filterwarnings("ignore:column")
def test_saved_detectors_and_batches_name_the_columns(refusing, tmp_path):
    detector = AnomalyDetector(refusing, random_state=0).fit(FRAME)
    detector.save(tmp_path)
    for each in (detector, AnomalyDetector.load(tmp_path)):
        table = Score(each)(ODD)
        assert table["unknown"].tolist() == ["", "", "pet", "", "pet, sure", ""]
        assert table["prediction"].tolist()[2::2] == [-1, -1]
    lenient = AnomalyDetector.load(tmp_path, handle_unknown="error")
    with pytest.raises(ValueError, match="axolotl"):
        lenient.predict(ODD)
    assert lenient.offset_ == detector.offset_


def test_invalid_values_are_refused(refusing):
    with pytest.raises(ValueError, match="handle_unknown must be"):
        isthmus.VAE(handle_unknown="drop", **FAST).fit(FRAME)
    with pytest.raises(ValueError, match="handle_unknown must be one of error, missing, flag"):
        AnomalyDetector(refusing, handle_unknown="drop").fit(FRAME)


# -------------------------------------------------------------------- command line


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    FRAME.to_csv(folder / "all.csv", index=False)
    ODD.to_csv(folder / "odd.csv", index=False)
    isthmus.VAE(missing="ignore", **FAST).fit(FRAME).save(folder / "run")
    return folder


def call(folder, command, *words):
    return main([command, f"{folder}/run", f"{folder}/odd.csv", *map(str, words)])


def test_detect_flags_and_names_the_column(folder, capsys):
    out, normal = folder / "scores.csv", ["--normal", folder / "all.csv"]
    assert call(folder, "detect", *normal, "--out", out) == 0
    rows = [*csv.DictReader(out.open())]
    assert [row["unknown"] for row in rows] == ["", "", "pet", "", "pet, sure", ""]
    assert [row["prediction"] for row in rows][2::2] == ["-1", "-1"]
    assert "note: column 'pet': 2 values were not seen during fit" in capsys.readouterr().err
    assert call(folder, "detect", "--out", out, "--handle-unknown", "missing") == 0
    assert "unknown" not in next(csv.DictReader(out.open()))
    assert call(folder, "detect", "--out", out, "--handle-unknown", "error") == 2
    assert "'axolotl' in row 2" in capsys.readouterr().err
    assert call(folder, "detect", "--out", f"{folder}/bulk/") == 0
    table = pandas.read_parquet(folder / "bulk" / "odd.parquet")
    assert table["unknown"].tolist() == [row["unknown"] for row in rows]


@pytest.mark.parametrize("handling", ["missing", "flag"])
def test_transform_impute_and_evaluate(folder, handling, capsys, monkeypatch):
    # Measuring memory takes seconds, the first time.
    monkeypatch.setattr("isthmus.evaluation.likelihood.chunk_size", lambda *_: 64)
    flag = ["--handle-unknown", handling]
    assert call(folder, "transform", folder / f"codes-{handling}", *flag) == 0
    codes = pandas.read_csv(folder / f"codes-{handling}" / "odd.csv")
    assert ("unknown" in codes) == (handling == "flag")
    out = folder / f"full-{handling}.csv"
    gaps = ODD.copy()
    gaps.loc[0, "x"] = None
    gaps.to_csv(folder / "odd.csv", index=False)
    assert call(folder, "impute", *flag, "--out", out, "--draws", 5) == 0
    ODD.to_csv(folder / "odd.csv", index=False)
    pets = [row["pet"] for row in csv.DictReader(out.open())]
    assert ("axolotl" in pets) == (handling == "flag")
    assert call(folder, "evaluate", *flag, "--samples", 5) == 0
    assert "column 'sure': 1 value was not seen during fit" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "impute", "transform"])
def test_commands_refuse_by_default(folder, command, capsys):
    words = [folder / "codes"] if command == "transform" else []
    assert call(folder, command, *words) != 0
    assert "'axolotl' in row 2" in capsys.readouterr().err
