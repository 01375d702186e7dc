"""Evaluate and check the log-density that the user passes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["LogDensity", "evaluate", "evaluate_in_chunks", "gradient"]

CHUNK = 2000  # points evaluated at once, because a density of much data needs memory per point

LogDensity = Callable[[Tensor], Tensor]


def evaluate(log_density: LogDensity, z: Tensor, direction: str) -> Tensor:
    """Return the log-density of points (n, d), (n,); raise an error if it is invalid."""
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
            "or -inf if the density is zero."
        )
    if direction == "reverse" and (outside := log_p == -torch.inf).any():
        raise ValueError(
            f"log_density is -inf {_where(outside, z)}, where any Gaussian has mass: the reverse "
            "KL is infinite. Transform to unbounded variables, or use direction='forward'."
        )
    return log_p.to(z.dtype)


def evaluate_in_chunks(log_density: LogDensity, z: Tensor) -> Tensor:
    """Return the log-density of many points, without gradient."""
    with torch.no_grad():
        return torch.cat([evaluate(log_density, part, "forward") for part in z.split(CHUNK)])


def _where(rows: Tensor, z: Tensor) -> str:
    point = ", ".join(f"{v:.4g}" for v in z[rows][0, :4].tolist())
    return f"at {int(rows.sum())} of {len(z)} points, such as ({point}{', …' * (z.shape[1] > 4)})"


def gradient(log_p: Tensor, z: Tensor) -> Tensor:
    """Return the gradient of each point's log-density, (n, d)."""
    grad = torch.autograd.grad(log_p.sum(), z, allow_unused=True)[0] if log_p.grad_fn else None
    if grad is None:
        raise TypeError(
            "log_density is not differentiable with respect to its argument: use torch operations, "
            "without numpy, detach or no_grad, or use direction='forward'."
        )
    if not grad.isfinite().all():
        raise ValueError(
            f"the gradient of log_density is not finite {_where(~grad.isfinite().all(-1), z)}; "
            "write it in a numerically stable form, or pass a better start."
        )
    return grad
