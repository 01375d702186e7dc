"""Which rows `isthmus fit` holds out: by group or by time."""

import json

import numpy as np
import pytest

import isthmus
from isthmus.cli import main
from isthmus.data import disk_array, load
from isthmus.evaluation.summary import held_out_summary
from isthmus.runs import load_for_run, recorded_split

pytestmark = pytest.mark.usefixtures("undrawn_report")


@pytest.fixture
def table(tmp_path):
    """Return a table of 60 visits of 12 patients, in order of time."""
    rng, lines = np.random.default_rng(0), ["visit,patient,weight,height"]
    for visit in range(60):
        weight, height = rng.normal(size=2)
        lines.append(f"{visit},p{visit % 12},{weight:.3f},{height:.3f}")
    path = tmp_path / "visits.csv"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def call(fast, tmp_path):
    """Return a function that fits a run with flags, and returns its folder."""

    def fit(table, *flags):
        out = tmp_path / "run"
        assert main(["fit", str(table), "--out", str(out), "--quiet", *fast, *flags]) == 0
        return out

    return fit


def test_patients_are_held_out_whole(call, table):
    run = call(table, "--groups", "patient", "--drop", "visit")
    data = load_for_run(run)
    assert data.columns.names == ("weight", "height")
    rows = recorded_split(run, data).test_rows
    held = data.groups[rows]
    assert len(rows) == 5
    assert not {*held} & {*np.delete(data.groups, rows)}
    assert json.loads((run / "config.json").read_text())["data"]["group_column"] == "patient"


def test_the_last_visits_are_held_out(call, table):
    run = call(table, "--id", "visit", "--drop", "patient", "--validation-split", "time")
    assert recorded_split(run, load_for_run(run)).test_rows.tolist() == list(range(54, 60))


def test_other_tables_need_no_groups(call, table, tmp_path):
    run = call(table, "--groups", "patient", "--drop", "visit")
    other = tmp_path / "other.csv"
    other.write_text("weight,height\n0.1,0.2\n0.3,0.4\n")
    assert load_for_run(run, other).groups is None
    assert len(load_for_run(run, table).groups) == 60


def test_errors_are_one_line(table, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"expected the group column .*'patent'.*Did you mean"):
        load(table, group_column="patent")
    assert main(["fit", str(tmp_path / "x.npy"), "--groups", "patient"]) == 2
    assert "--groups" in capsys.readouterr().err


@pytest.fixture
def weighted(tmp_path):
    """Return a table with weights 0 to 3, one whose rows are repeated instead, and the weights."""
    rng = np.random.default_rng(0)
    rows, weights = rng.normal(size=(60, 3)).round(3), rng.integers(0, 4, 60)
    paths = [tmp_path / name for name in ("weighted.csv", "absent.csv", "repeated.csv")]
    kept = weights > 0
    contents = (
        ("a,times,b,c", np.c_[rows[:, :1], weights, rows[:, 1:]]),
        ("a,times,b,c", np.c_[rows[:, :1], weights, rows[:, 1:]][kept]),
        ("a,b,c", rows.repeat(weights, 0)),
    )
    for path, (head, table) in zip(paths, contents, strict=True):
        path.write_text("\n".join([head, *(",".join(map(str, row)) for row in table)]))
    return *paths, weights


def test_rows_of_weight_0_are_as_absent(weighted, call):
    table, absent, _, weights = weighted
    flags = ["--weights", "times"]
    results = []
    for path in (table, absent):
        run = call(path, *flags, "--force")
        config = json.loads((run / "config.json").read_text())
        results.append((config["held_out"], isthmus.load(run).transform(np.eye(3)).tolist()))
        assert config["data"]["weight_column"] == "times"
    assert results[0] == results[1]
    run = call(table, *flags, "--force")
    data = load_for_run(run)
    assert data.columns.names == ("a", "b", "c")
    assert data.weights.tolist() == weights.tolist()
    assert (data.weights[recorded_split(run, data).test_rows] > 0).all()
    assert main(["transform", str(run), str(table), str(run / "codes")]) == 0
    assert (run / "codes" / "weighted.csv").is_file()
    report = (run / "report.html").read_text()
    (run / "report.html").unlink()
    assert main(["report", str(run), "--quiet"]) == 0
    assert json.loads((run / "config.json").read_text())["held_out"] == results[0][0]
    assert len((run / "report.html").read_text()) > len(report) / 2


