"""Training rows, resident on the device, drawn in shuffled batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from isthmus.training.distributed import ProcessGroup

__all__ = ["Batch", "Rows", "Source", "batch_sizes", "to_unit"]


class Batch(NamedTuple):
    """The rows of a step that are a process' own.

    Parameters
    ----------
    x : Tensor (own, *features)
    c : Tensor (own, context), optional
    n : int
        Rows of the step in all processes.
    start : int
        Where among them the own ones begin; n where x stands for none of them.
    """

    x: Tensor
    c: Tensor | None
    n: int
    start: int

    @property
    def n_local(self) -> int:
        """How many of the rows are this process' own."""
        return min(len(self.x), self.n - self.start)


class Source:
    """What a trainer draws batches from: `Rows` in memory, or what is read while it trains.

    Attributes
    ----------
    device : torch.device
        Where batches come to lie.
    n_rows : int or None
        Rows of an epoch; None where only reading them will tell.
    """

    device: torch.device
    n_rows: int | None

    def n_batches(self, size: int) -> int | None:
        """Return how many batches an epoch has; None where only reading them will tell."""
        raise NotImplementedError

    def local_batches(
        self,
        size: int,
        generator: Generator,
        process_group: ProcessGroup,
        skip: int = 0,
        epoch: int = 1,
    ) -> Iterator[Batch]:
        """Yield the own part of each batch of an epoch, shuffled, but for the first `skip`."""
        raise NotImplementedError

    def sample(self, n: int, generator: Generator, replace: bool = False) -> Tensor:
        """Return n rows (or all) drawn at random, none twice unless a row may come again."""
        raise NotImplementedError

    def first(self, n: int) -> tuple[Tensor, Tensor | None]:
        """Return the first n rows and their contexts, if there are any."""
        raise NotImplementedError

    def conditions(self, n: int) -> Tensor | None:
        """Return the contexts of the first n rows, if there are any."""
        return self.first(n)[1]

    def state(self) -> Any:
        """Return where in an epoch a reader is, plain JSON; None where counting batches tells."""

    def go_on(self, state: Any) -> None:
        """Go on in the middle of an epoch, by a `state`."""


def batch_sizes(n: int, size: int, least: int = 2) -> list[int]:
    """Return the sizes of the batches of n rows: all of `size` but the last, which has the rest.

    Matrix products of uneven sizes can be twice as slow, so the rest is not spread; a rest of
    fewer rows than `least` joins the batch before it.

    Examples
    --------
    >>> batch_sizes(9, 4), batch_sizes(10, 4)
    ([4, 5], [4, 4, 2])
    """
    full, rest = divmod(n, size)
    if rest < least and full:
        return [size] * (full - 1) + [size + rest]
    return [size] * full + [rest] * (rest > 0)


def to_unit(x: Tensor) -> Tensor:
    """Return bytes as float32 in [0, 1], anything else untouched.

    Examples
    --------
    >>> to_unit(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([0., 1.])
    """
    return x.float().div_(255) if x.dtype == torch.uint8 else x


@dataclass(frozen=True)
class Rows(Source):
    """Examples and their contexts, held on one device.

    Parameters
    ----------
    x : Tensor (n, *features)
        float32, or uint8 that becomes [0, 1] batch by batch.
    c : Tensor (n, context), optional
    shares : int
        Processes that have a part of each batch.
    """

    x: Tensor
    c: Tensor | None = None
    shares: int = 1

    def __len__(self) -> int:
        return len(self.x)

    @property
    def n_rows(self) -> int:  # type: ignore[override]
        """Rows of an epoch."""
        return len(self.x)

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where the rows are."""
        return self.x.device

    def to(self, device: torch.device) -> Rows:
        """Return the rows on a device."""
        c = None if self.c is None else self.c.to(device)
        return replace(self, x=self.x.to(device), c=c)

    def shared_by(self, processes: int) -> Rows:
        """Return rows of which so many processes have a part each, in every batch."""
        if len(self) < processes:
            raise ValueError(
                f"{processes} processes cannot share {len(self)} rows: start no more than there "
                "are rows."
            )
        return replace(self, shares=processes)

    def split(self, fraction: float, generator: Generator) -> tuple[Rows, Rows | None]:
        """Hold out a share of the rows, drawn at random; (kept, held out or None)."""
        n_held = int(fraction * len(self))
        if n_held == 0:
            return self, None
        order = torch.randperm(len(self), generator=generator, device=generator.device)
        held, kept = order.to(self.x.device).split([n_held, len(self) - n_held])
        return self._take(kept), self._take(held)

    def _take(self, index: Tensor) -> Rows:
        return replace(self, x=self.x[index], c=None if self.c is None else self.c[index])

    def sample(self, n: int, generator: Generator, replace: bool = False) -> Tensor:
        """Return n rows (or all) drawn at random, none twice unless a row may come again."""
        place, total = {"generator": generator, "device": generator.device}, len(self)
        if replace:
            order = torch.randint(total, (min(n, total),), **place)  # type: ignore[call-overload]
        else:
            order = torch.randperm(total, **place)[:n]  # type: ignore[call-overload]
        return self[order.to(self.device)][0]

    def first(self, n: int) -> tuple[Tensor, Tensor | None]:
        """Return the first n rows and their contexts, if there are any."""
        return self[:n]

    def sizes(self, size: int) -> list[int]:
        """Return the sizes of the batches of an epoch: each process has a row of each, or more.

        No batch is a single row, on which batch statistics would fail.
        """
        if size < self.shares:
            raise ValueError(
                f"batch_size={size} is the rows of one step in all {self.shares} processes, and "
                f"each needs one: set it to {self.shares} or more."
            )
        return batch_sizes(len(self), size, max(2, self.shares))

    def n_batches(self, size: int) -> int:
        """Return how many batches an epoch has."""
        return len(self.sizes(size))

    def __getitem__(self, index: Tensor | slice) -> tuple[Tensor, Tensor | None]:
        return to_unit(self.x[index]), None if self.c is None else self.c[index]

    def batches(
        self, size: int, generator: Generator | None = None, skip: int = 0
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield every row once, in batches of the given `sizes`, but for the first `skip`.

        Given a generator they are shuffled.
        """
        if generator is not None:
            yield from (self[index] for index in self._shuffled(size, generator, skip))
            return
        sizes = self.sizes(size)
        ends = list(itertools.accumulate(sizes))
        for end, length in list(zip(ends, sizes, strict=True))[skip:]:
            yield self[end - length : end]

    def local_batches(
        self,
        size: int,
        generator: Generator,
        process_group: ProcessGroup,
        skip: int = 0,
        epoch: int = 1,
    ) -> Iterator[Batch]:
        """Yield the own part of each batch; all processes have the same rows and generator."""
        for index in self._shuffled(size, generator, skip):
            part = process_group.local_slice(len(index))
            yield Batch(*self[index[part]], len(index), part.start)

    def _shuffled(self, size: int, generator: Generator, skip: int) -> Sequence[Tensor]:
        order = torch.randperm(len(self), device=self.device, generator=generator)
        return order.split(self.sizes(size))[skip:]
