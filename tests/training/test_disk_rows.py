"""Training on arrays that stay on the disk."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator

import isthmus
from isthmus.cli import main
from isthmus.data import disk_array, load
from isthmus.data.disk_array import DiskArray
from isthmus.runs.data import load_for_run
from isthmus.studio import Bundle
from isthmus.training import Callback, Checkpoint
from isthmus.training.batches import hold_out
from isthmus.training.disk_rows import DiskRows
from isthmus.training.distributed import ProcessGroup

N = 1000
X = np.random.default_rng(0).random((N, 4)).astype(np.float32)
Y = np.array(["red", "green", "blue"])[(X[:, 0] * 3).astype(int)]
SETTINGS = {"n_components": 2, "hidden": (8,), "epochs": 2, "random_state": 0, "batch_size": 48}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Let small arrays be large, and read by many blocks and windows."""
    monkeypatch.setattr(disk_array, "MAX_IN_MEMORY", 0)
    monkeypatch.setattr(disk_array, "BLOCK_BYTES", 16 * 20)
    monkeypatch.setattr(disk_array, "PREVIEW_BYTES", 16 * 400)
    monkeypatch.setattr(DiskRows.__init__, "__defaults__", (1, 16 * 130, None, None))


@pytest.fixture
def path(tmp_path):
    """Return a file of the rows."""
    np.save(tmp_path / "x.npy", X)
    return tmp_path / "x.npy"


def numbered(n=N, device="cpu", **options):
    """Return rows that are their own numbers, which are their contexts too."""
    array = np.arange(n, dtype=np.float32)[:, None]

    def prepare(x, numbers):
        return torch.from_numpy(x), torch.from_numpy(numbers.astype(np.float32))[:, None]

    rows = DiskArray.of(array, block_bytes=4 * 20)
    return DiskRows(rows, prepare, torch.device(device), **{"window_bytes": 4 * 130} | options)


def dealt(rows, size=48, seed=0, process_group=None, **options):
    """Return the batches of an epoch as lists."""
    generator = Generator().manual_seed(seed)
    batches = list(rows.local_batches(size, generator, process_group or ProcessGroup(), **options))
    assert all((batch.x == batch.c).all() for batch in batches)
    return [batch.x.flatten().int().tolist() for batch in batches]


@pytest.mark.parametrize("n", [2, 19, 48, 49, 500, 1000])
@pytest.mark.parametrize("window", [4, 4 * 130, 10**6])
def test_every_row_is_used_once_per_epoch(n, window):
    rows = numbered(n, window_bytes=window)
    batches = dealt(rows)
    assert sorted(itertools.chain(*batches)) == [*range(n)]
    assert [len(batch) for batch in batches] == rows.sizes(48)
    assert rows.n_batches(48) == len(batches)


def test_the_seed_determines_the_shuffled_order():
    rows = numbered()
    assert dealt(rows) == dealt(rows)
    assert dealt(rows) != dealt(rows, seed=1)
    generator = Generator().manual_seed(0)
    first, second = (
        [b.x for b in rows.local_batches(48, generator, ProcessGroup())] for _ in range(2)
    )
    assert not all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    order = np.concatenate(dealt(rows))
    assert np.mean(np.abs(np.diff(order)) == 1) < 0.05  # neighbours are torn apart


@pytest.mark.parametrize("skip", [0, 1, 5, 20, 21])
def test_a_resumed_epoch_has_the_remaining_batches(skip):
    rows = numbered()
    assert dealt(rows, skip=skip) == dealt(rows)[skip:]


def test_skipped_rows_are_not_read():
    rows, read = numbered(), []

    def prepare(x, numbers):
        read.append(len(x))
        return torch.from_numpy(x), None

    batches = DiskRows(rows.stored, prepare, rows.device, window_bytes=4 * 130)
    list(batches.local_batches(48, Generator().manual_seed(0), ProcessGroup(), skip=20))
    assert sum(read) == N - 20 * 48


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("skip", [0, 7])
def test_the_parts_of_the_processes_make_up_the_batches_of_one(size, skip):
    class One(ProcessGroup):
        def __init__(self, rank):
            self.rank, self.size = rank, size

    rows = numbered().shared_by(size)
    parts = [dealt(rows, process_group=One(rank), skip=skip) for rank in range(size)]
    whole = dealt(rows, skip=skip)
    assert [list(itertools.chain(*part)) for part in zip(*parts, strict=True)] == whole


