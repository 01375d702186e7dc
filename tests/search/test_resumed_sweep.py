"""Sweeps that were killed: finished candidates are kept, and the results are those of one run."""

import json
import shutil

import numpy as np
import pytest

import isthmus
from isthmus import BetaVAE, Sweep
from isthmus.cli import main
from isthmus.data import Dataset
from isthmus.runs import sweep_of, tune_run
from isthmus.search import sweep_folder
from isthmus.search.sequential import SequentialRun
from isthmus.search.stacked import StackedRun
from isthmus.search.sweep_folder import CANDIDATES, SWEEP, SweepFolder

X = np.random.default_rng(0).random((80, 6)).astype("f4")
DATA = Dataset("small", X)
MODEL = {"n_components": 2, "hidden": (6,), "epochs": 4, "random_state": 0}
GRID = {"beta": [0.5, 2.0], "hidden": [(6,), (5,), (4,)]}
FLAGS = ["--model", "beta-vae", "--n-components", "2", "--epochs", "2", "--random-state", "0"]
FLAGS += ["--grid", "beta=0.5,2", "--grid", "hidden=6,5", "--quiet"]


class Killed(BaseException):
    """Stands for SIGKILL."""


def kill_after(n, monkeypatch):
    """End the sweep after it has stored n groups of candidates."""
    real, kept = SweepFolder.keep, []

    def keep(self, run):
        before = len(self.record["finished"])
        real(self, run)
        kept.extend([run] * (len(self.record["finished"]) > before))
        if len(kept) == n:
            raise Killed

    monkeypatch.setattr(SweepFolder, "keep", keep)


def count_trained(monkeypatch):
    """Return a list that will hold the numbers of the candidates that are trained."""
    trained = []
    for kind in (StackedRun, SequentialRun):
        real = kind.advance

        def advance(self, share, real=real):
            trained.extend(c.number for c in self.candidates if c.live)
            real(self, share)

        monkeypatch.setattr(kind, "advance", advance)
    return trained


def table(sweep):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in sweep.results_]


def assert_same(sweep, whole):
    assert table(sweep) == table(whole)
    assert (sweep.best_index_, sweep.best_score_) == (whole.best_index_, whole.best_score_)
    np.testing.assert_array_equal(sweep.test_rows_, whole.test_rows_)
    for a, b in zip(sweep.estimators_, whole.estimators_, strict=True):
        np.testing.assert_array_equal(a.transform(X), b.transform(X))
        assert a.get_params() == b.get_params()
        histories = [[(r["epoch"], r["loss"]) for r in e.history_] for e in (a, b)]
        assert histories[0] == histories[1]


@pytest.mark.parametrize(
    ("grid", "options", "n_groups"),
    [
        (GRID, {}, 1),
        (GRID, {}, 2),
        (GRID, {"max_stacked": 1}, 4),
        (GRID, {"halving": 2}, 1),
        ({"beta": [0.5, 2.0, 9.0], "random_state": [1, 2]}, {"halving": 3, "max_stacked": 2}, 2),
        ({"dropout": [0.0, 0.2], "patience": [1, None]}, {"halving": 2}, 1),
        ({"backbone": ["mlp", "gated"], "scaling": ["standard", "none"]}, {}, 2),
    ],
)
def test_a_resumed_sweep_has_the_results_of_an_uninterrupted_one(
    grid, options, n_groups, tmp_path, monkeypatch
):
    def sweep():
        return Sweep(BetaVAE(**MODEL), grid, random_state=0, **options)

    whole = sweep().fit(X)
    with monkeypatch.context() as patch:
        kill_after(n_groups, patch)
        with pytest.raises(Killed):
            sweep().fit(X, folder=tmp_path)
    finished = {*json.loads((tmp_path / SWEEP).read_text())["finished"]}
    assert finished
    trained = count_trained(monkeypatch)
    resumed = sweep().fit(X, resume_from=tmp_path)
    assert not finished & {str(number) for number in trained}
    assert_same(resumed, whole)
    trained.clear()
    assert_same(sweep().fit(X, resume_from=tmp_path), whole)
    assert not trained


def test_seeds_that_were_drawn_are_kept(tmp_path, monkeypatch):
    model = BetaVAE(**MODEL | {"random_state": None})
    first = Sweep(model, {"hidden": [(6,), (5,)]}).fit(X, folder=tmp_path)
    record = json.loads((tmp_path / SWEEP).read_text())
    record["finished"].pop("1")
    record = sweep_folder.with_checksums({k: v for k, v in record.items() if k != "sha256"}, {})
    (tmp_path / SWEEP).write_text(json.dumps(record))
    trained = count_trained(monkeypatch)
    again = Sweep(model, {"hidden": [(6,), (5,)]}).fit(X, resume_from=tmp_path)
    assert trained == [1]
    assert_same(again, first)


