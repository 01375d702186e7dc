import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from isthmus.estimators import ESTIMATORS
from isthmus.nn.dense import mlp
from isthmus.registry import build_model, build_objective
from isthmus.training import Callback, Rows, Trainer
from isthmus.training.functional_step import CompiledStep

SMALL = {"n_components": 3, "hidden": (8,), "batch_size": 16}
X = torch.from_numpy(np.random.default_rng(0).random((36, 8, 8))).float()

TRACEABLE = [
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


@pytest.fixture
def traced(monkeypatch):
    """Replace the compiler, so that traced graphs run as they are."""
    monkeypatch.setattr(torch, "compile", lambda graph, **options: graph)


def trainer(name, settings, **more):
    row = ESTIMATORS[name](**SMALL | settings | more)
    torch.manual_seed(0)
    likelihood = row.likelihood if row.likelihood != "auto" else "bernoulli"
    context = 3 if row.conditional else 0
    model = build_model(row, (8, 8), likelihood, n_condition=context)
    objective = build_objective(row, len(X), 3)
    rows = Rows(X, torch.eye(3).repeat(12, 1) if context else None)
    return Trainer(model, objective, row, torch.Generator().manual_seed(1)), rows


@pytest.mark.parametrize(("name", "settings"), TRACEABLE)
def test_a_traced_step_equals_the_step_bit_for_bit(name, settings, traced):
    plain, rows = trainer(name, settings)
    compiled, _ = trainer(name, settings, compile=True)
    for number in range(1, 3):
        ours, theirs = (t.epoch(rows, number=number) for t in (compiled, plain))
        assert ours["loss"] == theirs["loss"]
    assert plain.compiled is None
    (graph,) = compiled.compiled.graphs.values()  # of full batches
    assert graph is not None
    states = compiled.model.state_dict(), plain.model.state_dict()
    assert all(torch.equal(a, states[1][k]) for k, a in states[0].items())


@pytest.mark.parametrize(
    ("name", "settings", "warm_up"),
    [
        ("beta-vae", {"capacity": 3.0, "beta_epochs": 2}, 6),
        ("sparse", {"penalty": "l1"}, 500),
        ("sparse", {"activation": "jumprelu"}, 500),
    ],
)
def test_a_step_is_compiled_when_its_terms_no_longer_change(name, settings, warm_up, traced):
    t, rows = trainer(name, settings, compile=True)
    plain, _ = trainer(name, settings)
    assert t.objective.warm_up == warm_up
    for one in (t, plain):
        one.step = warm_up - 3  # at the start of the last epoch of the warm-up
    assert t.epoch(rows)["loss"] == plain.epoch(rows)["loss"]
    assert not t.compiled.graphs
    assert t.epoch(rows, number=2)["loss"] == plain.epoch(rows, number=2)["loss"]
    (graph,) = t.compiled.graphs.values()
    assert graph is not None


def test_custom_networks_and_hooks_are_called_at_every_step(traced):
    calls = []

    class Counting(torch.nn.Linear):
        def forward(self, x):
            calls.append(len(x))
            return super().forward(x)

    def counting(shapes):
        encoder, decoder = mlp(shapes)
        encoder.layers[0] = Counting(64, 400)
        return encoder, decoder

    own, rows = trainer("vae", {"backbone": counting}, compile=True)
    hooked, _ = trainer("vae", {}, compile=True)
    hooked.weights[0].register_hook(lambda gradient: calls.append(1))
    for t in (own, hooked):
        calls.clear()
        t.epoch(rows)
        assert len(calls) == 3
        assert not t.compiled.graphs


def test_a_graph_with_other_results_is_not_used(traced):
    numbers = iter(range(100))
    f = CompiledStep(lambda step, x: x + next(numbers), wanted=lambda x: True)
    with pytest.warns(RuntimeWarning, match="its results differ"):
        assert f(0, torch.zeros(())).item() == 2  # 0 and 1 are used by the trials
    assert list(f.graphs.values()) == [None]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs g++")
def test_compiled_steps_agree_up_to_rounding():
    plain, rows = trainer("vae", {})
    fast, _ = trainer("vae", {}, compile=True)
    for number in range(1, 4):
        ours, theirs = (t.epoch(rows, number=number) for t in (fast, plain))
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
    assert len(fast.compiled.graphs) == 1
    for a, b in zip(fast.weights, plain.weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_without_a_compiler_training_continues_with_a_warning(monkeypatch):
    def none(*arguments, **options):
        raise RuntimeError("no C++ compiler here")

    monkeypatch.setattr(torch, "compile", none)
    t, rows = trainer("vae", {}, compile=True)
    with pytest.warns(RuntimeWarning, match="could not be compiled .no C.. compiler here"):
        assert np.isfinite(t.epoch(rows)["loss"])


def test_tracing_in_one_thread_does_not_affect_others(traced):
    call = torch.nn.Module.__call__

    def fit(seed):
        settings = SMALL | {
            "dropout": 0.5 * (seed % 2),
            "epochs": 3,
            "random_state": seed,
            "compile": True,
        }
        return ESTIMATORS["vae"](**settings).fit(X.numpy()).history_[-1]["loss"]

    alone = [fit(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(fit, range(4))) == alone
    assert torch.nn.Module.__call__ is call


def test_changes_by_a_callback_take_effect_in_the_next_epoch(traced):

    class Change(Callback):
        def on_epoch(self, trainer, record):
            if record["epoch"] == 2:
                for module in trainer.model.modules():
                    module.p = 0.0 if isinstance(module, torch.nn.Dropout) else None
            if record["epoch"] == 4:
                trainer.weights[0].requires_grad_(False)
                self.frozen = trainer.weights[0].clone()

    def fit(compile):
        change = Change()
        model = ESTIMATORS["vae"](
            **SMALL
            | {"dropout": 0.5, "epochs": 6, "random_state": 0, "compile": compile, "ema": 0.0}
        )
        model.set_params(validation_fraction=0.0).fit(X.numpy(), callbacks=[change])
        assert torch.equal(next(model.model_.parameters()), change.frozen)
        return [r["loss"] for r in model.history_]

    assert fit(compile=True) == fit(compile=False)


def test_frozen_layers_of_custom_networks_stay_frozen():
    frozen = []

    def half_frozen(shapes):
        encoder, decoder = mlp(shapes)
        frozen.append(next(encoder.parameters()).requires_grad_(False))
        return encoder, decoder

    t, rows = trainer("vae", {"backbone": half_frozen})
    before = frozen[-1].clone()
    assert np.isfinite(t.epoch(rows)["loss"])
    assert torch.equal(frozen[-1], before)
