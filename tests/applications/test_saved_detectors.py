"""A saved detector has its threshold and calibration; `isthmus detect` stores one in the run."""

import csv
import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_iris

import isthmus
from isthmus.applications import AnomalyDetector
from isthmus.applications.anomaly_scores import SCORES
from isthmus.cli import main
from isthmus.persistence.origin import with_code
from isthmus.runs import RunOptions, fit_run

X, ODD = load_iris().data, load_iris().data[:20] * [1, 3, 1, 3]
FAST = {"n_components": 2, "hidden": (8,), "epochs": 3, "random_state": 0}


def check_equal(one, other):
    for rows in (X, ODD):
        np.testing.assert_array_equal(one.decision_function(rows), other.decision_function(rows))
        np.testing.assert_array_equal(one.anomaly_pvalue(rows), other.anomaly_pvalue(rows))
        np.testing.assert_array_equal(
            one.explain(rows, "likelihood"), other.explain(rows, "likelihood")
        )


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("models", [True, False], ids=["with model", "without model"])
def test_loaded_detector_gives_the_same_results(score, models, tmp_path):
    detector = AnomalyDetector(isthmus.VAE(**FAST), score_method=score, random_state=1).fit(X)
    detector.save(tmp_path / "new" / "folder", models=models)
    again = AnomalyDetector.load(
        tmp_path / "new" / "folder", *([] if models else [detector.estimator_])
    )
    check_equal(again, detector)
    settings = {k: v for k, v in detector.get_params(deep=False).items() if k != "estimator"}
    assert {k: getattr(again, k) for k in settings} == settings
    assert again.n_features_in_ == 4


def test_several_models_a_tuned_threshold_and_a_random_state_object(tmp_path):
    pair = [isthmus.VAE(**FAST), isthmus.Autoencoder(**FAST)]
    detector = AnomalyDetector(pair, random_state=np.random.RandomState(0)).fit(X)
    detector.tune_threshold(np.concatenate([X, ODD]), np.repeat([1, -1], [len(X), len(ODD)]))
    detector.save(tmp_path)
    again = AnomalyDetector.load(tmp_path)
    check_equal(again, detector)
    assert [type(model).__name__ for model in again.estimators_] == ["VAE", "Autoencoder"]
    check_equal(AnomalyDetector.load(tmp_path, detector.estimators_), detector)


def test_other_rates_set_the_threshold_again(tmp_path):
    detector = AnomalyDetector(isthmus.VAE(**FAST).fit(X[::2])).fit(X[1::2])
    detector.save(tmp_path)
    for settings in ({"false_alarm_rate": 0.3}, {"contamination": 0.2}):
        again = AnomalyDetector.load(tmp_path, **settings)
        expected = AnomalyDetector(detector.estimator_, **settings).fit(X[1::2])
        assert again.offset_ == expected.offset_ != detector.offset_
    with pytest.raises(ValueError, match="score_method of a saved detector cannot be replaced"):
        AnomalyDetector.load(tmp_path, score_method="nap")


def test_frames_keep_their_columns(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": X[:, 0], "kind": ["a", "b", "c"] * 50})
    detector = AnomalyDetector(isthmus.VAE(**FAST), random_state=0).fit(frame)
    detector.save(tmp_path)
    again = AnomalyDetector.load(tmp_path)
    np.testing.assert_array_equal(again.predict(frame[["kind", "x"]]), detector.predict(frame))
    assert again.feature_names_in_.tolist() == ["x", "kind"]


def edit_arrays(**new):
    def damage(folder):
        file = folder / "detector.safetensors"
        save_file({**load_file(file), **new}, file)
        edit_record(sha256=None)(folder)

    return damage


def edit_record(**new):
    def damage(folder):
        file = folder / "detector.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | new))

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        edit_arrays(offset=np.array([np.nan])),
        edit_arrays(offset=np.zeros(2)),
        edit_arrays(calibration=np.array([1.0, 0.0])),
        edit_arrays(calibration=np.array([0.0, np.nan])),
        edit_arrays(calibration=np.zeros(3, np.float32)),
        edit_arrays(**{"0.mean": np.zeros(7)}),
        edit_arrays(**{"0.directions": np.full((2, 2), np.inf)}),
        edit_arrays(**{"0.directions": np.zeros((2, 9))}),
        edit_record(sha256=None, n_models=0),
        edit_record(sha256=None, n_models=2),
        edit_record(sha256=None, settings={"score_method": "latent", "contamination": [1]}),
        edit_record(sha256=None, settings={"score_method": "os.system"}),
        edit_record(sha256=None, settings={"score_method": "latent", "contamination": 7}),
        edit_record(sha256=None, format=99),
        edit_record(model=""),
    ],
)
def test_invalid_files_raise_one_line(damage, tmp_path):
    model = isthmus.VAE(**FAST).fit(X)
    AnomalyDetector(model, score_method="latent", random_state=0).fit(X).save(
        tmp_path, models=False
    )
    AnomalyDetector.load(tmp_path, model)
    damage(tmp_path)
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        AnomalyDetector.load(tmp_path, model)
    assert "\n" not in str(raised.value)


