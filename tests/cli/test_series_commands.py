import re

import numpy as np
import pandas as pd
import pytest

from isthmus.cli import main
from isthmus.data import load

N = 600
TIMES = pd.date_range("2024-01-01", periods=N, freq="h")
FIT = ["--model", "autoencoder", "--n-components", "4", "--hidden", "16", "--epochs", "3"]


def log():
    t, rng = np.arange(N)[:, None], np.random.default_rng(0)
    x = np.sin(2 * np.pi * t / 24 + [0, 1]) + rng.normal(0, 0.1, (N, 2))
    frame = pd.DataFrame(x, columns=["flow", "heat"]).assign(fault=0)
    frame.insert(0, "timestamp", TIMES)
    return frame


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    log().drop(columns="fault").to_csv(folder / "log.csv", index=False)
    broken = log()
    broken.loc[300:309, "heat"] += 3
    broken.loc[300:309, "fault"] = 1
    broken.drop(index=range(100, 120)).to_csv(folder / "broken.csv", index=False)
    zoned = broken.assign(timestamp=TIMES.tz_localize("Europe/Berlin"), other=1.0)
    zoned[["heat", "flow", "timestamp", "fault", "other"]].to_parquet(folder / "zoned.parquet")
    arguments = [
        "fit",
        str(folder / "log.csv"),
        "--time",
        "timestamp",
        "--out",
        str(folder / "run"),
    ]
    assert main([*arguments, *FIT, "--random-state", "0", "--quiet"]) == 0
    return folder


def test_windows_of_a_series_are_a_dataset(folder):
    data = load(folder / "log.csv", time_column="timestamp", size=12)
    assert data.X.shape == (N - 11, 2, 12)
    assert data.ids["timestamp"][5] == "2024-01-01T05:00:00.000000000"
    frame = pd.read_csv(folder / "log.csv")
    np.testing.assert_array_equal(data.X[7], frame[["flow", "heat"]].to_numpy()[7:19].T)
    assert (np.diff(data.groups) >= 0).all()
    assert len(set(data.groups)) == 13
    assert load(folder / "log.csv", time_column="timestamp").X.shape[1:] == (2, 24)


def test_detect_writes_scores_by_time_segments_and_a_picture(folder, capsys):
    out = folder / "scores.csv"
    arguments = ["detect", str(folder / "run"), str(folder / "broken.csv"), "--label", "fault"]
    assert main([*arguments, "--out", str(out)]) == 0
    printed, notes = capsys.readouterr()
    assert "20 of 600 steps" in notes
    assert "AUROC" in printed
    assert "held-out steps of the run" in printed
    scores, given = pd.read_csv(out), pd.read_csv(folder / "broken.csv")
    assert scores["timestamp"].tolist() == given["timestamp"].tolist()
    worst = scores.loc[scores["anomaly_score"].idxmax()]
    assert worst["channel"] == "heat"
    assert worst["prediction"] == -1
    assert "2024-01-13 00" <= worst["timestamp"] <= "2024-01-14 00"
    segments = pd.read_csv(folder / "scores-segments.csv")
    assert segments.loc[segments["score"].idxmax(), "channels"] == "heat"
    assert (folder / "scores.png").read_bytes().startswith(b"\x89PNG")


def test_stored_detector_scores_another_file_with_channels_by_name(folder):
    out = folder / "zoned.csv"
    run, data = str(folder / "run"), str(folder / "zoned.parquet")
    assert main(["detect", run, data, "--label", "fault", "--out", str(out)]) == 0
    scores = pd.read_csv(out)
    assert scores.loc[scores["anomaly_score"].idxmax(), "channel"] == "heat"
    segments = pd.read_csv(folder / "zoned-segments.csv")
    assert segments["start"].str.endswith("+00:00").all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["detect", "RUN", "log.csv", "--score", "nap"], "--score nap is not for time series"),
        (["detect", "RUN", "log.csv", "--time", "when"], "time column .* got 'when'"),
        (["detect", "RUN", "log.csv", "--drop", "heat"], "no column 'heat'|no channel 'heat'"),
        (["fit", "log.csv", "--time", "heat"], "irregular|steps|log.csv"),
        (["fit", "log.csv", "--time", "timestamp", "--window", "700"], "600 steps, fewer than a"),
        (["fit", "log.csv", "--time", "timestamp", "--groups", "heat"], "not for a time series"),
        (["fit", "digits", "--time", "timestamp"], "is for tables"),
    ],
)
def test_wrong_input_is_one_line(folder, arguments, message, capsys):
    words = [str(folder / w) if w.endswith(".csv") else w for w in arguments]
    words = [str(folder / "run") if w == "RUN" else w for w in words]
    out = ["--out", str(folder / ("x.csv" if words[0] == "detect" else "other"))]
    assert main([*words, *out]) != 0
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(message, error), error


def test_impute_fills_the_gaps_of_a_series(folder, capsys):
    gappy = log().drop(columns="fault")
    true = gappy.loc[200:219, "flow"].to_numpy(copy=True)
    gappy.loc[200:219, "flow"] = np.nan
    gappy.to_csv(folder / "gappy.csv", index=False)
    arguments = ["impute", str(folder / "run"), str(folder / "gappy.csv")]
    assert main(arguments) == 0
    assert "20" in capsys.readouterr().out
    filled = pd.read_csv(folder / "run" / "gappy-imputed.csv")
    assert filled["timestamp"].tolist() == gappy["timestamp"].astype(str).tolist()
    assert np.abs(filled.loc[200:219, "flow"] - true).mean() < 0.2
    assert (filled.loc[200:219, "flow_std"] > 0.05).all()
    pd.testing.assert_series_equal(filled["heat"], gappy["heat"])
    assert (folder / "run" / "gappy-imputed.png").is_file()
    assert main(arguments) != 0
    assert "already exists; add --force" in capsys.readouterr().err
    assert main(["impute", str(folder / "run"), str(folder / "log.csv")]) != 0
    assert "has no missing values" in capsys.readouterr().err
