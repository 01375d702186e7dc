"""Estimate log p(x) by importance sampling from the encoder's posterior."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from torch import Tensor

from isthmus.estimators.base import LatentEstimator
from isthmus.evaluation.joint import Joint, RowNoise, check_positive, chunk_size, chunks, finite_sum

__all__ = ["ImportanceWeighted", "from_log_sums", "importance_weighted", "log_sums"]

Array = NDArray[Any]


class ImportanceWeighted(NamedTuple):
    """log p(x), its standard error and the effective sample size of each row, each (n,), nats."""

    log_likelihood: Array
    standard_error: Array
    effective_sample_size: Array


def importance_weighted(
    estimator: LatentEstimator,
    X: Any,
    n_samples: int = 1000,
    *,
    random_state: int | None = 0,
    condition: Any = None,
    max_bytes: int | None = None,
) -> ImportanceWeighted:
    """Estimate log p(x) of each row by importance sampling from q(z|x).

    The expectation is a lower bound that approaches log p(x) as `n_samples` grows. Memory use does
    not depend on `n_samples`: rows and samples are processed in chunks, and only the logarithms
    of Σw and Σw² are kept.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted, with a prior.
    X : array-like (n, *features)
    n_samples : int
        Samples per row.
    random_state : int, optional
        Seed; None gives a different result at each call. The samples of a row depend on the seed
        and its position in X, not on the chunking.
    condition : label or array-like (n,), optional
        For conditional models; None means the mixture of all classes, as in `score_samples`.
    max_bytes : int, optional
        Memory for one chunk of codes; by default 16 MiB on a CPU, 1 GiB on a GPU.

    Returns
    -------
    ImportanceWeighted
        In nats, for the density of X in its own units. The standard error is that of the log of a
        mean (delta method), and NaN for one sample. It is too small if few weights dominate the
        sum: if the effective sample size is close to 1 or does not grow with `n_samples`, for
        example because the true posterior is wider than the encoder's.

    Raises
    ------
    ValueError
        If the model has no prior, or a log-density is not finite.

    See Also
    --------
    annealed_importance : An estimate that does not rely on the encoder.

    References
    ----------
    Importance weighted autoencoders (Burda, Grosse, Salakhutdinov, 2016).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> import isthmus
    >>> X = load_digits().images / 16
    >>> model = isthmus.VAE(n_components=2, epochs=2, random_state=0).fit(X)
    >>> found = importance_weighted(model, X[:5], n_samples=50)
    >>> bool((found.log_likelihood > model.score_samples(X[:5]) - 3).all())
    True
    """
    check_positive(n_samples=n_samples)
    encoder = estimator.condition_encoder_ if estimator.conditional and condition is None else None
    if encoder is not None and encoder.classes is not None:
        given = [
            importance_weighted(
                estimator,
                X,
                n_samples,
                random_state=random_state,
                condition=encoder.classes[[k]],
                max_bytes=max_bytes,
            )
            for k in range(len(encoder.classes))
        ]
        return _over_labels(encoder.log_frequencies, given, n_samples)
    joint = Joint.of(estimator, X, condition)
    noise = RowNoise.of(random_state, estimator.n_components_, n_samples, joint.x.device)
    with torch.inference_mode():
        width = chunk_size(joint, max_bytes)
        each = max(1, width // n_samples)
        estimates = [_weigh(joint[rows], noise, rows, width) for rows in chunks(len(joint), each)]
    return ImportanceWeighted(*(torch.cat(f).cpu().numpy() for f in zip(*estimates, strict=True)))


def _over_labels(log_p: Array, given: list[ImportanceWeighted], n: int) -> ImportanceWeighted:
    """Return the estimates of log p(x), the mixture of those given each label."""
    log_x, error, _ = map(np.stack, zip(*given, strict=True))
    joint = log_p[:, None] + log_x
    total = logsumexp(joint, axis=0)
    variance = np.sum((np.exp(joint - total) * error) ** 2, axis=0)
    return ImportanceWeighted(total, np.sqrt(variance), n / (1 + variance * max(0, n - 1)))


def _weigh(joint: Joint, noise: RowNoise, rows: slice, width: int) -> tuple[Tensor, ...]:
    """Return the three estimates for a chunk of rows, from streaming sums of w and w²."""
    q = joint.posterior()
    sums = torch.full((2, len(joint)), -math.inf, dtype=torch.float64, device=joint.x.device)
    for piece in chunks(noise.n_samples, max(1, width // len(joint))):
        log_weight = finite_sum(joint.log_terms(q, noise(rows, piece)), rows)
        sums = torch.logaddexp(sums, log_sums(log_weight))
    return from_log_sums(sums, noise.n_samples)


def log_sums(log_weight: Tensor) -> Tensor:
    """Return log Σ w and log Σ w² over the first axis, (2, n)."""
    return torch.stack([log_weight.logsumexp(0), (2 * log_weight).logsumexp(0)])


def from_log_sums(sums: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return log-mean, standard error and effective sample size from `log_sums` of n weights."""
    effective = (2 * sums[0] - sums[1]).exp()
    variance = (1 / effective - 1 / n).clamp(min=0) * (n / (n - 1) if n > 1 else math.nan)
    return sums[0] - math.log(n), variance.sqrt(), effective
