"""The speed benchmark compares fairly; nothing is timed here."""

import math
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from isthmus import VAE, ContractiveAutoencoder, SparseAutoencoder

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from speed import contenders, floor, workloads
from speed.race import Aim, CannotRace, Contender, race, same_size


def missing():
    raise CannotRace("not installed")


@pytest.fixture
def job():
    settings = VAE(n_components=2, hidden=(8,), batch_size=16)
    return contenders.Job(settings, "bernoulli", workloads.made((4, 4), 64))


def test_contenders_take_turns_after_one_warm_up():
    turns = []

    def contender(name):
        return lambda: Contender(lambda: turns.append(name) or 1.0, parameters=3)

    makers = {"isthmus": contender("a"), "rival": missing, "plain": contender("b")}
    results = race(makers, rounds=2)
    assert turns == ["a", "b"] * 3
    assert list(results) == list(makers)
    assert results["rival"] == {"why": "not installed"}
    assert results["plain"]["figures"] == [1.0] * 3
    assert same_size(results) == 3


def test_models_of_different_sizes_do_not_race():
    with pytest.raises(ValueError, match="different sizes"):
        same_size({"isthmus": {"parameters": 3}, "rival": {"parameters": 4}})


@pytest.mark.parametrize(
    ("aim", "verdict"),
    [
        (Aim("rival", least=3.0), "rival / isthmus: 4.00, at least 3: met"),
        (Aim("rival", least=5.0), "rival / isthmus: 4.00, at least 5: MISSED"),
        (Aim("rival", most=0.5), "isthmus / rival: 0.25, at most 0.5: met"),
        (Aim("", most=0.5), "seconds: 1.00, at most 0.5: MISSED"),
        (Aim("itself", most=1.1), "later rounds / first rounds: 2.00, at most 1.1: MISSED"),
        (Aim("away", most=1.0), "away: not measured, not installed"),
    ],
)
def test_aims_are_judged_by_medians(aim, verdict):
    results = {
        "isthmus": {"median": 1.0, "seconds": [9.0, 1.0, 1.0, 2.0, 2.0]},
        "rival": {"median": 4.0},
        "away": {"why": "not installed"},
    }
    assert aim.judge(results) == verdict


def test_loops_train_the_same_model_to_the_same_loss(job):
    loops = [contenders.isthmus, contenders.plain, contenders.tutorial]
    entered = [loop(job) for loop in loops]
    assert len({c.parameters for c in entered}) == 1
    losses = [c.epoch() for c in entered]
    assert losses == pytest.approx([losses[0]] * 3, rel=0.02)


@pytest.mark.parametrize("model", [ContractiveAutoencoder, SparseAutoencoder])
def test_hand_written_penalties_equal_those_of_isthmus(model, monkeypatch):
    monkeypatch.setattr("isthmus.objectives.penalties.WARM_UP", 0)  # at full weight from the start
    settings = model(n_components=3, hidden=(8,), batch_size=64)
    one_step = contenders.Job(settings, "bernoulli", workloads.made((4, 4), 64))
    ours, by_hand = (f(one_step).epoch() for f in (contenders.isthmus, contenders.plain))
    assert ours == pytest.approx(by_hand, rel=1e-5)


def test_the_floor_has_each_product_once_and_no_gradient_of_data(job):
    uses = contenders.uses_of(job)
    assert [u.shape for u in uses] == [(16, 16), (16, 8), (16, 2), (16, 8)]
    assert [u.input_gradient for u in uses] == [False, True, True, True]
    forward = [2 * 16 * 16 * 8, 2 * 16 * 8 * 4, 2 * 16 * 2 * 8, 2 * 16 * 8 * 16]
    assert [u.operations(backward=False) for u in uses] == forward
    assert uses[0].operations(backward=True) == 2 * forward[0]
    assert uses[1].operations(backward=True) == 3 * forward[1]
    assert math.isnan(contenders.floor(job).epoch())


def test_operations_of_convolutions_are_those_torch_counts():
    settings = VAE(backbone="conv", n_components=2, hidden=(), batch_size=4)
    job = contenders.Job(settings, "bernoulli", workloads.made((3, 16, 16), 8))
    uses = contenders.uses_of(job)
    products = floor.floor(uses, 1, backward=True)
    with FlopCounterMode(display=False) as counter:
        products.epoch()
    assert sum(u.operations(backward=True) for u in uses) == counter.get_total_flops()


def test_every_workload_makes_its_contenders():
    given = workloads.Given(steps=1)
    for workload in workloads.WORKLOADS.values():
        if "rows" not in workload.title:  # those have a number of rows of their own
            assert "isthmus" in workload.makers(given)


def test_all_contenders_give_the_same_results(job):
    torch.manual_seed(0)
    for name, question in workloads.QUESTIONS.items():
        few = contenders.Job(job.settings, "bernoulli", job.x[:8])
        makers = question.makers(few)
        ours, by_hand = (makers[n]().epoch() for n in ("isthmus", "plain loop"))
        assert ours == pytest.approx(by_hand, rel=0.05), name
        assert math.isnan(makers["floor"]().epoch())
