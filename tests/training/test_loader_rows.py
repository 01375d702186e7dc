"""Training on batches of somebody's own loader."""

import os
import signal
import time

import numpy as np
import pytest
import torch
from torch import Generator
from torch.utils.data import DataLoader, TensorDataset

import isthmus
from isthmus.data import loader_adapter
from isthmus.data.hf_datasets import DatasetLoader
from isthmus.data.loader_adapter import LoaderAdapter
from isthmus.training import Callback, Checkpoint, Rows
from isthmus.training.distributed import ProcessGroup
from isthmus.training.loader_rows import LoaderRows

X = np.random.default_rng(0).random((200, 4)).astype(np.float32)
Y = np.array(["red", "green", "blue"])[(X[:, 0] * 3).astype(int)]
SETTINGS = {"n_components": 2, "hidden": (8,), "epochs": 2, "random_state": 0}
PARTS = [(X[i : i + 20], Y[i : i + 20]) for i in range(0, 200, 20)]


def fitted(loader, cls=isthmus.VAE, **more):
    """Return a model fitted to a loader."""
    own = {name: more.pop(name) for name in ("valid", "callbacks", "resume_from") if name in more}
    return cls(**SETTINGS | more).fit_loader(loader, **own)


def weights(model):
    """Return what was learned."""
    return torch.cat([p.detach().flatten() for p in model.model_.parameters()])


def streamed(loader, **options):
    """Return the rows of a loader as they are."""
    prepare = lambda x, y, w: Rows(torch.from_numpy(x))  # noqa: E731
    return LoaderRows(
        LoaderAdapter(loader, **options), prepare, Rows(torch.zeros(3, 4)), torch.device("cpu")
    )


def dealt(rows, process_group=None, **options):
    """Return the batches of an epoch."""
    return list(rows.local_batches(0, Generator(), process_group or ProcessGroup(), **options))


class Three(ProcessGroup):
    """One of three processes; `counts` are the rows that each has at each step."""

    size = 3

    def __init__(self, rank, counts=None):
        self.rank, self.counts = rank, iter(counts or ())

    def gather_objects(self, value):
        """Return what was foretold."""
        counts = next(self.counts)
        assert counts[self.rank] == value
        return counts


def test_batches_equal_those_of_the_loader():
    batches = dealt(streamed([X[:7], X[7:20]]))
    assert [(batch.n, batch.start, batch.n_local) for batch in batches] == [(7, 0, 7), (13, 0, 13)]
    assert torch.cat([batch.x for batch in batches]).numpy().tolist() == X[:20].tolist()


def test_a_batch_is_divided_among_processes():
    rows = streamed([X[:7], X[7:20]])
    parts = [dealt(rows, Three(rank)) for rank in range(3)]
    for whole, *own in zip(dealt(rows), *parts, strict=True):
        assert torch.equal(torch.cat([batch.x for batch in own]), whole.x)
        assert {batch.n for batch in own} == {whole.n}
    with pytest.raises(ValueError, match="2 rows for 3 processes"):
        dealt(streamed([X[:2]]), Three(0))


def test_sharded_loaders_of_different_length_take_every_step():
    counts = [[7, 4, 5], [0, 4, 3], [0, 0, 0]]
    loaders = [[X[:7]], [X[:4], X[4:8]], [X[:5], X[5:8]]]
    own = [
        dealt(streamed(loader, sharded=True), Three(rank, counts))
        for rank, loader in enumerate(loaders)
    ]
    assert [[batch.n_local for batch in batches] for batches in own] == [[7, 0], [4, 4], [5, 3]]
    assert [[batch.n for batch in batches] for batches in own] == [[16, 7]] * 3
    assert len(own[0][1].x) == 2  # batch statistics need two


def test_a_data_loader_equals_a_list_of_batches():
    rows = torch.from_numpy(X)
    alike = weights(fitted([X[i : i + 20] for i in range(0, 200, 20)]))
    for workers in (0, 1):
        loader = DataLoader(TensorDataset(rows), 20, num_workers=workers)
        model = fitted(loader)
        assert model.feature_shape_ == (4,)
        assert torch.equal(weights(model), alike)


def test_data_frames_labels_and_missing_values(monkeypatch):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": X[:, 0], "kind": Y})
    model = fitted(lambda: (frame[i : i + 30] for i in range(0, 200, 30)))
    assert [*model.inverse_transform(np.zeros((3, 2))).columns] == ["a", "kind"]
    model = fitted(PARTS, isthmus.ConditionalVAE, valid=(X[:20], Y[:20]))
    assert model.classes_.tolist() == ["blue", "green", "red"]
    assert "valid_loss" in model.history_[0]
    gaps = X.copy()
    gaps[50, 1] = np.nan
    assert fitted([gaps[:100], gaps[100:]], missing="ignore").n_iter_ == 2


@pytest.mark.parametrize(
    ("cls", "settings"),
    [
        (isthmus.VAE, {"prior": "vamp", "prior_modes": 5}),
        (isthmus.SparseAutoencoder, {"n_components": 20, "hidden": (), "revive_every": 2}),
    ],
)
def test_parts_that_begin_as_data_begin(cls, settings):
    assert fitted([X] * 5, cls, **settings).n_iter_ == 2


