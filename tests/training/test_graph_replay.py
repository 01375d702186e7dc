import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from isthmus.estimators import ESTIMATORS
from isthmus.nn.dense import mlp
from isthmus.registry import build_model, build_objective
from isthmus.training import Callback, Rows, Trainer, graph_replay
from isthmus.training.graph_replay import Recorded

SMALL = {"n_components": 3, "hidden": (8,), "batch_size": 16}
X = torch.from_numpy(np.random.default_rng(0).random((36, 8, 8))).float()

REPEATING = [
    ("vae", {}),
    ("vae", {"dropout": 0.3}),
    ("vae", {"n_samples": 5, "bound": "iwae"}),
    ("vae", {"n_samples": 3, "bound": "dreg", "normalize_gradients": True}),
    ("vae", {"posterior_family": "full-normal", "prior": "mixture", "prior_modes": 4}),
    ("vae", {"prior": "vamp", "prior_modes": 4, "backbone": "gated"}),
    ("vae", {"backbone": "conv"}),
    ("vae", {"free_bits": 0.1, "beta_schedule": "linear", "beta_epochs": 2}),
    ("vae", {"likelihood": "gaussian-network", "weight_decay": 0.1}),
    ("beta-vae", {"decomposed": True}),
    ("conditional-vae", {}),
    ("autoencoder", {}),
    ("denoising", {}),
    ("sparse", {"penalty": "kl"}),
    ("sparse", {"activation": "batchtopk", "hidden": ()}),
    ("contractive", {}),
    ("contractive", {"hidden": ()}),
    ("contractive", {"backbone": "gated"}),
]


def trainer(name, settings, **more):
    row = ESTIMATORS[name](**SMALL | settings | more)
    torch.manual_seed(0)
    likelihood = row.likelihood if row.likelihood != "auto" else "bernoulli"
    context = 3 if row.conditional else 0
    model = build_model(row, (8, 8), likelihood, n_condition=context)
    objective = build_objective(row, len(X), 3)
    rows = Rows(X, torch.eye(3).repeat(12, 1) if context else None)
    return Trainer(model, objective, row, torch.Generator().manual_seed(1)), rows


@pytest.mark.parametrize(("name", "settings"), REPEATING)
def test_recorded_steps_are_the_same_to_the_last_bit(name, settings, monkeypatch):
    plain, rows = trainer(name, settings)
    played, _ = trainer(name, settings)
    monkeypatch.setattr(graph_replay, "PAYS_AFTER", 1)
    monkeypatch.setattr(plain, "choose_gradients", lambda rows: None)
    for number in range(1, 5):
        ours, theirs = (t.epoch(rows, number=number) for t in (played, plain))
        assert ours["loss"] == theirs["loss"]
    assert len(played.recorded.graphs) == 2  # whole batches and the rest
    assert all(played.recorded.graphs.values())
    assert plain.compute_gradients == plain._compute_gradients
    states = played.model.state_dict(), plain.model.state_dict()
    assert all(torch.equal(a, states[1][k]) for k, a in states[0].items())
    buffers = zip(played.model.buffers(), plain.model.buffers(), strict=True)
    assert all(torch.equal(a, b) for a, b in buffers)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("beta-vae", {"capacity": 3.0}),  # grows by the step's number
        ("sparse", {"activation": "jumprelu"}),  # its penalty warms up
    ],
)
def test_what_depends_on_the_step_is_not_recorded(name, settings, monkeypatch):
    t, rows = trainer(name, settings)
    monkeypatch.setattr(graph_replay, "PAYS_AFTER", 1)
    for number in range(1, 4):
        assert np.isfinite(t.epoch(rows, number=number)["loss"])
    assert t.recorded.graphs
    assert not any(t.recorded.graphs.values())


