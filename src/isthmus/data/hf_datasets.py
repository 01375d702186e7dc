"""Batches of a Hugging Face dataset: streamed, shuffled and divided among processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from isthmus._optional import import_optional
from isthmus.data.feature_columns import number_rows

__all__ = ["DatasetLoader"]

_EXPECTED = "expected a dataset of `datasets`, such as load_dataset(...)['train'], got {}."


class DatasetLoader:
    """Load batches of a Hugging Face dataset, for `fit_loader`.

    Under torchrun each process reads its own part of the files. Checkpoints record the position in
    the dataset, but not the rows in a shuffle buffer, which a resumed run skips. A folder of
    Parquet files read by `isthmus.data.load` is shuffled faster and continues exactly.

    Parameters
    ----------
    dataset : datasets.IterableDataset or datasets.Dataset
        Such as ``datasets.load_dataset("parquet", data_files=..., streaming=True)["train"]``,
        shuffled by its own ``shuffle``: files, and rows within a buffer.
    batch_size : int
        Rows per step, over all processes.
    column : str, optional
        The column of lists that holds whole rows; by default each column is a feature.
    label : str, optional
        The column of labels.
    sample_weight : str, optional
        The column of sample weights.

    Raises
    ------
    ValueError
        If `dataset` is not a single dataset (but a dict of splits, say) or a column is missing.

    Examples
    --------
    >>> import datasets  # doctest: +SKIP
    >>> files = datasets.load_dataset("parquet", data_files="*.parquet")  # doctest: +SKIP
    >>> isthmus.VAE().fit_loader(DatasetLoader(files["train"], label="kind"))  # doctest: +SKIP
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 128,
        *,
        column: str | None = None,
        label: str | None = None,
        sample_weight: str | None = None,
    ) -> None:
        if not hasattr(dataset, "with_format") or not hasattr(dataset, "column_names"):
            raise ValueError(_EXPECTED.format(type(dataset).__name__))
        if isinstance(dataset, dict):
            raise ValueError(_EXPECTED.format(f"the splits {', '.join(dataset)}"))
        if hasattr(dataset, "to_iterable_dataset"):
            dataset = dataset.to_iterable_dataset()
        rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if size > 1:
            name = "datasets.distributed"
            module = import_optional(name, extra="scale", what="a dataset in several processes")
            dataset = module.split_dataset_by_node(dataset, rank=rank, world_size=size)
        self.sharded = size > 1
        self.rows = max(1, batch_size // size)
        self.dataset, self.column = dataset.with_format("arrow"), column
        self.label, self.sample_weight = label, sample_weight

    def __iter__(self) -> Iterator[tuple[Any, Any, Any]]:
        """Yield X, y and sample weights as arrays; None for those without a column."""
        for table in self.dataset.iter(self.rows):
            found = table.column_names
            for name in (self.column, self.label, self.sample_weight):
                if name is not None and name not in found:
                    listed = ", ".join(found[:10])
                    raise ValueError(f"there is no column {name!r}; columns: {listed}.")
            others = [name for name in found if name not in (self.label, self.sample_weight)]
            X = number_rows(table, [self.column] if self.column else others)
            y, weights = (
                None if name is None else table.column(name).to_numpy()
                for name in (self.label, self.sample_weight)
            )
            yield X, y, weights

    def set_epoch(self, epoch: int) -> None:
        """Reshuffle for an epoch."""
        self.dataset.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the dataset."""
        return self.dataset.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a position."""
        self.dataset.load_state_dict(state)
