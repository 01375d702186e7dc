"""State of a training run: outcome, position, best weights and requests to stop."""

from __future__ import annotations

import contextlib
import copy
import math
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = [
    "BestWeights",
    "Outcome",
    "Position",
    "StopRequest",
    "StopTraining",
    "catch_signals",
    "is_generator_state",
    "layers_state",
    "set_layers_state",
]

REASONS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
MERSENNE_NUMBERS = 624  # in a state of the CPU's generator
DEFAULT_HANDLERS = (signal.SIG_DFL, signal.default_int_handler)


@dataclass
class Outcome:
    """Result of a training run.

    Parameters
    ----------
    history : list of dict
        One record per epoch: `epoch`, `loss`, `reconstruction`, `kl`, `penalty` (nats per
        example), the same with the prefix `valid_` on validation rows, `seconds`,
        `examples_per_second`.
    best_epoch : int
        The epoch whose weights the model has.
    stopped : str
        Why training ended: "epochs", "patience", "diverged", "interrupted" (Ctrl-C),
        "terminated" (SIGTERM) or "failed" (an exception, which propagates).
    stop_signal : str, optional
        "interrupted" or "terminated" if a signal requested a stop, even after the last step.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    stopped: str = "epochs"
    stop_signal: str | None = None


@dataclass
class Position:
    """Progress of training, from which a resumed run continues.

    Parameters
    ----------
    epoch : int
        The epoch in progress, or the next one.
    batch : int
        Completed batches of this epoch.
    sums : Tensor, optional
        Sums of the loss terms over the rows of these batches.
    began : Tensor, optional
        The generator's state at the start of the epoch, which determines the order of its rows.
    seconds : float
        Time spent in this epoch before the run was interrupted.
    rows : int
        Rows in the completed batches, over all processes.
    """

    epoch: int = 1
    batch: int = 0
    sums: Tensor | None = None
    began: Tensor | None = None
    seconds: float = 0.0
    rows: int = 0


class BestWeights:
    """Keep a copy of the best weights so far."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.epoch, self.loss = model, 0, math.inf
        self.state = copy.deepcopy(model.state_dict())

    def offer(self, loss: float, epoch: int) -> None:
        """Copy the model's weights if their loss is the lowest so far."""
        if loss < self.loss:
            self.loss, self.epoch = loss, epoch
            for name, tensor in self.model.state_dict().items():
                self.state[name].copy_(tensor)

    def restore(self) -> None:
        """Load the best weights into the model."""
        self.model.load_state_dict(self.state)


def layers_state(device: torch.device) -> Tensor:
    """Return torch's global random state, from which layers on a device draw."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_layers_state(device: torch.device, state: Tensor) -> None:
    """Set torch's global random state from a `layers_state`."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def is_generator_state(state: Tensor, device: torch.device) -> bool:
    """Whether a tensor of the right size is the state of a generator; torch checks only a part.

    A state of the CPU's generator says how many of its numbers are left, and which one is next: it
    would read beyond its numbers if these did not agree.
    """
    try:
        torch.Generator(device).set_state(state)
    except RuntimeError:
        return False
    if device.type != "cpu":
        return True
    content = state.numpy().tobytes()
    left, seeded = np.frombuffer(content, np.int32, 2, offset=8).tolist()
    following = int.from_bytes(content[16:24], sys.byteorder)
    return seeded == 1 and left >= 1 and following + left in (1, MERSENNE_NUMBERS + 1)


class StopTraining(Exception):
    """Raised between two steps after a stop request."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StopRequest:
    """Whether, and why, a signal requested that training stop."""

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
