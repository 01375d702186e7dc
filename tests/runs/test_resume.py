"""`isthmus fit --resume` from the command line; tests/training tests its parts."""

import json
import multiprocessing
import shutil
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import isthmus
from isthmus.cli import main
from isthmus.persistence.locks import exclusive_folder
from isthmus.persistence.run_folder import CHECKPOINTS, find_checkpoints
from isthmus.training import Checkpoint, checkpoints
from isthmus.training.checkpoints import read_checkpoint, read_checkpoints
from isthmus.training.sample_history import SampleRecorder

pytestmark = pytest.mark.usefixtures("undrawn_report")

FAST = ["--epochs", "2", "--hidden", "8", "--n-components", "2", "--quiet"]


@pytest.fixture
def error_of(capsys):
    """Return a function that runs a command and returns its one-line error."""

    def run(*arguments):
        capsys.readouterr()
        assert main(["fit", "digits", *map(str, arguments)]) == 2
        *others, message = capsys.readouterr().err.strip().splitlines()
        assert message.startswith("isthmus")
        assert not any("Traceback" in line for line in others)
        return message

    return run


def fit(folder):
    """Return the arguments of a fit."""
    return ["fit", "digits", "--out", str(folder), *FAST, "--random-state", "0"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder with a run that was interrupted in its second epoch, and with a whole one."""
    folder = tmp_path_factory.mktemp("shared")

    def on_step(self, trainer, n_rows):
        if trainer.step == 20:
            trainer.stop_request.reason = "interrupted"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("isthmus.runs.report.write_report", lambda path, **_: path)
        assert main(fit(folder / "whole")) == 0
        patch.setattr(Checkpoint, "on_step", on_step)
        assert main(fit(folder / "interrupted")) == 130
    return folder


@pytest.fixture
def interrupted(shared, tmp_path):
    """A copy of the interrupted run."""
    return shutil.copytree(shared / "interrupted", tmp_path / "run")


def assert_same_codes(run, whole):
    X = load_digits().images / 16
    again, straight = isthmus.load(run), isthmus.load(whole)
    assert again.stopped_ == straight.stopped_ == "epochs"
    np.testing.assert_array_equal(again.transform(X), straight.transform(X))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden", [9]),
        ("n_components", 3),
        ("device", "cuda:99"),
        ("posterior", "x"),
        ("prior", "vampprior"),
        ("missing", "ignore"),
        ("random_state", 5),
    ],
)
@pytest.mark.parametrize("is_saved", [True, False])
def test_the_checkpoint_before_one_with_wrong_settings_is_used(
    interrupted, shared, name, value, is_saved
):
    if not is_saved:  # it was killed
        (interrupted / "config.json").unlink()
    newest = Path(read_checkpoint(interrupted).source)
    snapshot = read_checkpoint(interrupted)
    assert len(find_checkpoints(interrupted)) == 2
    snapshot.facts["about"]["params"][name] = value
    if name == "random_state":
        snapshot.facts["about"]["seed"] = value
    newest.write_bytes(checkpoints._to_bytes(snapshot))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        assert main(["fit", "digits", "--out", str(interrupted), "--resume"]) == 0
    assert_same_codes(interrupted, shared / "whole")


def test_if_all_checkpoints_have_wrong_settings_the_newest_is_named(interrupted, error_of):
    for snapshot in read_checkpoints(interrupted):
        snapshot.facts["about"]["params"]["hidden"] = [7 + snapshot.facts["step"]]
        Path(snapshot.source).write_bytes(checkpoints._to_bytes(snapshot))
    (interrupted / "config.json").unlink()
    newest = read_checkpoint(interrupted)
    assert newest.source in error_of("--out", interrupted, "--resume")


def test_an_interrupted_run_is_a_model_and_resumes_with_its_settings(interrupted, shared, capsys):
    assert isthmus.load(interrupted).n_iter_ == 1
    assert main(["fit", "digits", "--out", str(interrupted), "--resume"]) == 0
    assert "resuming in epoch 2" in capsys.readouterr().err
    assert not find_checkpoints(interrupted)
    assert_same_codes(interrupted, shared / "whole")
    runs = interrupted, shared / "whole"
    configs = [json.loads((run / "config.json").read_text()) for run in runs]
    assert configs[0]["params"] == {**configs[1]["params"], "progress": "auto"}
    assert configs[0]["held_out"] == configs[1]["held_out"]


def test_a_refused_resume_is_one_line_and_changes_nothing(interrupted, shared, tmp_path, error_of):
    run, done = interrupted, shared / "whole"
    before = {p.name: p.read_bytes() for p in run.iterdir()}
    assert "resume continues the run in a folder" in error_of("--resume")
    assert "there is no run in" in error_of("--out", tmp_path / "none", "--resume")
    assert not (tmp_path / "none").exists()
    assert "epochs was 2, is 3" in error_of("--out", done, "--resume", "--epochs", 3)
    assert "of a vae, not of a sparse" in error_of("--out", done, "--resume", "--model", "sparse")
    assert "--resume to continue" in error_of("--out", run, *FAST)
    assert "hidden was [8], is [9]" in error_of("--out", run, "--resume", "--hidden", 9)
    assert "of a vae, not of a sparse" in error_of("--out", run, "--resume", "--model", "sparse")
    assert "at least 0 seconds" in error_of("--out", run, "--resume", "--checkpoint-every", "-1")
    for name in CHECKPOINTS:
        (run / name).write_bytes(b"x" * 100)
    assert "is corrupt" in error_of("--out", run, "--resume")
    for name in CHECKPOINTS:
        if name in before:
            (run / name).write_bytes(before[name])
        else:
            (run / name).unlink()
    assert {p.name: p.read_bytes() for p in run.iterdir()} == before


def test_other_data_are_refused(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.random((60, 4)))
    out = str(tmp_path / "run")
    arguments = ["fit", str(tmp_path / "x.npy"), "--out", out, *FAST, "--batch-size", "2"]
    real = Checkpoint.on_step

    def on_step(self, trainer, n_rows):
        trainer.stop_request.reason = "interrupted" if trainer.step == 20 else None
        real(self, trainer, n_rows)

    monkeypatch.setattr(Checkpoint, "on_step", on_step)
    assert main(arguments) == 130
    monkeypatch.undo()
    np.save(tmp_path / "x.npy", rng.random((60, 4)))
    assert main(["fit", str(tmp_path / "x.npy"), "--out", out, "--resume"]) == 2
    assert "other data" in capsys.readouterr().err


def test_the_error_for_a_killed_run_says_how_to_resume_it(interrupted, capsys):
    (interrupted / "config.json").unlink()
    assert main(["info", str(interrupted)]) == 2
    assert "--resume" in capsys.readouterr().err
    assert main(["fit", "digits", "--out", str(interrupted), "--resume", "--quiet"]) == 0


def test_force_restarts_an_interrupted_run(interrupted):
    assert main([*fit(interrupted), "--force"]) == 0
    assert isthmus.load(interrupted).stopped_ == "epochs"
    assert not find_checkpoints(interrupted)


def test_a_run_killed_in_its_first_checkpoint_leaves_a_usable_folder(tmp_path):
    (tmp_path / "checkpoint-0.safetensors.part").write_bytes(b"cut")
    assert main(["fit", "digits", "--out", str(tmp_path), *FAST]) == 0
    assert not list(tmp_path.glob("*.part"))


def test_checkpoints_of_a_replaced_run_are_removed(interrupted, monkeypatch):
    def stop(self, trainer, record):
        trainer.stop_request.reason = "interrupted"

    monkeypatch.setattr("isthmus.training.sample_history.SampleRecorder.on_epoch", stop)
    flags = ["--force", "--checkpoint-every", "none", "--n-components", "3"]
    assert main([*fit(interrupted), *flags]) == 130
    assert isthmus.load(interrupted).n_components == 3
    assert not find_checkpoints(interrupted)


def test_a_resumed_run_without_checkpoints_can_be_interrupted_again(
    interrupted, shared, monkeypatch
):
    def on_step(self, trainer, n_rows):
        if trainer.step == 22:
            trainer.stop_request.reason = "interrupted"

    monkeypatch.setattr(SampleRecorder, "on_step", on_step)
    resume = ["fit", "digits", "--out", str(interrupted), "--resume"]
    assert main([*resume, "--checkpoint-every", "none"]) == 130
    assert find_checkpoints(interrupted)
    monkeypatch.setattr(SampleRecorder, "on_step", lambda *_: None)
    assert main(resume) == 0
    assert_same_codes(interrupted, shared / "whole")


def test_checkpoints_can_be_turned_off(tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoint, "write", lambda *a: pytest.fail("wrote a checkpoint"))
    flags = ["--checkpoint-every", "none"]
    assert main(["fit", "digits", "--out", str(tmp_path / "run"), *FAST, *flags]) == 0


def _hold(folder, ready, done):
    with exclusive_folder(folder):
        ready.set()
        done.wait(60)


def test_two_processes_cannot_write_to_the_same_run(tmp_path, error_of):
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "run", ready, done))
    other.start()
    assert ready.wait(60)
    assert "another process is writing" in error_of("--out", tmp_path / "run", "--force", *FAST)
    done.set()
    other.join()
    assert not (tmp_path / "run").exists()  # nothing came of it
    assert main(["fit", "digits", "--out", str(tmp_path / "run"), *FAST]) == 0


def test_the_lock_of_a_killed_process_does_not_block(tmp_path):
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "run", ready, done))
    other.start()
    assert ready.wait(60)
    other.kill()
    other.join()
    start = time.perf_counter()
    with exclusive_folder(tmp_path / "run"):
        assert time.perf_counter() - start < 5
