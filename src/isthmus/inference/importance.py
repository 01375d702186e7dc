"""Forward KL and the evidence: adaptive importance sampling."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from isthmus.inference.density import LogDensity, evaluate_in_parts
from isthmus.inference.gaussian import Gaussian, matched

__all__ = ["FINAL_DRAWS", "evidence", "explore"]

GUARD_SHARE = 0.2  # of the draws, to each proposal that is kept whatever the others learn
FINAL_DRAWS = 10_000  # behind the ELBO, and at least behind the evidence
FEW = 20  # draws a dimension below which a proposal has a diagonal covariance
LEAST_SIZE = 10  # effective draws below which an importance estimate is not to be trusted


def explore(
    log_density: LogDensity, guards: Sequence[Gaussian], rounds: int, n: int, generator: Generator
) -> tuple[Tensor, Tensor, list[Gaussian]]:
    """Adapt a proposal, then draw from it; the guards go on proposing their share.

    Returns the last draws (m, d), the logarithms of their weights (m,) and all proposals.
    """
    tried = [guards[-1]]
    d = len(guards[0].mean)
    for _ in range(rounds):
        z, log_weights = _weighted(log_density, [tried[-1], *guards], n, generator)
        tried.append(matched(z, n >= FEW * d, _tempered(log_weights), wary=True))
    final = max(FINAL_DRAWS, rounds * n)
    z, log_weights = _weighted(log_density, [tried[-1], *guards], final, generator)
    _warn_few(_effective(log_weights))
    return z, log_weights, tried[1:]


def _weighted(
    log_density: LogDensity, proposals: Sequence[Gaussian], n: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Draw from a mixture of Student-t's, in fixed shares: (n, d), and log weights (n,)."""
    rest = int(GUARD_SHARE * n)
    counts = [n - rest * (len(proposals) - 1)] + [rest] * (len(proposals) - 1)
    z = torch.cat([p.student(m, generator) for p, m in zip(proposals, counts, strict=True)])
    shares = [  # of the mixture's density; with few draws a guard may have none
        p.student_log_prob(z) + math.log(m / n) for p, m in zip(proposals, counts, strict=True) if m
    ]
    log_p = evaluate_in_parts(log_density, z)
    if not (log_p > -torch.inf).any():
        raise ValueError(
            f"log_density is -inf at all {n} points proposed; give a start that overlaps with "
            "where the density is positive."
        )
    return z, log_p - torch.stack(shares).logsumexp(0)


def _tempered(log_weights: Tensor) -> Tensor:
    """Return weights, flattened until a tenth of the draws count."""
    # Far from the target one draw would have all the weight, and no covariance.
    low, high = 0.0, 1.0
    enough = 0.1 * len(log_weights)
    if _effective(log_weights) < enough:
        for _ in range(30):
            middle = 0.5 * (low + high)
            if _effective(middle * log_weights) < enough:
                high = middle
            else:
                low = middle
        high = low
    return (high * log_weights).softmax(0)


def _effective(log_weights: Tensor) -> float:
    return float((2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)).exp())


def evidence(log_weights: Tensor) -> tuple[float, float, float]:
    """Return the logarithm of the mean weight, its standard error and the effective size."""
    n, size = len(log_weights), _effective(log_weights)
    value = float(log_weights.logsumexp(0)) - math.log(n)
    return value, math.sqrt(max(0.0, 1 / size - 1 / n)), size


def _warn_few(size: float) -> None:
    if size < LEAST_SIZE:
        warnings.warn(
            f"importance sampling has an effective sample size of {size:.1f} only: the evidence, "
            "and a forward fit, are not to be trusted; give a start that covers the density, or "
            "raise n_samples and n_steps.",
            stacklevel=4,
        )
