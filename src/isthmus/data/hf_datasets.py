"""Data sets of the library `datasets` as batches: streamed, shuffled, divided among processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from isthmus._optional import import_optional
from isthmus.data.parquet_rows import number_rows

__all__ = ["DatasetLoader"]

_WRONG = "expected a data set of `datasets`, such as load_dataset(...)['train'], got {}."


class DatasetLoader:
    """Batches of a data set of Hugging Face `datasets`, for `fit_loader`.

    Under torchrun each process reads its own part of the files. Where a run that is resumed
    stood among them is kept in its checkpoints; rows that waited in a shuffle buffer are then
    left out of that epoch, so only a data set without one goes on exactly. A folder of Parquet
    that `isthmus.data.load` reads is shuffled faster, and goes on exactly.

    Parameters
    ----------
    dataset : datasets.IterableDataset, or datasets.Dataset
        Such as ``datasets.load_dataset("parquet", data_files=..., streaming=True)["train"]``,
        shuffled by its own ``shuffle``: the order of its files and, within a buffer, of its rows.
    batch_size : int
        Rows of a step, in all processes.
    column : str, optional
        The column that holds whole rows, as lists; else each column is a feature.
    label : str, optional
        The column of labels.

    Raises
    ------
    ValueError
        Where it is not one data set, such as all splits of one, or a column is not there.
    ImportError
        Without `datasets`.

    Examples
    --------
    >>> import datasets, isthmus  # doctest: +SKIP
    >>> files = datasets.load_dataset("parquet", data_files="rows/*.parquet", streaming=True)
    ... # doctest: +SKIP
    >>> loader = DatasetLoader(files["train"].shuffle(seed=0, buffer_size=10_000), label="kind")
    ... # doctest: +SKIP
    >>> isthmus.VAE(epochs=5).fit_loader(loader)  # doctest: +SKIP
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 128,
        *,
        column: str | None = None,
        label: str | None = None,
    ) -> None:
        if not hasattr(dataset, "with_format") or not hasattr(dataset, "column_names"):
            raise ValueError(_WRONG.format(type(dataset).__name__))
        if isinstance(dataset, dict):
            raise ValueError(_WRONG.format(f"those of the splits {', '.join(dataset)}"))
        if hasattr(dataset, "to_iterable_dataset"):
            dataset = dataset.to_iterable_dataset()
        rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if size > 1:
            node = import_optional(
                "datasets.distributed", extra="scale", what="a data set in parts"
            )
            dataset = node.split_dataset_by_node(dataset, rank=rank, world_size=size)
        self.sharded = size > 1
        self.rows = max(1, batch_size // size)
        self.dataset, self.column, self.label = dataset.with_format("arrow"), column, label

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Yield X and y, arrays; y is None without a label."""
        for table in self.dataset.iter(self.rows):
            found = table.column_names
            for name in (self.column, self.label):
                if name is not None and name not in found:
                    listed = ", ".join(found[:10])
                    raise ValueError(f"there is no column {name!r}; columns: {listed}.")
            others = [name for name in found if name != self.label]
            X = number_rows(table, [self.column] if self.column else others)
            yield X, None if self.label is None else table.column(self.label).to_numpy()

    def set_epoch(self, epoch: int) -> None:
        """Shuffle anew."""
        self.dataset.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return where the data set is being read."""
        return self.dataset.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.dataset.load_state_dict(state)
