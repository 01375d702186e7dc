"""The benchmark of time to quality keeps its clock and judges by it; nothing is timed here."""

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from isthmus import VAE, Autoencoder
from isthmus.applications import AnomalyDetector

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import time_to_quality
from quality import contenders, tables, tasks
from quality.clock import Clock, Enough, Point
from quality.measures import Coder, negative_elbo, squared_error
from quality.record import PACE, QUALITY, Planned, Record, judge, summary, to_target, value_of
from quality.tasks import Aim, Entry, Target, Task
from speed import contenders as loops
from speed.race import CannotRace
from speed.rivals import pythae


class Time:
    """A clock that tests move on, by as many seconds of processor as on the wall."""

    now = 0.0

    def read(self):
        return self.now, 2 * self.now


def curve(*qualities, seconds=2.0):
    return [Point(k, seconds * k, 3 * seconds * k, q) for k, q in enumerate(qualities)]


def task(paced=False, **entries):
    entries = {name: Entry(train, "", 3) for name, train in entries.items()}
    targets, aims = (Target("of b", "b"),), (Aim("of b", "b", 2.0),)
    return Task("t", "error", lambda home: None, entries, targets, aims, paced=paced)


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    X = (255 * rng.random((200, 4, 4)) ** 4).astype(np.uint8)
    return SimpleNamespace(X=X[:150], X_test=X[150:])


# ----------------------------------------------------------------------- clock


def test_the_clock_stands_still_while_quality_is_measured():
    time, qualities = Time(), iter([9.0, 5.0, 4.0])
    clock = Clock(epochs=2, read=time.read)

    def quality():
        time.now += 100
        return next(qualities)

    clock.start(quality)
    time.now += 3
    clock.lap()
    time.now += 4
    with pytest.raises(Enough):
        clock.lap()
    assert clock.points == [Point(0, 0, 0, 9.0), Point(1, 3, 6, 5.0), Point(2, 7, 14, 4.0)]


def test_the_clock_ends_a_run_that_is_good_enough():
    clock = Clock(enough=lambda quality: quality < 5)
    clock.start(iter([3.0, 6.0, 4.0]).__next__)
    clock.lap()  # the untrained model does not count
    with pytest.raises(Enough):
        clock.lap()


def test_measuring_does_not_change_what_is_trained():
    losses = []
    for measures in (True, False):
        torch.manual_seed(0)
        clock = Clock(measures=measures)
        clock.start(lambda: float(torch.rand(())))
        losses.append(float(torch.rand(())))
    assert losses[0] == losses[1]
    assert math.isnan(clock.points[0].quality)


# --------------------------------------------------------------------- targets


def test_time_to_target_is_the_median_of_runs():
    runs = [curve(9, 5, 3), curve(9, 3, 3), curve(9, 8, 7)]
    found = to_target(task(), 4.0, runs, [])
    assert found["reached"]
    assert (found["epochs"], found["wall"], found["processor"]) == (2, 4.0, 12.0)
    assert (found["quality at the end"], found["epochs at the end"]) == (3, 2)


def test_time_to_target_is_epochs_times_the_median_epoch_if_paced():
    paces = [curve(9, 9, seconds=s) for s in (1.0, 5.0, 100.0)]
    found = to_target(task(paced=True), 4.0, [curve(9, 5, 3)], paces)
    assert (found["epochs"], found["wall"], found["processor"]) == (2, 10.0, 30.0)


@pytest.mark.parametrize("runs", [[curve(9, 5, 5)], [curve(9, 3, 5)], [curve(3, 5, 5)]])
def test_a_run_that_does_not_end_at_the_target_gives_a_lower_bound(runs):
    found = to_target(task(), 4.0, runs, [])
    assert not found["reached"]
    assert found["epochs"] == 2


def test_targets_are_medians_after_some_epochs_or_the_last():
    record = Record(None)
    for seed, points in enumerate([curve(9, 5, 3), curve(9, 6, 4), curve(9, 7, 2)]):
        record.add(points, task="t", contender="b", kind=QUALITY, seed=seed)
    assert value_of(Target("", "b"), "t", record) == 3
    assert value_of(Target("", "b", 1), "t", record) == 6
    assert value_of(Target("", "b", 3), "t", record) is None  # the runs are shorter
    assert value_of(Target("", 2.5), "t", record) == 2.5
    assert value_of(Target("", "c"), "t", record) is None


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        ((9, 3), "3.00, at least 2: met"),
        ((9, 5, 3), "1.50, at least 2: MISSED"),
        ((9, 5, 5), "not reached by isthmus, at least 2: MISSED"),
    ],
)
def test_aims_are_judged(ours, verdict):
    record, t = Record(None), task(isthmus=None, b=None)
    record.add(curve(*ours), task="t", contender="isthmus", kind=QUALITY, seed=0)
    record.add(curve(9, 7, 6, 4), task="t", contender="b", kind=QUALITY, seed=0)
    assert judge(t.aims[0], summary("t", t, record)) == f"b / isthmus, to of b: {verdict}"
    assert "not measured" in judge(t.aims[0], [])


