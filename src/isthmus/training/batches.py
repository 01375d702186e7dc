"""Training rows, resident on the device, drawn in shuffled batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

__all__ = ["Rows", "to_unit"]


def to_unit(x: Tensor) -> Tensor:
    """Return bytes as float32 in [0, 1], anything else untouched.

    Examples
    --------
    >>> to_unit(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([0., 1.])
    """
    return x.float().div_(255) if x.dtype == torch.uint8 else x


@dataclass(frozen=True)
class Rows:
    """Examples and their contexts, held on one device.

    Parameters
    ----------
    x : Tensor (n, *features)
        float32, or uint8 that becomes [0, 1] batch by batch.
    c : Tensor (n, context), optional
    """

    x: Tensor
    c: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> Rows:
        """Return the rows on a device."""
        return Rows(self.x.to(device), None if self.c is None else self.c.to(device))

    def split(self, fraction: float, generator: Generator) -> tuple[Rows, Rows | None]:
        """Hold out a share of the rows, drawn at random; (kept, held out or None)."""
        n_held = int(fraction * len(self))
        if n_held == 0:
            return self, None
        order = torch.randperm(len(self), generator=generator, device=generator.device)
        held, kept = order.to(self.x.device).split([n_held, len(self) - n_held])
        return self._take(kept), self._take(held)

    def _take(self, index: Tensor) -> Rows:
        return Rows(self.x[index], None if self.c is None else self.c[index])

    def sizes(self, size: int) -> list[int]:
        """Return the sizes of the batches of an epoch.

        All of `size` but the last, which has the rest. Matrix products of uneven sizes can be
        twice as slow, so the rest is not spread; a rest of one row, on which batch statistics
        would fail, joins the batch before it.

        Examples
        --------
        >>> Rows(torch.zeros(9, 1)).sizes(4), Rows(torch.zeros(10, 1)).sizes(4)
        ([4, 5], [4, 4, 2])
        """
        full, rest = divmod(len(self), size)
        if rest == 1 and full:
            return [size] * (full - 1) + [size + 1]
        return [size] * full + [rest] * (rest > 0)

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
        sizes = self.sizes(size)
        if generator is None:
            ends = list(itertools.accumulate(sizes))
            for end, length in list(zip(ends, sizes, strict=True))[skip:]:
                yield self[end - length : end]
            return
        order = torch.randperm(len(self), device=self.x.device, generator=generator)
        yield from (self[index] for index in order.split(sizes)[skip:])
