"""Validation rows: given by the user, or the last rows or groups of X."""

import numpy as np
import pytest
import torch
from scipy import sparse

import isthmus
from isthmus.data import Dataset, disk_array, sparse_rows
from isthmus.data.disk_array import DiskArray
from isthmus.runs import ModelSettings, RunOptions, fit_run, split_dataset
from isthmus.search import Sweep
from isthmus.training import Checkpoint
from isthmus.training.batches import Rows

RNG = np.random.default_rng(0)
X, X_VAL = RNG.normal(size=(60, 4)), RNG.normal(size=(20, 4))
FAST = {"epochs": 3, "hidden": (4,), "n_components": 2, "random_state": 0, "progress": "none"}


def numbers(n, groups=None):
    """Return rows that are their own numbers."""
    rows = Rows(torch.arange(float(n))[:, None])
    return rows if groups is None else rows.grouped_by(groups)


def split(rows, fraction):
    """Return the numbers of the rows kept and held out by time."""
    kept, held = rows.split(fraction, torch.Generator().manual_seed(0), "time")
    return kept.x[:, 0].tolist(), held.x[:, 0].tolist()


def test_the_loss_is_that_of_the_given_rows():
    model = isthmus.Autoencoder(**FAST).fit(X, X_val=X_VAL)
    assert model.history_[model.best_epoch_ - 1]["valid_loss"] == pytest.approx(
        -model.score(X_VAL), rel=1e-5
    )
    other = isthmus.Autoencoder(**FAST, validation_fraction=0).fit(X)
    assert model.history_[-1]["loss"] == other.history_[-1]["loss"]  # all rows are trained on


def test_given_rows_decide_when_training_stops():
    model = isthmus.VAE(**FAST | {"epochs": 40, "patience": 1, "learning_rate": 0.1})
    model.fit(X[:8], X_val=X_VAL)
    assert model.stopped_ == "patience"
    assert model.best_epoch_ < model.n_iter_


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.coo_matrix, np.ndarray.tolist])
def test_given_rows_of_every_kind(kind, monkeypatch):
    expected = isthmus.VAE(**FAST).fit(X, X_val=X_VAL).history_[-1]["valid_loss"]
    model = isthmus.VAE(**FAST).fit(X, X_val=kind(X_VAL))
    assert model.history_[model.best_epoch_ - 1]["valid_loss"] == expected
    monkeypatch.setattr(sparse_rows, "MAX_DENSE_BYTES", 0)
    model = isthmus.VAE(**FAST).fit(X, X_val=kind(X_VAL))
    assert model.history_[model.best_epoch_ - 1]["valid_loss"] == pytest.approx(expected)


def test_given_labels():
    y, y_val = np.arange(60) % 2, np.arange(20) % 2
    model = isthmus.ConditionalVAE(**FAST).fit(X, y, X_val=X_VAL, y_val=y_val)
    assert "valid_loss" in model.history_[0]
    with pytest.raises(
        ValueError, match="X_val, y_val or sample_weight_val: X has 20 rows, but y has no rows"
    ):
        isthmus.ConditionalVAE(**FAST).fit(X, y, X_val=X_VAL)
    with pytest.raises(ValueError, match="X_val, y_val or sample_weight_val: unknown label '2'"):
        isthmus.ConditionalVAE(**FAST).fit(X, y, X_val=X_VAL, y_val=y_val + 1)


