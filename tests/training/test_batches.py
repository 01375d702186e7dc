import numpy as np
import pytest
import torch

from isthmus.training import Rows, to_unit


@pytest.mark.parametrize(("n", "size"), [(10, 3), (9, 4), (7, 7), (8, 7), (5, 100), (1, 1), (3, 1)])
def test_every_row_is_used_once_per_epoch(n, size):
    rows = Rows(torch.arange(n).float()[:, None], torch.arange(n).float()[:, None])
    for generator in (None, torch.Generator().manual_seed(0)):
        batches = list(rows.batches(size, generator))
        assert sorted(torch.cat([x for x, _ in batches]).flatten().tolist()) == list(range(n))
        assert all(torch.equal(x, c) for x, c in batches)
        assert [len(x) for x, _ in batches] == rows.sizes(size)
        assert len(batches) == rows.n_batches(size)


@pytest.mark.parametrize("n", range(2, 40))
def test_no_batch_is_a_single_row(n):
    assert min(Rows(torch.zeros(n, 1)).sizes(8)) > 1


@pytest.mark.parametrize("n", range(1, 30))
@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_all_batches_but_the_last_have_one_size(n, size):
    *others, last = Rows(torch.zeros(n, 1)).sizes(size)
    assert sum(others) + last == n
    assert set(others) <= {size}
    assert 1 <= last <= size + 1


def test_the_generator_determines_the_order():
    rows, before = Rows(torch.arange(50).float()[:, None]), torch.random.get_rng_state()
    a, b = (
        torch.cat([x for x, _ in rows.batches(7, torch.Generator().manual_seed(3))])
        for _ in range(2)
    )
    assert torch.equal(a, b)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_without_a_generator_the_order_is_kept():
    rows = Rows(torch.arange(9).float()[:, None])
    assert torch.cat([x for x, _ in rows.batches(4)]).flatten().tolist() == list(range(9))


def test_each_epoch_has_a_new_order():
    rows, generator = Rows(torch.arange(50).float()[:, None]), torch.Generator().manual_seed(0)
    first, second = (torch.cat([x for x, _ in rows.batches(7, generator)]) for _ in range(2))
    assert not torch.equal(first, second)


def test_bytes_are_scaled_batch_by_batch():
    rows = Rows(torch.tensor([[0], [255]], dtype=torch.uint8))
    (x, c), *_ = rows.batches(2)
    assert c is None
    assert x.dtype == torch.float32
    assert x.flatten().tolist() == [0.0, 1.0]
    assert to_unit(x) is x


def test_a_split_contains_every_row_once():
    rows = Rows(torch.arange(10).float()[:, None])
    kept, held = rows.split(0.3, torch.Generator().manual_seed(0))
    assert len(held) == 3
    assert sorted(torch.cat([kept.x, held.x]).flatten().tolist()) == list(range(10))
    assert rows.split(0.05, torch.Generator()) == (rows, None)


def test_a_split_keeps_conditions_with_their_rows_and_bytes_as_bytes():
    x = torch.arange(20, dtype=torch.uint8)[:, None]
    parts = Rows(x, x.float()).split(0.25, torch.Generator().manual_seed(0))
    for part in parts:
        assert part.x.dtype == torch.uint8
        assert torch.equal(part.x.float(), part.c)


def test_a_split_is_determined_by_its_generator():
    rows = Rows(torch.arange(20).float()[:, None])
    (a, _), (b, _), (c, _) = (
        rows.split(0.25, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(a.x, b.x)
    assert not torch.equal(a.x, c.x)


@pytest.mark.parametrize("fraction", [0.5, 0.9, 0.999])
def test_a_split_leaves_training_rows(fraction):
    kept, held = Rows(torch.zeros(10, 1)).split(fraction, torch.Generator().manual_seed(0))
    assert len(kept) >= 1
    assert len(kept) + len(held) == 10


def test_split_keeps_groups_together():
    rows, generator = Rows(torch.arange(40).float()[:, None]), torch.Generator().manual_seed(0)
    groups = np.array(list("abcdefgh")).repeat(5)
    train, valid = rows.grouped_by(groups).split(0.3, generator)
    assert (len(train), len(valid)) == (30, 10)
    names = [set(groups[part.x[:, 0].int().numpy()]) for part in (train, valid)]
    assert not names[0] & names[1]
    assert len(rows.grouped_by(groups[:5].repeat(8)).split(0.3, generator)[1]) == 12  # one group
    with pytest.raises(ValueError, match=r"one group for each of 40 rows, got \(5,\)"):
        rows.grouped_by(groups[:5])
