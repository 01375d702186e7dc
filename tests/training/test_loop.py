import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import isthmus
from isthmus.training import Callback, Rows, pick_device
from isthmus.training.callbacks import terms_text
from isthmus.training.devices import _flushing

X = load_digits().images[:400] / 16
FAST = {"hidden": (16,), "n_components": 3, "random_state": 0}


class Do(Callback):
    """Do something after an epoch."""

    def __init__(self, epoch, action):
        self.epoch, self.action, self.ended = epoch, action, False

    def on_epoch(self, trainer, record):
        if record["epoch"] == self.epoch:
            self.action(trainer)

    def on_end(self, trainer, outcome):
        self.ended = True


def test_the_history_has_a_record_an_epoch():
    model = isthmus.VAE(epochs=4, **FAST).fit(X)
    assert [r["epoch"] for r in model.history_] == [1, 2, 3, 4]
    record = model.history_[0]
    for prefix in ("", "valid_"):
        whole = record[f"{prefix}reconstruction"] + record[f"{prefix}kl"]
        assert record[f"{prefix}loss"] == pytest.approx(whole, rel=1e-5)
    assert record["examples_per_second"] > 0


def test_training_stops_by_patience_and_keeps_the_best_weights():
    model = isthmus.Autoencoder(
        epochs=300, patience=5, learning_rate=0.02, n_components=30, hidden=(200,), random_state=0
    ).fit(X[:100])
    assert model.stopped_ == "patience"
    losses = [r["valid_loss"] for r in model.history_]
    assert model.best_epoch_ == int(np.argmin(losses)) + 1
    assert model.n_iter_ == model.best_epoch_ + 5


def test_without_held_out_rows_the_last_weights_stay():
    model = isthmus.VAE(epochs=3, validation_fraction=0.0, **FAST).fit(X)
    assert model.best_epoch_ == 3
    assert "valid_loss" not in model.history_[0]


def test_ctrl_c_keeps_the_best_weights_and_says_so():
    def interrupt(trainer):
        raise KeyboardInterrupt

    watcher, model = Do(3, interrupt), isthmus.VAE(epochs=50, **FAST)
    with pytest.raises(KeyboardInterrupt, match="interrupted in epoch 4; the best weights so far"):
        model.fit(X, callbacks=[watcher])
    assert model.stopped_ == "interrupted"
    assert model.n_iter_ == 3
    assert watcher.ended
    assert np.isfinite(model.score(X))


def test_divergence_keeps_the_last_good_weights_and_names_the_term():
    def poison(trainer):
        with torch.no_grad():
            next(trainer.model.decoder.parameters()).fill_(float("nan"))

    model = isthmus.VAE(epochs=50, **FAST)
    with pytest.warns(RuntimeWarning, match=r"diverged in epoch 6: reconstruction.*smaller learn"):
        model.fit(X, callbacks=[Do(5, poison)])
    assert model.stopped_ == "diverged"
    assert model.best_epoch_ <= 5
    assert np.isfinite(model.score(X))


def test_an_error_of_a_callback_leaves_the_estimator_as_it_was():
    model = isthmus.VAE(epochs=3, **FAST).fit(X)
    before = model.transform(X)

    def fail(trainer):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        model.fit(X, callbacks=[Do(1, fail)])
    np.testing.assert_array_equal(model.transform(X), before)


@pytest.mark.parametrize("before", [False, True])
def test_denormals_are_flushed_while_training_and_the_setting_is_put_back(before):
    seen = []
    torch.set_flush_denormal(before)
    try:
        watcher = Do(1, lambda trainer: seen.append(_flushing()))
        isthmus.VAE(epochs=1, **FAST).fit(X, callbacks=[watcher])
        assert seen == [True]
        assert _flushing() is before
    finally:
        torch.set_flush_denormal(False)


def test_the_number_of_epochs_follows_the_data_where_none_is_given():
    model = isthmus.VAE(epochs=1, **FAST).fit(X).set_params(epochs=None)
    rows = [Rows(torch.zeros(n, 1)) for n in (100, 12_800, 10**7)]
    assert [model._trainer(r, torch.Generator()).n_epochs(r) for r in rows] == [500, 60, 20]


def test_normalised_gradients_have_norm_one():
    model = isthmus.VAE(normalize_gradients=True, epochs=1, **FAST)
    norms = []
    watcher = Do(1, lambda t: norms.extend(p.grad.norm().item() for p in t.model.parameters()))
    model.fit(X, callbacks=[watcher])
    assert norms == pytest.approx([1.0] * len(norms), abs=1e-3)


def test_a_device_that_is_not_there_is_said():
    with pytest.raises(ValueError, match="device must be 'auto' or a device that torch can use"):
        pick_device("cuda:77")


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
