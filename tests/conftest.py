"""One thread a test: the models are tiny, and threads that wait for each other cost more."""

import os
import signal
import threading
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as under nohup: tests send Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def new_threads() -> Callable[[], list[str]]:
    """The names of the threads that began since the test did and have not ended.

    Not a count of all: what an earlier test left ends whenever it likes.
    """
    before = set(threading.enumerate())
    return lambda: [each.name for each in threading.enumerate() if each not in before]
