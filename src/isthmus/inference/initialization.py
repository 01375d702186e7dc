"""Validate the arguments of `fit_gaussian` and build the initial Gaussian."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from isthmus.inference.gaussian import Gaussian

__all__ = ["initial_gaussian", "positive_int"]


def initial_gaussian(
    n_dims: int | None,
    start: Tensor | Distribution | None,
    samples: Tensor | None,
    full: bool,
    dtype: torch.dtype,
    device: torch.device | str | None,
) -> Gaussian:
    """Return the initial Gaussian, after checking that all dimensions agree."""
    if samples is not None:
        n_dims = _n_dims_of_samples(samples, n_dims, full)
    mean = start.mean if isinstance(start, Distribution) else start
    if mean is not None:
        mean = torch.as_tensor(mean)
        if mean.ndim != 1 or n_dims not in (None, len(mean)):
            wanted = "(n_dims,)" if n_dims is None else f"({n_dims},)"
            raise ValueError(f"start must have a mean of shape {wanted}, got {tuple(mean.shape)}.")
    elif n_dims is None:
        raise ValueError("cannot infer n_dims: pass n_dims, start or samples.")
    else:
        n_dims = positive_int("n_dims", n_dims, 1)
        mean = torch.zeros(n_dims, device=None if samples is None else samples.device)
    mean = mean.detach().to(device=device or mean.device, dtype=dtype)
    initial = Gaussian(mean, _initial_scale(start, full).to(mean) * torch.ones_like(mean))
    if full and not initial.full:
        initial = Gaussian(mean, initial.scale.diag())
    if not (initial.mean.isfinite().all() and initial.scale.isfinite().all()):
        raise ValueError("start must have a finite mean and finite variances.")
    return initial


def _initial_scale(start: Tensor | Distribution | None, full: bool) -> Tensor:
    if not isinstance(start, Distribution):
        return torch.ones(())
    if full and isinstance(start, MultivariateNormal):
        return start.scale_tril.detach()
    return start.variance.detach().sqrt()


def _n_dims_of_samples(samples: Tensor, n_dims: int | None, full: bool) -> int:
    if samples.ndim != 2 or n_dims not in (None, samples.shape[1]):
        columns = "n_dims" if n_dims is None else n_dims
        raise ValueError(f"samples must have shape (n, {columns}), got {tuple(samples.shape)}.")
    n, d = samples.shape
    least = d + 1 if full else 2
    if n < least:
        raise ValueError(
            f"a {'full' if full else 'diagonal'} covariance of {d} dimensions needs at least "
            f"{least} samples, got {n}."
        )
    if not samples.isfinite().all():
        raise ValueError("samples must be finite.")
    if (same := samples.amax(0) == samples.amin(0)).any():
        raise ValueError(f"dimension {int(same.int().argmax())} of the samples is constant.")
    return d


def positive_int(name: str, value: int | None, default: int) -> int:
    """Return the value or the default; raise a ValueError unless it is a positive integer."""
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}.")
    return value
