import pytest
import torch

from isthmus.training import Rows, to_unit


@pytest.mark.parametrize(("n", "size"), [(10, 3), (9, 4), (7, 7), (8, 7), (5, 100), (1, 1), (3, 1)])
def test_every_row_comes_once_an_epoch(n, size):
    rows = Rows(torch.arange(n).float()[:, None], torch.arange(n).float()[:, None])
    for generator in (None, torch.Generator().manual_seed(0)):
        batches = list(rows.batches(size, generator))
        assert sorted(torch.cat([x for x, _ in batches]).flatten().tolist()) == list(range(n))
        assert all(torch.equal(x, c) for x, c in batches)
        assert [len(x) for x, _ in batches] == rows.sizes(size)
        assert len(batches) == rows.n_batches(size)


@pytest.mark.parametrize("n", range(2, 40))
def test_no_batch_is_a_single_row_where_that_can_be_helped(n):
    assert min(Rows(torch.zeros(n, 1)).sizes(8)) > 1


def test_batches_are_shuffled_anew():
    rows, generator = Rows(torch.arange(50).float()[:, None]), torch.Generator().manual_seed(0)
    first, second = (torch.cat([x for x, _ in rows.batches(7, generator)]) for _ in range(2))
    assert not torch.equal(first, second)


def test_bytes_stay_bytes_until_their_batch():
    rows = Rows(torch.tensor([[0], [255]], dtype=torch.uint8))
    (x, c), *_ = rows.batches(2)
    assert c is None
    assert x.dtype == torch.float32
    assert x.flatten().tolist() == [0.0, 1.0]
    assert to_unit(x) is x


def test_a_split_is_of_all_rows():
    rows = Rows(torch.arange(10).float()[:, None])
    kept, held = rows.split(0.3, torch.Generator().manual_seed(0))
    assert len(held) == 3
    assert sorted(torch.cat([kept.x, held.x]).flatten().tolist()) == list(range(10))
    assert rows.split(0.05, torch.Generator()) == (rows, None)
