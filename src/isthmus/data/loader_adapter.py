"""Batches that somebody's own loader makes, pass after pass."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus._optional import import_optional
from isthmus.data.columns import is_frame
from isthmus.data.disk_array import PREVIEW_BYTES

__all__ = ["LoaderAdapter"]

Array = NDArray[Any]
EACH = "each batch must be X, or X and y, as arrays, tensors or data frames"
Pair = tuple[Any, Any]


class LoadedBatch(NamedTuple):
    """A batch: X (n, ...), y (n,) or None, and where the loader was after it, if it can say."""

    X: Any
    y: Any
    state: Any


@dataclass(frozen=True, eq=False)
class LoaderAdapter:
    """A loader of batches: X, or X and y.

    Parameters
    ----------
    loader : iterable, or callable that returns one
        Gives its batches anew each time: a list, a `torch.utils.data.DataLoader`, a streamed
        data set of `datasets` in batches, a function that makes a generator.
    valid : X, or (X, y), optional
        Held-out rows.
    sharded : bool
        Whether the loader gives each of several processes rows of its own.

    Examples
    --------
    >>> stream = LoaderAdapter(lambda: iter([np.zeros((2, 3)), np.ones((1, 3))]))
    >>> [len(part.X) for part in stream.batches()], stream.preview()[0].shape
    ([3], (3, 3))
    """

    loader: Iterable[Any] | Callable[[], Iterable[Any]]
    valid: Any = None
    sharded: bool = False

    def state(self) -> Any:
        """Return where the loader is, fit to be written as JSON; None where it cannot say."""
        if not callable(getattr(self.loader, "load_state_dict", None)):
            return None
        try:
            return json.loads(json.dumps(self.loader.state_dict()))  # type: ignore[union-attr]
        except (TypeError, ValueError):
            return None

    def restore(self, state: Any) -> None:
        """Put the loader where it was by a `state`."""
        self.loader.load_state_dict(state)  # type: ignore[union-attr]

    def batches(
        self, epoch: int = 1, skip: int = 0, resumed: bool = False
    ) -> Iterator[LoadedBatch]:
        """Yield the batches of an epoch, but for the first `skip`; none has a single row.

        Parameters
        ----------
        epoch, skip : int
        resumed : bool
            Whether the loader was put where it is by `restore`, be it at the end.

        Raises
        ------
        ValueError
            Where there is none, or one is no rows.
        """
        for one in (self.loader, getattr(self.loader, "sampler", None)):
            if callable(set_epoch := getattr(one, "set_epoch", None)):
                set_epoch(epoch)
        batches = _none_single(self._parts())
        if (first := next(batches, None)) is not None:
            yield from itertools.islice(itertools.chain([first], batches), skip, None)
        elif not resumed:
            raise ValueError(
                f"the loader gives no batch in pass {epoch}: there is nothing to learn from. One "
                "that can be read once only is given as a function that makes it anew."
            )

    def _parts(self) -> Iterator[LoadedBatch]:
        for batch in self._iterate():
            X, y = as_pair(batch)
            if len(X):  # copied, as batches wait and a loader may fill one array again and again
                X = X if is_frame(X) else X.copy()
                yield LoadedBatch(X, None if y is None else y.copy(), self.state())

    def _iterate(self) -> Iterator[Any]:
        loader = self.loader() if callable(self.loader) else self.loader
        if not hasattr(loader, "__iter__"):
            raise ValueError(
                f"a loader must give batches one after the other, got {type(loader).__name__}: "
                "give a list, a DataLoader, or a function that makes a generator."
            )
        batches = iter(loader)  # once: that of a DataLoader starts its workers
        if batches is self.loader:
            raise ValueError(
                "the loader can be read once only, and training reads it again and again: give a "
                "list, a DataLoader, or a function that makes it anew."
            )
        return batches

    def preview(self) -> Pair:
        """Return the first rows and labels, as many as tell what all are like."""
        parts, n_bytes = [], 0
        for part in self.batches():
            parts.append(part)
            n_bytes += 4 * int(np.prod(part.X.shape))
            if n_bytes > PREVIEW_BYTES:
                break
        return _together(parts)[:2]

    @property
    def n_batches(self) -> int | None:
        """Batches of an epoch, where the loader says so."""
        try:
            return len(self.loader)  # type: ignore[arg-type]
        except TypeError:
            return None


def as_pair(batch: Any) -> Pair:
    """Return a batch as X and y: arrays, or a data frame and an array; y may be None.

    Raises
    ------
    ValueError
        Where it is something else.
    """
    X, y = batch, None
    if isinstance(batch, tuple | list) and len(batch) in (1, 2):
        X, y = (*batch, None)[:2]
    if is_frame(X):
        return X, None if y is None else _array(y)
    if isinstance(X, dict | str | set) or not hasattr(X, "__len__"):
        raise ValueError(f"{EACH}; got {type(X).__name__}: let the loader pick and collate them.")
    try:
        X = _array(X)
    except ValueError:  # of unlike lengths
        raise ValueError(f"{EACH}; got {len(X)} parts of other shapes.") from None
    if X.ndim < 2:
        raise ValueError(f"{EACH}, and X must be rows; got an array of shape {X.shape}.")
    return X, None if y is None else _array(y)


def _array(values: Any) -> Array:
    if not hasattr(values, "detach"):
        return np.asarray(values)
    half = str(values.dtype) == "torch.bfloat16"  # which NumPy does not know
    return (values.float() if half else values).numpy(force=True)


def _none_single(parts: Iterator[LoadedBatch]) -> Iterator[LoadedBatch]:
    """Let a row alone, on which batch statistics would fail, go with the next batch or the last."""
    last = None
    for part in parts:
        while len(part.X) < 2 and (more := next(parts, None)) is not None:
            part = _together([part, more])
        if last is not None and len(part.X) < 2:
            part, last = _together([last, part]), None
        if last is not None:
            yield last
        last = part
    if last is not None:
        yield last


def _together(parts: Sequence[LoadedBatch]) -> LoadedBatch:
    """Return batches as one."""
    X, y, states = zip(*parts, strict=True)
    if len(X) == 1:
        return parts[0]
    if is_frame(X[0]):
        library = import_optional(type(X[0]).__module__.split(".")[0], what="a table")
        joined = library.concat([*X])
    elif len({x.shape[1:] for x in X}) > 1:
        shapes = ", ".join(sorted({str(x.shape[1:]) for x in X}))
        raise ValueError(f"the loader gives rows of unlike shapes ({shapes}): give one.")
    else:
        joined = np.concatenate(X)
    if any(each is None for each in y):
        return LoadedBatch(joined, None, states[-1])
    return LoadedBatch(joined, np.concatenate(y), states[-1])
