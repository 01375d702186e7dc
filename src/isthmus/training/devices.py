"""Devices, threads and floating-point modes for training."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import threading
from collections.abc import Iterator

import torch
from torch import nn

__all__ = [
    "enough_threads",
    "flush_denormals",
    "is_convolutional",
    "own_torch_defaults",
    "pick_device",
]

WORTH_A_THREAD = 1e8  # operations per step from which another thread pays, also on a busy machine


class _ThreadLimit:
    """Limits on torch's threads that are in effect: their number, and the original setting."""

    def __init__(self) -> None:
        self.lock, self.holders, self.before = threading.Lock(), 0, 1
        self.here = threading.local()  # has `known` if the thread's own number is reliable

    def enter(self, work: float) -> int:
        """Limit the threads for some work; return the number to restore."""
        with self.lock:
            before = torch.get_num_threads()
            # A thread started meanwhile inherits the limit of others.
            if self.holders and not hasattr(self.here, "known"):
                before = self.before
            self.here.known = True
            self.before = self.before if self.holders else before
            self.holders += 1
            _set_threads(max(1, int(min(before, work / WORTH_A_THREAD))))
            return before

    def leave(self, before: int) -> None:
        """Restore the number of threads."""
        with self.lock:
            self.holders = max(0, self.holders - 1)
            _set_threads(before)


_LIMIT = _ThreadLimit()


@contextlib.contextmanager
def own_torch_defaults() -> Iterator[None]:
    """Make float32 tensors on the CPU that allow gradients, whatever defaults the caller has set.

    Examples
    --------
    >>> torch.set_default_dtype(torch.float64)
    >>> with own_torch_defaults():
    ...     torch.zeros(1).dtype
    torch.float32
    >>> torch.get_default_dtype()
    torch.float64
    >>> torch.set_default_dtype(torch.float32)
    """
    dtype = torch.get_default_dtype()
    # torch 2.9 raises in get_default_device after set_default_device(None).
    on_cpu = contextlib.nullcontext() if torch.empty(0).is_cpu else torch.device("cpu")
    with torch.inference_mode(False), on_cpu:
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


def pick_device(name: str = "auto") -> torch.device:
    """Return the device of a name; "auto" is a GPU if there is one.

    Raises
    ------
    ValueError
        If torch cannot use the device.

    Examples
    --------
    >>> pick_device("cpu")
    device(type='cpu')
    """
    limit_threads_after_fork()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name = _own_gpu(int(os.environ["LOCAL_RANK"]))
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        hint = " Did you mean 'cuda'?" if str(name).lower() in ("gpu", "nvidia") else ""
        raise ValueError(
            f"device must be 'auto' or a device that torch can use here, got {name!r} ({reason})."
            + hint
        ) from None
    return device


def _own_gpu(number: int) -> str:
    """Return the GPU of a process that torchrun started: each process has one."""
    found = torch.cuda.device_count()
    if 0 < found <= number:
        raise ValueError(
            f"process {number + 1} has no GPU: this machine has {found}. Start at most {found} "
            "processes, or use device='cpu'."
        )
    return f"cuda:{number}"


@contextlib.contextmanager
def flush_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero within the block.

    As a model converges, moments and gradients fall below 1e-38, where processors are many times
    slower, and where zero is as good.
    """
    before = (torch.tensor(1e-40) * 1.0).item() == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


@contextlib.contextmanager
def enough_threads(model: nn.Module, n_rows: int) -> Iterator[None]:
    """Use no more threads within the block than a training step keeps busy.

    Threads that share a small matrix product wait longer than they compute, much longer if other
    programs are running. Models with convolutions use all threads. Torch has one setting per
    Python thread; each is restored.
    """
    limit_threads_after_fork()
    limit = _LIMIT  # a fork replaces it
    n_weights = sum(p.numel() for p in model.parameters())
    operations = math.inf if is_convolutional(model) else 6.0 * n_rows * n_weights
    before = limit.enter(operations)
    try:
        yield
    finally:
        limit.leave(before)


def _set_threads(number: int) -> None:
    if torch.get_num_threads() != number:
        torch.set_num_threads(number)


@functools.cache
def limit_threads_after_fork() -> None:
    """Make processes that are forked from this one compute with one thread.

    A fork does not copy the threads of OpenMP, so that the child would deadlock at its first
    parallel operation; torch's data loader sets one thread as well. Called before the first
    computation rather than at import, so that importing isthmus has no side effects.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_in_fork)


def _in_fork() -> None:
    global _LIMIT
    _LIMIT = _ThreadLimit()  # a lock may be held by a thread that was not copied
    torch.set_num_threads(1)


def is_convolutional(model: nn.Module) -> bool:
    """Whether a layer uses its weights several times per example.

    Examples
    --------
    >>> is_convolutional(nn.Linear(2, 3)), is_convolutional(nn.Conv1d(2, 3, 1))
    (False, True)
    """
    # Parameters of priors and likelihoods may have the shape of an example.
    return any(
        parameter.ndim > 2 and not name.startswith(("prior.", "likelihood."))
        for name, parameter in model.named_parameters()
    )


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether torch could not allocate a tensor."""
    words = ("can't allocate memory", "Storage size calculation overflowed", "invalid size")
    return isinstance(error, torch.OutOfMemoryError) or any(w in str(error) for w in words)
