"""Fit a run from Python: what is computed once, what is written, and how it ends."""

import json
import signal

import numpy as np
import pytest

import isthmus
from isthmus import registry
from isthmus.cli import main
from isthmus.data import Dataset
from isthmus.estimators import fitting, model_io, validation
from isthmus.persistence import atomic
from isthmus.persistence.run_folder import find_checkpoints, read_config
from isthmus.runs import ModelSettings, RunOptions, evaluate_run, fit_run, recorded_split
from isthmus.training import Callback

pytestmark = pytest.mark.usefixtures("undrawn_report")

SMALL = {"n_components": 2, "hidden": (8,), "epochs": 2, "progress": "none"}
X = np.random.default_rng(0).random((60, 4)).astype("f4")
DATA = Dataset("small", X)


def fit(out, data=DATA, model=None, **options):
    model = isthmus.VAE(**SMALL, random_state=0) if model is None else model
    return fit_run(model, data, RunOptions(out=out, quiet=True, **options))


class SignalInSecondEpoch(Callback):
    """Send a signal to the process in the second epoch."""

    def __init__(self, number=signal.SIGINT):
        self.number = number

    def on_step(self, trainer, n_rows):
        if trainer.outcome.history:
            signal.raise_signal(self.number)


def test_everything_expensive_is_done_once(tmp_path, monkeypatch):
    calls = {"objective": 0, "checked values": 0, "weights": 0, "configurations read": 0}

    def counted(name, function, size=lambda *a: 1):
        def call(*args, **kwargs):
            calls[name] += size(*args)
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(fitting, "build_objective", counted("objective", registry.build_objective))
    monkeypatch.setattr(
        validation,
        "row_slices",
        counted("checked values", validation.row_slices, lambda X, *a: X.size),
    )
    monkeypatch.setattr(
        model_io,
        "write_all_atomic",
        counted(
            "weights",
            atomic.write_all_atomic,
            lambda files, record: sum(path.name == "model.safetensors" for path in files),
        ),
    )
    monkeypatch.setattr(
        "isthmus.persistence.run_folder.read_config",
        counted("configurations read", read_config),
    )
    fit(tmp_path / "run")
    assert calls == {
        "objective": 1,
        "checked values": 2 * X.size,  # as they are, and after scaling
        "weights": 1,
        "configurations read": 0,
    }


