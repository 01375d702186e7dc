"""Read the next items in a background thread while the current one is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

__all__ = ["prefetch"]

T = TypeVar("T")
POLL_SECONDS = 0.2  # between two checks whether the consumer still waits
JOIN_SECONDS = 2.0  # wait for the thread to finish its current item


def prefetch(
    items: Iterator[T], depth: int = 1, join_timeout: float | None = JOIN_SECONDS
) -> Iterator[T]:
    """Yield the items of an iterator that a background thread advances.

    Up to `depth` items wait in a queue, and the thread holds one more. An error in the thread is
    raised here. When the consumer stops, the thread has `join_timeout` seconds (None: any time) to
    finish its current item.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(kind: str, item: Any) -> bool:
        while not stopped.is_set():
            try:
                ready.put((kind, item), timeout=POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def produce() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:
            put("error", error)
        finally:
            close = getattr(items, "close", None)  # of a generator, which may hold open files
            if close is not None:
                close()

    thread = threading.Thread(target=produce, name="isthmus-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, item = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise item
            yield item
    finally:
        stopped.set()
        thread.join(join_timeout)  # a daemon thread: its iterator may block forever
