"""What "auto" means, and what data a likelihood allows."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["fresh_seed", "resolve_likelihood", "resolve_scaling"]

Array = NDArray[Any]
SCALABLE = ("gaussian", "laplace")  # likelihoods of real numbers, by how their names begin


def resolve_likelihood(name: str, X: Array) -> str:
    """Return the likelihood to use for data: bytes and [0, 1] are bernoulli by default."""
    if name == "auto":
        return "bernoulli" if X.dtype == np.uint8 or (X.min() >= 0 and X.max() <= 1) else "gaussian"
    return name


def resolve_scaling(name: str, likelihood: str, X: Array) -> str:
    """Return the scaling to use: none for a bernoulli, by feature for tables, else by one scale."""
    if not likelihood.startswith(SCALABLE):
        if name in ("standard", "global"):
            raise ValueError(
                f"scaling={name!r} would take values to where likelihood {likelihood!r} has none; "
                "use scaling='none' or 'auto'."
            )
        return "none"
    if name == "auto":
        return "standard" if X.ndim == 2 else "global"
    return name


def fresh_seed() -> int:
    """Return a seed from the operating system, leaving every global random state alone."""
    return int.from_bytes(os.urandom(7), "big")
