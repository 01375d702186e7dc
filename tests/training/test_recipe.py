"""Optimizers, schedules, clipping and averages: each equals torch's, or its definition."""

import copy

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel

import isthmus
from isthmus.models.specs import Training
from isthmus.training import Callback
from isthmus.training.optimizers import make_optimizer
from isthmus.training.schedules import learning_rate, n_epochs, n_patience, n_warm_up
from isthmus.training.weight_average import WeightAverage

X = load_digits().images[:200] / 16
SMALL = {"n_components": 3, "hidden": (8,), "batch_size": 32, "epochs": 4, "random_state": 0}
SMALL["likelihood"] = "bernoulli"
WHOLE = {"validation_fraction": 0.0}


class Weights(Callback):
    """Record weights after each step and each epoch, and the learning rates."""

    def __init__(self):
        self.steps, self.epochs, self.rates = [], [], []

    def on_step(self, trainer, n_rows):
        self.steps.append([w.detach().clone() for w in trainer.weights])
        self.rates.append(trainer.optimizer.param_groups[0]["lr"])

    def on_epoch(self, trainer, record):
        self.epochs.append([w.detach().clone() for w in trainer.model.parameters()])


def fit(**settings):
    seen = Weights()
    model = isthmus.VAE(**SMALL | settings).fit(X, callbacks=[seen])
    return model, seen


def mean_of(steps, share):
    """Return the average of weights by its definition."""
    mean = steps[0]
    for step, weights in enumerate(steps[1:], 2):
        stride = 1 if step <= 128 else 8
        if step % stride == 0:
            kept = (1 - stride / step) ** (1 / share)
            mean = [kept * m + (1 - kept) * w for m, w in zip(mean, weights, strict=True)]
    return mean


