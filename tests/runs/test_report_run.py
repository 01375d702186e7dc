"""What follows training: made by fit, by fit --resume and by isthmus report, whoever is killed."""

import json
import shutil

import numpy as np
import pytest

import isthmus
from isthmus.cli import main
from isthmus.data import Dataset, load
from isthmus.estimators import model_io
from isthmus.persistence.run_folder import CHECKPOINTS, find_checkpoints, read_config
from isthmus.report import REPORT, model_of_report
from isthmus.runs import RunOptions, fit_run, report_run
from isthmus.runs.folders import DERIVED, remove_derived
from isthmus.training import Callback, Checkpoint
from isthmus.training.training_log import TRAINING_LOG

pytestmark = pytest.mark.usefixtures("undrawn_report")

FLAGS = ["--epochs", "2", "--hidden", "8", "--n-components", "2", "--random-state", "0", "--quiet"]
SMALL = {"n_components": 2, "hidden": (8,), "epochs": 2, "progress": "none", "random_state": 0}
DATA = Dataset("small", np.random.default_rng(0).random((60, 4)).astype("f4"))
FIT = ["fit", "digits", *FLAGS]


class Killed(BaseException):
    """Stands for SIGKILL: nothing that the command does may catch it."""


class StopInSecondEpoch(Callback):
    def on_step(self, trainer, n_rows):
        if trainer.outcome.history:
            trainer.stop_request.reason = "interrupted"