def test_a_row_of_weight_2_is_a_row_twice(weighted, call):
    table, _, repeated, _ = weighted
    flags = ["--test-fraction", "0", "--model", "autoencoder", "--validation-fraction", "0"]
    flags += ["--batch-size", "500", "--force", "--epochs", "3"]
    models = [
        isthmus.load(call(path, *flags, *own)).transform(np.eye(3))
        for path, own in ((table, ["--weights", "times"]), (repeated, []))
    ]
    np.testing.assert_allclose(*models, atol=1e-4)


def test_the_summary_counts_weights(weighted):
    X, weights = load(weighted[0], weight_column="times").X, weighted[3]
    model = isthmus.VAE(n_components=2, hidden=(4,), epochs=1, random_state=0).fit(X)
    summary = held_out_summary(model, X, X, None, weights)
    repeated = held_out_summary(model, X, X.repeat(weights, 0))
    assert summary == repeated | {"rows": 60}


def test_tune_counts_weights(weighted, tmp_path, fast):
    table, absent, *_ = weighted
    found = []
    for path in (table, absent):
        out = str(tmp_path / path.stem)
        flags = ["--weights", "times", "--grid", "learning-rate=0.001,0.01", "--random-state", "0"]
        assert main(["tune", str(path), *flags, "--out", out, "--quiet", *fast]) == 0
        found.append(json.loads((tmp_path / path.stem / "best" / "config.json").read_text()))
    assert found[0]["held_out"] == found[1]["held_out"]
    assert found[0]["data"]["weight_column"] == "times"


@pytest.mark.parametrize("column", ["times", "group"])
def test_folders_of_parquet(weighted, tmp_path, call, column, monkeypatch):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.read_csv(weighted[0])
    frame["group"] = [f"g{i % 7}" for i in range(60)]
    folder = tmp_path / "parts"
    folder.mkdir()
    for i in range(3):
        frame[20 * i : 20 * i + 20].to_parquet(folder / f"{i}.parquet", row_group_size=5)
    flag = {"times": ["--weights", "times", "--drop", "group"], "group": ["--groups", "group"]}
    run = call(folder, *flag[column])
    data = load_for_run(run)
    assert data.X.shape == (60, 3 if column == "times" else 4)
    held = recorded_split(run, data).test_rows
    if column == "group":
        assert not {*data.groups[held]} & {*np.delete(data.groups, held)}
    else:
        assert (data.weights[held] > 0).all()
    monkeypatch.setattr(disk_array, "MAX_IN_MEMORY", 0)
    out = call(folder, *flag[column], "--force")
    held = recorded_split(out, load_for_run(out)).test_rows
    if column == "group":
        assert not {*data.groups[held]} & {*np.delete(data.groups, held)}
    with pytest.raises(ValueError, match="Did you mean 'times'"):
        load(folder, weight_column="time")
    with pytest.raises(ValueError, match="drop, columns, label, groups and weights apply"):
        load(folder, categorical="a")


@pytest.mark.parametrize(
    ("cell", "message"),
    [("", "row 3 is missing"), ("-1", "row 3 is -1"), ("inf", "row 3 is inf"), ("x", "'x'")],
)
def test_errors_of_weights(cell, message, tmp_path):
    lines = [f"{i},{i % 5},1" for i in range(10)]
    lines[3] = f"3,2,{cell}"
    (tmp_path / "t.csv").write_text("\n".join(["a,b,w", *lines]))
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "t.csv", weight_column="w")
    with pytest.raises(ValueError, match="expected the weight column to be the name of one column"):
        load(tmp_path / "t.csv", weight_column="u")


def test_weights_with_decimal_commas_and_gaps_in_rows_of_weight_0(tmp_path, call):
    lines = ["a;w;b"] + [f"{i},5;{int(i != 4)},25;{i % 7},0" for i in range(40)]
    lines[5] = ";0;1,0"
    (tmp_path / "t.csv").write_text("\n".join(lines))
    assert load(tmp_path / "t.csv", weight_column="w").weights[:5].tolist() == [1.25] * 4 + [0]
    call(tmp_path / "t.csv", "--weights", "w")
