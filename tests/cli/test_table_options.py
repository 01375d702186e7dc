"""Options for reading tables: recorded in the run, so that later commands read the same way."""

import json
import shlex
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

import isthmus
from isthmus.cli import main
from isthmus.cli._parser import make_parser
from isthmus.cli._run_data import data_arguments
from isthmus.data import Columns
from isthmus.persistence.run_folder import read_columns
from isthmus.runs.data import load_for_run

pd = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")

N = 60
OPTIONS = ["--label", "kind", "--drop", "id", "--categorical", "room", "--numeric", "count"]
OPTIONS += ["--na-values", "none given,-999", "n.d.", "--decimal", ","]
FAST = ["--epochs", "1", "--hidden", "4", "--n-components", "2", "--quiet"]


def table(first_id):
    rng = np.random.default_rng(first_id)
    rows = ["id;size;room;count;price;kind"]
    for i in range(N):
        size = f"{rng.normal():.2f}".replace(".", ",")
        size = {5: "none given", 7: "-999", 9: "n.d.", 11: "?"}.get(i, size)
        price = f"{1000 + rng.integers(900):,} €".replace(",", ".")
        rows.append(f"N{first_id + i};{size};{1 + i % 3};{i % 2};{price};{'ab'[i % 2]}")
    return "\n".join(rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    (folder / "first.csv").write_text(table(0))
    (folder / "second.csv").write_text(table(1000))
    command = ["fit", str(folder / "first.csv"), "--out", str(folder / "run")]
    with redirect_stderr(StringIO()) as errors:
        assert main([*command, *OPTIONS, "--missing", "ignore", *FAST]) == 0
    (folder / "errors.txt").write_text(errors.getvalue())
    return folder


def test_fit_records_how_the_table_was_read(folder):
    columns = read_columns(folder / "run")
    assert columns.names == ("size", "room", "count", "price")
    assert [c.kind for c in columns.columns] == ["number", "category", "number", "number"]
    assert columns.columns[3].high > 1000  # the point separates thousands
    record = json.loads((folder / "run" / "config.json").read_text())["data"]
    assert record["table"]["na_values"] == ["none given", "-999", "n.d."]
    own = load_for_run(folder / "run")
    assert not own.notes[-1].startswith("the data differ")
    assert own.y[:2].tolist() == ["a", "b"]
    assert np.isnan(own.X[:, 0]).nonzero()[0].tolist() == [5, 7, 9, 11]


@pytest.mark.parametrize("other", ["second.csv", "second.parquet"])
def test_later_commands_read_other_tables_the_same_way(folder, other, capsys):
    frame = pd.read_csv(folder / "second.csv", sep=";", dtype=str)
    frame.to_parquet(folder / "second.parquet")
    run, path = str(folder / "run"), str(folder / other)
    expected = load_for_run(run, folder / "second.csv", label="kind").X
    np.testing.assert_array_equal(load_for_run(run, path, label="kind").X, expected)
    out = folder / f"codes-{Path(other).suffix[1:]}"
    assert main(["transform", run, path, str(out)]) == 0  # in chunks
    read = pd.read_parquet if other.endswith(".parquet") else pd.read_csv
    codes = read(out / other).to_numpy()
    np.testing.assert_array_equal(codes.astype("float32"), isthmus.load(run).transform(expected))
    assert main(["evaluate", run, path, "--label", "kind", "--samples", "2"]) == 0


@pytest.mark.parametrize("other", ["second.csv", "second.parquet"])
def test_the_label_column_of_the_run_is_no_feature_of_other_tables(folder, other):
    frame = pd.read_csv(folder / "second.csv", sep=";", dtype=str)
    frame.to_parquet(folder / "second.parquet")
    read = load_for_run(folder / "run", folder / other)
    assert read.y.tolist() == ["a", "b"] * (N // 2)


def test_the_commands_that_are_printed_next_work(folder, capsys):
    for command in (["report", str(folder / "run"), "--force"], ["fit", "first.csv", "--resume"]):
        words = [str(folder / "first.csv") if w == "first.csv" else w for w in command]
        words += ["--out", str(folder / "run")] if command[0] == "fit" else []
        assert main(words) == 0
        lines = capsys.readouterr().out.splitlines()
        printed = next(line for line in lines if line.startswith("  isthmus evaluate"))
        assert "--decimal , --na-values" in printed
        assert main([*shlex.split(printed)[1:], "--samples", "2"]) == 0


def test_impute_fills_the_gaps_of_a_table_in_its_own_spelling(folder):
    out = folder / "full.csv"
    command = ["impute", str(folder / "run"), str(folder / "second.csv"), "--label", "kind"]
    assert main([*command, "--draws", "2", "--out", str(out), "--force"]) == 0
    before, after = ((folder / "second.csv").read_text().split("\n"), out.read_text().split("\n"))
    changed = [i for i, (old, new) in enumerate(zip(before, after, strict=False)) if old != new]
    assert changed == [6, 8, 10, 12]
    assert "." not in after[6].split(";")[1]
    assert np.isfinite(float(after[6].split(";")[1].replace(",", ".")))


def test_notes_are_one_line_without_a_warning_of_python(folder):
    error = (folder / "errors.txt").read_text()
    assert "note: in 'price', signs such as '€' in '1." in error
    assert "UserWarning" not in error


def test_the_printed_command_repeats_the_options():
    options = ["--drop", "id,a b", '"c,d"', "--na-values", "x", "-9", "--decimal", ","]
    data = data_arguments(make_parser().parse_args(["fit", "t.csv", *options]))
    assert data.table.drop == ("id", "a b", "c,d")
    again = make_parser().parse_args(["fit", *shlex.split(data.command_line)])
    assert data_arguments(again) == data


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--drop", "idd"], "drop: there is no column 'idd'"),
        ([], "column 'size' holds 'none given' in row 5, which is not a number as"),
        (["--decimal", ";"], "--decimal"),
        (["--categorical", "room", "--numeric", "room"], "both in categorical and in numeric"),
    ],
)
def test_mistakes_are_one_line(folder, words, message, capsys):
    assert main(["fit", str(folder / "first.csv"), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_tune_takes_the_options(folder, tmp_path):
    command = ["tune", str(folder / "first.csv"), "--out", str(tmp_path / "out"), *OPTIONS]
    grid = ["--grid", "hidden=4,5", "--missing", "ignore"]
    assert main([*command, *grid, *FAST[:2], *FAST[4:]]) == 0
    assert Columns.to_json(read_columns(tmp_path / "out" / "best"))["options"]["drop"] == ["id"]
