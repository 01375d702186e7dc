"""Arrays too large for memory, whose rows stay on disk, or sparse, until they are read."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus._messages import one_line
from isthmus.data.parquet_rows import ParquetRows
from isthmus.data.sparse_rows import SparseRows, as_rows
from isthmus.data.zarr_rows import ZarrRows

__all__ = ["DiskArray", "as_disk_array", "release_pages"]

BLOCK_BYTES = 2**18  # read at once
MAX_IN_MEMORY = 2**29  # bytes, as float32, up to which an array is read whole
PREVIEW_BYTES = 2**26  # of the sample of rows from which scaling and the like are learned
MAX_HELD_OUT_BYTES = 2**25

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class DiskArray:
    """Rows of an array on disk, in blocks of consecutive rows.

    `array` (n, *features) is sliced by rows: a memory map, a zarr array, an h5py dataset,
    `ParquetRows`, `ZarrRows` or `SparseRows`. `bounds` (k + 1,) are the first rows of its blocks,
    and its number of rows; `blocks` are the blocks that belong to this selection, in order. If only
    some of their rows do, `selected` (n,) marks these.

    Examples
    --------
    >>> rows = DiskArray.of(np.arange(10).reshape(5, 2), block_bytes=64)
    >>> rows.shape, rows.bounds
    ((5, 2), array([0, 4, 5]))
    >>> rows.read(rows.blocks[1:])
    array([[8, 9]])
    """

    array: Any
    bounds: Array
    blocks: Array
    selected: Array | None = None

    @classmethod
    def of(cls, array: Any, block_bytes: int | None = None) -> DiskArray:
        """Return all rows of an array, in its own blocks or chunks if it has some."""
        n, *features = array.shape
        bounds = getattr(array, "bounds", None)
        if bounds is None:
            row = max(1, array.dtype.itemsize * int(np.prod(features)))
            chunk = (getattr(array, "chunks", None) or (1,))[0]
            size = chunk * max(1, (block_bytes or BLOCK_BYTES) // (row * chunk))
            bounds = np.append(np.arange(0, n, size), n)
        return cls(array, bounds, np.arange(len(bounds) - 1))

    def __len__(self) -> int:
        return int(self.lengths.sum())

    @property
    def lengths(self) -> Array:
        """Rows of each block."""
        return self._sizes[self.blocks]

    @cached_property
    def _sizes(self) -> Array:
        """Selected rows of each block of the whole array."""
        if self.selected is None:
            return np.diff(self.bounds)
        return np.diff(np.append(0, np.cumsum(self.selected))[self.bounds])

    @property
    def n_total(self) -> int:
        """Rows of the whole array."""
        return int(self.array.shape[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all rows together."""
        return (len(self), *self.array.shape[1:])

    @property
    def dtype(self) -> Any:
        """Type of the numbers on disk."""
        return self.array.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.array.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row as float32, as models take it."""
        return 4 * int(np.prod(self.array.shape[1:]))

    @property
    def size(self) -> int:
        """Numbers in all rows."""
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """Bytes of all rows on disk, uncompressed."""
        return self.size * int(self.dtype.itemsize)

    def __getitem__(self, index: Any) -> Array:
        """Return rows by any NumPy index of one axis; each block is read once."""
        n, is_slice = len(self), isinstance(index, slice)
        numbers = np.arange(*index.indices(n)) if is_slice else np.arange(n)[index]
        wanted, starts = np.atleast_1d(numbers), np.cumsum([0, *self.lengths])
        places = np.searchsorted(starts, wanted, "right") - 1
        parts = [
            self.read(self.blocks[[p]])[wanted[places == p] - starts[p]] for p in np.unique(places)
        ]
        rows = np.concatenate([np.zeros((0, *self.shape[1:]), self.dtype), *parts])
        rows = rows[np.argsort(np.argsort(places, kind="stable"))]
        return rows if numbers.ndim else rows[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return all rows, read."""
        return np.asarray(self.read(), dtype)

    def indices(self, blocks: Array | None = None) -> Array:
        """Return the row numbers of blocks (by default all) in the whole array."""
        numbers = np.concatenate([np.arange(*ends) for ends in self._ends(blocks)])
        return numbers if self.selected is None else numbers[self.selected[numbers]]

    def read(self, blocks: Array | None = None) -> Array:
        """Return a copy of the rows of blocks (by default all), and release their pages."""
        rows = np.concatenate([self._slice(*ends) for ends in self._ends(blocks)])
        release_pages(self.array)
        return rows

    def _ends(self, blocks: Array | None) -> Iterator[tuple[int, int]]:
        blocks = self.blocks if blocks is None else blocks
        return zip(self.bounds[blocks].tolist(), self.bounds[blocks + 1].tolist(), strict=True)

    def _slice(self, start: int, end: int) -> Array:
        try:
            rows = np.asarray(self.array[start:end])
            return rows if self.selected is None else rows[self.selected[start:end]]
        except Exception as error:  # each library raises errors of its own
            reason = one_line(error) or type(error).__name__
            raise ValueError(f"cannot read rows {start} to {end - 1} of X: {reason}") from error

    def first_blocks(self, n: int, blocks: Array | None = None) -> Array:
        """Return the first blocks (of all, by default) that have n rows together."""
        blocks = self.blocks if blocks is None else blocks
        enough = np.searchsorted(np.cumsum(self._sizes[blocks]), n) + 1
        return blocks[:enough]

    @property
    def _n_preview(self) -> int:
        return max(2, PREVIEW_BYTES // self.row_bytes)

    @property
    def preview_blocks(self) -> Array:
        """A sample of blocks, evenly spaced."""
        k = len(self.blocks)
        return self.blocks[_spread(k, max(2, self._n_preview * k // max(1, len(self))))]

    @property
    def is_sparse(self) -> bool:
        """Whether the rows are those of a sparse matrix, which is in memory."""
        return isinstance(self.array, SparseRows)

    def preview(self) -> Array:
        """Return a sample of rows that fits memory, evenly spaced."""
        return self.preview_rows()[0]

    def preview_rows(self) -> tuple[Array, Array]:
        """Return the rows of `preview` and their numbers; of a sparse matrix also notable rows."""
        blocks, n = self.preview_blocks, self._n_preview
        rows, numbers = self.read(blocks), self.indices(blocks)
        if len(rows) > n:
            chosen = _spread(len(rows), n)
            rows, numbers = rows[chosen], numbers[chosen]
        if self.is_sparse:
            more = np.setdiff1d(np.intersect1d(self.array.notable_rows, self.indices()), numbers)
            rows = np.concatenate([rows, np.asarray(self.array[more])])
            numbers = np.concatenate([numbers, more])
        return rows, numbers

    def split(
        self, fraction: float, order: np.random.Generator | None
    ) -> tuple[DiskArray, DiskArray]:
        """Hold out a fraction of the rows; return (kept, held out).

        Random blocks are held out, or without `order` the last rows: at least one row, and at most
        what fits in `MAX_HELD_OUT_BYTES`.
        """
        n = max(1, int(min(fraction * len(self), MAX_HELD_OUT_BYTES / self.row_bytes)))
        if self.selected is not None:
            numbers = self.indices()
            return self.split_at(numbers[-n:] if order is None else order.permutation(numbers)[:n])
        blocks = np.sort(self.blocks)[::-1] if order is None else order.permutation(self.blocks)
        held = self.first_blocks(n, blocks)
        last, rest = held[-1], int(np.diff(self.bounds)[held].sum()) - n
        # Split the last block in two: its remaining rows become a block that is kept.
        size = rest if order is None else int(np.diff(self.bounds)[last]) - rest
        bounds = np.insert(self.bounds, last + 1, self.bounds[last] + size)
        kept, held = (b + (b > last) for b in (np.setdiff1d(self.blocks, held), np.sort(held)))
        if order is None:
            held[held == last] = last + 1
        other = last if order is None else last + 1
        kept = np.union1d(kept, np.full(int(rest > 0), other))
        return replace(self, bounds=bounds, blocks=kept), replace(self, bounds=bounds, blocks=held)

    def split_at(self, numbers: Array) -> tuple[DiskArray, DiskArray]:
        """Hold out the rows of these numbers; return (kept, held out).

        If they are more than `MAX_HELD_OUT_BYTES` hold, the others are in neither part.
        """
        numbers = np.sort(numbers)
        fit = numbers[_spread(len(numbers), max(1, MAX_HELD_OUT_BYTES // self.row_bytes))]
        kept, held = np.zeros((2, self.n_total), bool)
        kept[self.indices()], held[fit] = True, True
        kept[numbers] = False
        return self._only(kept), self._only(held)

    def _only(self, selected: Array) -> DiskArray:
        """Return the rows that a mask (n,) marks."""
        part = replace(self, selected=selected)
        return replace(part, blocks=np.sort(self.blocks)[part._sizes[np.sort(self.blocks)] > 0])

    def block_groups(self, n_bytes: int) -> Iterator[Array]:
        """Yield the blocks in order, grouped up to a number of bytes (as float32)."""
        ends = np.cumsum(self.lengths) * self.row_bytes
        start = 0
        while start < len(self.blocks):
            before = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + n_bytes, "right")))
            yield self.blocks[start:stop]
            start = stop


def as_disk_array(X: Any) -> DiskArray | None:
    """Return an array on disk, or sparse, that is too large for memory as a `DiskArray`.

    Return None for other data.
    """
    X = as_rows(X)
    if isinstance(X, DiskArray):
        return X
    if isinstance(X, SparseRows):
        return DiskArray.of(X) if X.is_large and len(X) > 1 else None
    if not _is_on_disk(X) or len(X.shape) < 2 or X.shape[0] < 2:
        return None
    rows = DiskArray.of(X)
    large = rows.n_total * rows.row_bytes > MAX_IN_MEMORY and len(rows.blocks) > 1
    return rows if large else None


def release_pages(X: Any) -> None:
    """Let the system reclaim the memory of a mapped file; its content stays on disk."""
    mapped = _map_of(X)
    # Not of a writable map: changes, even through other views, could be lost.
    if mapped is not None and memoryview(mapped).readonly and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _is_on_disk(X: Any) -> bool:
    if isinstance(X, np.ndarray):
        return _map_of(X) is not None
    libraries = ("zarr", "h5py")
    return isinstance(X, ParquetRows | ZarrRows) or (
        type(X).__module__.split(".")[0] in libraries and hasattr(X, "shape")
    )


def _spread(n: int, wanted: int) -> Array:
    """Return up to `wanted` of the indices below n, evenly spaced."""
    return np.linspace(0, n - 1, min(n, wanted)).round().astype(int)


def _map_of(X: Any) -> mmap.mmap | None:
    while isinstance(X, np.ndarray | memoryview):
        X = X.obj if isinstance(X, memoryview) else X.base
    return X if isinstance(X, mmap.mmap) else None
