"""Fixtures of all tests. Tests use one thread: the models are tiny."""

import json
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

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


class Refusal(NamedTuple):
    """How a reader refused a file, and what that took, beyond what the process held before."""

    error: str  # the type and the message; empty if the file was read
    seconds: float  # of processor time
    megabytes: float  # of peak memory


@pytest.fixture
def measure() -> Callable[..., Refusal]:
    """Call a reader in a forked child, with limits of memory and processor time.

    Read a valid file first, so that the child does not import anything.
    """
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("peak memory is measured on Linux only")

    def run(read: Callable[..., object], *args: object, megabytes: int = 500) -> Refusal:
        reading, writing = os.pipe()
        if not (child := os.fork()):
            os.close(reading)
            with os.fdopen(writing, "w") as stream:
                json.dump(_refusal(read, args, megabytes), stream)
                stream.flush()
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as stream:
            content = stream.read()
        _, status = os.waitpid(child, 0)
        assert status == 0, f"the reader ended the process (status {status})"
        return Refusal(*json.loads(content))

    return run


def _refusal(read: Callable[..., object], args: tuple[object, ...], megabytes: int) -> Refusal:
    free = (_status("VmSize") + megabytes) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (free, free))
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
    Path("/proc/self/clear_refs").write_text("5")  # restart the peak
    before, start, error = _status("VmHWM"), time.process_time(), ""
    try:
        read(*args)
    except BaseException as found:
        error = f"{type(found).__name__}: {found}"
    return Refusal(error, time.process_time() - start, _status("VmHWM") - before)


def _status(name: str) -> int:
    """Return an entry of the process's status in megabytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) // 1024
