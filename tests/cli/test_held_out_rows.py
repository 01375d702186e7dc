"""Which rows `isthmus fit` holds out: by group or by time."""

import json

import numpy as np
import pytest

from isthmus.cli import main
from isthmus.data import load
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
