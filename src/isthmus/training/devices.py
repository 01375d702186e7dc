"""Where to compute, and how the processor is set while it trains."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

__all__ = ["flush_denormals", "pick_device"]


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
