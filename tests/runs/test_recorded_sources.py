"""A run may name any file as its data: only sources that this user recorded are read unasked."""

import json
import os
import shutil
import stat
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import pytest

import isthmus
from isthmus.applications import LatentIndex
from isthmus.cli import main
from isthmus.cli._options import add_arguments
from isthmus.cli.studio import COMMAND, _bundle
from isthmus.data import load
from isthmus.estimators import model_io
from isthmus.hub import save_pretrained
from isthmus.persistence import origin
from isthmus.persistence.integrity import with_new_checksum
from isthmus.report.page import link_live
from isthmus.runs import load_for_run
from isthmus.runs.data import CHANGED
from isthmus.runs.detector import detector_of_run
from isthmus.runs.studio_page import StudioPage

X = np.random.default_rng(0).normal(size=(60, 3)).round(3)
FAST = {"n_components": 2, "epochs": 2, "hidden": (8,), "random_state": 0}


@pytest.fixture(scope="module")
def secret(tmp_path_factory):
    """A table of the user that no stranger has a right to."""
    path = tmp_path_factory.mktemp("home") / "secret.csv"
    rows = [",".join(map(str, row)) for row in X]
    path.write_text("\n".join(["a,b,c", *rows]))
    return path


@pytest.fixture(scope="module")
def stranger(secret, tmp_path_factory):
    """A run from another machine whose files name the user's table, with valid checksums."""
    folder = tmp_path_factory.mktemp("received") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder.parent / "state of the stranger"))
        data = load(secret)
        model = isthmus.Autoencoder(**FAST).fit(data.rows)
        model_io.save(model, folder, data.fingerprint, np.arange(20))
        index = LatentIndex.from_fitted(model).fit(data.X)
        index.save(folder / "index of the stranger", data.fingerprint)
    return folder


@pytest.fixture
def received(stranger, tmp_path):
    return shutil.copytree(stranger, tmp_path / "run")


def do(*words):
    return main([*map(str, words)])


ENTRY_POINTS = {
    "search": ["search", "RUN", 3],
    "traverse": ["traverse", "RUN", "--row", 1],
    "interpolate": ["interpolate", "RUN", 0, 1],
    "sample around": ["sample", "RUN", "--around", 1],
    "sample mixture": ["sample", "RUN", "--source", "mixture"],
    "push": ["push", "RUN", "me/x", "--dry-run", "RUN/../published", "--examples"],
}


@pytest.mark.parametrize("words", ENTRY_POINTS.values(), ids=ENTRY_POINTS)
def test_commands_do_not_read_what_a_stranger_names(received, secret, words, capsys):
    before = sorted(received.rglob("*"))
    assert do(*(str(word).replace("RUN", str(received)) for word in words)) == 2
    error = capsys.readouterr().err
    assert f"records {secret} as its data" in error
    assert "name them by --data PATH" in error
    assert error.count("\n") == 1
    assert sorted(received.rglob("*")) == before
    assert not (received.parent / "published").exists()


def test_reports_show_no_rows_that_a_stranger_names(received, secret, capsys):
    assert do("report", received) == 2
    error = capsys.readouterr().err
    assert f"records {secret} as its data" in error
    assert "isthmus report" in error
    assert not (received / "report.html").exists()


def test_an_index_of_a_stranger_is_not_followed(received, secret, capsys):
    os.rename(received / "index of the stranger", received / "index")
    assert do("search", received, 3) == 2
    assert f"records {secret} as its data" in capsys.readouterr().err
    record = json.loads((received / "index" / "index.json").read_text())
    del record["sha256"]
    record["data"] = {"name": str(secret)}  # a name that is a path
    (received / "index" / "index.json").write_text(json.dumps(record))
    assert do("search", received, 3) == 2
    assert "was not recorded" in capsys.readouterr().err


