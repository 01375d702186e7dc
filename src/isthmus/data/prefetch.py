"""Reading ahead: what is read next is read while the last is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

__all__ = ["prefetch"]

T = TypeVar("T")
PATIENCE = 0.2  # seconds between two looks at whether anybody still waits
GRACE = 2.0  # seconds for the thread to end what it is at


def prefetch(items: Iterator[T], depth: int = 1, grace: float | None = GRACE) -> Iterator[T]:
    """Yield items that a thread of its own makes, so many before they are asked for.

    An error in the thread is raised here, and the thread ends with whoever reads. Beside the
    items that wait, it has one more in hand. What it is at has so many seconds of grace to end, or
    with None as long as it takes.

    Examples
    --------
    >>> list(prefetch(iter([1, 2, 3])))
    [1, 2, 3]
    """
    made: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
    over = threading.Event()

    def put(kind: str, item: Any) -> bool:
        while not over.is_set():
            try:
                made.put((kind, item), timeout=PATIENCE)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:
            put("error", error)
        finally:
            close = getattr(items, "close", None)  # of a generator, which may hold files
            if close is not None:
                close()

    thread = threading.Thread(target=make, name="isthmus-ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, item = made.get()
            if kind == "end":
                return
            if kind == "error":
                raise item
            yield item
    finally:
        over.set()
        thread.join(grace)  # it is a daemon: what it waits for may never come
