"""Prefetching yields all items, respects its depth and leaves no thread behind."""

import threading
import time

import pytest

from isthmus.data.prefetch import prefetch


def test_all_items_are_yielded():
    assert list(prefetch(iter(range(100)), depth=3)) == [*range(100)]
    assert list(prefetch(iter(()))) == []


def test_depth_limits_prefetching():
    read = []
    items = prefetch((read.append(i) or i for i in range(100)), depth=2)
    assert next(items) == 0
    time.sleep(0.1)
    assert len(read) <= 1 + 2 + 1  # used, waiting, and the one that is put
    items.close()


def test_the_thread_ends_with_the_consumer(new_threads):
    items = prefetch(iter(range(10**9)))
    next(items)
    assert new_threads() == ["isthmus-prefetch"]
    items.close()
    assert not new_threads()


def test_a_blocked_iterator_does_not_block_the_consumer():
    going = threading.Event()

    def hangs():
        yield 1
        going.wait(30)

    items = prefetch(hangs(), join_timeout=0.1)
    next(items)
    start = time.perf_counter()
    items.close()
    assert time.perf_counter() - start < 5
    going.set()


def test_errors_come_after_earlier_items():
    def breaks():
        yield 1
        yield 2
        raise KeyError("mine")

    seen = []
    with pytest.raises(KeyError, match="mine"):
        seen.extend(prefetch(breaks()))
    items = prefetch(breaks())
    assert [next(items), next(items)] == [1, 2]


def test_the_generator_is_closed_with_the_consumer(new_threads):
    closed = threading.Event()

    def holds():
        try:
            yield from range(10**9)
        finally:
            closed.set()

    items = prefetch(prefetch(holds()))
    assert next(items) == 0
    items.close()
    assert closed.wait(5)
    assert not new_threads()
