"""Sources of training batches, and rows held in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Generator, Tensor

from isthmus.data.disk_array import DiskArray
from isthmus.training.distributed import ProcessGroup

__all__ = [
    "Batch",
    "Rows",
    "Source",
    "batch_sizes",
    "draw_rows",
    "groups_by_time",
    "hold_out",
    "number_groups",
    "to_unit",
]


class Batch(NamedTuple):
    """The part of a step's rows that this process trains on.

    Parameters
    ----------
    x : Tensor (n_local, *features)
    c : Tensor (n_local, condition), optional
    n : int
        Rows of the step over all processes.
    start : int
        Index of the first local row among them; n if x is a placeholder for no rows.
    row_weights : Tensor (n_local,), optional
        Sample weights, of mean 1 over all training rows.
    """

    x: Tensor
    c: Tensor | None
    n: int
    start: int
    row_weights: Tensor | None = None

    @property
    def n_local(self) -> int:
        """Number of local rows."""
        return min(len(self.x), self.n - self.start)


class Source:
    """Source of training batches: `Rows` in memory, or data that are read during training.

    Attributes
    ----------
    device : torch.device
        Device of the batches.
    n_rows : int or None
        Rows per epoch; None if the number is unknown before reading.
    shares : int
        Number of processes that share each batch.
    """

    device: torch.device
    n_rows: int | None
    shares: int = 1

    def shared_by(self, processes: int) -> Self:
        """Return a copy whose batches are shared by several processes."""
        if self.n_rows is not None and self.n_rows < processes:
            raise ValueError(
                f"{processes} processes cannot share {self.n_rows} rows: start at most one process "
                "per row."
            )
        return replace(self, shares=processes)  # type: ignore[type-var]

    def sizes(self, size: int) -> list[int]:
        """Return the batch sizes of an epoch, each at least two and one row per process."""
        assert self.n_rows is not None
        if size < self.shares:
            raise ValueError(
                f"batch_size={size} counts the rows of all {self.shares} processes, and each needs "
                f"at least one: set batch_size to at least {self.shares}."
            )
        return batch_sizes(self.n_rows, size, max(2, self.shares))

    def n_batches(self, size: int) -> int | None:
        """Return the number of batches per epoch, or None if unknown."""
        return len(self.sizes(size))

    def grouped_by(self, groups: ArrayLike) -> Self:
        """Return a copy that splits off whole groups of rows."""
        raise ValueError("a loader has no groups: leave them out, and pass validation rows.")

    def weights_of(self, start: int, n: int) -> Tensor | None:
        """Return the sample weights of n rows from `start` on, if there are any."""
        return None

    def local_batches(
        self, size: int, generator: Generator, group: ProcessGroup, skip: int = 0, epoch: int = 1
    ) -> Iterator[Batch]:
        """Yield the local part of each shuffled batch of an epoch, without the first `skip`."""
        raise NotImplementedError

    def sample(self, n: int, generator: Generator, replace: bool = False) -> Tensor:
        """Return n random rows (at most all), with or without replacement."""
        raise NotImplementedError

    def first(self, n: int) -> tuple[Tensor, Tensor | None]:
        """Return the first n rows and their conditions, if any."""
        raise NotImplementedError

    def state(self) -> Any:
        """Return the reader's position in the epoch as JSON; None if counting batches suffices."""

    def go_on(self, state: Any) -> None:
        """Continue in the middle of an epoch from a `state`."""


def number_groups(groups: ArrayLike, n: int) -> Tensor | None:
    """Return the number of the group of each of n rows; None if all are of one group."""
    given: Any = np.ma.asarray(np.asanyarray(groups))
    absent = np.ma.getmaskarray(given) | (given.data != given.data)  # NaN differs from itself
    if given.dtype == object and given.ndim == 1:
        absent |= [value is None for value in given.data]
    if absent.any():
        row = int(np.argwhere(absent)[0, 0])
        raise ValueError(f"groups has no value in row {row}: give each row a group.")
    names, numbers = np.unique(given.data, return_inverse=True)
    if numbers.shape != (n,):
        raise ValueError(f"groups must hold one group for each of {n} rows, got {numbers.shape}.")
    # The windows of a single recording are split by rows.
    return None if len(names) < 2 else torch.from_numpy(numbers)


def groups_by_time(groups: ArrayLike) -> NDArray[Any]:
    """Return the names of groups (n,), in the order of their last rows.

    Examples
    --------
    >>> groups_by_time(["b", "b", "a", "b", "c"]).tolist()
    ['a', 'b', 'c']
    """
    names, from_end = np.unique(np.asarray(groups)[::-1], return_index=True)
    return names[np.argsort(-from_end)]


