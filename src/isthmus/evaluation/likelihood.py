"""log p(x) by importance sampling from the encoder's posterior."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

from isthmus.estimators.base import LatentEstimator
from isthmus.evaluation.joint import Joint, RowNoise, codes_at_once, finite_sum, pieces, require

__all__ = ["ImportanceWeighted", "importance_weighted", "log_sums", "of_weights"]

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

    In expectation a lower bound, which rises to log p(x) with the samples. Any number of them
    takes the same memory: rows and samples come in chunks, and of the weights only the sums of
    w and w² are kept, by their logarithms.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted, with a prior.
    X : array-like (n, *features)
    n_samples : int
        Codes drawn for each row.
    random_state : int, optional
        Seed; without one every call differs. A row's draws depend on the seed and its place
        in X, not on the chunks.
    condition : label or array-like (n,), optional
        For conditional models.
    max_bytes : int, optional
        Memory for one chunk of codes; 16 MiB on a CPU and 1 GiB on a GPU unless given.

    Returns
    -------
    ImportanceWeighted
        Nats, of the density of X in its own units. The standard error is that of the log of a
        mean, by its first derivative, and NaN for one sample. It is too small where few weights
        are most of the sum: where the effective sample size is near 1, or does not grow with
        the samples, as where the decoder needs a wider posterior than the encoder gives.

    Raises
    ------
    ValueError
        For a model without a prior, less than one sample, a negative seed, and log-densities
        that are not finite: names the part and the rows.

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
    require(n_samples=n_samples)
    joint = Joint.of(estimator, X, condition)
    noise = RowNoise.of(random_state, estimator.n_components_, n_samples, joint.x.device)
    with torch.inference_mode():
        width = codes_at_once(joint, max_bytes)
        each = max(1, width // n_samples)
        figures = [_weigh(joint[rows], noise, rows, width) for rows in pieces(len(joint), each)]
    return ImportanceWeighted(*(torch.cat(f).cpu().numpy() for f in zip(*figures, strict=True)))


def _weigh(joint: Joint, noise: RowNoise, rows: slice, width: int) -> tuple[Tensor, ...]:
    """Return the three figures of a few rows, from streaming sums of w and w²."""
    q = joint.posterior()
    sums = torch.full((2, len(joint)), -math.inf, dtype=torch.float64, device=joint.x.device)
    for piece in pieces(noise.n_samples, max(1, width // len(joint))):
        log_weight = finite_sum(joint.log_terms(q, noise(rows, piece)), rows)
        sums = torch.logaddexp(sums, log_sums(log_weight))
    return of_weights(sums, noise.n_samples)


def log_sums(log_weight: Tensor) -> Tensor:
    """Return log Σ w and log Σ w² over the first axis, (2, n)."""
    return torch.stack([log_weight.logsumexp(0), (2 * log_weight).logsumexp(0)])


def of_weights(sums: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return log-mean, its standard error and the effective size, from the `log_sums` of n."""
    effective = (2 * sums[0] - sums[1]).exp()
    variance = (1 / effective - 1 / n).clamp(min=0) * (n / (n - 1) if n > 1 else math.nan)
    return sums[0] - math.log(n), variance.sqrt(), effective
