"""Fixtures of all tests. Tests use one thread: the models are tiny."""

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
def undrawn_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures out of the report of a fit: drawing them takes most of its time."""
    from isthmus.report.pictures import Picture

    monkeypatch.setattr(
        "isthmus.report.page.as_picture",
        lambda figure, alt, key: Picture(figure.get_suptitle(), ""),
    )


@pytest.fixture
def new_threads() -> Callable[[], list[str]]:
    """Return a function that names the threads started since the test began and still running.

    It names them instead of counting all threads, since those of earlier tests may end meanwhile.
    """
    before = set(threading.enumerate())
    return lambda: [each.name for each in threading.enumerate() if each not in before]