def draw_rows(
    groups: Any, n_rows: int, fraction: float, rng: np.random.Generator | None
) -> NDArray[np.int64]:
    """Return the sorted numbers of rows of random groups, or of the last ones without `rng`.

    Without groups each row is one.
    """
    groups = np.arange(n_rows) if groups is None else np.asarray(groups)
    names = groups_by_time(groups)
    if len(names) < 2:  # the windows of a single sound
        names = groups = np.arange(n_rows)
    n = min(max(1, int(fraction * len(names))), len(names) // 2)
    held = names[-n:] if rng is None else rng.permutation(np.sort(names))[:n]
    return np.flatnonzero(np.isin(groups, held))


def hold_out(
    stored: DiskArray, groups: Any, fraction: float, rng: np.random.Generator | None
) -> tuple[DiskArray, DiskArray]:
    """Split rows on disk into (kept, held out): random ones, or the last ones without `rng`.

    Rows of one group, `groups` (n_total,), stay together. At most what fits in memory is held out.
    """
    if groups is None:
        return stored.split(fraction, rng)
    numbers = stored.indices()
    held = draw_rows(np.asarray(groups)[numbers], len(numbers), fraction, rng)
    return stored.split_at(numbers[held])


def batch_sizes(n: int, size: int, least: int = 2) -> list[int]:
    """Return the sizes of the batches of n rows: `size` each, and a last one with the rest.

    The rest is not spread over the batches, since matrix products of uneven sizes can be twice as
    slow. A rest of fewer than `least` rows is added to the batch before it.

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
    """Return bytes as float32 in [0, 1], and other tensors unchanged.

    Examples
    --------
    >>> to_unit(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([0., 1.])
    """
    return x.float().div_(255) if x.dtype == torch.uint8 else x


@dataclass(frozen=True)
class Rows(Source):
    """Examples and their conditions, held on one device.

    Parameters
    ----------
    x : Tensor (n, *features)
        float32, or uint8 that is scaled to [0, 1] batch by batch.
    c : Tensor (n, condition), optional
    shares : int
        Number of processes that share each batch.
    groups : Tensor of int (n,), optional
        Number of the group of each row: `split` keeps the rows of a group together.
    weights : Tensor of float (n,), optional
        Sample weights; `weighted` scales them to the mean 1.
    """

    x: Tensor
    c: Tensor | None = None
    shares: int = 1
    groups: Tensor | None = None
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def n_rows(self) -> int:  # type: ignore[override]
        """Rows per epoch."""
        return len(self.x)

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Device of the rows."""
        return self.x.device

    def to(self, device: torch.device) -> Rows:
        """Return a copy on a device."""
        c, groups, weights = (
            None if part is None else part.to(device)
            for part in (self.c, self.groups, self.weights)
        )
        return replace(self, x=self.x.to(device), c=c, groups=groups, weights=weights)

    def weighted(self, weights: Tensor | None) -> Self:
        """Return a copy with sample weights, scaled to the mean 1."""
        if weights is None:
            return self
        return replace(self, weights=(weights / weights.double().mean()).float())

    def weights_of(self, start: int, n: int) -> Tensor | None:
        """Return the sample weights of n rows from `start` on, if there are any."""
        return None if self.weights is None else self.weights[start : start + n]

    def grouped_by(self, groups: ArrayLike) -> Self:
        """Return a copy with the group of each row, an array-like (n,) of any labels."""
        numbers = number_groups(groups, len(self))
        return replace(self, groups=None if numbers is None else numbers.to(self.device))

    def split(
        self, fraction: float, generator: Generator, how: str = "random"
    ) -> tuple[Rows, Rows | None]:
        """Split off validation rows, or groups; return (training, validation or None).

        They are drawn at random, or are the last ones if `how` is "time".
        """
        n_held = int(fraction * len(self))
        if n_held == 0:
            return self, None
        groups = self.groups
        n = len(self) if groups is None else int(groups.max()) + 1
        if how == "random":
            order = torch.randperm(n, generator=generator, device=generator.device)
        elif groups is None:
            order = torch.arange(n).roll(n_held)  # the last rows first
        else:
            order = torch.from_numpy(groups_by_time(groups.cpu().numpy())).flip(0)
        order = order.to(self.x.device)
        if groups is None:
            held, kept = order.split([n_held, n - n_held])
        else:
            held = torch.isin(groups, order[: min(max(1, int(fraction * n)), n // 2)])
            kept = ~held
        train, valid = (
            replace(
                self, x=self.x[rows], c=None if self.c is None else self.c[rows], groups=None
            ).weighted(None if self.weights is None else self.weights[rows])
            for rows in (kept, held)
        )
        return train, valid

    def sample(self, n: int, generator: Generator, replace: bool = False) -> Tensor:
        """Return n random rows (at most all), with or without replacement."""
        place, total = {"generator": generator, "device": generator.device}, len(self)
        if self.weights is not None:
            chances = self.weights.to(generator.device)
            order = torch.multinomial(chances, min(n, total), replace, generator=generator)
        elif replace:
            order = torch.randint(total, (min(n, total),), **place)  # type: ignore[call-overload]
        else:
            order = torch.randperm(total, **place)[:n]  # type: ignore[call-overload]
        return self[order.to(self.device)][0]

    def first(self, n: int) -> tuple[Tensor, Tensor | None]:
        """Return the first n rows and their conditions, if any."""
        return self[:n]

    def __getitem__(self, index: Tensor | slice) -> tuple[Tensor, Tensor | None]:
        return to_unit(self.x[index]), None if self.c is None else self.c[index]

    def batches(
        self, size: int, generator: Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield every row once in batches, shuffled by a generator if there is one."""
        if generator is not None:
            yield from (self[index] for index in self._shuffled(size, generator))
            return
        start = 0
        for n in self.sizes(size):
            yield self[start : start + n]
            start += n

    def local_batches(
        self, size: int, generator: Generator, group: ProcessGroup, skip: int = 0, epoch: int = 1
    ) -> Iterator[Batch]:
        """Yield the local part of each batch; all processes have the same rows and generator."""
        for index in self._shuffled(size, generator)[skip:]:
            part = group.local_slice(len(index))
            weights = None if self.weights is None else self.weights[index[part]]
            yield Batch(*self[index[part]], len(index), part.start, weights)

    def _shuffled(self, size: int, generator: Generator) -> Sequence[Tensor]:
        order = torch.randperm(len(self), device=self.device, generator=generator)
        return order.split(self.sizes(size))