def test_errors():
    model = isthmus.VAE(**FAST)
    for settings, message in (
        ({"X_val": X_VAL[:, :3]}, "X_val, y_val or sample_weight_val: X has 3 features"),
        (
            {"X_val": np.full((2, 4), np.nan)},
            "X_val, y_val or sample_weight_val: Input X contains NaN",
        ),
        ({"y_val": [1]}, "y_val has the labels of X_val"),
        ({"X_val": X_VAL, "groups": np.arange(60)}, "leave out one of them"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(X, **settings)
    with pytest.raises(ValueError, match="validation_split"):
        isthmus.VAE(validation_split="last").fit(X)


def test_a_checkpoint_remembers_the_given_rows_and_groups(tmp_path):
    groups = np.arange(60) % 6
    for folder, first, other in (
        ("a", {"X_val": X_VAL}, {"X_val": X_VAL + 1}),
        ("b", {"groups": groups}, {"groups": groups // 2}),
    ):
        path = tmp_path / folder
        full = isthmus.VAE(**FAST).fit(X, **first)
        half = isthmus.VAE(**FAST | {"epochs": 2})
        half.fit(X, **first, callbacks=[Checkpoint(path, every=0)])
        for wrong in (other, {}):
            with pytest.raises(ValueError, match="other data"):
                isthmus.VAE(**FAST).fit(X, **wrong, resume_from=path)
        resumed = isthmus.VAE(**FAST).fit(X, **first, resume_from=path)
        assert (resumed.transform(X) == full.transform(X)).all()


@pytest.mark.parametrize("n", [5, 10, 99])
def test_the_last_rows_are_held_out(n):
    kept, held = split(numbers(n), 0.2)
    assert kept + held == list(range(n))
    assert len(held) == int(0.2 * n)


def test_the_last_groups_are_held_out():
    kept, held = split(numbers(8, list("zaazybby")), 0.34)  # the last rows: z 3, a 2, b 6, y 7
    assert held == [4, 7]
    assert kept == [0, 1, 2, 3, 5, 6]


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.37, 0.999])
@pytest.mark.parametrize("bounds", [[0, 990, 1000], [0, 1000], list(range(0, 1001, 50))])
def test_the_last_rows_on_disk_are_held_out(fraction, bounds):
    rows = DiskArray(np.arange(1000.0)[:, None], np.array(bounds), np.arange(len(bounds) - 1))
    kept, held = rows.split(fraction, None)
    n = max(1, int(fraction * 1000))
    assert kept.read()[:, 0].tolist() == list(range(1000 - n))
    assert held.read()[:, 0].tolist() == list(range(1000 - n, 1000))


def test_training_rows_on_disk_by_time(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_array, "MAX_IN_MEMORY", 0)
    monkeypatch.setattr(disk_array, "BLOCK_BYTES", 256)
    np.save(tmp_path / "x.npy", X)
    on_disk = np.load(tmp_path / "x.npy", mmap_mode="r")
    model = isthmus.Autoencoder(**FAST, validation_split="time").fit(on_disk)
    assert model.history_[model.best_epoch_ - 1]["valid_loss"] == pytest.approx(
        -model.score(X[-6:]), rel=1e-5
    )


def test_a_run_and_a_sweep_test_on_the_last_rows(tmp_path, undrawn_report):
    data = Dataset("series", X)
    options = RunOptions(out=tmp_path / "run", quiet=True)
    run = fit_run(ModelSettings("vae", FAST | {"validation_split": "time"}), data, options)
    assert run.summary["rows"] == 6
    assert split_dataset(data, 0.1, 0, "time").test_rows.tolist() == list(range(54, 60))
    sweep = Sweep(isthmus.BetaVAE(**FAST, validation_split="time"), {"beta": [1.0, 2.0]})
    sweep.set_params(progress="none").fit(X)
    assert sweep.test_rows_[-1] == 59
    assert sweep.test_rows_[0] == 60 - len(sweep.test_rows_)


@pytest.mark.parametrize(
    "groups",
    [["a", None] * 30, np.ma.array([1, 2] * 30, mask=[0, 1] * 30), [1.0, np.nan] * 30],
)
def test_rows_without_a_group_are_named(groups):
    with pytest.raises(ValueError, match=r"groups has no value in row 1: give each row a group"):
        isthmus.VAE(**FAST).fit(np.zeros((60, 3)), groups=groups)
