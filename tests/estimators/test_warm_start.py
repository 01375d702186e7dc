"""A second fit continues from the weights of the first one if `warm_start` is set."""

import copy
import pickle

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone

import isthmus
from isthmus.cli import main
from isthmus.data import disk_array, sparse_rows
from isthmus.estimators import ESTIMATORS
from isthmus.models.params import params_of
from isthmus.models.specs import SPECS, Training
from isthmus.registry import OBJECTIVE_SETTINGS, build_model, build_objective
from isthmus.runs.settings import prepare_estimator
from isthmus.search import Sweep
from isthmus.training import Callback, Checkpoint
from isthmus.training.distributed import ProcessGroup

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 4)), np.arange(60) % 3
FAST = {"epochs": 2, "hidden": (4,), "n_components": 2, "random_state": 0, "batch_size": 16}
WARM = FAST | {"warm_start": True}


def weights(model):
    """Return all weights as one array."""
    return torch.cat([w.detach().flatten() for w in model.model_.parameters()]).numpy()


class Start(Callback):
    """Keep the weights, the step and the rows with which training begins."""

    def on_start(self, trainer, rows):
        self.weights = torch.cat([w.detach().flatten() for w in trainer.weights]).numpy()
        self.step, self.rows = trainer.step, rows.x.numpy()


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_a_second_fit_begins_where_the_first_one_ended(name):
    model = ESTIMATORS[name](**WARM).fit(X, Y)
    before, steps, start = weights(model), -(-len(X) * 9 // 160), Start()
    held_out = copy.deepcopy(model).fit(X, Y)
    model.fit(X, Y, callbacks=[start])
    np.testing.assert_array_equal(start.weights, before)
    assert start.step == 2 * steps
    assert not np.array_equal(weights(model), before)
    assert [r["epoch"] for r in model.history_] == [1, 2, 3, 4]
    assert model.n_iter_ == 4
    np.testing.assert_array_equal(weights(held_out), weights(model))


@pytest.mark.parametrize(
    "model",
    [
        isthmus.VAE(**WARM),
        isthmus.VAE(**WARM, prior="vamp", prior_modes=5),
        isthmus.VAE(**WARM, dropout=0.2),
        isthmus.VAE(**WARM | {"random_state": None}),
        isthmus.SparseAutoencoder(**WARM | {"hidden": ()}),
        isthmus.ConditionalVAE(**WARM),
    ],
)
def test_the_same_rows_are_held_out_again(model, tmp_path):
    first, second, third = Start(), Start(), Start()
    model.fit(X, Y, callbacks=[first]).fit(X, Y, callbacks=[second])
    model.save(tmp_path)
    isthmus.load(tmp_path).fit(X, Y, callbacks=[third])
    for again in (second, third):
        np.testing.assert_array_equal(again.rows, first.rows)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_fits_of_one_epoch_equal_calls_of_partial_fit(name):
    """The optimizer's state is continued, and the noise of each epoch is new."""
    settings = WARM | {"epochs": 1, "validation_fraction": 0}
    if name == "sparse":
        settings |= {"revive_every": None}
    model, other = ESTIMATORS[name](**settings), ESTIMATORS[name](**settings)
    for _ in range(3):
        model.fit(X, Y)
        other.partial_fit(X, Y)
    np.testing.assert_array_equal(weights(model), weights(other))
    assert model.n_iter_ == other.n_iter_ == model.best_epoch_ == 3
    np.testing.assert_array_equal(  # in turns
        weights(model.partial_fit(X, Y).fit(X, Y)), weights(other.fit(X, Y).partial_fit(X, Y))
    )


def test_without_warm_start_fit_begins_anew():
    model = isthmus.VAE(**FAST).fit(X)
    assert not hasattr(model, "_training_state")
    first = weights(model)
    np.testing.assert_array_equal(weights(model.fit(X)), first)
    model = isthmus.VAE(**WARM).fit(X).fit(X).set_params(warm_start=False).fit(X)
    np.testing.assert_array_equal(weights(model), first)
    assert model.n_iter_ == 2


def test_clones_begin_anew_and_copies_continue():
    model = isthmus.VAE(**WARM).fit(X)
    np.testing.assert_array_equal(weights(clone(model).fit(X)), weights(model))
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(weights(copied.fit(X)), weights(model.fit(X)))


def test_shape_scaling_and_labels_stay():
    model = isthmus.ConditionalVAE(**WARM).fit(X, Y)
    scaler, classes = model.scaler_, model.classes_
    model.fit(3 * X[:40] + 1, np.zeros(40, int))
    assert model.scaler_ is scaler
    assert model.classes_ is classes


@pytest.mark.parametrize(
    ("change", "fit", "message"),
    [
        ({"n_components": 3}, {}, "n_components was 2, is 3"),
        ({"hidden": (4, 4)}, {}, r"hidden was \[4\], is \[4, 4\]"),
        ({"prior": "mixture", "dropout": 0.5}, {}, "dropout was 0.0, is 0.5; prior was 'standard'"),
        ({"likelihood": "laplace"}, {}, "likelihood was 'auto'"),
        ({"missing": "ignore"}, {}, "missing was 'refuse'"),
        ({}, {"X": X[:, :3]}, "X has 3 features, but ConditionalVAE is expecting 4"),
        ({}, {"X": np.zeros((60, 2, 2))}, "fitted on examples of shape"),
        ({}, {"y": Y + 1}, "unknown label '3'; labels seen during fit: 0, 1, 2"),
        ({}, {"y": Y[:5]}, "X has 60 rows, but y has 5"),
        ({}, {"y": None}, "y has no rows"),
        ({}, {"X": np.where(X > 2, np.nan, X)}, "contains NaN"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_in_one_line(change, fit, message):
    model = isthmus.ConditionalVAE(**WARM).fit(X, Y).set_params(**change)
    before = dict(model.__dict__)
    with pytest.raises(ValueError, match=message) as info:
        model.fit(**{"X": X, "y": Y} | fit)
    assert "\n" not in str(info.value)
    assert "warm_start=True continues the fitted model" in str(info.value)
    assert model.__dict__ == before
    with pytest.raises(ValueError, match=message):
        model.partial_fit(**{"X": X, "y": Y} | fit)


def test_tables_with_other_columns_or_categories_are_refused():
    frames = pytest.importorskip("pandas")
    frame = frames.DataFrame({"a": X[:, 0], "b": np.where(Y > 0, "u", "v")})
    model = isthmus.VAE(**WARM).fit(frame).fit(frame.iloc[:30])
    for other, message in (
        (frame.rename(columns={"a": "z"}), "z"),
        (frame.assign(b="w"), "'w'"),
    ):
        with pytest.raises(ValueError, match=message) as info:
            model.fit(other)
        assert "\n" not in str(info.value)


def test_settings_of_training_and_objective_may_change():
    model = isthmus.BetaVAE(**WARM).fit(X)
    model.set_params(beta=0.5, free_bits=0.1, learning_rate=1e-4, batch_size=30, epochs=1).fit(X)
    assert model.n_iter_ == 3
    assert model.fitted_params_["beta"] == 0.5


class Recording:
    """Settings that note which of them are read."""

    def __init__(self, spec):
        self.spec, self.read = spec, set()

    def __getattr__(self, name):
        self.read.add(name)
        return getattr(self.spec, name)


@pytest.mark.parametrize("name", sorted(SPECS))
def test_settings_that_may_change_are_read_by_the_objective_alone(name):
    recording = Recording(SPECS[name](n_components=2, hidden=(4,), backbone="mlp"))
    build_model(recording, (4,), "gaussian", 2)
    assert not recording.read & {*OBJECTIVE_SETTINGS}
    recording.read.clear()
    build_objective(recording)
    own = recording.read & {*params_of(SPECS[name])} - {*params_of(Training)}
    # These choose parts of the model, too.
    assert own <= {*OBJECTIVE_SETTINGS} | {
        "activation", "binarize", "missing", "penalty", "posterior_family", "prior"
    }  # fmt: skip


def test_the_weights_of_before_stay_if_no_epoch_is_better():
    model = isthmus.VAE(**WARM | {"epochs": 30}).fit(X)
    before, best, state = weights(model), model.best_epoch_, model._training_state
    model.set_params(learning_rate=30.0, epochs=5, patience=3).fit(X)
    np.testing.assert_array_equal(weights(model), before)
    assert model.best_epoch_ == best
    assert model.stopped_ == "patience"
    assert model.n_iter_ == 33
    assert model._training_state is state


@pytest.mark.filterwarnings("ignore:training diverged")
@pytest.mark.parametrize("fraction", [0, 0.1])
def test_a_fit_that_diverges_keeps_the_weights_of_before(fraction):
    model = isthmus.VAE(**WARM, validation_fraction=fraction).fit(X)
    before = weights(model)
    model.set_params(learning_rate=1e18).fit(X)
    assert model.stopped_ == "diverged"
    np.testing.assert_array_equal(weights(model), before)
    assert np.isfinite(weights(model.set_params(learning_rate=1e-3).fit(X))).all()


def test_training_continues_from_the_best_weights_not_from_the_last_ones():
    model = isthmus.VAE(**WARM | {"epochs": 20, "learning_rate": 0.1}).fit(X)
    assert model.best_epoch_ < model.n_iter_
    trained = model._training_state["average"]["other"]
    kept = [w.detach() for w in model.model_.parameters()]
    assert all(map(torch.equal, trained, kept))


@pytest.mark.parametrize("fit", ["fit", "partial_fit"])
def test_the_average_may_be_turned_on_and_off(fit):
    model = isthmus.VAE(**WARM)
    for ema in (0.1, 0.0, 0.2):
        getattr(model.set_params(ema=ema), fit)(X)
    assert np.isfinite(weights(model)).all()


@pytest.mark.parametrize("fit", ["fit", "partial_fit"])
def test_another_optimizer_begins_anew(fit):
    model = isthmus.VAE(**WARM)
    for optimizer in ("adamw", "sgd", "sgd", "nadam"):
        getattr(model.set_params(optimizer=optimizer), fit)(X)
    assert np.isfinite(weights(model)).all()


def test_validation_rows_weights_and_groups():
    model = isthmus.VAE(**WARM).fit(X)
    model.fit(X, X_val=X[:9], sample_weight=1 + Y).fit(X, groups=Y)
    model.fit(X, sample_weight=Y > 0)
    assert model.n_iter_ == 8
    assert all("valid_loss" in record for record in model.history_)


@pytest.mark.parametrize("half", [1, 3])
def test_a_resumed_warm_start_equals_an_uninterrupted_one(half, tmp_path):
    base = isthmus.VAE(**WARM, dropout=0.1).fit(X)
    whole = copy.deepcopy(base).set_params(epochs=4).fit(X + 0.1)
    part = copy.deepcopy(base).set_params(epochs=half)
    part.fit(X + 0.1, callbacks=[Checkpoint(tmp_path, every=0)])
    for start in (base, part):  # `part` has the epochs of the checkpoint, too
        model = copy.deepcopy(start).set_params(epochs=4).fit(X + 0.1, resume_from=tmp_path)
        np.testing.assert_array_equal(weights(model), weights(whole))
        losses = [[r["valid_loss"] for r in m.history_] for m in (model, whole)]
        assert losses[0] == losses[1]
        assert model.best_epoch_ == whole.best_epoch_
        np.testing.assert_array_equal(weights(model.fit(X)), weights(copy.deepcopy(whole).fit(X)))
    with pytest.raises(ValueError, match="other data"):  # another scaling
        isthmus.VAE(**WARM | {"epochs": 4}, dropout=0.1).fit(X + 0.1, resume_from=tmp_path)


def test_rows_on_disk_sparse_rows_and_loaders(tmp_path, monkeypatch):
    expected = weights(isthmus.VAE(**WARM).fit(X).fit(X))
    np.save(tmp_path / "x.npy", X)
    monkeypatch.setattr(disk_array, "MAX_IN_MEMORY", 0)
    monkeypatch.setattr(sparse_rows, "MAX_DENSE_BYTES", 0)
    stored = np.load(tmp_path / "x.npy", mmap_mode="r")
    for rows in (stored, sparse.csr_array(X)):
        model = isthmus.VAE(**WARM).fit(rows)
        before = weights(model)
        assert model.fit(rows).n_iter_ == 4
        assert not np.array_equal(weights(model), before)
        with pytest.raises(ValueError, match="features"):
            model.fit(rows[:, :3])
    model = isthmus.VAE(**WARM).fit(X)
    batches = [(X[:30], None, 1 + Y[:30]), (X[30:], None, 1 + Y[30:])]
    assert model.fit_loader(batches, valid=X).n_iter_ == 4
    assert "valid_loss" in model.history_[-1]
    with pytest.raises(ValueError, match="3 features"):
        model.fit_loader([X[:, :3]])
    assert expected.shape == weights(model).shape


def test_candidates_of_a_sweep_begin_anew():
    sweep, cold = (
        Sweep(isthmus.BetaVAE(**settings), {"beta": [1.0, 2.0]}, random_state=0).fit(X)
        for settings in (WARM, FAST)
    )
    again = weights(sweep.fit(X).best_estimator_)
    np.testing.assert_array_equal(again, weights(cold.best_estimator_))


@pytest.mark.usefixtures("undrawn_report")
def test_a_run_starts_from_another_run(tmp_path, capsys):
    np.save(tmp_path / "x.npy", X)
    data, one, two = (str(tmp_path / name) for name in ("x.npy", "one", "two"))
    flags = ["--n-components", "2", "--hidden", "4", "--epochs", "2", "--quiet"]
    assert main(["fit", data, "--out", one, *flags]) == 0
    first = isthmus.load(one)
    start = ["fit", data, "--out", two, "--warm-start", one, "--quiet"]
    assert main([*start, "--epochs", "3", "--learning-rate", "0.01"]) == 0
    second = isthmus.load(two)
    assert (second.n_iter_, len(second.history_)) == (5, 5)
    assert second.history_[:2] == first.history_
    assert second.random_state == first.random_state  # so that the test rows are the same
    capsys.readouterr()
    for wrong, message in (
        (["--n-components", "3"], "n_components was 2, is 3"),
        (["--model", "sparse"], "is a run of a vae, not of a sparse"),
    ):
        assert main([*start[:-1], "--force", *wrong]) == 2
        error = capsys.readouterr().err
        assert message in error


def test_fit_run_continues_a_copy_of_a_fitted_model():
    model = isthmus.VAE(**WARM | {"random_state": None}).fit(X)
    copied = prepare_estimator(model, None, None, ProcessGroup())
    assert copied.model_ is not model.model_
    assert copied.random_state == model.seed_
    for other in (clone(model), model.set_params(warm_start=False)):
        assert not hasattr(prepare_estimator(other, None, None, ProcessGroup()), "model_")