def test_detect_does_not_calibrate_on_what_a_stranger_names(received, secret, tmp_path, capsys):
    assert do("detect", received, secret, "--out", tmp_path / "scores.csv") == 2
    error = capsys.readouterr().err
    assert "as its data" in error
    assert "--normal DATA" in error
    model = isthmus.load(received)
    with pytest.raises(ValueError, match="as its data"):
        detector_of_run(received, model)


def test_python_does_not_read_what_a_stranger_names(received, secret):
    with pytest.raises(ValueError, match="name them by --data PATH"):
        load_for_run(received)
    named = load_for_run(received, secret)
    np.testing.assert_allclose(named.X, X, rtol=1e-6)


def test_pages_show_no_rows_that_a_stranger_names(received, secret, monkeypatch, capsys):
    shown = []

    def write(folder, dataset, **options):
        shown.append(dataset)
        return StudioPage(folder / "studio.html", 0)

    monkeypatch.setattr("isthmus.runs.studio_page.write_studio_page", write)
    assert do("export", received, "--page") == 0
    assert f"without rows: {received} records {secret}" in capsys.readouterr().out
    assert do("export", received, "--page", "--data", secret) == 0
    assert shown[0] is None
    assert len(shown[1].X) == 60


def test_the_studio_shows_no_rows_that_a_stranger_names(received, secret):
    parser = ArgumentParser()
    add_arguments(parser, COMMAND.arguments)
    manifest = _bundle([received], parser.parse_args([str(received)])).manifest
    assert str(secret) in manifest["no_data_reason"]
    assert not manifest["rows"]


