import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import isthmus
from isthmus.estimators import ESTIMATORS
from isthmus.training import Callback, Rows, pick_device
from isthmus.training.progress import terms_text

X = load_digits().images[:400] / 16
FAST = {"hidden": (16,), "n_components": 3, "random_state": 0}


TERMS = ("loss", "reconstruction", "kl", "penalty")


def weights_of(model):
    """Return a copy of all weights and buffers."""
    return {name: t.clone() for name, t in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Keep(Callback):
    """Keep the weights of every epoch, and note what was called in which order."""

    def __init__(self):
        self.weights, self.calls, self.outcome = {}, [], None

    def on_start(self, trainer, rows):
        self.calls.append("start")
        self.weights[0] = weights_of(trainer.model)

    def on_step(self, trainer, n_rows):
        self.calls.append(n_rows)

    def on_epoch(self, trainer, record):
        self.calls.append("epoch")
        self.weights[record["epoch"]] = weights_of(trainer.model)

    def on_end(self, trainer, outcome):
        self.calls.append("end")
        self.outcome = outcome


class Do(Callback):
    """Do something after an epoch."""

    def __init__(self, epoch, action):
        self.epoch, self.action, self.ended = epoch, action, False

    def on_epoch(self, trainer, record):
        if record["epoch"] == self.epoch:
            self.action(trainer)

    def on_end(self, trainer, outcome):
        self.ended = True


class OnStep(Callback):
    """Do something after every step."""

    def __init__(self, action):
        self.action = action

    def on_step(self, trainer, n_rows):
        self.action()


def test_the_history_has_one_record_per_epoch():
    model = isthmus.VAE(epochs=4, **FAST).fit(X)
    assert [r["epoch"] for r in model.history_] == [1, 2, 3, 4]
    record = model.history_[0]
    for prefix in ("", "valid_"):
        whole = record[f"{prefix}reconstruction"] + record[f"{prefix}kl"]
        assert record[f"{prefix}loss"] == pytest.approx(whole, rel=1e-5)
    assert record["examples_per_second"] > 0


@pytest.mark.parametrize("held", [0.0, 0.25])
def test_a_record_has_exactly_these_numbers(held):
    model = isthmus.VAE(epochs=2, validation_fraction=held, **FAST).fit(X)
    keys = {"epoch", "seconds", "examples_per_second", *TERMS}
    keys |= {f"valid_{term}" for term in TERMS} if held else set()
    for record in model.history_:
        assert set(record) == keys
        assert all(type(value) in (int, float) for value in record.values())
        assert record["loss"] == pytest.approx(
            record["reconstruction"] + record["kl"] + record["penalty"], rel=1e-5
        )


def test_a_penalty_is_in_the_record_and_in_the_loss():
    record = isthmus.SparseAutoencoder(epochs=1, **FAST).fit(X).history_[0]
    assert record["penalty"] > 0
    assert record["kl"] == 0
    assert record["loss"] == pytest.approx(record["reconstruction"] + record["penalty"], rel=1e-5)


def test_callbacks_are_called_at_each_step_and_epoch_in_order():
    watcher = Keep()
    isthmus.VAE(epochs=2, batch_size=150, validation_fraction=0.0, **FAST).fit(
        X, callbacks=[watcher]
    )
    epoch = [150, 150, 100, "epoch"]
    assert watcher.calls == ["start", *epoch, *epoch, "end"]
    assert watcher.outcome.stopped == "epochs"


def test_training_stops_by_patience_and_keeps_the_best_weights():
    model = isthmus.Autoencoder(
        epochs=300, patience=5, learning_rate=0.02, n_components=30, hidden=(200,), random_state=0
    ).fit(X[:100])
    assert model.stopped_ == "patience"
    losses = [r["valid_loss"] for r in model.history_]
    assert model.best_epoch_ == int(np.argmin(losses)) + 1
    assert model.n_iter_ == model.best_epoch_ + 5


@pytest.mark.parametrize("backbone", ["mlp", "conv"])  # batch norm has buffers
def test_the_weights_that_are_kept_are_those_of_the_best_epoch(backbone):
    watcher = Keep()
    model = isthmus.Autoencoder(
        epochs=80, patience=3, learning_rate=0.05, ema=0.0, backbone=backbone, **FAST
    ).fit(X[:60], callbacks=[watcher])
    assert model.best_epoch_ < model.n_iter_
    assert same(weights_of(model.model_), watcher.weights[model.best_epoch_])
    assert not same(weights_of(model.model_), watcher.weights[model.n_iter_])


@pytest.mark.parametrize("patience", [0, 1000])
def test_without_patience_all_epochs_are_trained(patience):
    model = isthmus.Autoencoder(epochs=12, patience=patience, learning_rate=0.05, **FAST).fit(X)
    assert model.n_iter_ == 12
    assert model.stopped_ == "epochs"
    losses = [r["valid_loss"] for r in model.history_]
    assert model.best_epoch_ == int(np.argmin(losses)) + 1


def test_without_validation_rows_the_last_weights_are_kept():
    model = isthmus.VAE(epochs=3, validation_fraction=0.0, **FAST).fit(X)
    assert model.best_epoch_ == 3
    assert "valid_loss" not in model.history_[0]


def test_ctrl_c_keeps_the_best_weights_with_a_warning():
    def interrupt(trainer):
        raise KeyboardInterrupt

    watcher, model = Do(3, interrupt), isthmus.VAE(epochs=50, **FAST)
    with pytest.raises(KeyboardInterrupt, match="interrupted in epoch 4; the best weights so far"):
        model.fit(X, callbacks=[watcher])
    assert model.stopped_ == "interrupted"
    assert model.n_iter_ == 3
    assert watcher.ended
    assert np.isfinite(model.score(X))


@pytest.mark.parametrize("held", [0.0, 0.2])
def test_ctrl_c_within_an_epoch_restores_the_best_weights(held):
    class Interrupt(Keep):
        def on_step(self, trainer, n_rows):
            if len(self.weights) == 5:  # the start and four epochs
                raise KeyboardInterrupt

    watcher = Interrupt()
    model = isthmus.VAE(epochs=50, learning_rate=0.02, validation_fraction=held, **FAST)
    with pytest.raises(KeyboardInterrupt, match="interrupted in epoch 5"):
        model.fit(X, callbacks=[watcher])
    losses = [r["valid_loss" if held else "loss"] for r in model.history_]
    assert model.best_epoch_ == int(np.argmin(losses)) + 1
    assert same(weights_of(model.model_), watcher.weights[model.best_epoch_])
    assert not model.model_.training
    assert np.isfinite(model.transform(X)).all()


def test_ctrl_c_in_the_first_epoch_leaves_a_model_with_the_initial_weights():
    class Interrupt(Keep):
        def on_step(self, trainer, n_rows):
            raise KeyboardInterrupt

    watcher, model = Interrupt(), isthmus.VAE(epochs=5, **FAST)
    with pytest.raises(KeyboardInterrupt, match=r"epoch 1; .* \(epoch 0\)"):
        model.fit(X, callbacks=[watcher])
    assert (model.best_epoch_, model.n_iter_, model.history_) == (0, 0, [])
    assert same(weights_of(model.model_), watcher.weights[0])
    assert model.transform(X).shape == (400, 3)


@pytest.mark.parametrize("held", [0.0, 0.2])
def test_divergence_restores_the_best_weights(held):
    def poison(trainer):
        with torch.no_grad():
            next(trainer.model.encoder.parameters()).fill_(float("inf"))

    watcher = Keep()
    model = isthmus.VAE(epochs=50, validation_fraction=held, **FAST)
    with pytest.warns(RuntimeWarning, match=r"diverged in epoch 4.*weights of epoch [1-3] are"):
        model.fit(X, callbacks=[watcher, Do(3, poison)])
    assert watcher.calls[-1] == "end"
    assert watcher.outcome.stopped == model.stopped_ == "diverged"
    assert model.n_iter_ == len(model.history_) == 3
    assert same(weights_of(model.model_), watcher.weights[model.best_epoch_])


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_a_far_too_large_learning_rate_warns_and_leaves_a_finite_model(name):
    model = ESTIMATORS[name](epochs=5, learning_rate=1e6, likelihood="gaussian", **FAST)
    with pytest.warns(RuntimeWarning, match="Try a smaller learning_rate") as warned:
        model.fit(16 * X, load_digits().target[:400])
    assert warned[0].filename == __file__  # it points to the user's own line
    assert model.stopped_ in ("diverged", "epochs")  # infinite, or finite and far worse
    assert all(torch.isfinite(t).all() for t in model.model_.state_dict().values())
    assert np.isfinite(model.transform(16 * X)).all()
    again = model.set_params(learning_rate=1e-3).fit(16 * X, load_digits().target[:400])
    assert again.stopped_ == "epochs"


@pytest.mark.parametrize("held", [0.1, 0])
@pytest.mark.parametrize("name", ["autoencoder", "vae", "sparse", "contractive"])
def test_a_finite_loss_far_above_that_at_the_start_warns(name, held):
    settings = {**FAST, "hidden": (8,), "likelihood": "gaussian-fixed", "epochs": 4}
    model = ESTIMATORS[name](learning_rate=1e3, validation_fraction=held, **settings)
    with pytest.warns(RuntimeWarning, match=r"has risen from .* smaller learning_rate") as warned:
        model.fit(16 * X)
    assert warned[0].filename == __file__
    assert model.stopped_ == "epochs"
    assert np.isfinite(model.history_[-1]["loss"])


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
@pytest.mark.parametrize("held", [0.1, 0])
def test_noticing_divergence_changes_no_bit_and_warns_of_nothing_else(name, held, monkeypatch):
    heavy = np.random.default_rng(0).standard_cauchy(size=(200, 3))
    labels = np.repeat([0, 1], 100)
    settings = {**FAST, "hidden": (8,), "epochs": 4, "validation_fraction": held}
    model = ESTIMATORS[name](**settings).fit(heavy, labels)  # a warning is an error
    monkeypatch.setattr("isthmus.training.trainer.Trainer._loss_on", lambda self, batch: 0.0)
    other = ESTIMATORS[name](**settings).fit(heavy, labels)
    assert same(weights_of(model.model_), weights_of(other.model_))


def test_divergence_keeps_the_last_good_weights_and_names_the_term():
    def poison(trainer):
        with torch.no_grad():
            next(trainer.model.decoder.parameters()).fill_(float("nan"))

    model = isthmus.VAE(epochs=50, ema=0, **FAST)
    with pytest.warns(RuntimeWarning, match=r"diverged in epoch 6: reconstruction.*smaller learn"):
        model.fit(X, callbacks=[Do(5, poison)])
    assert model.stopped_ == "diverged"
    assert model.best_epoch_ <= 5
    assert np.isfinite(model.score(X))


def test_an_error_in_a_callback_leaves_the_estimator_unchanged():
    model = isthmus.VAE(epochs=3, **FAST).fit(X)
    before = model.transform(X)

    def fail(trainer):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        model.fit(X, callbacks=[Do(1, fail)])
    np.testing.assert_array_equal(model.transform(X), before)


def flushes():
    """Whether denormal numbers are zero."""
    return (torch.tensor(1e-40) * 1.0).item() == 0


@pytest.mark.parametrize("before", [False, True])
def test_denormals_are_flushed_only_during_training(before):
    seen = []
    torch.set_flush_denormal(before)
    try:
        watcher = OnStep(lambda: seen.append(flushes()))
        isthmus.VAE(epochs=1, **FAST).fit(X, callbacks=[watcher])
        assert set(seen) == {True}
        assert flushes() is before
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_flushing_ends_when_training_fails(error):
    def fail(trainer):
        raise error

    torch.set_flush_denormal(False)
    with pytest.raises(error):
        isthmus.VAE(epochs=3, **FAST).fit(X, callbacks=[Do(1, fail)])
    assert not flushes()


def test_dropout_leaves_the_global_random_state_unchanged():
    def fail(trainer):
        raise RuntimeError("mine")

    before = torch.random.get_rng_state()
    with pytest.raises(RuntimeError, match="mine"):
        isthmus.VAE(epochs=3, dropout=0.5, **FAST).fit(X, callbacks=[Do(1, fail)])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_default_number_of_epochs_depends_on_the_rows():
    model = isthmus.VAE(epochs=1, **FAST).fit(X).set_params(epochs=None)
    rows = [Rows(torch.zeros(n, 1)) for n in (100, 12_800, 10**7)]
    assert [model._trainer(r, torch.Generator()).n_epochs(r) for r in rows] == [6000, 60, 12]


def test_normalised_gradients_have_norm_one():
    model = isthmus.VAE(normalize_gradients=True, epochs=1, **FAST)
    norms = []
    watcher = Do(1, lambda t: norms.extend(p.grad.norm().item() for p in t.model.parameters()))
    model.fit(X, callbacks=[watcher])
    assert norms == pytest.approx([1.0] * len(norms), abs=1e-3)


@pytest.mark.parametrize("name", ["cuda:77", "warp", "", "cpu:x", "mps:5"])
def test_a_missing_device_raises_one_line(name):
    words = f"device must be 'auto' or a device that torch can use here, got {name!r}"
    with pytest.raises(ValueError, match=words) as raised:
        pick_device(name)
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU")
def test_without_a_gpu_auto_is_the_cpu_and_cuda_raises():
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    model = isthmus.VAE(epochs=1, **FAST).fit(X)
    before = model.transform(X)
    with pytest.raises(ValueError, match="got 'cuda'"):
        model.set_params(device="cuda").fit(X)
    np.testing.assert_array_equal(model.transform(X), before)


def test_progress_in_lines_goes_to_standard_error(capsys):
    isthmus.VAE(epochs=2, progress="lines", **FAST).fit(X)
    out, err = capsys.readouterr()
    assert out == ""
    assert "epoch 2/2  loss" in err
    assert "examples/s" in err


def test_a_bar_shows_the_terms(capsys):
    isthmus.VAE(epochs=2, progress="bar", **FAST).fit(X)
    err = capsys.readouterr().err
    for words in ("epoch 2/2", "loss ", "rec ", "KL ", "/s "):
        assert words in err
    assert terms_text({"loss": 1.0, "reconstruction": 1.0, "kl": 0.0, "penalty": 0.0}) == (
        "loss 1.00  reconstruction 1.00"
    )
