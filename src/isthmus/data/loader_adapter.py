"""Adapt a user's loader of batches for training, epoch by epoch."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import _safe_indexing

from isthmus._messages import one_line
from isthmus._optional import import_optional
from isthmus.data.disk_array import PREVIEW_BYTES
from isthmus.data.frames import is_frame
from isthmus.data.input_types import has_masked_bytes, read_input, read_labels

__all__ = ["LoadedBatch", "LoaderAdapter", "as_batch"]

EXPECTED = (
    "each batch must be X, (X, y) or (X, y, sample_weight), as arrays, tensors or data frames"
)


class LoadedBatch(NamedTuple):
    """Rows X (n, ...), with labels y and sample weights (n,) if there are any.

    `state` is that of the loader after the batch, if it has one.
    """

    X: Any
    y: Any = None
    weights: Any = None
    state: Any = None

    def counted(self) -> LoadedBatch:
        """Return the batch without rows of weight 0."""
        if self.weights is None or np.all(self.weights):
            return self
        rows = np.flatnonzero(self.weights)
        X, y, weights = (
            None if part is None else _safe_indexing(part, rows)
            for part in (self.X, self.y, self.weights)
        )
        return self._replace(X=X, y=y, weights=weights)


@dataclass(frozen=True, eq=False)
class LoaderAdapter:
    """A loader of batches X, (X, y) or (X, y, sample_weight) that can be read once per epoch.

    `loader` is an iterable (a list, a `torch.utils.data.DataLoader`, a streamed dataset) or a
    function that returns one; `valid` are validation rows in one such batch; `sharded` loaders
    give different rows to each of several processes.
    """

    loader: Iterable[Any] | Callable[[], Iterable[Any]]
    valid: Any = None
    sharded: bool = False

    def state(self) -> Any:
        """Return the position of the loader as JSON data; None if it cannot be resumed."""
        if not callable(getattr(self.loader, "load_state_dict", None)):
            return None
        try:
            return json.loads(json.dumps(self.loader.state_dict()))  # type: ignore[union-attr]
        except (TypeError, ValueError):
            return None

    def restore(self, state: Any) -> None:
        """Restore the position of the loader; a ValueError if it does not take this one."""
        try:
            self.loader.load_state_dict(state)  # type: ignore[union-attr]
        except Exception as error:  # the loader is not ours, and the state is from a file
            raise ValueError(
                f"the loader cannot continue at its position in the checkpoint: {one_line(error)}."
            ) from error

    def batches(
        self, epoch: int = 1, skip: int = 0, resumed: bool = False
    ) -> Iterator[LoadedBatch]:
        """Yield the batches of an epoch after the first `skip`; none has a single row.

        `resumed` means that `restore` was called before, possibly at the end of an epoch.
        """
        for one in (self.loader, getattr(self.loader, "sampler", None)):
            if callable(set_epoch := getattr(one, "set_epoch", None)):
                set_epoch(epoch)
        batches = _merge_single_rows(self._load())
        if (first := next(batches, None)) is not None:
            yield from itertools.islice(itertools.chain([first], batches), skip, None)
        elif not resumed:
            raise ValueError(
                f"the loader gives no batches in epoch {epoch}, or only rows of weight 0. If it "
                "can be read only once, pass a function that creates it."
            )

    def _load(self) -> Iterator[LoadedBatch]:
        for batch in self._iterate():
            rows = as_batch(batch).counted()
            if len(rows.X):  # copied: batches wait in a queue, and a loader may reuse its arrays
                X, y, weights = (
                    part if part is None or is_frame(part) else part.copy() for part in rows[:3]
                )
                yield LoadedBatch(X, y, weights, self.state())

    def _iterate(self) -> Iterator[Any]:
        loader = self.loader() if callable(self.loader) else self.loader
        if not hasattr(loader, "__iter__"):
            raise ValueError(
                f"a loader must be iterable, got {type(loader).__name__}: pass a list, a "
                "DataLoader, or a function that returns a generator."
            )
        batches = iter(loader)  # once: a DataLoader starts its workers here
        if batches is self.loader:
            raise ValueError(
                "the loader can be read only once, but training reads it every epoch: pass a list, "
                "a DataLoader, or a function that creates it."
            )
        return batches

    def preview(self) -> LoadedBatch:
        """Return a sample: the first rows, with their labels and weights."""
        batches, n_bytes = [], 0
        for batch in self.batches():
            batches.append(batch)
            n_bytes += 4 * int(np.prod(batch.X.shape))
            if n_bytes > PREVIEW_BYTES:
                break
        return _concatenate(batches)._replace(state=None)

    @property
    def n_batches(self) -> int | None:
        """Batches per epoch, if the loader has a length."""
        try:
            return len(self.loader)  # type: ignore[arg-type]
        except TypeError:
            return None


def as_batch(batch: Any) -> LoadedBatch:
    """Return a batch with X as an array or a data frame, and y and weights as arrays or None."""
    X, y, weights = batch, None, None
    if isinstance(batch, tuple | list) and (len(batch) in (1, 2) or _is_weighted(batch)):
        X, y, weights = (*batch, None, None)[:3]
    if isinstance(X, dict | str | set) or not hasattr(X, "__len__"):
        raise ValueError(f"{EXPECTED}; got {type(X).__name__}: collate batches in the loader.")
    try:
        X = read_input(X, "a batch")
        X = X if is_frame(X) or has_masked_bytes(X) else np.asarray(X)
    except ValueError as error:
        if not isinstance(X, list | tuple):
            raise
        raise ValueError(f"{EXPECTED}; got {len(X)} parts of different shapes.") from error
    if not is_frame(X) and X.ndim < 2:
        raise ValueError(f"{EXPECTED}, and X must have rows; got an array of shape {X.shape}.")
    y, weights = (None if part is None else read_labels(part) for part in (y, weights))
    for name, part in (("labels", y), ("sample weights", weights)):
        if part is not None and len(part) != len(X):
            raise ValueError(f"a batch has {len(X)} rows, but {len(part)} {name}.")
    return LoadedBatch(X, y, weights)


def _is_weighted(batch: Sequence[Any]) -> bool:
    """Whether three objects are X, y and sample weights, not three rows, each one example."""
    if len(batch) != 3:
        return False
    X, _, weights = batch
    return weights is None or (np.ndim(weights) == 1 and (is_frame(X) or np.ndim(X) > 1))


def _merge_single_rows(batches: Iterator[LoadedBatch]) -> Iterator[LoadedBatch]:
    """Append a batch of one row, on which batch statistics fail, to the next or the last one."""
    last = None
    for batch in batches:
        while len(batch.X) < 2 and (more := next(batches, None)) is not None:
            batch = _concatenate([batch, more])
        if last is not None and len(batch.X) < 2:
            batch, last = _concatenate([last, batch]), None
        if last is not None:
            yield last
        last = batch
    if last is not None:
        yield last


def _concatenate(batches: Sequence[LoadedBatch]) -> LoadedBatch:
    X, y, weights, states = zip(*batches, strict=True)
    if len(X) == 1:
        return batches[0]
    if is_frame(X[0]):
        library = import_optional(type(X[0]).__module__.split(".")[0], what="a data frame")
        joined = library.concat([*X])
    elif len({x.shape[1:] for x in X}) > 1:
        shapes = ", ".join(sorted({str(x.shape[1:]) for x in X}))
        raise ValueError(f"the loader gives rows of different shapes ({shapes}); expected one.")
    else:
        masked = any(map(has_masked_bytes, X))
        joined = np.ma.concatenate(X) if masked else np.concatenate(X)
    labels, numbers = (
        None if any(each is None for each in parts) else np.concatenate(parts)
        for parts in (y, weights)
    )
    return LoadedBatch(joined, labels, numbers, states[-1])
