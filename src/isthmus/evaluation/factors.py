"""Validation and helpers shared by the disentanglement scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Array", "Seed", "check_codes_and_factors", "gap", "nonnegative"]

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


def nonnegative(values: ArrayLike) -> Array:
    """Return a non-negative matrix (n_components, n_factors) as float64."""
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or matrix.size == 0 or not np.isfinite(matrix).all() or matrix.min() < 0:
        raise ValueError(
            "expected a matrix (n_components, n_factors) of non-negative numbers, got shape "
            f"{matrix.shape}."
        )
    return matrix


def gap(scores: Array) -> Array:
    """Return the largest score minus the second largest (0 for one code), per factor."""
    padded = np.vstack([scores, np.zeros_like(scores[:1])]) if len(scores) == 1 else scores
    ranked = np.sort(padded, axis=0)
    return ranked[-1] - ranked[-2]