def test_networks_of_the_users_own_and_hooks_are_called_at_every_step(monkeypatch):
    calls = []
    monkeypatch.setattr(graph_replay, "PAYS_AFTER", 0)

    class Counting(torch.nn.Linear):
        def forward(self, x):
            calls.append(len(x))
            return super().forward(x)

    def counting(shapes):
        encoder, decoder = mlp(shapes)
        encoder.layers[0] = Counting(64, 400)
        return encoder, decoder

    own, rows = trainer("vae", {"backbone": counting})
    hooked, _ = trainer("vae", {})
    hooked.weights[0].register_hook(lambda gradient: calls.append(1))
    for t in (own, hooked):
        calls.clear()
        for number in range(1, 4):
            t.epoch(rows, number=number)
        assert len(calls) == 9
        assert not t.recorded.graphs


def test_a_function_that_gives_something_else_when_played_is_not_played():
    numbers = iter(range(100))
    f = Recorded(lambda time, x: x + next(numbers), after=1)
    assert [f(t, torch.zeros(())).item() for t in range(2)] == [0, 3]  # 1 and 2 went in the trial
    assert list(f.graphs.values()) == [None]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs g++")
def test_compiled_steps_agree_but_for_the_last_bits():
    plain, rows = trainer("vae", {})
    fast, _ = trainer("vae", {}, compile=True)
    for number in range(1, 4):
        ours, theirs = (t.epoch(rows, number=number) for t in (fast, plain))
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
    assert len(fast.recorded.graphs) == 1
    for a, b in zip(fast.weights, plain.weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_without_a_compiler_training_goes_on_and_says_so(monkeypatch):
    def none(*arguments, **options):
        raise RuntimeError("no C++ compiler here")

    monkeypatch.setattr(torch, "compile", none)
    t, rows = trainer("vae", {}, compile=True)
    with pytest.warns(RuntimeWarning, match="could not be compiled .no C.. compiler here"):
        assert np.isfinite(t.epoch(rows)["loss"])


def test_recording_in_several_threads_changes_nothing_in_others(monkeypatch):
    monkeypatch.setattr(graph_replay, "PAYS_AFTER", 1)
    call = torch.nn.Module.__call__

    def fit(seed):
        settings = SMALL | {"dropout": 0.5 * (seed % 2), "epochs": 3, "random_state": seed}
        return ESTIMATORS["vae"](**settings).fit(X.numpy()).history_[-1]["loss"]

    alone = [fit(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(fit, range(4))) == alone
    assert torch.nn.Module.__call__ is call


def test_what_a_callback_changes_counts_from_the_next_epoch_on(monkeypatch):
    monkeypatch.setattr(graph_replay, "PAYS_AFTER", 1)

    class Change(Callback):
        def on_epoch(self, trainer, record):
            if record["epoch"] == 2:
                for module in trainer.model.modules():
                    module.p = 0.0 if isinstance(module, torch.nn.Dropout) else None
            if record["epoch"] == 4:
                trainer.weights[0].requires_grad_(False)
                self.frozen = trainer.weights[0].clone()

    def fit(after):
        monkeypatch.setattr(graph_replay, "PAYS_AFTER", after)
        change = Change()
        model = ESTIMATORS["vae"](**SMALL | {"dropout": 0.5, "epochs": 6, "random_state": 0})
        model.set_params(validation_fraction=0.0).fit(X.numpy(), callbacks=[change])
        assert torch.equal(next(model.model_.parameters()), change.frozen)
        return [r["loss"] for r in model.history_]

    assert fit(after=1) == fit(after=10**9)


def test_frozen_layers_of_the_users_own_stay_as_they_are():
    frozen = []

    def half_frozen(shapes):
        encoder, decoder = mlp(shapes)
        frozen.append(next(encoder.parameters()).requires_grad_(False))
        return encoder, decoder

    t, rows = trainer("vae", {"backbone": half_frozen})
    before = frozen[-1].clone()
    assert np.isfinite(t.epoch(rows)["loss"])
    assert torch.equal(frozen[-1], before)