def test_another_model_or_no_detector_is_refused(tmp_path):
    detector = AnomalyDetector(isthmus.VAE(**FAST), random_state=0).fit(X)
    detector.save(tmp_path)
    with pytest.raises(ValueError, match="belongs to another model"):
        AnomalyDetector.load(tmp_path, isthmus.VAE(**FAST).fit(X))
    with pytest.raises(FileNotFoundError, match="contains no detector"):
        AnomalyDetector.load(tmp_path / "model-0")


# --------------------------------------------------------------------- the command


def write(path, rows):
    np.savetxt(path, rows, delimiter=",", header="a,b,c,d", comments="")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    write(folder / "all.csv", X)
    options = RunOptions(out=folder / "run", test_fraction=0.3, quiet=True)
    fit_run(isthmus.VAE(**FAST), folder / "all.csv", options)
    return folder


def detect(folder, name, rows, *words):
    write(folder / f"{name}.csv", rows)
    out = folder / f"{name}-scores.csv"
    words = ["detect", folder / "run", folder / f"{name}.csv", "--out", out, *words]
    assert main(list(map(str, words))) == 0
    with out.open() as file:
        return [*csv.DictReader(file)]


def verdicts(table):
    return [(row["anomaly_score"], row["pvalue"], row["prediction"]) for row in table]


@pytest.mark.parametrize("score", ["reconstruction", "nap", "whitened"])
def test_verdict_on_a_row_does_not_depend_on_the_file(score, table, capsys):
    one = detect(table, "monday", np.concatenate([X[:5], ODD]), "--score", score)
    assert "45 held-out rows of the run" in " ".join(capsys.readouterr().out.split())
    other = detect(table, "tuesday", np.concatenate([X[:5], X[60:70]]), "--score", score)
    assert verdicts(one)[:5] == verdicts(other)[:5]
    again = AnomalyDetector.load(table / "run" / "detector" / score, isthmus.load(table / "run"))
    assert len(again.calibration_scores_) == 45
    rows = np.concatenate([X[:5], ODD])
    assert [int(row["prediction"]) for row in one] == again.predict(rows).tolist()


def test_normal_rows_recalibrate_the_detector_of_the_run(table, capsys):
    words = ["--score", "latent"]
    write(table / "good.csv", X[:50])
    first = detect(table, "wednesday", ODD, *words, "--normal", table / "good.csv")
    (table / "good.csv").unlink()
    capsys.readouterr()
    assert verdicts(detect(table, "thursday", ODD, *words)) == verdicts(first)
    assert "good.csv" in capsys.readouterr().out
    few = detect(table, "friday", ODD, *words, "--false-alarm-rate", 0.001)
    assert "too few for a false alarm rate of 0.001, which takes 999" in capsys.readouterr().err
    assert {row["anomaly_score"] for row in few} == {row["anomaly_score"] for row in first}


def test_files_in_bulk_share_the_detector_of_the_run(table):
    pytest.importorskip("pyarrow")
    one = detect(table, "saturday", ODD, "--score", "likelihood")
    words = ["detect", table / "run", table / "saturday.csv", "--out", f"{table}/out/"]
    assert main([*map(str, words), "--score", "likelihood"]) == 0
    from pyarrow import parquet

    many = parquet.read_table(table / "out" / "saturday.parquet").to_pylist()
    assert [row["pvalue"] for row in many] == [float(row["pvalue"]) for row in one]


def test_changed_data_cannot_calibrate(table, tmp_path, capsys):
    source, copy = tmp_path / "all.csv", tmp_path / "run"
    shutil.copytree(table / "run", copy, ignore=shutil.ignore_patterns("detector"))
    config = json.loads((copy / "config.json").read_text()) | {"sha256": None}
    config["data"] = with_code(config["data"] | {"source": str(source)}, "None")
    (copy / "config.json").write_text(json.dumps(config))
    for changed in (source, tmp_path / "moved.csv"):
        write(changed, X + 1)
        assert main(["detect", str(copy), str(changed), "--out", f"{tmp_path}/s.csv"]) == 2
        error = capsys.readouterr().err
        assert "name normal rows that the run was not trained on by --normal DATA" in error
        assert error.count("\n") == 1
        assert "--data" not in error
        source.unlink(missing_ok=True)
