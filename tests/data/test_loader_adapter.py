"""Loaders of many types, as batches for training."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from isthmus.data import loader_adapter
from isthmus.data.hf_datasets import DatasetLoader
from isthmus.data.loader_adapter import LoaderAdapter, as_batch

X = np.random.default_rng(0).random((20, 4)).astype(np.float32)
Y = np.arange(20)


def rows_of(loader, **options):
    """Return X of all batches of an epoch."""
    return [part.X.tolist() for part in LoaderAdapter(loader).batches(**options)]


@pytest.mark.parametrize(
    "loader",
    [
        [X[:12], X[12:]],
        lambda: iter([X[:12], X[12:]]),
        DataLoader(TensorDataset(torch.from_numpy(X)), 12),
        DataLoader(torch.from_numpy(X), 12),
        [(X[:12],), [X[12:], None]],
        [X[:0], X[:12].tolist(), X[:0], X[12:]],
        [torch.from_numpy(X[:12]).requires_grad_(), X[12:]],
    ],
)
def test_batches_of_many_types(loader):
    for epoch in (1, 2):
        assert rows_of(loader, epoch=epoch) == [X[:12].tolist(), X[12:].tolist()]
    assert (LoaderAdapter(loader).preview()[0] == X).all()


def test_bfloat16_is_read():
    assert as_batch(torch.ones(2, 3, dtype=torch.bfloat16))[0].tolist() == [[1.0] * 3] * 2


def test_labels_stay_with_their_rows():
    loader = DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), 7)
    parts = list(LoaderAdapter(loader).batches())
    assert [part.y.tolist() for part in parts] == [[*range(7)], [*range(7, 14)], [*range(14, 20)]]
    looked, y, *_ = LoaderAdapter(loader).preview()
    assert (looked == X).all()
    assert y.tolist() == Y.tolist()


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([1] * 6, [2, 2, 2]),
        ([1] * 5, [2, 3]),
        ([4, 1], [5]),
        ([4, 1, 4], [4, 5]),
        ([1, 4], [5]),
        ([4, 4], [4, 4]),
        ([1], [1]),
        ([4, 0, 1, 0, 3, 1], [4, 5]),
    ],
)
def test_no_batch_has_a_single_row(sizes, expected):
    ends = np.cumsum(sizes)
    loader = [(X[e - n : e], Y[e - n : e]) for e, n in zip(ends, sizes, strict=True)]
    parts = list(LoaderAdapter(loader).batches())
    assert [len(part.X) for part in parts] == expected
    assert np.concatenate([part.y for part in parts]).tolist() == Y[: ends[-1]].tolist()


@pytest.mark.parametrize("skip", range(4))
def test_skip_counts_yielded_batches(skip):
    loader = [X[:0], X[:4], X[4:5], X[5:8], X[:0], X[8:12]]
    assert rows_of(loader, skip=skip) == rows_of(loader)[skip:]


def test_states_are_taken_after_their_batch():
    class Counting:
        at = 0

        def __iter__(self):
            for number in range(self.at + 1, 6):
                self.at = number
                yield X[2 * number : 2 * number + 2]
            self.at = 0

        def state_dict(self):
            return {"at": self.at}

        def load_state_dict(self, state):
            self.at = state["at"]

    parts = list(LoaderAdapter(Counting()).batches())
    assert [part.state["at"] for part in parts] == [1, 2, 3, 4, 5]
    stream = LoaderAdapter(Counting())
    stream.restore(parts[2].state)
    rest = list(stream.batches(resumed=True))
    assert [part.X.tolist() for part in rest] == [part.X.tolist() for part in parts[3:]]
    stream.restore(parts[-1].state)
    assert list(stream.batches(resumed=True)) == []


def test_a_state_that_is_not_json_is_ignored():
    class Odd(list):
        def state_dict(self):
            return {"at": object()}

        def load_state_dict(self, state):
            raise AssertionError

    assert LoaderAdapter(Odd([X])).state() is None
    assert LoaderAdapter([X]).state() is None


def test_set_epoch_is_called_on_loader_and_sampler():
    class Told(torch.utils.data.SequentialSampler):
        def __init__(self, rows):
            super().__init__(rows)
            self.epochs = []

        def set_epoch(self, epoch):
            self.epochs.append(epoch)

    data = TensorDataset(torch.from_numpy(X))
    sampler = Told(data)
    loader = DataLoader(data, 5, sampler=sampler)
    list(LoaderAdapter(loader).batches(3))
    assert sampler.epochs == [3]


def test_the_loader_is_iterated_once_per_epoch():
    class Begun(list):
        times = 0

        def __iter__(self):
            self.times += 1
            return super().__iter__()

    loader = Begun([X])
    list(LoaderAdapter(loader).batches())
    assert loader.times == 1


def test_preview_reads_no_more_than_needed(monkeypatch):
    monkeypatch.setattr(loader_adapter, "PREVIEW_BYTES", X.nbytes)
    read = []

    def endless():
        while True:
            read.append(1)
            yield X

    assert len(LoaderAdapter(endless).preview()[0]) == 40
    assert len(read) < 5


def test_n_batches_is_the_length_of_the_loader():
    assert LoaderAdapter([X, X]).n_batches == 2
    assert LoaderAdapter(lambda: iter([X])).n_batches is None


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames(library):
    frames = pytest.importorskip(library)
    parts = [frames.DataFrame({"a": X[p, 0], "b": X[p, 1]}) for p in (slice(9), slice(9, 20))]
    found, y, *_ = LoaderAdapter([(part, Y[: len(part)]) for part in parts]).preview()
    assert [*found.columns] == ["a", "b"]
    assert (found.to_numpy() == X[:, :2]).all()
    assert len(y) == 20


once = iter([X])


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ([], "gives no batches in epoch 1"),
        ([X[:0], X[:0]], "gives no batches in epoch 1"),
        (iter([X]), "can be read only once"),
        (lambda: once, "gives no batches in epoch 1"),
        (7, "must be iterable, got int"),
        ([{"x": X}], "got dict: collate"),
        ([(X, Y, X)], "got 3 parts of different shapes"),
        (X, r"X must have rows; got an array of shape \(4,\)"),
        ((X, Y), r"X must have rows; got an array of shape \(20,\)"),
        ([X, X[:, :3]], r"rows of different shapes \(\(3,\), \(4,\)\)"),
        (["text"], "got str"),
    ],
)
def test_invalid_loaders_are_refused(loader, message):
    with pytest.raises(ValueError, match=message) as error:
        [LoaderAdapter(loader).preview() for _ in range(2)]
    assert "\n" not in str(error.value)


@pytest.fixture
def shards(tmp_path):
    """Return the names of Parquet files."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("datasets")
    for number, part in enumerate((slice(7), slice(7, 20))):
        columns = {"a": X[part, 0], "b": X[part, 1], "kind": Y[part].astype(str)}
        pq.write_table(pa.table(columns), tmp_path / f"{number}.parquet")
    return sorted(map(str, tmp_path.glob("*.parquet")))


