"""Training rows on disk, read in shuffled windows ahead of the training steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Generator, Tensor

from isthmus.data.disk_array import DiskArray
from isthmus.data.prefetch import prefetch
from isthmus.training.batches import Batch, Rows, Source, hold_out, number_groups, to_unit
from isthmus.training.distributed import ProcessGroup

__all__ = ["DiskRows", "split_stored"]

WINDOW_BYTES = 2**24  # of float32 rows that are shuffled together

Array = NDArray[Any]
Pair = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class DiskRows(Source):
    """Examples on disk that are read during training.

    In each epoch the blocks are read in a new random order. The rows of as many blocks as fill a
    window are shuffled together.

    Parameters
    ----------
    stored : DiskArray
    prepare : callable
        Maps rows (n, *features) of the array and their indices (n,) to x and condition.
    device : torch.device
        Device of the batches.
    shares : int
        Number of processes that share each batch.
    window_bytes : int
        Size of a window.
    weights : Tensor of float (n_total,), optional
        Sample weights of all rows of the array, by their numbers.
    groups : Tensor of int (n_total,), optional
        Number of the group of each row of the array: `split` keeps the rows of a group together.
    """

    stored: DiskArray
    prepare: Callable[[Array, Array], Pair]
    device: torch.device
    shares: int = 1
    window_bytes: int = WINDOW_BYTES
    weights: Tensor | None = None
    groups: Tensor | None = None

    @property
    def n_rows(self) -> int:  # type: ignore[override]
        """Rows per epoch."""
        return len(self.stored)

    def __len__(self) -> int:
        return len(self.stored)

    def to(self, device: torch.device) -> DiskRows:
        """Return a copy whose batches are on a device."""
        return replace(self, device=device)

    def split(
        self, fraction: float, generator: Generator, how: str = "random"
    ) -> tuple[DiskRows, Rows | None]:
        """Split off validation rows, at most what fits in memory: random ones, or the last."""
        kept, held = split_stored(self.stored, self.groups, fraction, generator, how)
        if held is None:
            return self, None
        rows = Rows(*replace(self, stored=held)._read(held.blocks), self.shares)
        rows = rows.weighted(None if self.weights is None else self.weights[held.indices()])
        train = replace(self, stored=kept, groups=None).weighted(self.weights)
        return train, rows.to(self.device)

    def grouped_by(self, groups: ArrayLike) -> DiskRows:
        """Return a copy with the group of each row of the array, array-like (n_total,)."""
        return replace(self, groups=number_groups(groups, self.stored.n_total))

    def weighted(self, weights: Tensor | None) -> DiskRows:
        """Return a copy with sample weights (n_total,), scaled to the mean 1 over its own rows."""
        if weights is None:
            return self
        mean = weights[self.stored.indices()].double().mean()
        return replace(self, weights=(weights / mean).float())

    def weights_of(self, start: int, n: int) -> Tensor | None:
        """Return the sample weights of n rows from `start` on, if there are any."""
        if self.weights is None:
            return None
        return self.weights[self.stored.indices()[start : start + n]].to(self.device)

    def sample(self, n: int, generator: Generator, replace: bool = False) -> Tensor:
        """Return n distinct random rows (at most all) from a random window of blocks."""
        order, stored = np.random.default_rng(_seed(generator)), self.stored
        enough = max(n, self.window_bytes // stored.row_bytes)
        blocks = np.sort(stored.first_blocks(enough, order.permutation(stored.blocks)))
        numbers = stored.indices(blocks)
        drawn = order.permutation(len(numbers))[:n]
        x, _ = self.prepare(stored.read(blocks)[drawn], numbers[drawn])
        return to_unit(x.to(self.device))

    def batches(self, size: int) -> Iterator[Pair]:
        """Yield every row once in batches, in order."""
        numbers, start = self.stored.indices(), 0
        for n in self.sizes(size):
            x, c = self.prepare(self.stored[start : start + n], numbers[start : start + n])
            yield to_unit(x.to(self.device)), None if c is None else c.to(self.device)
            start += n

    def first(self, n: int) -> Pair:
        """Return the first n rows and their conditions, if any."""
        x, c = self._read(self.stored.first_blocks(n))
        return to_unit(x[:n].to(self.device)), None if c is None else c[:n].to(self.device)

    def local_batches(
        self, size: int, generator: Generator, group: ProcessGroup, skip: int = 0, epoch: int = 1
    ) -> Iterator[Batch]:
        """Yield the local part of each batch; all processes have the same rows and generator."""
        order = np.random.default_rng(_seed(generator))
        sizes = self.sizes(size)
        windows = prefetch(self._windows(order, _own(np.array(sizes), group)[skip:]))
        rest = next(windows, (torch.empty(0),) * 3)
        for n in sizes[skip:]:
            part = group.local_slice(n)
            wanted = part.stop - part.start
            while len(rest[0]) < wanted:
                rest = tuple(map(torch.cat, zip(rest, next(windows), strict=True)))
            x, c, weights = (t[:wanted].to(self.device) for t in rest)
            rest = tuple(t[wanted:] for t in rest)
            yield Batch(
                to_unit(x),
                c if c.shape[1] else None,
                n,
                part.start,
                None if self.weights is None else weights,
            )

    def _windows(self, order: np.random.Generator, own: Array) -> Iterator[tuple[Tensor, ...]]:
        """Yield the shuffled local rows of each window, their conditions and sample weights.

        Without conditions they have no columns, and without sample weights these are 1.
        """
        blocks = replace(self.stored, blocks=order.permutation(self.stored.blocks))
        first = 0
        for piece in blocks.block_groups(self.window_bytes):
            numbers = blocks.indices(piece)
            places = order.permutation(len(numbers))
            mine = places[_within(own, first, first + len(numbers))]
            first += len(numbers)
            if len(mine):
                x, c = self.prepare(blocks.read(piece)[mine], numbers[mine])
                weights = (
                    torch.ones(len(x)) if self.weights is None else self.weights[numbers[mine]]
                )
                yield x, x.new_empty(len(x), 0) if c is None else c, weights

    @property
    def preview(self) -> Rows:
        """A sample of the rows with their labels, which identifies the data of a run."""
        blocks = self.stored.preview_blocks
        numbers = self.stored.indices(blocks)
        groups, weights = (
            None if part is None else part[numbers] for part in (self.groups, self.weights)
        )
        return Rows(*self._read(blocks), groups=groups, weights=weights)

    def _read(self, blocks: Array) -> Pair:
        return self.prepare(self.stored.read(blocks), self.stored.indices(blocks))


def split_stored(
    stored: DiskArray, groups: Tensor | None, fraction: float, generator: Generator, how: str
) -> tuple[DiskArray, DiskArray | None]:
    """Return the rows to train on, and those held out if there are any; see `DiskRows.split`."""
    if fraction * len(stored) < 1:
        return stored, None
    order = None if how == "time" else np.random.default_rng(_seed(generator))
    return hold_out(stored, groups, fraction, order)


def _own(sizes: Array, group: ProcessGroup) -> Array:
    """Return the start and end of the local part of each batch within the epoch, (n, 2)."""
    own = np.repeat((np.cumsum(sizes) - sizes)[:, None], 2, axis=1)
    for n in np.unique(sizes).tolist():  # two at the most
        part = group.local_slice(n)
        own[sizes == n] += (part.start, part.stop)
    return own


def _within(intervals: Array, first: int, last: int) -> Array:
    """Return the positions from first to last that lie in sorted intervals (n, 2), from first."""
    change = np.zeros(last - first + 1, int)
    begun = np.searchsorted(intervals[:, 1], first, "right")
    met = intervals[begun : np.searchsorted(intervals[:, 0], last)]
    starts, ends = (np.clip(side, first, last) - first for side in met.T)
    np.add.at(change, starts, 1)
    np.add.at(change, ends, -1)
    return np.flatnonzero(np.cumsum(change)[:-1])


def _seed(generator: Generator) -> int:
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))