def test_a_last_batch_of_one_row_works_with_batch_norm():
    images = np.random.default_rng(0).random((33, 8, 8)).astype(np.float32)
    assert fitted([images[:16], images[16:32], images[32:]], backbone="conv").n_iter_ == 2


def test_the_loader_receives_the_epoch():
    told = []

    class Told(list):
        def set_epoch(self, epoch):
            told.append(epoch)

    fitted(Told([X]), epochs=3)
    assert told == [1, 1, 2, 3]


def late(bad):
    """Return a loader whose third batch is another."""
    return lambda: iter([X[:100], X[100:], bad])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            np.full((3, 4), np.nan),
            "batch 3 of the loader: Input X contains NaN: the first at row 0",
        ),
        (X[:, :3], "batch 3 of the loader: X has 3 features, but VAE is expecting 4"),
        (X * 2, "batch 3 of the loader: likelihood 'bernoulli' takes values between 0 and 1"),
        ({"x": X}, "got dict: collate batches in the loader"),
    ],
)
def test_invalid_late_batches_raise_and_leave_the_estimator_unchanged(
    bad, message, monkeypatch, new_threads
):
    monkeypatch.setattr(loader_adapter, "PREVIEW_BYTES", 1)
    model = fitted([X], likelihood="bernoulli")
    before = weights(model).clone()
    with pytest.raises(ValueError, match=message) as said:
        model.fit_loader(late(bad))
    assert "\n" not in str(said.value)
    assert torch.equal(weights(model), before)
    assert not new_threads()


def test_a_loader_without_batches_in_a_later_epoch_raises(monkeypatch):
    monkeypatch.setattr(loader_adapter, "PREVIEW_BYTES", 1)
    once = iter([X] * 6)
    with pytest.raises(ValueError, match="gives no batches in epoch 2"):
        fitted(lambda: once)


def test_an_error_of_the_loader_is_raised_unchanged(monkeypatch, new_threads):
    monkeypatch.setattr(loader_adapter, "PREVIEW_BYTES", 1)

    def broken():
        yield X
        yield X
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fitted(broken)
    assert not new_threads()


class BrokenOff(Exception):
    """Training was to end here."""


class At(Callback):
    """Break off after a step, with a checkpoint."""

    def __init__(self, folder, step):
        self.checkpoint, self.step = Checkpoint(folder, every=1e9), step

    @property
    def both(self):
        """The two callbacks."""
        return [self, self.checkpoint]

    def on_step(self, trainer, n_rows):
        if trainer.step == self.step:
            self.checkpoint.write(trainer)
            raise BrokenOff


@pytest.mark.parametrize("step", [3, 10, 14])
def test_a_run_resumes_by_counting_batches(tmp_path, step):
    loader = [X[:0], *(part for part, _ in PARTS[:5]), X[100:101], X[:0], X[101:150], X[150:]]
    with pytest.raises(BrokenOff):
        fitted(loader, callbacks=At(tmp_path, step).both, epochs=3)
    again = fitted(loader, resume_from=tmp_path, epochs=3)
    assert torch.equal(weights(again), weights(fitted(loader, epochs=3)))


@pytest.mark.parametrize("step", [4, 7, 12])
def test_a_run_resumes_from_the_state_of_its_loader(tmp_path, step):
    pytest.importorskip("datasets")
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for number, part in enumerate((slice(0, 70), slice(70, 200))):
        table = pa.table({f"p{i}": X[part, i] for i in range(4)})
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=30)
    with pytest.raises(BrokenOff):
        fitted(dataset_loader(tmp_path), callbacks=At(tmp_path / "run", step).both)
    counted = LoaderAdapter.batches
    skipped = []

    def batches(self, epoch=1, skip=0, begun=False):
        skipped.append((skip, begun))
        return counted(self, epoch, skip, begun)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LoaderAdapter, "batches", batches)
        again = fitted(dataset_loader(tmp_path), resume_from=tmp_path / "run")
    assert all(skip == 0 for skip, _ in skipped)
    assert any(begun for _, begun in skipped)
    assert torch.equal(weights(again), weights(fitted(dataset_loader(tmp_path))))


def dataset_loader(folder):
    """Return the files of a folder as a loader, just opened."""
    import datasets

    files = sorted(map(str, folder.glob("*.parquet")))
    cache = str(folder / "cache")
    data = datasets.load_dataset("parquet", data_files=files, streaming=True, cache_dir=cache)
    return DatasetLoader(data["train"], 32)


def test_a_loader_may_reuse_one_array():
    def refilled():
        buffer = np.empty_like(X[:32])
        for start in range(0, 96, 32):
            buffer[:] = X[start : start + 32]
            yield buffer
            buffer[:] = 0

    ours, theirs = (fitted(rows, warmup=0) for rows in (refilled, [*np.split(X[:96], 3)]))
    assert torch.equal(weights(ours), weights(theirs))


def test_ctrl_c_while_the_loader_is_read(monkeypatch, new_threads):
    monkeypatch.setattr(loader_adapter, "PREVIEW_BYTES", 1)

    def slow():
        for number in range(1000):
            if number == 3:
                os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.005)
            yield X

    model = isthmus.VAE(**SETTINGS)
    with pytest.raises(KeyboardInterrupt, match="are kept"):
        model.fit_loader(slow)
    assert model.stopped_ == "interrupted"
    assert not new_threads()
