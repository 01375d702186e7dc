"""Adaptive importance sampling, for the forward KL and the evidence."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from isthmus.inference.density import LogDensity, evaluate_in_chunks
from isthmus.inference.gaussian import Gaussian, moment_matched

__all__ = ["FINAL_DRAWS", "estimate_evidence", "importance_sample"]

FIXED_SHARE = 0.2  # fraction of the draws from each fixed proposal
FINAL_DRAWS = 10_000  # draws for the ELBO; minimum number for the evidence
FEW = 20  # draws per dimension below which a proposal has a diagonal covariance
MIN_EFFECTIVE_SIZE = 10  # effective sample size below which estimates are unreliable


def importance_sample(
    log_density: LogDensity, fixed: Sequence[Gaussian], rounds: int, n: int, generator: Generator
) -> tuple[Tensor, Tensor, list[Gaussian]]:
    """Adapt a proposal, then draw from a mixture of it and the fixed proposals.

    Returns the last draws (m, d), their log weights (m,) and all adapted proposals.
    """
    proposals = [fixed[-1]]
    d = len(fixed[0].mean)
    for _ in range(rounds):
        z, log_weights = _weighted(log_density, [proposals[-1], *fixed], n, generator)
        proposals.append(moment_matched(z, n >= FEW * d, _tempered(log_weights), shrink=True))
    final = max(FINAL_DRAWS, rounds * n)
    z, log_weights = _weighted(log_density, [proposals[-1], *fixed], final, generator)
    size = _effective(log_weights)
    if size < MIN_EFFECTIVE_SIZE:
        warnings.warn(
            f"importance sampling has an effective sample size of only {size:.1f}: the evidence "
            "and forward fits are unreliable. Pass a start that covers the density, or increase "
            "n_samples and n_steps.",
            stacklevel=3,
        )
    return z, log_weights, proposals[1:]


def _weighted(
    log_density: LogDensity, proposals: Sequence[Gaussian], n: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Draw (n, d) from a stratified mixture of Student-t proposals; return log weights (n,) too."""
    rest = int(FIXED_SHARE * n)
    counts = [n - rest * (len(proposals) - 1)] + [rest] * (len(proposals) - 1)
    z = torch.cat([p.student(m, generator) for p, m in zip(proposals, counts, strict=True)])
    log_q = [  # with few draws a fixed proposal may get none
        p.student_log_prob(z) + math.log(m / n) for p, m in zip(proposals, counts, strict=True) if m
    ]
    log_p = evaluate_in_chunks(log_density, z)
    if not (log_p > -torch.inf).any():
        raise ValueError(
            f"log_density is -inf at all {n} proposed points: pass a start that overlaps with the "
            "support of the density."
        )
    return z, log_p - torch.stack(log_q).logsumexp(0)


def _tempered(log_weights: Tensor) -> Tensor:
    """Return weights, tempered so that the effective sample size is at least a tenth."""
    # Far from the target one draw would have all the weight, and the covariance would be 0.
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


def estimate_evidence(log_weights: Tensor) -> tuple[float, float, float]:
    """Return the log of the mean weight, its standard error and the effective sample size."""
    n, size = len(log_weights), _effective(log_weights)
    value = float(log_weights.logsumexp(0)) - math.log(n)
    return value, math.sqrt(max(0.0, 1 / size - 1 / n)), size
