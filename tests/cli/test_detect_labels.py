"""`isthmus detect --label`, and columns beside the features, in every verb."""

import csv

import numpy as np
import pandas as pd
import pytest

from isthmus import Autoencoder
from isthmus.cli import main
from isthmus.data import load
from isthmus.estimators import model_io


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a run, normal rows and rows with names, notes and labels."""
    folder, rng = tmp_path_factory.mktemp("labels"), np.random.default_rng(0)
    pd.DataFrame(rng.normal(size=(120, 3)).round(3), columns=[*"abc"]).to_csv(
        folder / "normal.csv", index=False
    )
    frame = pd.DataFrame(rng.normal(size=(50, 3)).round(3), columns=[*"abc"])
    frame.iloc[45:] += 20
    frame["who"] = [f"r{i}" for i in range(50)]
    frame["note"] = ["x", "y"] * 25
    frame["fault"] = [0] * 45 + [1] * 5
    frame.to_csv(folder / "new.csv", index=False)
    frame.to_parquet(folder / "new.parquet")
    data = load(folder / "normal.csv")
    model = Autoencoder(n_components=2, hidden=(4,), epochs=2, random_state=0).fit(data.rows)
    model_io.save(model, folder / "run", data.fingerprint)
    return folder


@pytest.fixture
def detect(folder, monkeypatch, capsys):
    """Run `isthmus detect` with normal rows; return the code and what was printed."""
    monkeypatch.chdir(folder)

    def call(*words):
        code = main(["detect", "run", *words, "--normal", "normal.csv"])
        return code, "".join(capsys.readouterr())

    return call


@pytest.mark.parametrize("name", ["new.csv", "new.parquet"])
def test_quality_is_printed_and_label_and_id_are_kept(detect, folder, name):
    words = ["--label", "fault", "--id", "who", "--keep", "note", "--out", "s.csv"]
    code, printed = detect(name, *words)
    assert code == 0, printed
    for line in ("AUROC", "average precision", "precision of flagged", "recall of anomalous"):
        assert line in printed
    with (folder / "s.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert [*rows[0]][:4] == ["row", "who", "fault", "note"]
    assert (rows[49]["who"], rows[49]["fault"], rows[49]["note"]) == ("r49", "1", "y")


def test_many_files_are_measured_together(detect, folder):
    code, printed = detect("new.csv", "--label", "fault", "--out", "m/")
    assert code == 0, printed
    assert "AUROC" in printed
    assert "fault" in pd.read_parquet(folder / "m" / "new.parquet")


def test_labels_of_anomalies_can_be_named(detect):
    code, printed = detect("new.csv", "--label", "note", "--out", "s.csv")
    assert (code, "name the labels of anomalous rows by --anomalous" in printed) == (0, True)
    code, printed = detect("new.csv", "--label", "note", "--anomalous", "y", "--out", "s.csv")
    assert (code, "AUROC" in printed) == (0, True)
    code, printed = detect("new.csv", "--label", "note", "--anomalous", "z", "--out", "s.csv")
    assert (code, "no row has the label 'z'; labels: x, y" in printed) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        ["detect", "run", "new.csv", "--normal", "normal.csv", "--out", "s.csv"],
        ["evaluate", "run", "new.parquet", "--samples", "1"],
        ["search", "run", "3", "--data", "new.csv"],
        ["compress", "run", "new.csv", "--out", "c.npz"],
        ["transform", "run", "new.csv", "codes/", "--force"],
    ],
)
def test_columns_the_model_does_not_use_are_left_out(folder, monkeypatch, words, capsys):
    monkeypatch.chdir(folder)
    assert main(words) == 0
    noted = "columns the model does not use: who, note, fault" in capsys.readouterr().err
    assert noted or words[0] == "transform"
