"""Being asked to stop: Ctrl-C and SIGTERM wait until a step is whole."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["Asked", "Stop", "asked_to_stop"]

WHY = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
OWN = (signal.SIG_DFL, signal.default_int_handler)  # handlers that nobody has chosen


class Stop(Exception):
    """Raised between two steps when somebody asked for it."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Asked:
    """Whether somebody asked training to stop, and why it then did.

    Examples
    --------
    >>> asked = Asked()
    >>> asked.hear(signal.SIGTERM)
    >>> asked.why
    'terminated'
    """

    why: str | None = None

    def hear(self, number: int, frame: Any = None) -> None:
        """Note a signal; a second Ctrl-C does not wait."""
        if self.why is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.why = WHY[signal.Signals(number)]


@contextlib.contextmanager
def asked_to_stop() -> Iterator[Asked]:
    """Note SIGINT and SIGTERM for a while, where the program has no handlers of its own."""
    asked, before = Asked(), {}
    if threading.current_thread() is threading.main_thread():
        before = {s: signal.getsignal(s) for s in WHY if signal.getsignal(s) in OWN}
    for number in before:
        signal.signal(number, asked.hear)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