def equal(a, b, **tolerance):
    return all(torch.allclose(x, y, **tolerance) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_average_equals_that_of_torch(share):
    network = torch.nn.Linear(3, 2)
    own = WeightAverage(list(network.parameters()), share)
    torchs = AveragedModel(
        network,
        multi_avg_fn=lambda mean, now, n: torch._foreach_lerp_(
            mean, now, 1 - (1 - 1 / (float(n) + 1)) ** (1 / share)
        ),
    )
    for step in range(1, 30):
        with torch.no_grad():
            for w in network.parameters():
                w.add_(torch.randn_like(w))
        own.update(step)
        torchs.update_parameters(network)
    own.show()
    assert equal(network.parameters(), torchs.module.parameters())


def test_mean_age_of_an_average_is_its_share_of_the_steps():
    age, n = torch.zeros(1, dtype=torch.float64), 20_000
    average = WeightAverage([age], 0.1)
    for step in range(1, n + 1):
        age.fill_(step)
        average.update(step)
    average.show()
    assert float(n - age) / n == pytest.approx(0.1, rel=0.1)


def test_show_and_hide_swap_the_weights_once():
    weight = torch.tensor([1.0])
    average = WeightAverage([weight], 0.5)
    average.update(1)
    weight += 1
    average.update(2)
    for _ in range(2):
        average.show()
    assert float(weight) == 1.75
    for _ in range(2):
        average.hide()
    assert float(weight) == 2.0


@pytest.mark.parametrize("held", [0.1, 0.0])
def test_epochs_are_evaluated_and_kept_with_the_average(held):
    model, seen = fit(validation_fraction=held)
    n = len(seen.steps) // 4
    for epoch, shown in enumerate(seen.epochs, 1):
        assert equal(shown, mean_of(seen.steps[: epoch * n], 0.1), atol=1e-5)
    kept = seen.epochs[model.best_epoch_ - 1]
    assert equal(kept, model.model_.parameters(), atol=0, rtol=0)
    assert not equal(kept, seen.steps[-1], atol=1e-6)


def test_the_average_does_not_change_the_training():
    (_, plain), (_, averaged) = fit(ema=0.0), fit()
    assert all(
        equal(a, b, atol=0, rtol=0) for a, b in zip(plain.steps, averaged.steps, strict=True)
    )
    assert equal(plain.epochs[-1], plain.steps[-1], atol=0, rtol=0)


def test_running_statistics_are_averaged_with_the_weights():
    model, _ = fit(backbone="conv", validation_fraction=0.0)
    raw, _ = fit(backbone="conv", validation_fraction=0.0, ema=0.0)
    a, b = (dict(m.model_.named_buffers()) for m in (model, raw))
    changed = [name for name in a if "running" in name and not torch.equal(a[name], b[name])]
    assert changed
    # Fewer steps have gone by than batch normalisation needs; the average is usable all the same.
    assert np.isfinite(model.score(X))


def reference_rates(schedule, n, total, warmup=0):
    """Return the rates of torch's schedulers."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    if schedule == "cosine":
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, total)
    elif schedule == "wsd":
        stable = int(0.75 * total)
        scheduler = lr_scheduler.SequentialLR(
            optimizer,
            [
                lr_scheduler.ConstantLR(optimizer, 1.0, 1),
                lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total - stable),
            ],
            [stable],
        )
    else:
        scheduler = lr_scheduler.LinearLR(optimizer, 1 / warmup, 1.0, warmup - 1)
    rates = []
    for _ in range(n):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize("schedule", ["cosine", "wsd", "constant"])
def test_learning_rates_equal_those_of_torch(schedule):
    warmup = 10 if schedule == "constant" else 0
    settings = Training(learning_rate=0.5, lr_schedule=schedule, warmup=warmup)
    ours = [learning_rate(settings, step, None, step / 40) for step in range(40)]
    assert ours == pytest.approx(reference_rates(schedule, 40, 40, warmup), abs=1e-9)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "wsd"])
def test_every_step_has_the_learning_rate_of_its_schedule(schedule):
    _, seen = fit(lr_schedule=schedule, warmup=7)
    n = len(seen.rates)
    settings = Training(lr_schedule=schedule, warmup=7)
    expected = [learning_rate(settings, step, None, step / n) for step in range(n)]
    assert seen.rates == pytest.approx(expected, abs=1e-12)


def test_short_fits_warm_up_for_a_tenth_of_their_steps():
    _, seen = fit(epochs=5, **WHOLE)
    n = len(seen.rates)
    rising = [rate for rate in seen.rates if rate < 3e-3]
    assert n_warm_up(Training(epochs=5), n // 5) == n // 10 == len(rising) + 1
    assert seen.rates[-1] == 3e-3
    assert [n_warm_up(Training(), n) for n in (1, 50, None)] == [100, 100, 100]
    assert n_warm_up(Training(epochs=1, warmup=30), 8) == 30


def test_a_gradient_is_shortened_to_the_norm():
    loose, tight = fit(clip_norm=1e9)[1], fit(clip_norm=1.0, optimizer="sgd", warmup=0, **WHOLE)[1]
    assert equal(loose.steps[-1], fit()[1].steps[-1], atol=1e-6)
    start = isthmus.VAE(**SMALL | WHOLE).begin(X)
    before = [w.detach() for w in start.model_.parameters()]
    moved = [(a - b).norm() for a, b in zip(tight.steps[0], before, strict=True)]
    norm = float(torch.stack(moved).norm())
    assert norm == pytest.approx(
        1.9 * tight.rates[0], rel=0.01
    )  # Nesterov: (1 + 0.9) times the gradient


@pytest.mark.parametrize("name", ["adamw", "nadam", "sgd"])
def test_optimizers_equal_those_of_torch(name):
    options = {"lr": 1e-2, "weight_decay": 0.1}
    kinds = {
        "adamw": (torch.optim.AdamW, {}),
        "nadam": (torch.optim.NAdam, {"decoupled_weight_decay": True}),
        "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    }
    make, more = kinds[name]
    ours = torch.nn.Linear(3, 2)
    theirs = copy.deepcopy(ours)
    settings = Training(optimizer=name, learning_rate=1e-2, weight_decay=0.1)
    pairs = [
        (ours, make_optimizer(list(ours.parameters()), settings)),
        (theirs, make(theirs.parameters(), **options, **more)),
    ]
    x = torch.randn(10, 3)
    for _ in range(5):
        for network, optimizer in pairs:
            optimizer.zero_grad()
            network(x).square().sum().backward()
            optimizer.step()
    assert equal(ours.parameters(), theirs.parameters(), rtol=1e-5)


@pytest.mark.parametrize(("likelihood", "rate"), [("gaussian-per-feature", 10), ("gaussian", 1)])
def test_scales_of_features_learn_ten_times_faster(likelihood, rate):
    gaussian = WHOLE | {"likelihood": likelihood, "warmup": 0}
    _, seen = fit(**gaussian)
    names = [name for name, _ in isthmus.VAE(**SMALL | gaussian).begin(X).model_.named_parameters()]
    place = names.index("likelihood.log_scale")
    start = isthmus.VAE(**SMALL | gaussian).begin(X).model_.likelihood.log_scale.detach()
    # The first step of Adam is the learning rate, whatever the gradient.
    steps = (seen.steps[0][place] - start).abs().flatten()
    assert float(steps.median()) == pytest.approx(rate * seen.rates[0], rel=1e-3)


def test_budget_and_patience_count_steps():
    assert [n_epochs(Training(), n) for n in (1, 12, 469, None)] == [6000, 500, 12, 12]
    assert [n_patience(Training(), n) for n in (1, 12, 469)] == [1000, 83, 4]
    assert n_epochs(Training(epochs=3), 1) == 3
    assert n_patience(Training(patience=0), 1) == n_patience(Training(lr_schedule="wsd"), 1)
    assert n_patience(Training(patience=7, lr_schedule="cosine"), 1) == 7


def test_partial_fits_continue_with_the_weights_behind_the_average():
    settings = SMALL | {"validation_fraction": 0.0}
    rows = X[:64]
    parts = isthmus.Autoencoder(**settings | {"batch_size": 64})
    for _ in range(4):
        parts.partial_fit(rows)
    whole = isthmus.Autoencoder(**settings | {"batch_size": 64}).fit(rows)
    assert np.allclose(parts.transform(rows), whole.transform(rows), atol=1e-5)


def test_a_partial_fit_uses_weights_that_the_user_has_changed():
    model = isthmus.Autoencoder(**SMALL).partial_fit(X)
    with torch.no_grad():
        for w in model.model_.parameters():
            w.zero_()
    again = model.partial_fit(X)
    largest = max(float(w.detach().abs().max()) for w in again.model_.parameters())
    assert largest < 0.05


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("optimizer", "adam"),
        ("lr_schedule", "linear"),
        ("warmup", -1),
        ("clip_norm", 0),
        ("ema", 1),
    ],
)
def test_invalid_settings_raise_before_training(setting, value):
    with pytest.raises(ValueError, match=f"VAE: {setting} must be"):
        isthmus.VAE(**{setting: value}).fit(X)
