"""Stop requests: SIGINT and SIGTERM take effect after the current training step."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["StopRequest", "StopTraining", "catch_signals"]

REASONS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
DEFAULT_HANDLERS = (signal.SIG_DFL, signal.default_int_handler)


class StopTraining(Exception):
    """Raised between two steps after a stop request."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StopRequest:
    """Whether, and why, a signal requested that training stop.

    Examples
    --------
    >>> request = StopRequest()
    >>> request.receive(signal.SIGTERM)
    >>> request.reason
    'terminated'
    """

    reason: str | None = None

    def receive(self, number: int, frame: Any = None) -> None:
        """Record a signal; a second Ctrl-C interrupts at once."""
        if self.reason is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.reason = REASONS[signal.Signals(number)]


@contextlib.contextmanager
def catch_signals() -> Iterator[StopRequest]:
    """Record SIGINT and SIGTERM within the block, unless the program handles them itself."""
    request, before = StopRequest(), {}
    if threading.current_thread() is threading.main_thread():
        before = {s: h for s in REASONS if (h := signal.getsignal(s)) in DEFAULT_HANDLERS}
    for number in before:
        signal.signal(number, request.receive)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