def test_batches_smaller_than_the_number_of_processes_raise():
    with pytest.raises(ValueError, match="batch_size=2 counts the rows of all 3"):
        numbered().shared_by(3).sizes(2)
    with pytest.raises(ValueError, match="3 processes cannot share 2 rows"):
        numbered(2).shared_by(3)


def test_validation_rows_are_not_trained_on():
    rows = numbered()
    kept, held = rows.split(0.1, Generator().manual_seed(0))
    assert len(held) == 100
    seen = set(itertools.chain(*dealt(kept)))
    assert seen.isdisjoint(held.x.flatten().int().tolist())
    assert len(seen) == kept.n_rows == 900
    assert (held.x == held.c).all()
    assert rows.split(0.0001, Generator())[1] is None


def test_samples_are_distinct_rows():
    rows = numbered(window_bytes=4 * 500)
    some = rows.sample(100, Generator().manual_seed(0)).flatten().int().tolist()
    assert len({*some}) == 100
    assert len({number // 20 for number in some}) > 20  # of many blocks
    assert len(rows.sample(5000, Generator())) == N
    x, c = rows.first(30)
    assert x.flatten().tolist() == c.flatten().tolist() == [*range(30)]
    assert len(rows.first(7)[1]) == 7


def fitted(rows, y=None, cls=isthmus.VAE, **more):
    """Return a model fitted to rows on the disk."""
    return cls(**SETTINGS | more).fit(rows, y)


def weights(model):
    """Return what was learned."""
    return torch.cat([p.detach().flatten() for p in model.model_.parameters()])


def opened_as(path, kind):
    """Return the rows in many ways of lying on a disk."""
    if kind == "fortran":
        np.save(path, np.asfortranarray(X))
    elif kind == "big-endian":
        np.save(path, X.astype(">f4"))
    elif kind == "view":
        np.save(path, np.concatenate([X[:10], X]))
        return np.load(path, mmap_mode="r")[10:]
    elif kind == "strided":
        np.save(path, np.repeat(np.repeat(X, 2, 0), 3, 1))
        return np.load(path, mmap_mode="r")[::2, ::3]
    elif kind == "changed":
        np.save(path, np.zeros_like(X))
        mapped = np.load(path, mmap_mode="c")
        mapped[:] = X
        return mapped
    return np.load(path, mmap_mode="r+" if kind == "writable" else "r")


@pytest.mark.parametrize(
    "kind", ["fortran", "big-endian", "view", "strided", "changed", "writable"]
)
def test_every_storage_order_gives_the_same_model(path, kind):
    alike = fitted(np.load(path, mmap_mode="r"))
    assert torch.equal(weights(fitted(opened_as(path, kind))), weights(alike))


def test_zarr_and_parquet_give_the_same_model(path, tmp_path):
    zarr = pytest.importorskip("zarr")
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    alike = weights(fitted(np.load(path, mmap_mode="r")))
    array = zarr.create_array(tmp_path / "x.zarr", shape=X.shape, chunks=(20, 4), dtype=X.dtype)
    array[:] = X
    assert torch.equal(weights(fitted(array)), alike)
    (tmp_path / "rows").mkdir()
    table = pa.table({f"p{i}": X[:, i] for i in range(4)})
    pq.write_table(table, tmp_path / "rows" / "0.parquet", row_group_size=20)
    assert torch.equal(weights(fitted(load(tmp_path / "rows").X)), alike)


def test_h5py_gives_the_same_model(path, tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        rows = file.create_dataset("x", data=X)
        alike = weights(fitted(np.load(path, mmap_mode="r")))
        assert torch.equal(weights(fitted(rows)), alike)


def test_images_of_bytes_on_disk(tmp_path):
    images = np.random.default_rng(0).integers(256, size=(200, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "x.npy", images)
    model = fitted(np.load(tmp_path / "x.npy", mmap_mode="r"), backbone="conv")
    assert model.feature_shape_ == (8, 8)
    assert model.likelihood_ == fitted(images, backbone="conv", epochs=1).likelihood_
    assert model.reconstruct(images[:2]).max() <= 1


def test_scaling_is_learned_from_all_rows(tmp_path):
    shifted = np.sort(np.random.default_rng(0).normal(1e6, 50, (N, 4)), axis=0)
    np.save(tmp_path / "x.npy", shifted)
    model = fitted(np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert np.allclose(model.scaler_.shift, shifted.mean(0), atol=10)
    assert np.allclose(model.scaler_.scale, shifted.std(0), rtol=0.1)


def test_labels_stay_with_their_rows(path, monkeypatch):
    seen = []

    class Look(Callback):
        def on_start(self, trainer, rows):
            for batch in rows.local_batches(48, Generator().manual_seed(0), ProcessGroup()):
                seen.append((batch.x, batch.c))

    settings = SETTINGS | {"scaling": "none"}
    model = isthmus.ConditionalVAE(**settings).fit(
        np.load(path, mmap_mode="r"), Y, callbacks=[Look()]
    )
    assert model.classes_.tolist() == ["blue", "green", "red"]
    x, c = (torch.cat(parts) for parts in zip(*seen, strict=True))
    assert len(x) == 900
    of_row = model.classes_[c[:, :-1].argmax(1).numpy()]
    assert (
        of_row.tolist() == Y[[np.flatnonzero((row.numpy() == X).all(1))[0] for row in x]].tolist()
    )


def test_invalid_data_raise_and_leave_the_estimator_unchanged(path):
    mapped = np.load(path, mmap_mode="r+")
    model = fitted(mapped)
    before = weights(model).clone()
    mapped[777, 2] = np.nan
    stored_rows = np.load(path, mmap_mode="r")
    with pytest.raises(ValueError, match="NaN: the first at row 777, feature 2") as said:
        model.fit(stored_rows)
    assert "\n" not in str(said.value)
    with pytest.raises(ValueError, match="at row 777"):
        model.partial_fit(stored_rows)
    assert torch.equal(weights(model), before)
    assert fitted(stored_rows, missing="ignore").n_iter_ == 2
    with pytest.raises(ValueError, match="X has 1000 rows, but y has 3"):
        fitted(mapped, Y[:3], isthmus.ConditionalVAE)


def test_values_outside_the_likelihood_in_a_late_row_raise(path, monkeypatch):
    monkeypatch.setattr(disk_array, "PREVIEW_BYTES", 16 * 40)
    mapped = np.load(path, mmap_mode="r+")
    mapped[21, 0] = 7  # of a block that is not looked at
    with pytest.raises(ValueError, match=r"between 0 and 1, but X has 7"):
        fitted(np.load(path, mmap_mode="r"), likelihood="bernoulli")


@pytest.mark.parametrize("shape", [(7,), (1, 7), (0, 7)])
def test_invalid_shapes_raise_as_for_arrays(tmp_path, shape):
    np.save(tmp_path / "x.npy", np.zeros(shape))
    said = []
    for rows in (np.zeros(shape), np.load(tmp_path / "x.npy", mmap_mode="r")):
        with pytest.raises(ValueError) as error:  # noqa: PT011
            fitted(rows)
        said.append(str(error.value))
    assert said[0] == said[1]


def test_parts_that_begin_as_data_begin(path):
    mapped = np.load(path, mmap_mode="r")
    assert fitted(mapped, prior="vamp", prior_modes=5).n_iter_ == 2
    sparse = {"n_components": 20, "hidden": (), "revive_every": 2}
    assert fitted(mapped, cls=isthmus.SparseAutoencoder, **sparse).n_iter_ == 2


def test_partial_fit_of_rows_on_disk(path):
    mapped = np.load(path, mmap_mode="r")
    model = isthmus.VAE(**SETTINGS)
    for calls in (1, 2):
        assert model.partial_fit(mapped).n_iter_ == calls
        assert round(model.history_[-1]["examples_per_second"] * model.history_[-1]["seconds"]) == N
    begun = isthmus.VAE(**SETTINGS).begin(mapped)
    assert begun.transform(X).shape == (N, 2)


def test_a_sweep_reads_rows_on_disk_in_parts(path):
    mapped, groups = np.load(path, mmap_mode="r"), np.arange(N) % 50
    for given in (None, groups):
        model = isthmus.VAE(**SETTINGS)
        sweep = isthmus.Sweep(model, {"learning_rate": [0.001, 0.002]}, random_state=0)
        sweep.fit(mapped, groups=given)
        kept, held = hold_out(DiskArray.of(mapped), given, 0.1, np.random.default_rng(0))
        assert sweep.train_rows_.tolist() == kept.indices().tolist()
        assert sweep.test_rows_.tolist() == held.indices().tolist()
        assert len(held) == 100
        alone = isthmus.VAE(**SETTINGS, learning_rate=0.002).fit(kept, groups=given)
        assert (weights(sweep.estimators_[1]) == weights(alone)).all()
        assert sweep.results_[1]["score"] == pytest.approx(alone.score(held.read()))
        assert [row["stacked"] for row in sweep.results_] == [1, 1]


@pytest.mark.parametrize("groups", [np.arange(N) // 7, np.arange(N) % 90, np.arange(N) % 2])
@pytest.mark.parametrize("how", ["random", "time"])
def test_groups_stay_together(path, groups, how):
    rows = numbered().grouped_by(groups)
    train, valid = rows.split(0.1, Generator().manual_seed(0), how)
    batches = [*itertools.chain(*dealt(train))]
    held = valid.x.flatten().int().tolist()
    assert sorted([*batches, *held]) == [*range(N)]
    assert not {*groups[batches]} & {*groups[held]}
    assert 0 < len(held) < N
    if how == "time":
        assert N - 1 in held
    model = isthmus.VAE(**SETTINGS, validation_split=how)
    names = np.array([f"patient {g}" for g in groups])
    assert "valid_loss" in model.fit(np.load(path, mmap_mode="r"), groups=names).history_[0]
    with pytest.raises(ValueError, match="one group for each of 1000 rows"):
        model.fit(np.load(path, mmap_mode="r"), groups=names[1:])


def test_groups_larger_than_the_memory_for_validation_are_left_out(monkeypatch):
    monkeypatch.setattr(disk_array, "MAX_HELD_OUT_BYTES", 4 * 30)
    groups = np.arange(N) % 4
    train, valid = numbered().grouped_by(groups).split(0.1, Generator().manual_seed(0))
    held = valid.x.flatten().int().numpy()
    assert len(held) == 30
    assert len(train) == 750
    assert not {*groups[held]} & {*groups[[*itertools.chain(*dealt(train))]]}
    again, more = train.split(0.1, Generator().manual_seed(0))
    assert (len(again), len(more)) == (720, 30)


class BrokenOff(Exception):
    """Training was to end here."""


class At(Callback):
    """Break off after a step, with a checkpoint."""

    def __init__(self, checkpoint, step):
        self.checkpoint, self.step = checkpoint, step

    def on_step(self, trainer, n_rows):
        if trainer.step == self.step:
            self.checkpoint.write(trainer)
            raise BrokenOff


@pytest.mark.parametrize("step", [7, 19, 25])
def test_a_resumed_run_ends_with_the_same_weights(path, tmp_path, step):
    mapped = np.load(path, mmap_mode="r")
    checkpoint = Checkpoint(tmp_path / "run", every=1e9)
    with pytest.raises(BrokenOff):
        isthmus.VAE(**SETTINGS).fit(mapped, callbacks=[At(checkpoint, step), checkpoint])
    again = isthmus.VAE(**SETTINGS).fit(mapped, resume_from=tmp_path / "run")
    assert torch.equal(weights(again), weights(fitted(mapped)))


def test_no_thread_remains_after_training(path, new_threads):
    checkpoint = Checkpoint(path.parent / "run")
    with pytest.raises(BrokenOff):
        isthmus.VAE(**SETTINGS).fit(
            np.load(path, mmap_mode="r"), callbacks=[At(checkpoint, 3), checkpoint]
        )
    assert not new_threads()


@pytest.fixture
def parquet(tmp_path):
    """Return a folder of Parquet with a column of labels."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "rows").mkdir()
    for number, part in enumerate((slice(0, 330), slice(330, N))):
        columns = {f"p{i}": X[part, i] for i in range(4)} | {"kind": Y[part]}
        name = tmp_path / "rows" / f"{number}.parquet"
        pq.write_table(pa.table(columns), name, row_group_size=70)
    return tmp_path / "rows"


FLAGS = ["--n-components", "2", "--hidden", "8", "--epochs", "2", "--random-state", "0", "--quiet"]


@pytest.mark.usefixtures("undrawn_report")
def test_the_command_line_reads_a_folder_of_parquet_files(parquet, tmp_path, capsys):
    out = str(tmp_path / "run")
    kind = ["--label", "kind"]
    fit = ["fit", str(parquet), *kind, "--model", "conditional-vae", *FLAGS, "--out", out]
    assert main(fit) == 0, capsys.readouterr().err
    assert isthmus.load(out).classes_.tolist() == ["blue", "green", "red"]
    assert main(["info", out]) == 0
    assert main(["evaluate", out, str(parquet), *kind]) == 0
    assert main(["evaluate", out, str(parquet), *kind, "--rows", "50"]) == 0
    data = Bundle.load([Path(out)], load_for_run(Path(out)), max_rows=60)
    assert data.manifest["rows"] == {"n": 60, "total": N, "source": "rows of rows"}


@pytest.mark.usefixtures("undrawn_report")
def test_the_command_line_reads_zarr(tmp_path, capsys):
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(tmp_path / "x.zarr", shape=X.shape, chunks=(50, 4), dtype=X.dtype)
    array[:] = X
    out, source = str(tmp_path / "run"), str(tmp_path / "x.zarr")
    assert main(["fit", source, *FLAGS, "--out", out]) == 0, capsys.readouterr().err
    for command in (
        ["info", out],
        ["evaluate", out, source, "--rows", "50"],
        ["detect", out, source, "--out", str(tmp_path / "scores.csv")],
        ["map", out, source, "--out", str(tmp_path / "map.png")],
        ["search", out, "3", "--data", source, "--out", str(tmp_path / "search.png")],
        ["traverse", out, "--row", "3", "--out", str(tmp_path / "path.png")],
    ):
        assert main(command) == 0, (command, capsys.readouterr().err)


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(path, tmp_path):
    code = (
        "import sys, numpy as np, isthmus\n"
        "from isthmus.data import disk_array\n"
        "from isthmus.training import Checkpoint\n"
        "disk_array.MAX_IN_MEMORY, disk_array.BLOCK_BYTES = 0, 320\n"
        f"model = isthmus.VAE(**{SETTINGS | {'epochs': 60}})\n"
        "rows, folder = np.load(sys.argv[1], mmap_mode='r'), sys.argv[2]\n"
        "again = {'resume_from': folder} if sys.argv[3] == 'again' else {}\n"
        "model.fit(rows, callbacks=[Checkpoint(folder, every=0)], **again)\n"
        "np.save(folder + '.npy', model.transform(np.load(sys.argv[1])))\n"
    )
    folders = [str(tmp_path / name) for name in ("killed", "whole")]
    run = [sys.executable, "-c", code, str(path)]
    killed = subprocess.Popen([*run, folders[0], "new"])
    while len(list(Path(folders[0]).glob("*.safetensors"))) < 2:
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    subprocess.run([*run, folders[0], "again"], check=True)
    subprocess.run([*run, folders[1], "new"], check=True)
    codes = [np.load(f"{folder}.npy") for folder in folders]
    assert (codes[0] == codes[1]).all()


@pytest.mark.slow
def test_memory_use_does_not_grow_with_the_rows(tmp_path):
    rows = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (700_000, 784))
    rows[:] = 0.5  # 2.2 GB
    del rows
    scale = Path(__file__).parents[2] / "benchmarks" / "scale.py"
    done = subprocess.run(
        [sys.executable, str(scale), "--train", str(tmp_path / "x.npy"), "1000"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr


def test_resuming_with_other_labels_raises(path, tmp_path):
    mapped, checkpoint = np.load(path, mmap_mode="r"), Checkpoint(tmp_path, every=1e9)
    model = isthmus.ConditionalVAE(**SETTINGS)
    with pytest.raises(BrokenOff):
        model.fit(mapped, Y, callbacks=[At(checkpoint, 5), checkpoint])
    with pytest.raises(ValueError, match="belongs to a run on other data"):
        model.fit(mapped, np.roll(Y, 1), resume_from=tmp_path)