CHANGES = {
    "another file": {"source": "/etc/passwd"},
    "another label": {"label": "a"},
    "another column for ids": {"id_column": "b"},
    "other options": {"table": {"drop": ["a"]}},
    "another checksum": {"sha256": "0" * 64},
    "no code": {origin.CODE: None},
    "a code that is no string": {origin.CODE: 7},
    "a code of another alphabet": {origin.CODE: "é\udcff"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_record_is_not_used(secret, tmp_path, change):
    data = load(secret)
    model = isthmus.Autoencoder(**FAST).fit(data.rows)
    config = model_io.save(model, tmp_path, data.fingerprint)
    assert CHANGED not in load_for_run(tmp_path).notes
    config["data"] |= change
    (tmp_path / "config.json").write_text(json.dumps(with_new_checksum(config)))
    with pytest.raises(ValueError, match="name them by --data PATH"):
        load_for_run(tmp_path)


def test_a_code_is_not_valid_beside_another_model(secret, tmp_path):
    """Whoever received a run of the user cannot use its record for a model of their own."""
    data = load(secret)
    for name, seed in (("mine", 0), ("theirs", 1)):
        model = isthmus.Autoencoder(**FAST | {"random_state": seed}).fit(data.rows)
        model_io.save(model, tmp_path / name, data.fingerprint)
    mine, theirs = (tmp_path / name / "config.json" for name in ("mine", "theirs"))
    record = json.loads(mine.read_text())["data"]
    config = with_new_checksum(json.loads(theirs.read_text()) | {"data": record})
    theirs.write_text(json.dumps(config))
    with pytest.raises(ValueError, match="name them by --data PATH"):
        load_for_run(tmp_path / "theirs")


def test_data_within_the_run_are_read_unless_they_are_a_link(received, secret):
    inside = received / "rows.csv"
    config = json.loads((received / "config.json").read_text())
    config["data"]["source"] = str(inside)
    (received / "config.json").write_text(json.dumps(with_new_checksum(config)))
    shutil.copy(secret, inside)
    assert len(load_for_run(received).X) == 60
    inside.unlink()
    inside.symlink_to(secret)
    with pytest.raises(ValueError, match="name them by --data PATH"):
        load_for_run(received)
    config["data"]["source"] = os.path.relpath(secret)  # relative to the current folder
    (received / "config.json").write_text(json.dumps(with_new_checksum(config)))
    with pytest.raises(ValueError, match="name them by --data PATH"):
        load_for_run(received)


def test_known_data_sets_need_no_code(tmp_path):
    digits = load("digits")
    model = isthmus.Autoencoder(**FAST).fit(digits.X[:60])
    model_io.save(model, tmp_path, digits.fingerprint)
    assert origin.CODE not in json.loads((tmp_path / "config.json").read_text())["data"]
    assert load_for_run(tmp_path).name == "digits"


def test_the_key_is_private_and_made_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    first = origin.with_code({"source": "/x"}, "m")
    key = tmp_path / "state" / "isthmus" / "key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert first == origin.with_code({"source": "/x"}, "m")
    assert [path.name for path in key.parent.iterdir()] == ["key"]


def test_without_a_state_folder_the_home_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for state in ("", "relative/path"):
        monkeypatch.setenv("XDG_STATE_HOME", state)
        origin.with_code({"source": "/x"}, "m")
        assert (tmp_path / ".local/state/isthmus/key").is_file()
    assert not Path("relative").exists()


@pytest.mark.parametrize("obstacle", ["file", "folder", "short", "no home"])
def test_fit_works_without_a_key(secret, tmp_path, monkeypatch, obstacle):
    state = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    if obstacle == "file":
        state.write_text("")
    elif obstacle == "folder":
        (state / "isthmus" / "key").mkdir(parents=True)
    elif obstacle == "short":
        (state / "isthmus").mkdir(parents=True)
        (state / "isthmus" / "key").write_bytes(b"")
    else:
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
        monkeypatch.setenv("XDG_STATE_HOME", "")
    data = load(secret)
    model_io.save(isthmus.Autoencoder(**FAST).fit(data.rows), tmp_path / "run", data.fingerprint)
    with pytest.raises(ValueError, match="name them by --data PATH"):
        load_for_run(tmp_path / "run")


def test_published_configurations_hold_no_code(secret, tmp_path):
    pytest.importorskip("huggingface_hub")
    data = load(secret)
    model_io.save(isthmus.Autoencoder(**FAST).fit(data.rows), tmp_path / "run", data.fingerprint)
    save_pretrained(tmp_path / "run", tmp_path / "out")
    published = json.loads((tmp_path / "out" / "config.json").read_text())["data"]
    assert not {origin.CODE, "source"} & set(published)


@pytest.mark.parametrize("name", ["report.html", "history.jsonl", "model.safetensors"])
def test_a_link_out_of_a_run_is_not_published(received, tmp_path, name):
    pytest.importorskip("huggingface_hub")
    private = tmp_path / "private"
    (received / "report.html").write_text("<p>report</p>")
    os.rename(received / name, private)
    (received / name).symlink_to(private)
    with pytest.raises(ValueError, match="is a link out of the folder"):
        save_pretrained(received, tmp_path / "out", report=True)
    assert not (tmp_path / "out").exists()


def test_the_cache_of_the_hub_is_published_again(received, tmp_path):
    pytest.importorskip("huggingface_hub")
    blobs, snapshot = tmp_path / "models--me--x/blobs", tmp_path / "models--me--x/snapshots/c0ffee"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "history.jsonl"):
        shutil.copy(received / name, blobs / name[:3])
        (snapshot / name).symlink_to(Path("../../blobs", name[:3]))
    save_pretrained(snapshot, tmp_path / "out")
    assert isthmus.load(tmp_path / "out").n_components == 2


def test_a_page_does_not_change_a_report_that_is_a_link(tmp_path):
    (tmp_path / "run").mkdir()
    private, report = tmp_path / "private.html", tmp_path / "run" / "report.html"
    private.write_text('<p id="live" hidden></p>')
    report.symlink_to(private)
    link_live(report, "studio.html")
    assert private.read_text() == '<p id="live" hidden></p>'
    assert report.is_symlink()
