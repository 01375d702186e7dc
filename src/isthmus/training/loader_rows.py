"""Training batches from a user's data loader, read ahead of the training steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Generator, Tensor

from isthmus.data.loader_adapter import LoaderAdapter, as_batch
from isthmus.data.prefetch import prefetch
from isthmus.training.batches import Batch, Rows, Source, to_unit
from isthmus.training.distributed import ProcessGroup

__all__ = ["LoaderRows"]

PREFETCH = 4  # batches


@dataclass(frozen=True)
class LoaderRows(Source):
    """Batches of a data loader.

    Parameters
    ----------
    stream : LoaderAdapter
    prepare : callable
        Maps X, y and sample weights of a batch to `Rows`.
    preview : Rows
        Rows that were read before training.
    device : torch.device
    here : dict
        ``state``: the loader's position after the current batch; ``from``: where to continue.
    """

    stream: LoaderAdapter
    prepare: Callable[[Any, Any, Any], Rows]
    preview: Rows
    device: torch.device
    here: dict[str, Any] = field(default_factory=dict)
    n_rows = None

    def n_batches(self, size: int) -> int | None:
        """Return the number of batches per epoch, or None if the loader has no length."""
        return self.stream.n_batches

    def to(self, device: torch.device) -> LoaderRows:
        """Return a copy whose batches are on a device."""
        return replace(self, device=device)

    def shared_by(self, processes: int) -> LoaderRows:
        """Return the rows unchanged; each batch is divided when it is read."""
        return self

    def split(
        self, fraction: float, generator: Generator, how: str = "random"
    ) -> tuple[LoaderRows, Rows | None]:
        """Return the rows, and the loader's own validation rows, whatever the fraction."""
        if self.stream.valid is None:
            return self, None
        valid = as_batch(self.stream.valid).counted()
        if not len(valid.X):
            raise ValueError("valid holds no rows, or only rows of weight 0.")
        rows = self.prepare(*valid[:3])
        return self, rows.weighted(rows.weights).to(self.device)

    def sample(self, n: int, generator: Generator, replace: bool = False) -> Tensor:
        """Return n random rows of the preview."""
        drawn = torch.randint(2**62, (), generator=generator, device=generator.device)
        where = torch.Generator().manual_seed(int(drawn))
        return self.preview.sample(n, where, replace).to(self.device)

    def first(self, n: int) -> tuple[Tensor, Tensor | None]:
        """Return the first n rows of the preview and their conditions, if any."""
        return self.preview.to(self.device).first(n)

    def local_batches(
        self, size: int, generator: Generator, group: ProcessGroup, skip: int = 0, epoch: int = 1
    ) -> Iterator[Batch]:
        """Yield the local part of each batch, in the loader's order and sizes."""
        batches = self._here_after(prefetch(self._read(epoch, skip), PREFETCH))
        if self.stream.sharded and group.size > 1:
            return self._own(batches, group)
        return self._parts(batches, group)

    def state(self) -> Any:
        """Return the loader's position after the current batch, if it has one."""
        return self.here.get("state")

    def go_on(self, state: Any) -> None:
        """Make the next epoch the rest of one, from a `state`."""
        self.here["from"] = state

    def _read(self, epoch: int, skip: int) -> Iterator[tuple[Rows, Any]]:
        if begun := (state := self.here.pop("from", None)) is not None:
            self.stream.restore(state)
        batches = self.stream.batches(epoch, 0 if begun else skip, begun)
        for number, (X, y, weights, after) in enumerate(batches, skip + 1):
            try:
                if (weights is None) != (self.preview.weights is None):
                    raise ValueError("all batches must have sample weights, or none.")
                rows = self.prepare(X, y, weights)
            except ValueError as error:
                raise ValueError(f"batch {number} of the loader: {error}") from error
            yield rows, after

    def _here_after(self, batches: Iterator[tuple[Rows, Any]]) -> Iterator[Rows]:
        for rows, state in batches:
            self.here["state"] = state
            yield rows

    def _parts(self, batches: Iterator[Rows], group: ProcessGroup) -> Iterator[Batch]:
        """Yield the local part of each batch, which all processes read."""
        for rows in batches:
            n = len(rows)
            if n < group.size:
                raise ValueError(
                    f"the loader returned {n} rows for {group.size} processes; each "
                    "process needs at least one row. Use larger batches, or sharded=True if each "
                    "process loads its own rows."
                )
            part = group.local_slice(n)
            yield self._here(rows, part, n, part.start)

    def _own(self, batches: Iterator[Rows], group: ProcessGroup) -> Iterator[Batch]:
        """Yield the batches of this process, until no process has any left."""
        last: Rows = self.preview
        while True:
            rows = next(batches, None)
            counts = group.gather_objects(0 if rows is None else len(rows))
            n, start = sum(counts), sum(counts[: group.rank])
            if not n:
                return
            if rows is None:  # a placeholder of weight zero, since all processes must take the step
                yield self._here(last, slice(min(2, n)), n, n)
            else:
                last = rows
                yield self._here(rows, slice(None), n, start)

    def _here(self, rows: Rows, part: slice, n: int, start: int) -> Batch:
        x, c, weights = (
            None if each is None else each[part].to(self.device)
            for each in (rows.x, rows.c, rows.weights)
        )
        assert x is not None
        return Batch(to_unit(x), c, n, start, weights)