def test_after_ctrl_c_a_sweep_is_resumed(tmp_path, monkeypatch):
    whole = Sweep(BetaVAE(**MODEL), GRID, random_state=0).fit(X)
    real, calls = StackedRun.advance, []

    def advance(self, share):
        calls.append(self)
        if len(calls) == 2:
            self._begin()
            self._one_epoch()
            raise KeyboardInterrupt
        real(self, share)

    with monkeypatch.context() as patch:
        patch.setattr(StackedRun, "advance", advance)
        sweep = Sweep(BetaVAE(**MODEL), GRID, random_state=0)
        tuning = tune_run(sweep, DATA, out=tmp_path / "t", quiet=True)
    assert tuning.outcome == "interrupted"
    resumed = tune_run(sweep_of(tmp_path / "t"), DATA, out=tmp_path / "t", resume=True, quiet=True)
    assert resumed.outcome == "finished"
    assert_same(resumed.sweep, whole)
    assert not (tmp_path / "t" / SWEEP).exists()


def test_another_sweep_or_other_data_are_refused(tmp_path):
    Sweep(BetaVAE(**MODEL), GRID, random_state=0).fit(X, folder=tmp_path)

    def resume(model=BetaVAE, rows=X, grid=GRID, seed=0, **options):
        settings = {k: options.pop(k) for k in ("halving", "max_stacked") if k in options}
        sweep = Sweep(model(**MODEL | options), grid, random_state=seed, **settings)
        sweep.fit(rows, resume_from=tmp_path)

    for words, options in {
        "epochs of candidate 0 was 4, is 5": {"epochs": 5},
        "the model was beta-vae, is vae": {"model": isthmus.VAE, "grid": {"hidden": [(6,)]}},
        "it had 6 candidates, not 2": {"grid": {"beta": [1.0, 2.0]}},
        "halving was None, is 2": {"halving": 2},
        "max_stacked was 16, is 1": {"max_stacked": 1},
        "is on other data": {"rows": X[::-1].copy()},
    }.items():
        with pytest.raises(ValueError, match=words):
            resume(**options)
    with pytest.raises(FileNotFoundError, match="no sweep in"):
        Sweep(BetaVAE(**MODEL), GRID).fit(X, resume_from=tmp_path / "none")

    class Mine(BetaVAE):
        pass

    with pytest.raises(ValueError, match="a class of your own"):
        Sweep(Mine(**MODEL), GRID).fit(X, folder=tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("damage", ["weights", "history", "missing", "shape"])
def test_a_damaged_candidate_is_trained_again(damage, tmp_path, monkeypatch):
    whole = Sweep(BetaVAE(**MODEL), GRID, random_state=0).fit(X, folder=tmp_path)
    own = tmp_path / CANDIDATES / "0001"
    if damage == "missing":
        shutil.rmtree(own)
    elif damage == "shape":
        shutil.rmtree(own)
        shutil.copytree(tmp_path / CANDIDATES / "0000", own)
    else:
        name = {"weights": "model.safetensors", "history": "history.jsonl"}[damage]
        content = bytearray((own / name).read_bytes())
        content[-9] ^= 1
        (own / name).write_bytes(content)
    trained = count_trained(monkeypatch)
    with pytest.warns(RuntimeWarning, match="are trained again"):
        resumed = Sweep(BetaVAE(**MODEL), GRID, random_state=0).fit(X, resume_from=tmp_path)
    assert set(trained) == {1, 4}  # with the model that shares its stack
    assert_same(resumed, whole)


def test_a_full_disk_does_not_end_a_sweep(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sweep_folder.model_io, "save", fail)
    sweep = Sweep(BetaVAE(**MODEL), GRID, random_state=0)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        sweep.fit(X, folder=tmp_path)
    assert len(sweep.results_) == 6
    monkeypatch.undo()
    again = Sweep(BetaVAE(**MODEL), GRID, random_state=0).fit(X, resume_from=tmp_path)
    assert table(again) == table(sweep)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"format": 9}', b'{"format": 1}'])
def test_a_damaged_record_is_one_error(content, tmp_path):
    (tmp_path / SWEEP).write_bytes(content)
    with pytest.raises(ValueError, match=r"sweep\.json"):
        Sweep(BetaVAE(**MODEL), GRID).fit(X, resume_from=tmp_path)


