"""Validation shared by the disentanglement scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Array", "Seed", "check_codes_and_factors"]

Array = NDArray[Any]
Seed = int | np.random.Generator | None


def check_codes_and_factors(
    codes: ArrayLike, factors: ArrayLike, at_least: int = 1
) -> tuple[Array, Array]:
    """Return codes as float64 (constant ones as zeros), and factors as levels from 0."""
    z, f = np.asarray(codes, dtype=np.float64), np.asarray(factors)
    if z.ndim != 2 or f.ndim != 2 or len(z) != len(f) or len(z) < 2 or 0 in z.shape:
        raise ValueError(
            "expected codes (n, n_components) and factors (n, n_factors) of the same rows, at "
            f"least two, got {z.shape} and {f.shape}."
        )
    if f.shape[1] < at_least:
        raise ValueError(f"expected at least {at_least} factors, got {f.shape[1]}.")
    if not np.isfinite(z).all():
        raise ValueError("codes contain NaN or infinity; drop those rows first.")
    if f.dtype.kind not in "biu":
        raise ValueError(
            f"factors must be integer levels, got {f.dtype}; bin continuous factors first."
        )
    levels = np.stack([np.unique(column, return_inverse=True)[1] for column in f.T], axis=1)
    if not levels.any(axis=0).all():
        fixed = int(np.argmin(levels.any(axis=0)))
        raise ValueError(f"factor {fixed} has the same level in every row; drop its column.")
    return np.where(np.ptp(z, axis=0) > 1e-6 * np.abs(z).max(axis=0), z, 0.0), levels
