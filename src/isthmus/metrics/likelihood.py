"""Estimates of log p(x), and what the codes of a data set are like together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from isthmus.distributions import per_example
from isthmus.estimators.base import LatentEstimator
from isthmus.training import to_unit

__all__ = ["AggregateKL", "ImportanceWeighted", "aggregate_posterior_kl", "importance_weighted"]

Array = NDArray[Any]
CODES = 8192  # decoded at once: enough for the matrix products to dominate
MOST_NUMBERS = 2**24  # features of all codes of a chunk together, so that memory is bounded


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
    random_state: int = 0,
    condition: Any = None,
) -> ImportanceWeighted:
    """Estimate log p(x) of each row by importance sampling from q(z|x).

    Any number of samples in bounded memory: rows and samples are taken in chunks, and the
    weights' sums are kept with their maximum taken out.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted, with a prior.
    X : array-like (n, *features)
    n_samples : int
    random_state : int
    condition : label or array-like (n,), optional

    Returns
    -------
    ImportanceWeighted

    Raises
    ------
    ValueError
        For a model without a prior, and for densities that are not finite.

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
    if n_samples < 1:
        raise ValueError(f"n_samples must be at least 1, got {n_samples!r}.")
    if estimator.prior is None:
        raise ValueError(
            f"{type(estimator).__name__} has no prior, and so no likelihood of x; VAEs have."
        )
    x, c = estimator.tensors(X, condition)
    generator = Generator(x.device).manual_seed(random_state)
    width = max(1, min(CODES, MOST_NUMBERS // estimator.n_features_in_))
    at_once = min(n_samples, width)
    parts = []
    with torch.inference_mode():
        for rows in _pieces(len(x), max(1, width // at_once)):
            here = None if c is None else c[rows]
            parts.append(_weigh(estimator, to_unit(x[rows]), here, n_samples, at_once, generator))
            _check(parts[-1][0], rows.start)
    return ImportanceWeighted(*(torch.cat(p).cpu().numpy() for p in zip(*parts, strict=True)))


def _weigh(
    estimator: LatentEstimator,
    x: Tensor,
    c: Tensor | None,
    n_samples: int,
    at_once: int,
    generator: Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the three figures of a few rows, from streaming sums of w and w²."""
    model = estimator.model_
    q = model.encode(x, c)
    logs = torch.full((2, len(x)), -math.inf, dtype=torch.float64, device=x.device)
    for piece in _pieces(n_samples, at_once):
        z = q.rsample((piece.stop - piece.start,), generator=generator)  # type: ignore[call-arg]
        weight = model.log_likelihood(model.decode(z, c), x) + model.log_prior(z, c)
        weight = (weight - per_example(q.log_prob(z), 2)).double()  # (samples, n)
        powers = torch.stack([weight.logsumexp(0), (2 * weight).logsumexp(0)])
        logs = torch.logaddexp(logs, powers)
    log_mean = logs[0] - math.log(n_samples)
    effective = (2 * logs[0] - logs[1]).exp()
    # Of the log of a mean, by its first derivative.
    error = (1 / effective - 1 / n_samples).clamp(min=0).sqrt()
    return log_mean, error, effective


def _pieces(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(n, start + size)) for start in range(0, n, size))


def _check(values: Tensor, first_row: int) -> None:
    bad = (~torch.isfinite(values)).nonzero()
    if len(bad):
        raise ValueError(
            f"the importance weights of row {first_row + int(bad[0])} are not finite: the "
            "likelihood, prior or posterior overflows there. Is the row of the kind of data that "
            "the model was fitted on?"
        )


class AggregateKL(NamedTuple):
    """KL(q(z) || p(z)) of the aggregate posterior, and I(x; z) = rate - that KL, in nats."""

    kl: float
    mutual_information: float
    standard_error: float


def aggregate_posterior_kl(
    estimator: LatentEstimator, X: Any, *, random_state: int = 0, condition: Any = None
) -> AggregateKL:
    """Estimate how far the codes of a data set together are from the prior.

    q(z) is the mixture of the rows' posteriors; one code is drawn from each. The code's own row
    is among the mixture, so I(x; z) is at most log n.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted, with a prior and a posterior that is a normal.
    X : array-like (n, *features)
        Cost grows with n².
    random_state : int
    condition : label or array-like (n,), optional

    Returns
    -------
    AggregateKL

    References
    ----------
    ELBO surgery: yet another way to carve up the variational evidence lower bound (Hoffman,
    Johnson, 2016).
    """
    x, c = estimator.tensors(X, condition)
    generator = Generator(x.device).manual_seed(random_state)
    model, rows = estimator.model_, list(_pieces(len(x), 1024))
    with torch.inference_mode():
        qs = [model.encode(to_unit(x[r]), None if c is None else c[r]) for r in rows]
        zs = [q.rsample(generator=generator) for q in qs]  # type: ignore[call-arg]
        own = torch.cat([per_example(q.log_prob(z), 1) for q, z in zip(qs, zs, strict=True)])
        log_q = torch.cat([_log_mixture(qs, z) for z in zs]) - math.log(len(x))
        told = [None if c is None else c[r] for r in rows]
        log_p = torch.cat([model.log_prior(z, cc) for z, cc in zip(zs, told, strict=True)])
    kl, information = (log_q - log_p).double(), (own - log_q).double()
    error = float(kl.std() / math.sqrt(len(kl)))
    return AggregateKL(float(kl.mean()), float(information.mean()), error)


def _log_mixture(qs: list[Any], z: Tensor) -> Tensor:
    """Return log Σ_j q(z_i | x_j) for codes (m, n_components), (m,)."""
    parts = []
    for few in z.split(64):
        each = [per_example(q.log_prob(few[:, None]), 2) for q in qs]
        parts.append(torch.cat(each, 1).logsumexp(1))
    return torch.cat(parts)
