"""Where to compute, and how the processor is set while it trains."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterator

import torch
from torch import nn

__all__ = ["enough_threads", "flush_denormals", "is_convolutional", "pick_device"]

WORTH_A_THREAD = 1e7  # operations of a step for which waking another thread pays


class _Held:
    """Who holds threads down just now: how many do, and what the first of them found."""

    def __init__(self) -> None:
        self.lock, self.holders, self.before = threading.Lock(), 0, 1
        self.here = threading.local()  # `known` where a thread's own number can be relied upon

    def enter(self, work: float) -> int:
        """Set the threads for so much work; return to how many to go back."""
        with self.lock:
            before = torch.get_num_threads()
            # A thread that starts meanwhile was told the number to which others went down.
            if self.holders and not hasattr(self.here, "known"):
                before = self.before
            self.here.known = True
            self.before = self.before if self.holders else before
            self.holders += 1
            _set_threads(max(1, int(min(before, work / WORTH_A_THREAD))))
            return before

    def leave(self, before: int) -> None:
        """Go back to so many."""
        with self.lock:
            self.holders = max(0, self.holders - 1)
            _set_threads(before)


_HELD = _Held()


def pick_device(name: str = "auto") -> torch.device:
    """Return the device of a name; "auto" is a GPU where there is one.

    Raises
    ------
    ValueError
        If there is no such device here.

    Examples
    --------
    >>> pick_device("cpu")
    device(type='cpu')
    """
    mind_forks()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name = _own_gpu(int(os.environ["LOCAL_RANK"]))
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device must be 'auto' or a device that torch can use here, got {name!r} ({reason})."
        ) from None
    return device


def _own_gpu(number: int) -> str:
    """Return the GPU of one of the processes that torchrun started here: each has one."""
    found = torch.cuda.device_count()
    if 0 < found <= number:
        raise ValueError(
            f"each process trains on a GPU of its own, and for number {number + 1} there is none: "
            f"start no more than there are GPUs here ({found}), or choose device 'cpu'."
        )
    return f"cuda:{number}"


def _flushing() -> bool:
    return (torch.tensor(1e-40) * 1.0).item() == 0.0


@contextlib.contextmanager
def flush_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero for a while.

    As a model converges, moments and gradients fall below 1e-38, where processors are many
    times slower; nothing is lost by calling them zero.
    """
    before = _flushing()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


@contextlib.contextmanager
def enough_threads(model: nn.Module, n_rows: int) -> Iterator[None]:
    """Use no more threads for a while than a step on so many rows keeps busy.

    Threads that share a small product wait for each other longer than they compute, and where
    other programs are running, many times longer. Models with convolutions keep all. Torch keeps
    the number for each thread of Python apart; each goes back to its own.
    """
    mind_forks()
    held = _HELD
    before = held.enter(_work(model, n_rows))
    try:
        yield
    finally:
        held.leave(before)


def _set_threads(number: int) -> None:
    if torch.get_num_threads() != number:
        torch.set_num_threads(number)


@functools.cache
def mind_forks() -> None:
    """From now on, let processes that are forked from this one compute with one thread.

    A fork copies the process without the threads that torch (OpenMP) keeps waiting for work, and
    the copy would wait for them forever at its first shared product. With one thread nothing is
    shared; it is what torch's own data loader does. Called before anything is computed, and not
    at import, so that who only imports isthmus forks as ever.
    """
    if hasattr(os, "register_at_fork"):  # where processes fork at all
        os.register_at_fork(after_in_child=_in_fork)


def _in_fork() -> None:
    global _HELD
    _HELD = _Held()  # who held a lock stayed behind
    torch.set_num_threads(1)


def is_convolutional(model: nn.Module) -> bool:
    """Whether some layer uses its weights more than once in a row.

    Examples
    --------
    >>> is_convolutional(nn.Linear(2, 3)), is_convolutional(nn.Conv1d(2, 3, 1))
    (False, True)
    """
    # What a prior or a likelihood has of the shape of a row is no layer.
    return any(
        parameter.ndim > 2 and not name.startswith(("prior.", "likelihood."))
        for name, parameter in model.named_parameters()
    )


def _work(model: nn.Module, n_rows: int) -> float:
    """Return the operations of a training step of dense layers; without bound for others."""
    if is_convolutional(model):
        return float("inf")
    return 6.0 * n_rows * sum(p.numel() for p in model.parameters())
