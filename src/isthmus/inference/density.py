"""The user's log-density, evaluated and checked."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["LogDensity", "evaluate", "evaluate_in_parts", "gradient"]

PART = 2000  # points evaluated at once

LogDensity = Callable[[Tensor], Tensor]


def evaluate(log_density: LogDensity, z: Tensor, direction: str) -> Tensor:
    """Return the log-density of rows (n, d), (n,); raise where it is not what it must be."""
    log_p = log_density(z)
    if not isinstance(log_p, Tensor):
        raise TypeError(f"log_density must return a tensor, got {type(log_p).__name__}.")
    if log_p.shape != z.shape[:1]:
        raise ValueError(
            f"log_density must return shape ({len(z)},) for an argument of shape "
            f"{tuple(z.shape)}, got {tuple(log_p.shape)}; sum over the last axis only."
        )
    if (broken := log_p.isnan() | (log_p == torch.inf)).any():
        raise ValueError(
            f"log_density is {log_p[broken][0].item()} {_where(broken, z)}; it must be a number, "
            "or -inf where the density is zero."
        )
    if direction == "reverse" and (outside := log_p == -torch.inf).any():
        raise ValueError(
            f"log_density is -inf {_where(outside, z)}, where any Gaussian has mass, so that the "
            "reverse KL is infinite; change to variables without bounds, or use "
            "direction='forward'."
        )
    return log_p.to(z.dtype)


def evaluate_in_parts(log_density: LogDensity, z: Tensor) -> Tensor:
    """Return the same for many rows, without gradient."""
    with torch.no_grad():  # in parts, for a density of much data needs memory for every row
        return torch.cat([evaluate(log_density, part, "forward") for part in z.split(PART)])


def _where(rows: Tensor, z: Tensor) -> str:
    point = ", ".join(f"{v:.4g}" for v in z[rows][0, :4].tolist())
    return f"at {int(rows.sum())} of {len(z)} points, such as ({point}{', …' * (z.shape[1] > 4)})"


def gradient(log_p: Tensor, z: Tensor) -> Tensor:
    """Return the slope of each row's log-density, (n, d)."""
    slope = torch.autograd.grad(log_p.sum(), z, allow_unused=True)[0] if log_p.grad_fn else None
    if slope is None:
        raise TypeError(
            "log_density's value has no gradient with respect to its argument: write it in torch "
            "operations, without numpy, detach or no_grad, or use direction='forward'."
        )
    if not slope.isfinite().all():
        raise ValueError(
            f"log_density's gradient is not finite {_where(~slope.isfinite().all(-1), z)}; "
            "write the function in a stabler form, or start nearer."
        )
    return slope