def killed_at(place, monkeypatch, arguments):
    """Run a command that ends where a function is called, as if it were killed there."""

    def kill(*args, **options):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(place, kill)
        patch.setattr("isthmus.runs.fit.remove_training_log", lambda folder: None)
        with pytest.raises(Killed):
            main(arguments)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([*FIT, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def run(whole, tmp_path):
    """A copy of the finished run."""
    return shutil.copytree(whole, tmp_path / "run")


@pytest.mark.parametrize("place", ["held_out_summary", "write_report", "remove_derived"])
@pytest.mark.parametrize("command", ["fit --resume", "report", "report DATA"])
def test_what_a_killed_run_lacks_is_made(place, command, whole, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    module = "fit" if place == "remove_derived" else "report"
    fit = [*FIT, "--checkpoint-every", "none", "--out", str(out)]
    killed_at(f"isthmus.runs.{module}.{place}", monkeypatch, fit)
    assert isthmus.load(out).n_iter_ == 2
    assert not (out / REPORT).exists()
    again = {
        "fit --resume": ["fit", "digits", "--out", str(out), "--resume", "--quiet"],
        "report": ["report", str(out), "--quiet"],
        "report DATA": ["report", str(out), "digits", "--quiet"],
    }
    assert main(again[command]) == 0
    assert not capsys.readouterr().err
    assert {p.name for p in out.iterdir()} == {p.name for p in whole.iterdir()}
    numbers, expected = (read_config(folder)["held_out"] for folder in (out, whole))
    assert numbers == expected
    assert "Samples of earlier epochs are missing" in (out / REPORT).read_text()


def test_a_run_that_can_continue_from_a_checkpoint_makes_the_whole_report(
    whole, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    killed_at("isthmus.runs.report.write_report", monkeypatch, [*FIT, "--out", str(out)])
    assert find_checkpoints(out)
    assert main(["fit", "digits", "--out", str(out), "--resume", "--quiet"]) == 0
    assert {p.name for p in out.iterdir()} == {p.name for p in whole.iterdir()}
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert "are missing" not in (out / REPORT).read_text()


def test_a_complete_run_is_left_as_it_is(run, capsys):
    before = {p.name: p.stat().st_mtime_ns for p in run.iterdir()}
    _log(run)  # killed before the very last file was removed
    for command in (["fit", "digits", "--out", str(run), "--resume"], ["report", str(run)]):
        assert main(command) == 0
        out, err = capsys.readouterr()
        assert "is complete: nothing is missing" in err
        assert "isthmus studio" in out
    assert {p.name: p.stat().st_mtime_ns for p in run.iterdir()} == before
    assert main(["report", str(run), "--force", "--quiet"]) == 0
    assert (run / REPORT).stat().st_mtime_ns > before[REPORT]


def test_a_report_of_another_model_is_made_anew(run, whole):
    other = isthmus.VAE(**SMALL | {"random_state": 5}).fit(load("digits").X)
    rows = np.arange(9)
    model_io.save(other, run, load("digits").fingerprint, rows)
    assert model_of_report(run / REPORT) == model_of_report(whole / REPORT)
    made = report_run(run, quiet=True)
    assert made.summary["rows"] == 9
    assert model_of_report(run / REPORT) == read_config(run)["sha256"]["model.safetensors"]


def test_numbers_are_made_again_if_the_same_model_was_fitted_again(run):
    config = read_config(run)
    model_io.save_summary(run, config, {})
    assert report_run(run, quiet=True).summary == config["held_out"]


def test_a_report_of_an_older_version_counts_as_complete(run):
    page = (run / REPORT).read_text()
    (run / REPORT).write_text(page.replace('name="isthmus-model"', 'name="other"'))
    assert report_run(run, quiet=True).report.read_text() != page


def test_other_data_are_refused(run, tmp_path, capsys):
    (run / REPORT).unlink()
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((1797, 8, 8)))
    for command in (
        ["report", str(run), str(tmp_path / "x.npy")],
        ["fit", str(tmp_path / "x.npy"), "--out", str(run), "--resume"],
    ):
        assert main(command) == 2
        assert "differs from the data" in capsys.readouterr().err
    made = fit_run(isthmus.VAE(**SMALL), DATA, RunOptions(out=tmp_path / "made", quiet=True))
    made.report.unlink()
    assert main(["report", str(made.folder)]) == 2  # of an array: its place is unknown
    assert f"name them: isthmus report {made.folder} DATA." in capsys.readouterr().err
    isthmus.VAE(**SMALL).fit(DATA.X).save(tmp_path / "model")
    assert main(["report", str(tmp_path / "model"), "digits"]) == 2
    assert "no rows are known to be held out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "options", "data"),
    [
        (isthmus.ConditionalVAE, {}, Dataset("c", DATA.X, np.arange(60) % 3)),
        (isthmus.VAE, {"test_fraction": 0}, DATA),
        (isthmus.Autoencoder, {}, Dataset("own", DATA.X, X_test=DATA.X[:7])),
        (isthmus.ConditionalVAE, {}, Dataset("own", DATA.X, np.arange(60) % 3, X_test=DATA.X[:7])),
    ],
)
def test_numbers_are_those_of_an_uninterrupted_run(model, options, data, tmp_path):
    run = fit_run(model(**SMALL), data, RunOptions(out=tmp_path / "run", quiet=True, **options))
    model_io.save_summary(run.folder, read_config(run.folder), {})
    (run.folder / REPORT).unlink()
    again = report_run(run.folder, data, quiet=True)
    assert again.summary == run.summary == read_config(run.folder)["held_out"]
    assert again.findings == run.findings
    if model is isthmus.Autoencoder:  # it has no samples: nothing is lost
        assert "are missing" not in again.report.read_text()


STATES = {
    "empty": "there is no run in",
    "foreign": "holds no run to resume",
    "foreign config": "is not the configuration of an isthmus model",
    "started": "was killed before it wrote a checkpoint",
    "interrupted without checkpoint": "left no checkpoint",
    "damaged": "is corrupt",
}


@pytest.mark.parametrize("state", STATES)
def test_the_state_of_a_folder_that_cannot_be_resumed_is_reported(state, run, capsys):
    if state != "interrupted without checkpoint":
        for path in run.iterdir():
            path.unlink()
    if state == "foreign":
        (run / "notes.txt").write_text("mine")
    elif state == "foreign config":
        (run / "config.json").write_text(json.dumps({"architectures": ["Bert"]}))
    elif state == "started":
        _log(run)
    elif state == "damaged":
        (run / CHECKPOINTS[0]).write_bytes(b"x" * 100)
    elif state == "interrupted without checkpoint":
        model = isthmus.load(run)
        model.stopped_ = "interrupted"
        model_io.save(model, run, load("digits").fingerprint)
    before = {p.name: p.read_bytes() for p in run.iterdir()}
    assert main(["fit", "digits", "--out", str(run), "--resume"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert STATES[state] in line
    assert {p.name: p.read_bytes() for p in run.iterdir()} == before


def _log(folder):
    model = isthmus.VAE(**SMALL)
    facts = {"estimator": "vae", "params": model.get_params(), "data": {"name": "d", "shape": [9]}}
    facts |= {"format": 1, "epochs": 2, "started": 0.0}
    (folder / TRAINING_LOG).write_text(json.dumps(facts | {"params": {}}) + "\n")


@pytest.mark.parametrize("left", ["log", "log and more", "lock", "checkpoint", "damaged config"])
def test_every_folder_that_a_run_began_is_replaced(left, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    if left.startswith("log"):
        _log(out)
    if left == "log and more":
        (out / "history.jsonl").write_text("")
    names = {"lock": ".lock", "checkpoint": CHECKPOINTS[1]}
    if left in names:
        (out / names[left]).write_bytes(b"")
    if left == "damaged config":
        (out / "config.json").write_text('{"isthmus": "0.1", "cut')
    (out / "mine.txt" if left != "lock" else tmp_path / "mine.txt").write_text("mine")
    assert fit_run(isthmus.VAE(**SMALL), DATA, RunOptions(out=out, force=True, quiet=True)).report
    assert isthmus.load(out).n_iter_ == 2
    assert (out / "mine.txt").exists() == (left != "lock")
    assert not find_checkpoints(out)


@pytest.mark.parametrize("name", ["config.json", "training.jsonl", "notes.txt", ".lock"])
def test_a_folder_of_someone_else_is_not_replaced(name, tmp_path):
    (tmp_path / name).write_text('{"architectures": ["Bert"]}')
    (tmp_path / "model.bin").write_text("theirs")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="does not hold a run"):
        fit_run(isthmus.VAE(**SMALL), DATA, RunOptions(out=tmp_path, force=True, quiet=True))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_nothing_of_a_replaced_run_stays_beside_the_new_one(run):
    old = ["evaluation.json", "studio.html", "detector/reconstruction/detector.json"]
    old += ["index/index.json", "index/codes.safetensors", "mixture-by-class/mixture.json"]
    mine = ["notes.txt", "detector/mine.txt", "map.png"]
    for name in [*old, *mine]:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("old")
    data = Dataset("own", DATA.X, X_test=DATA.X[:7])  # has no split
    fit_run(isthmus.VAE(**SMALL), data, RunOptions(out=run, force=True, quiet=True))
    found = {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()}
    kept = {"config.json", "model.safetensors", "history.jsonl", "report.html", *mine}
    assert found == kept
    assert not (run / "index").exists()


def test_the_old_run_is_complete_until_the_new_model_is_saved(run, monkeypatch):
    (run / "evaluation.json").write_text("old")
    before = {p.name: p.read_bytes() for p in run.iterdir()}
    again = [*FIT, "--n-components", "3", "--force", "--out", str(run)]
    killed_at("isthmus.runs.rescue.model_io.save", monkeypatch, again)
    left = {p.name: p.read_bytes() for p in run.iterdir() if p.name in before}
    assert left == before


def test_links_are_not_followed_when_old_files_are_removed(run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "index.json").write_text("other")
    (run / "index").symlink_to(tmp_path / "elsewhere")
    remove_derived(run, read_config(run))
    assert (tmp_path / "elsewhere" / "index.json").exists()
    assert REPORT in DERIVED
    assert not (run / REPORT).exists()


def test_checkpoints_of_a_replaced_run_do_not_continue_it(tmp_path, monkeypatch):
    def fit(**options):
        model = isthmus.VAE(**SMALL | options.pop("settings", {}))
        return fit_run(model, DATA, RunOptions(out=tmp_path, quiet=True, **options))

    fit(callbacks=[StopInSecondEpoch()])
    left = {path: path.read_bytes() for path in find_checkpoints(tmp_path)}
    assert left
    with monkeypatch.context() as patch:
        patch.setattr("isthmus.runs.fit.remove_training_log", lambda folder: None)
        fit(force=True, checkpoint_every=None, settings={"n_components": 3})
    for path, content in left.items():  # as if the run had been killed before it removed them
        path.write_bytes(content)
    (tmp_path / REPORT).unlink()
    monkeypatch.setattr(Checkpoint, "on_start", lambda *_: pytest.fail("the old run continues"))
    run = fit(resume=True, settings={"n_components": 3})
    assert run.estimator.n_components == 3
    assert run.report.exists()
    assert not find_checkpoints(tmp_path)
    assert not (tmp_path / TRAINING_LOG).exists()
