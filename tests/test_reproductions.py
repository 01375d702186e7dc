"""The driver of reproductions: jobs resume, are measured once, and every table has jobs."""

import importlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import isthmus

HERE = Path(__file__).parents[1] / "reproductions"
X = load_digits().images[:300] / 16
STAGES = ({"epochs": 3}, {"epochs": 2, "learning_rate": 1e-4})


@pytest.fixture
def common(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(HERE))
    found = importlib.import_module("common")
    monkeypatch.setattr(found, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(found, "RESULTS", tmp_path / "results")
    yield found
    for module in [m for m in sys.modules.values() if str(HERE) in str(getattr(m, "__file__", ""))]:
        del sys.modules[module.__name__]


def job(common, stages=STAGES):
    settings = {"n_components": 2, "hidden": (16,), "random_state": 0, "validation_fraction": 0.0}
    return common.Job(
        "table",
        "name",
        0.01,
        lambda: isthmus.VAE(**settings, warmup=0, ema=0.0),
        lambda home: common.Data(X),
        lambda model, home: {"score": model.score(X)},
        stages=stages,
    )


def test_a_job_that_is_stopped_ends_with_the_same_weights(common, monkeypatch):
    whole = job(common, STAGES[:1]).train("")
    shutil.rmtree(common.RUNS)

    def stop(clock, trainer, record):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(common.Clock, "on_step", stop)
        with pytest.raises(KeyboardInterrupt):
            job(common, STAGES[:1]).train("")
    again = job(common, STAGES[:1]).train("")
    np.testing.assert_array_equal(again.transform(X), whole.transform(X))


def test_stages_go_on_with_the_model_of_the_last_one(common):
    first = job(common, STAGES[:1]).train("")
    assert job(common).progress()["epochs"] == 3
    both = job(common).train("")
    assert job(common).progress()["epochs"] == job(common).planned_epochs == 5
    assert both.learning_rate == 1e-4
    assert both.n_iter_ == 5
    assert both.history_[3]["loss"] < first.history_[0]["loss"]


def test_a_finished_job_is_saved_with_settings_and_time(common):
    run = importlib.import_module("run")
    one = job(common)
    assert not one.done
    run.run(one, "")
    found = json.loads(one.result.read_text())
    assert one.done
    assert np.isfinite(found["measured"]["score"])
    assert found["settings"]["hidden"] == [16]
    assert found["processor_hours"] > 0
    assert run.describe(one).split()[1] == "done"


def test_every_table_has_jobs_of_different_names(common):
    run = importlib.import_module("run")
    jobs = run.jobs(list(run.TABLES))
    names = [(job.table, job.name) for job in jobs]
    assert len(set(names)) == len(names) > 60
    for one in jobs:
        assert one.estimator().get_params()["random_state"] is not None
