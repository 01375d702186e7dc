"""A disk that is full, or cannot be written, does not cost the trained model."""

import errno
import os
import subprocess
import tempfile

import numpy as np
import pytest

import isthmus
from isthmus.cli import main
from isthmus.runs import RunOptions, SaveError, fit_run, tune_run

X = np.random.default_rng(0).random((40, 6))
SETTINGS = {"n_components": 2, "hidden": (8,), "epochs": 1, "progress": "none", "random_state": 0}


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Return the current folder and that of temporary files; yield a path on a full disk."""
    for name in ("here", "temporary", "full"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "here" / "data.npy", X)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path


@pytest.fixture
def full(places):
    """Return a folder on a file system without room."""
    folder = places / "full"
    mounted = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("may not mount here")
    (folder / "other").write_bytes(bytes(os.statvfs(folder).f_bavail * 4096))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fail_below(folder, monkeypatch, when=lambda path: True):
    """Let writing files below a folder fail as on a full disk."""
    opened = os.open

    def open_file(path, flags, *args, **kwargs):
        if flags & os.O_CREAT and str(path).startswith(str(folder)) and when(str(path)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opened(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", open_file)


def assert_saved(folder, model):
    np.testing.assert_array_equal(isthmus.load(folder).transform(X), model.transform(X))


def fit(out):
    options = RunOptions(out=out, test_fraction=0.2, quiet=True)
    return fit_run(isthmus.VAE(**SETTINGS), "data.npy", options)


@pytest.mark.filterwarnings("ignore:could not write a checkpoint")
def test_a_disk_that_is_full_from_the_start_does_not_lose_the_model(full):
    with pytest.raises(SaveError, match="No space left on device") as raised:
        fit(full / "run")
    folder = raised.value.folder
    assert folder.parent == full.parent / "temporary"
    assert f"cannot write {full}/run/model.safetensors" in str(raised.value)
    assert f"saved in {folder} instead" in str(raised.value)
    assert_saved(folder, raised.value.estimator)
    assert os.listdir(full) == ["other"]
    config = isthmus.persistence.run_folder.read_config(folder)
    assert len(isthmus.persistence.run_folder.read_test_rows(folder, config)) == 8


def test_the_command_names_the_other_folder(full, capsys):
    words = ["data.npy", "--out", str(full / "run"), "--quiet", "--epochs", "1"]
    assert main(["fit", *words, "--checkpoint-every", "none"]) == 2
    lines = capsys.readouterr().err.splitlines()
    (folder,) = (full.parent / "temporary").iterdir()
    assert len(lines) == 1
    assert lines[0].startswith(f"isthmus fit: cannot write {full}/run/model.safetensors: No space")
    assert str(folder) in lines[0]
    assert main(["info", str(folder)]) == 0


@pytest.mark.filterwarnings("ignore:could not write a checkpoint")
def test_without_room_for_temporary_files_the_current_folder_is_used(places, monkeypatch):
    fail_below(places / "full", monkeypatch, lambda path: not path.endswith(".lock"))
    fail_below(places / "temporary", monkeypatch)
    with pytest.raises(SaveError) as raised:
        fit(places / "full" / "run")
    assert raised.value.folder.parent == places / "here"
    assert_saved(raised.value.folder, raised.value.estimator)
    assert not os.listdir(places / "temporary")


@pytest.mark.filterwarnings("ignore:could not write a checkpoint")
def test_without_room_anywhere_the_error_holds_the_model(places, monkeypatch):
    fail_below(places, monkeypatch, lambda path: not path.endswith(".lock"))
    with pytest.raises(SaveError, match="No other folder has room") as raised:
        fit(places / "full" / "run")
    monkeypatch.undo()
    assert raised.value.folder is None
    raised.value.estimator.save(places / "later")
    assert_saved(places / "later", raised.value.estimator)


def test_the_best_model_of_a_sweep_is_kept(places, monkeypatch):
    fail_below(places / "full" / "tune" / "best", monkeypatch)
    sweep = isthmus.Sweep(isthmus.BetaVAE(**SETTINGS), {"beta": [0.5, 4.0]}, random_state=0)
    with pytest.raises(SaveError, match="best/model") as raised:
        tune_run(sweep, "data.npy", out=places / "full" / "tune", quiet=True)
    assert_saved(raised.value.folder, sweep.best_estimator_)


def test_a_sweep_does_not_write_through_a_link(places):
    (places / "full" / "tune").mkdir()
    (places / "elsewhere").mkdir()
    (places / "full" / "tune" / "sweep.json").touch()
    (places / "full" / "tune" / "best").symlink_to(places / "elsewhere")
    sweep = isthmus.Sweep(isthmus.BetaVAE(**SETTINGS), {"beta": [0.5, 4.0]}, random_state=0)
    with pytest.raises(SaveError, match="found a link"):
        tune_run(sweep, "data.npy", out=places / "full" / "tune", force=True, quiet=True)
    (places / "full" / "other").mkdir()
    (places / "full" / "other" / "candidates").symlink_to(places / "elsewhere")
    (places / "full" / "other" / "sweep.json").touch()
    with pytest.warns(RuntimeWarning, match="found a link"):
        tune_run(sweep, "data.npy", out=places / "full" / "other", force=True, quiet=True)
    assert not os.listdir(places / "elsewhere")


KINDS = ["model.safetensors", "history.jsonl", "split.safetensors", "config.json", "report.html"]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.filterwarnings("ignore:could not write a checkpoint")
def test_each_file_of_a_run_is_named(places, monkeypatch, name):
    fail_below(places / "full", monkeypatch, lambda path: f"/.{name}." in path)
    with pytest.raises(OSError, match=rf"full/run/{name}") as raised:
        fit(places / "full" / "run")
    monkeypatch.undo()
    saved = getattr(raised.value, "folder", places / "full" / "run")
    assert isthmus.load(saved).n_iter_ == 1
