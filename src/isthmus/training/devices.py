"""Where to compute, and how the processor is set while it trains."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch
from torch import nn

__all__ = ["enough_threads", "flush_denormals", "pick_device"]

WORTH_A_THREAD = 1e7  # operations of a step for which waking another thread pays
_LIMIT, _DEPTH = threading.Lock(), [0, 0]  # how many hold threads down, and how many there were


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
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device must be 'auto' or a device that torch can use here, got {name!r} ({reason})."
        ) from None
    return device


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
    other programs are running, many times longer. Models with convolutions keep all.
    """
    threads = torch.get_num_threads()
    few = max(1, int(min(threads, _work(model, n_rows) / WORTH_A_THREAD)))
    if few == threads:
        yield
        return
    with _LIMIT:
        _DEPTH[:] = _DEPTH[0] + 1, _DEPTH[1] if _DEPTH[0] else threads
        torch.set_num_threads(few)
    try:
        yield
    finally:
        with _LIMIT:
            _DEPTH[0] -= 1
            if not _DEPTH[0]:
                torch.set_num_threads(_DEPTH[1])


def _work(model: nn.Module, n_rows: int) -> float:
    """Return the operations of a training step of dense layers; without bound for others."""
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if own and any(p.ndim > 2 for p in own):
            return float("inf")
    return 6.0 * n_rows * sum(p.numel() for p in model.parameters())
