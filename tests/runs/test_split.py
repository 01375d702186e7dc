"""The split of data into training, validation and test rows, and its record in a run."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isthmus
from isthmus.data import Dataset
from isthmus.persistence.run_folder import read_config, read_test_rows
from isthmus.runs import RunOptions, fit_run, recorded_split, split_dataset
from isthmus.training.batches import Rows

pytestmark = pytest.mark.usefixtures("undrawn_report")

SMALL = {"n_components": 2, "hidden": (8,), "epochs": 1, "progress": "none", "random_state": 0}


def numbered(n, groups=None):
    """Return data whose rows are their own numbers."""
    return Dataset("numbered", np.arange(n, dtype="f4").reshape(n, 1), groups=groups)


@settings(deadline=None, max_examples=50)
@given(
    n=st.integers(2, 200),
    fraction=st.floats(0, 0.99),
    seed=st.integers(0, 2**31),
    n_groups=st.integers(1, 20) | st.none(),
)
def test_no_row_and_no_group_is_in_training_and_test(n, fraction, seed, n_groups):
    groups = None if n_groups is None else np.arange(n) % n_groups
    split = split_dataset(numbered(n, groups), fraction, seed)
    train, test = split.train.X[:, 0].astype(int), split.X_test[:, 0].astype(int)
    np.testing.assert_array_equal(test, split.test_rows)
    assert sorted([*train, *test]) == list(range(n))
    assert len(train) >= len(test) or n_groups is not None
    if groups is not None and len(np.unique(groups)) > 1:
        assert not set(groups[train]) & set(groups[test])


def test_a_row_and_its_group_are_in_one_of_training_validation_and_test(tmp_path, monkeypatch):
    seen, real = [], Rows.split

    def split(self, fraction, generator, how):
        train, valid = real(self, fraction, generator, how)
        seen.extend((train, valid))
        return train, valid

    monkeypatch.setattr(Rows, "split", split)
    data = numbered(200, groups=np.arange(200) // 4)
    model = isthmus.VAE(**SMALL, validation_fraction=0.2, scaling="none", likelihood="gaussian")
    run = fit_run(model, data, RunOptions(out=tmp_path / "run", quiet=True, test_fraction=0.3))
    numbers, _, *parts = seen  # of the rows from which the scaling is learned; then the rows
    train, valid = (set(rows.x[:, 0].int().tolist()) for rows in parts)
    test = set(recorded_split(run.folder, data).test_rows.tolist())
    assert (len(train), len(valid), len(test)) == (112, 28, 60)
    assert len(train | valid | test) == 200
    assert {sorted(train | valid)[number] for number in numbers.x} == train
    groups = [{row // 4 for row in rows} for rows in (train, valid, test)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 50


def test_other_commands_read_the_recorded_rows(tmp_path):
    data = numbered(50)
    run = fit_run(isthmus.VAE(**SMALL), data, RunOptions(out=tmp_path, quiet=True, force=True))
    rows = recorded_split(run.folder, data).test_rows
    np.testing.assert_array_equal(rows, split_dataset(data, 0.1, 0).test_rows)
    (tmp_path / "split.safetensors").write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"split\.safetensors"):
        recorded_split(run.folder, data)
    (tmp_path / "split.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"split\.safetensors"):
        recorded_split(run.folder, data)


def test_the_rows_of_a_run_without_a_record_are_drawn_again(tmp_path):
    data = numbered(50)
    isthmus.VAE(**SMALL).fit(data.X).save(tmp_path)
    assert read_test_rows(tmp_path, read_config(tmp_path)) is None
    split = recorded_split(tmp_path, data)
    np.testing.assert_array_equal(split.test_rows, split_dataset(data, 0.1, 0).test_rows)
    assert split.train is data


def test_a_test_set_of_the_data_is_used_as_it_is(tmp_path):
    data = Dataset("own", numbered(50).X, X_test=np.ones((7, 1), "f4"))
    options = RunOptions(out=tmp_path / "run", quiet=True, test_fraction=0.5)
    run = fit_run(isthmus.VAE(**SMALL), data, options)
    assert run.summary["rows"] == 7
    assert not (run.folder / "split.safetensors").exists()
    assert len(recorded_split(run.folder, data).X_test) == 7