def stream_of(shards, tmp_path):
    """Return files as a streamed dataset."""
    import datasets

    return datasets.load_dataset(
        "parquet", data_files=shards, streaming=True, cache_dir=str(tmp_path / "cache")
    )


def test_hugging_face_datasets_are_streamed(shards, tmp_path):
    data = stream_of(shards, tmp_path)
    loader = DatasetLoader(data["train"], 5, label="kind")
    for epoch in (1, 2):
        parts = list(LoaderAdapter(loader).batches(epoch))
        assert np.concatenate([p.X for p in parts]).tolist() == X[:, :2].tolist()
        assert np.concatenate([p.y for p in parts]).tolist() == Y.astype(str).tolist()
    again = DatasetLoader(stream_of(shards, tmp_path)["train"], 5, label="kind")
    stream = LoaderAdapter(again)
    stream.preview()
    stream.restore(parts[1].state)
    rest = [p.X.tolist() for p in stream.batches(2, resumed=True)]
    assert rest == [p.X.tolist() for p in parts[2:]]
    assert len(list(stream.batches(3))) == len(parts)


def test_hugging_face_datasets_in_memory(shards):
    import datasets

    data = datasets.Dataset.from_dict({"x": X.tolist(), "y": Y.tolist()})
    parts = list(LoaderAdapter(DatasetLoader(data, 6, column="x", label="y")).batches())
    assert [len(p.X) for p in parts] == [6, 6, 6, 2]
    assert np.allclose(np.concatenate([p.X for p in parts]), X)


def test_invalid_hugging_face_datasets_are_refused(shards, tmp_path):
    data = stream_of(shards, tmp_path)
    with pytest.raises(ValueError, match=r"such as load_dataset.*got the splits train"):
        DatasetLoader(data)
    with pytest.raises(ValueError, match="got list"):
        DatasetLoader([X])
    for name in ("column", "label"):
        with pytest.raises(ValueError, match="there is no column 'z'; columns: a, b, kind"):
            LoaderAdapter(DatasetLoader(data["train"], **{name: "z"})).preview()
    with pytest.raises(ValueError, match="column 'kind' does not hold numbers"):
        LoaderAdapter(DatasetLoader(data["train"])).preview()