# ----------------------------------------------------------------- whole runs


def test_contenders_take_turns():
    t = task(isthmus=None, b=None)
    assert [(r.contender, r.seed) for r in time_to_quality.plan(t, 2)] == [
        ("isthmus", 0),
        ("b", 0),
        ("isthmus", 1),
        ("b", 1),
    ]


def test_epochs_of_pictures_are_timed_apart():
    t = task(paced=True, isthmus=None, b=None)
    t.entries["b"] = Entry(None, "", 3, seeds=2)
    t.entries["same steps"] = Entry(None, "", 3, curve="b")
    runs = [*time_to_quality.plan(t, 1)]
    assert [r for r in runs if r.kind == QUALITY] == [
        Planned("isthmus", QUALITY, 0),
        Planned("b", QUALITY, 0),
        Planned("b", QUALITY, 1),
    ]
    assert [r.contender for r in runs if r.kind == PACE] == ["isthmus", "b", "same steps"]


def test_runs_are_kept_and_not_repeated(tmp_path, capsys):
    path, turns = tmp_path / "runs.json", []

    def train(data, seed, clock):
        turns.append(seed)
        clock.start(lambda: float(seed))
        clock.lap()
        raise Enough

    def missing(data, seed, clock):
        raise CannotRace("not installed")

    t = task(isthmus=train, b=missing)
    for _ in range(2):
        record = Record(path)
        time_to_quality.measure("t", t, None, [*time_to_quality.plan(t, 2)], record)
    assert turns == [0, 1]
    assert "t: b: not installed" in capsys.readouterr().err
    kept = json.loads(path.read_text())["runs"]
    assert [run["seed"] for run in kept] == [0, 1]
    assert set(kept[0]) >= {"task", "contender", "kind", "threads", "load", "points"}
    record.drop("t", [Planned("isthmus", QUALITY, 1)])
    assert [*record.points("t", "isthmus", QUALITY)] == [0]


def test_two_processes_measure_into_one_file(tmp_path):
    records = [Record(tmp_path / "runs.json") for _ in range(2)]
    for seed, record in enumerate(records):
        record.add(curve(9, 5), task="t", contender="b", kind=QUALITY, seed=seed)
    records[0].drop("t", [Planned("b", QUALITY, 0)])
    records[0].describe({"verdicts": []})
    assert [[*r.points("t", "b", QUALITY)] for r in records] == [[1], [1]]


def test_the_command_measures_and_prints_a_table(tmp_path, capsys, monkeypatch, pictures):
    settings = VAE(n_components=2, hidden=(8,), batch_size=16, learning_rate=1e-3)
    entries = {
        "isthmus": Entry(
            contenders.ours(lambda: VAE(n_components=2, hidden=(8,), likelihood="bernoulli")), "", 3
        ),
        "plain loop": Entry(contenders.loop(loops.plain, settings, "bernoulli"), "", 2, seeds=2),
        "tutorial loop": Entry(
            contenders.loop(loops.tutorial, settings, "bernoulli"), "", 2, curve="plain loop"
        ),
    }
    tiny = Task(
        "tiny",
        "nats",
        lambda home: pictures,
        entries,
        (Target("2 epochs", "plain loop", 2),),
        (Aim("2 epochs", "tutorial loop", 4.0),),
        paced=True,
    )
    out = tmp_path / "out.json"
    monkeypatch.setattr(time_to_quality, "TASKS", {"tiny": tiny})
    monkeypatch.setattr(sys, "argv", ["x", "--only", "tiny", "--rounds", "1", "--out", str(out)])
    time_to_quality.main()
    printed = capsys.readouterr().out
    assert "tiny: tutorial loop / isthmus, to 2 epochs:" in printed
    kept = json.loads(out.read_text())
    assert {row["contender"] for row in kept["summary"]} == {*entries}
    assert kept["versions"]["torch"]
    curves = Record(out).points("tiny", "plain loop", QUALITY)
    assert [len(c) for c in curves.values()] == [3, 3]
    assert curves[0][-1].quality < curves[0][0].quality  # it learns
    assert curves[0] != curves[1]


