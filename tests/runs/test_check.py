"""`check_run` and `isthmus check`: verdicts on saved runs, with and without their data."""

import json

import numpy as np
import pytest

from isthmus import Autoencoder, BetaVAE, load
from isthmus.cli import main
from isthmus.evaluation.checks import Findings, trials
from isthmus.hub.card import card_text
from isthmus.persistence.run_folder import read_config
from isthmus.runs import RunOptions, check_run, fit_run, report_run

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 2)) @ RNG.normal(size=(2, 5)) + 0.3 * RNG.normal(size=(400, 5))
COLLAPSED = BetaVAE(beta=100.0, n_components=2, hidden=(8,), epochs=60, random_state=0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("check")
    np.save(folder / "rows.npy", X)
    np.save(folder / "narrow.npy", X[:, :4])
    return fit_run(COLLAPSED, folder / "rows.npy", RunOptions(folder / "run", quiet=True))


def command(capsys, *words):
    code = main(["check", *map(str, words)])
    return code, *capsys.readouterr()


def test_fit_keeps_its_findings_and_shows_at_most_three(run):
    first = run.findings[0]
    assert (first.name, first.severity, len(run.findings)) == ("collapsed units", "failure", 1)
    config = read_config(run.folder)
    saved = Findings.from_dicts(config["findings"])
    assert saved.in_summary == run.findings
    assert len(saved) > len(run.findings)
    assert all(each.severity != "ok" for each in saved)
    line = "failure: 0 of 2 components of the code carry information"
    assert line in run.report.read_text(encoding="utf-8")
    pytest.importorskip("huggingface_hub")
    assert line in card_text(load(run.folder), config, [])
    assert report_run(run.folder, quiet=True).findings == run.findings


def test_the_summary_names_the_flags(run, capsys):
    main(["report", str(run.folder)])
    assert "Try --beta 1.0." in capsys.readouterr().out


def test_a_run_is_checked_on_its_own_split(run):
    found = check_run(run.folder)
    assert found[0].name == "collapsed units"
    assert found.rows == ("360 training rows", "40 test rows")
    assert found.to_dict() == check_run(run.folder, run.folder.parent / "rows.npy").to_dict()


def test_the_exit_code_is_1_only_with_strict_and_a_failure(run, capsys):
    code, out, _ = command(capsys, run.folder)
    assert code == 0
    assert "collapsed units" in out
    assert "Measured on 360 training rows, 40 test rows." in out
    assert command(capsys, run.folder, "--strict")[0] == 1


def test_json_is_all_that_is_printed(run, capsys):
    code, out, _ = command(capsys, run.folder, "--json")
    assert (code, json.loads(out)["worst"]) == (0, "failure")


def test_a_run_without_its_data_makes_the_other_checks(run, capsys, tmp_path):
    moved = run.folder.parent / "rows.npy"
    moved.rename(tmp_path / "rows.npy")
    try:
        code, out, _ = command(capsys, run.folder, "--json")
    finally:
        (tmp_path / "rows.npy").rename(moved)
    found = json.loads(out)
    assert (code, found["rows"]) == (0, [])
    assert [each["name"] for each in found["findings"]] == ["unconverged training"]
    reasons = {each["name"]: each["reason"] for each in found["not_made"]}
    assert reasons["collapsed units"].startswith("needs training rows: the data of")


def test_a_model_without_a_run_makes_the_other_checks(tmp_path):
    Autoencoder(n_components=2, hidden=(8,), epochs=9, random_state=0).fit(X).save(tmp_path / "m")
    found = check_run(tmp_path / "m")
    assert [each.name for each in found] == ["unconverged training"]
    assert all("no record of its data" in reason for _, reason in found.not_made)


def test_other_data_are_new_rows(run):
    found = check_run(run.folder, new=run.folder.parent / "rows.npy")
    assert found.rows == ("360 training rows", "40 test rows", "400 new rows")
    np.save(run.folder.parent / "other.npy", X + 5)
    found = check_run(run.folder, run.folder.parent / "other.npy")
    assert found.rows == ("400 new rows",)
    assert any("differs from the data that the run was fitted on" in r for _, r in found.not_made)


def test_another_number_of_features_is_one_clear_line(run, capsys):
    for words in (["narrow.npy"], ["--new", "narrow.npy"]):
        paths = [run.folder.parent / word if "." in word else word for word in words]
        code, _, error = command(capsys, run.folder, *paths)
        assert code == 2
        assert "4" in error
        assert "5" in error
        assert len(error.strip().splitlines()) == 1, error


@pytest.mark.slow
def test_proposed_settings_are_tried(run):
    found = check_run(run.folder, try_remedies=True)
    trials = found[0].remedy.trials
    assert [trial.settings for trial in trials] == [*found[0].remedy.options]
    assert trials[0].helped
    assert trials[0].settings == {"beta": 1.0}
    assert "beta=1.0 helped (from 0 to 1; +" in " ".join(str(found).split())
    assert json.loads(found.to_json())["findings"][0]["remedy"]["trials"][0]["helped"] is True


def test_trials_are_printed_and_part_of_the_json(run, capsys, monkeypatch):
    monkeypatch.setattr(trials, "MOST_SECONDS", 0.0)
    code, out, _ = command(capsys, run.folder, "--try")
    assert code == 0
    assert "could not be tried (all trials together may take 0 minutes)" in " ".join(out.split())
    code, out, _ = command(capsys, run.folder, "--try", "--json", "--strict")
    tried = json.loads(out)["findings"][0]["remedy"]["trials"]
    assert (code, tried[0]["settings"], tried[0]["helped"]) == (1, {"beta": 1.0}, False)
    assert tried[0]["error"]


def test_trials_of_a_model_without_a_run_are_not_made(tmp_path, capsys):
    Autoencoder(n_components=2, hidden=(8,), epochs=9, random_state=0).fit(X).save(tmp_path / "m")
    code, out, _ = command(capsys, tmp_path / "m", "--try")
    assert code == 0
    assert "trials of settings" in out