def test_the_command_resumes_with_the_settings_of_the_sweep(tmp_path, monkeypatch, capsys):
    out = str(tmp_path / "t")
    assert main(["tune", "digits", *FLAGS, "--out", str(tmp_path / "whole")]) == 0
    with monkeypatch.context() as patch:
        kill_after(1, patch)
        with pytest.raises(Killed):
            main(["tune", "digits", *FLAGS, "--out", out])
    assert main(["tune", "digits", *FLAGS, "--out", out]) == 2
    assert "add --resume to continue the sweep in it, or --force" in capsys.readouterr().err
    resume = ["tune", "digits", "--out", out, "--resume"]
    for flags, words in [
        (["--epochs", "3"], "has --epochs 2"),
        (["--grid", "beta=1,2"], "has --beta 0.5, 2.0"),
        (["--test-fraction", "0.2"], "has --test-fraction 0.1"),
        (["--model", "sparse"], "is of a beta-vae, not a sparse"),
    ]:
        assert main([*resume, *flags]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line
    trained = count_trained(monkeypatch)
    assert main([*resume, "--quiet", "--grid", "beta=0.5,2"]) == 0
    assert len(trained) == 2
    names = {p.name for p in (tmp_path / "t").iterdir()}
    assert names == {"best", "results.csv", "rate-distortion.png"}
    best = [isthmus.load(tmp_path / each / "best") for each in ("t", "whole")]
    assert best[0].get_params() == best[1].get_params()
    assert main(resume) == 0
    assert "is complete" in capsys.readouterr().err
    assert main(["tune", "digits", "--resume"]) == 2
    assert main(["tune", "digits", "--out", str(tmp_path / "none"), "--resume"]) == 2
    assert "there is no sweep in" in capsys.readouterr().err


def test_a_killed_sweep_is_replaced_but_no_folder_of_someone_else(tmp_path, monkeypatch):
    sweep = Sweep(BetaVAE(**MODEL), {"beta": [0.5, 2.0]}, random_state=0)
    out = tmp_path / "t"
    with monkeypatch.context() as patch:
        kill_after(1, patch)
        with pytest.raises(Killed):
            tune_run(sweep, DATA, out=out, quiet=True)
    (out / CANDIDATES / "0000" / "mine.txt").write_text("mine")
    assert tune_run(sweep, DATA, out=out, force=True, quiet=True).outcome == "finished"
    assert {p.name for p in out.iterdir()} == {
        *("best", "results.csv", "rate-distortion.png", CANDIDATES)
    }
    assert (out / CANDIDATES / "0000" / "mine.txt").exists()
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "results.csv").write_text("epoch,loss\n1,2\n")
    with pytest.raises(ValueError, match="does not hold a sweep"):
        tune_run(sweep, DATA, out=theirs, force=True, quiet=True)


@pytest.mark.parametrize(
    "params", [{"evil": 1}, {"n_components": 10**12}, {"hidden": [0.5]}, {"epochs": "many"}]
)
def test_a_crafted_record_is_one_error(params, tmp_path, capsys):
    Sweep(BetaVAE(**MODEL), {"beta": [1.0]}).fit(X, folder=tmp_path)
    record = json.loads((tmp_path / SWEEP).read_text())
    record["candidates"][0]["params"] |= params
    record = sweep_folder.with_checksums({k: v for k, v in record.items() if k != "sha256"}, {})
    (tmp_path / SWEEP).write_text(json.dumps(record))
    assert main(["tune", "digits", "--out", str(tmp_path), "--resume"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    "entries",
    [
        {"finished": []},
        {"finished": {"0": 10**400}},
        {"settings": {}},
        {"settings": {"random_state": "x"}},
        {"seeds": [True]},
        {"candidates": [{"params": {}, "varied": [{}]}]},
        {"candidates": [{"params": {"epochs": "x" * 9999}, "varied": []}]},
    ],
)
def test_a_crafted_entry_of_the_record_is_one_short_error(entries, tmp_path):
    Sweep(BetaVAE(**MODEL), {"beta": [1.0]}).fit(X, folder=tmp_path)
    record = json.loads((tmp_path / SWEEP).read_text()) | entries
    record = sweep_folder.with_checksums({k: v for k, v in record.items() if k != "sha256"}, {})
    (tmp_path / SWEEP).write_text(json.dumps(record))
    with pytest.raises(ValueError, match="sweep") as caught:
        Sweep(BetaVAE(**MODEL), {"beta": [1.0]}).fit(X, resume_from=tmp_path)
    assert len(str(caught.value)) < 1000