def test_the_model_is_saved_before_the_summary_is_computed(tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("no summary")

    monkeypatch.setattr("isthmus.runs.report.held_out_summary", fail)
    with pytest.raises(RuntimeError, match="no summary"):
        fit(tmp_path / "run")
    assert isthmus.load(tmp_path / "run").n_iter_ == 2
    assert read_config(tmp_path / "run")["held_out"] == {}


def test_the_summary_changes_only_the_configuration(tmp_path):
    model = isthmus.VAE(**SMALL, random_state=0).fit(X)
    config = model_io.save(model, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    model_io.save_summary(tmp_path, config, {"rows": np.int64(3), "ELBO": np.float64(-1.5)})
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {name for name in after if after[name] != before.get(name)} == {"config.json"}
    assert read_config(tmp_path)["held_out"] == {"rows": 3, "ELBO": -1.5}  # checksums hold
    isthmus.load(tmp_path)


def test_python_and_the_command_line_leave_the_same_run(tmp_path):
    flags = "--n-components 2 --hidden 8 --epochs 2 --random-state 0 --quiet --test-fraction 0.2"
    command = ["fit", "digits", "--out", str(tmp_path / "a"), *flags.split()]
    assert main(command) == 0
    fit(tmp_path / "b", "digits", test_fraction=0.2)
    for name in ("model.safetensors", "split.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    a, b = (json.loads((tmp_path / n / "config.json").read_text()) for n in "ab")
    assert a["held_out"] == b["held_out"]
    assert a["held_out"]["rows"] == 359


def test_the_estimator_passed_in_stays_unfitted_and_a_seed_is_recorded(tmp_path):
    model = isthmus.VAE(**SMALL)
    run = fit(tmp_path / "run", model=model)
    assert not hasattr(model, "model_")
    assert model.random_state is None
    assert run.estimator.random_state == read_config(run.folder)["params"]["random_state"]
    again = fit(tmp_path / "again", model=run.estimator)
    np.testing.assert_array_equal(again.estimator.transform(X), run.estimator.transform(X))


@pytest.mark.parametrize(
    ("number", "outcome", "code"),
    [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "terminated", 143)],
)
def test_a_signal_ends_training_but_keeps_the_model(tmp_path, number, outcome, code, capsys):
    run = fit(tmp_path / "run", callbacks=[SignalInSecondEpoch(number)])
    assert (run.outcome, run.exit_code, run.resumable) == (outcome, code, True)
    assert isthmus.load(run.folder).n_iter_ == 1
    assert (run.report is None) == (outcome == "terminated")
    assert "best weights so far" in capsys.readouterr().err


def test_a_resumed_run_holds_out_the_rows_it_started_with(tmp_path):
    options = {"test_fraction": 0.3, "callbacks": [SignalInSecondEpoch()]}
    assert fit(tmp_path / "run", **options).outcome == "interrupted"
    run = fit(tmp_path / "run", resume=True)  # without the fraction
    assert (run.outcome, run.summary["rows"]) == ("finished", 18)
    assert not find_checkpoints(run.folder)
    whole = fit(tmp_path / "whole", test_fraction=0.3)
    np.testing.assert_array_equal(run.estimator.transform(X), whole.estimator.transform(X))


def test_settings_by_name_are_completed_from_the_run_to_resume(tmp_path):
    model = isthmus.BetaVAE(**SMALL, random_state=0, beta=3.0)
    fit(tmp_path / "run", model=model, callbacks=[SignalInSecondEpoch()])
    with pytest.raises(ValueError, match="is of a beta-vae, not of a sparse"):
        fit(tmp_path / "run", model=ModelSettings("sparse"), resume=True)
    run = fit(tmp_path / "run", model=ModelSettings(None, {"epochs": 3}), resume=True)
    assert (run.estimator.beta, run.estimator.n_iter_) == (3.0, 3)


def test_without_test_rows_there_is_no_summary_but_a_report(tmp_path):
    run = fit(tmp_path / "run", test_fraction=0)
    assert run.summary == read_config(run.folder)["held_out"] == {}
    assert "No rows were held out" in run.report.read_text()
    assert len(recorded_split(run.folder, DATA).X_test) == 0
    with pytest.raises(ValueError, match="held out no test rows"):
        evaluate_run(run.folder, DATA, test_rows_only=True)


def test_test_rows_are_evaluated_as_the_run_summarised_them(tmp_path):
    run = fit(tmp_path / "run")
    numbers = evaluate_run(run.folder, DATA, test_rows_only=True, n_samples=2).numbers
    assert numbers["ELBO (nats)"] == pytest.approx(run.summary["ELBO (nats per example)"])
    with pytest.raises(ValueError, match="differs from these"):
        evaluate_run(run.folder, Dataset("other", X[::-1]), test_rows_only=True)


def test_invalid_values_are_reported_by_their_row_before_training(tmp_path):
    broken = X.copy()
    broken[57, 2] = np.nan
    with pytest.raises(ValueError, match="57"):
        fit(tmp_path / "run", Dataset("broken", broken))
    with pytest.raises(ValueError, match="7"):
        fit(tmp_path / "run", Dataset("broken", X, X_test=broken[50:]))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"test_fraction": 1.0}, "test_fraction must be at least 0 and below 1"),
        ({"test_fraction": -0.1}, "test_fraction must be at least 0 and below 1"),
        ({"checkpoint_every": -1}, "checkpoint_every must be at least 0"),
        ({"resume": True}, "name it by out"),
    ],
)
def test_options_out_of_bounds_are_reported(options, words):
    with pytest.raises(ValueError, match=words):
        RunOptions(**options)


def test_a_class_of_the_user_is_refused_before_training(tmp_path):
    class Mine(isthmus.VAE):
        pass

    with pytest.raises(ValueError, match="a class of your own"):
        fit(tmp_path / "run", model=Mine(**SMALL))