def test_pictures_need_a_folder(tmp_path, capsys, monkeypatch):
    arguments = ["x", "--only", "mnist", "--out", str(tmp_path / "out.json")]
    monkeypatch.setattr(sys, "argv", arguments)
    time_to_quality.main()
    assert "mnist: needs --data-home" in capsys.readouterr().err


# -------------------------------------------------------------------- measures


@pytest.mark.parametrize("prior", ["standard", "mixture"])
def test_our_elbo_is_the_one_isthmus_reports(pictures, prior):
    settings = {"n_components": 2, "hidden": (8,), "epochs": 3, "random_state": 0}
    model = VAE(likelihood="bernoulli", prior=prior, **settings).fit(pictures.X)
    many = np.resize(pictures.X_test, (5000, 4, 4))
    with torch.no_grad():
        found = negative_elbo(contenders._coder(model), contenders.floats(many))
    assert found == pytest.approx(-model.score(many), rel=0.005)


def test_squared_errors_are_sums_over_pixels():
    x = torch.rand(7, 2, 3)
    assert squared_error(lambda x: x + 2, x) == pytest.approx(4 * 6)


def test_a_loop_and_its_networks_have_the_same_elbo(pictures):
    job = loops.Job(VAE(n_components=2, hidden=(8,), batch_size=50), "bernoulli", pictures.X)
    encoder, decoder = loops.plain(job).networks
    x = torch.from_numpy(np.resize(pictures.X, (20000, 4, 4))).float() / 255
    with torch.no_grad():
        found = negative_elbo(Coder(lambda x: encoder(x).chunk(2, 1), decoder), x)
        assert found == pytest.approx(float(loops.Plain(job)(x)), rel=0.005)


def test_autoencoders_are_measured_in_units_of_pixels(pictures):
    clocks = [Clock(epochs=3), Clock(epochs=3)]
    settings = {"n_components": 4, "hidden": (8,), "batch_size": 50}
    for train, clock in zip(
        (
            contenders.ours(lambda: Autoencoder(**settings)),
            contenders.loop(loops.plain, Autoencoder(**settings), "gaussian-fixed"),
        ),
        clocks,
        strict=True,
    ):
        with pytest.raises(Enough):
            train(pictures, 0, clock)
    variance = float((pictures.X_test / 255).var(0).sum())
    assert clocks[0].points[-1].quality == pytest.approx(variance, rel=0.5)
    assert 0 < clocks[1].points[-1].quality < clocks[1].points[0].quality


# ---------------------------------------------------------------------- tables


@pytest.mark.parametrize("name", ["breast-cancer", "wine", "digits", "factors", "benign"])
def test_tables_have_few_outliers_to_find(name):
    data = tables.TABLES[name]()
    assert data.train.shape[1] == data.test.shape[1]
    assert len(data.test) == len(data.outlier)
    assert 0 < data.outlier.mean() < (1 if name == "benign" else 0.2)


def test_a_detector_is_measured_at_each_epoch():
    clock, data = Clock(epochs=2), tables.TABLES["wine"]()
    train = contenders.detector(lambda seed: AnomalyDetector(random_state=seed))
    with pytest.raises(Enough):
        train(data, 0, clock)
    assert [p.epoch for p in clock.points] == [0, 1, 2]
    assert all(0 <= p.quality <= 1 for p in clock.points)


@pytest.mark.slow  # pyod imports numba
@pytest.mark.parametrize("rival", [*tasks.PYOD])
def test_pyod_is_measured_at_each_epoch_of_its_own(rival):
    pytest.importorskip("pyod")
    clock = Clock()
    with pytest.raises(Enough):
        contenders.pyod(*tasks.PYOD[rival])(tables.TABLES["wine"](), 0, clock)
    assert clock.points[-1].epoch == (10 if "Auto" in rival else 30)
    assert len({p.quality for p in clock.points}) > 3


def test_pythae_is_measured(pictures):
    pytest.importorskip("pythae")
    clock = Clock(epochs=2)
    settings = VAE(n_components=2, hidden=(8,), batch_size=16, learning_rate=1e-2)
    with pytest.raises(Enough):
        contenders.loop(pythae, settings, "bernoulli")(pictures, 0, clock)
    assert clock.points[-1].quality < clock.points[0].quality
