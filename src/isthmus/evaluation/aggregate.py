"""The aggregate posterior: the distribution of all codes of a data set."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from isthmus.distributions.base import DiagonalMixture, DiagonalNormal, per_example
from isthmus.estimators.base import LatentEstimator
from isthmus.evaluation.joint import Joint, RowNoise, check_positive, chunks, finite_sum

__all__ = ["AggregateKL", "aggregate_posterior_kl"]

PAIRS = 2**21  # of codes and posteriors at once


class AggregateKL(NamedTuple):
    """KL(q(z) || p(z)) of the aggregate posterior, I(row; z), and the KL's standard error; nats."""

    kl: float
    mutual_information: float
    standard_error: float


def aggregate_posterior_kl(
    estimator: LatentEstimator,
    X: Any,
    n_samples: int = 1,
    *,
    random_state: int | None = 0,
    condition: Any = None,
) -> AggregateKL:
    """Estimate the KL of the aggregate posterior from the prior, and the mutual information.

    The mean rate is KL(q(z) || p(z)) + I(row; z), where q(z) is the mixture of the rows'
    posteriors. Both terms are estimated from the same codes, so they add up to the rate at these
    codes. I(row; z) is at most log n.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted, with a prior.
    X : array-like (n, *features)
        The cost is quadratic in n.
    n_samples : int
        Samples per row from its posterior.
    random_state, condition
        As for `importance_weighted`.

    Returns
    -------
    AggregateKL
        The standard error covers sampling of codes for the given rows; with one sample per row
        it is an upper estimate, since it includes the differences between rows.

    Raises
    ------
    ValueError
        If the model has no prior, or a log-density is not finite.

    Notes
    -----
    The mixture includes a code's own row. That is exact for the given rows; for the population
    behind them the KL is biased upwards and the information downwards.

    References
    ----------
    ELBO surgery: yet another way to carve up the variational evidence lower bound (Hoffman,
    Johnson, 2016).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> import isthmus
    >>> X = load_digits().images[:500] / 16
    >>> model = isthmus.VAE(n_components=2, epochs=2, random_state=0).fit(X)
    >>> kl, information, _ = aggregate_posterior_kl(model, X)
    >>> bool(abs(kl + information - model.rate_distortion(X).rate.mean()) < 0.1)
    True
    """
    check_positive(n_samples=n_samples)
    joint = Joint.of(estimator, X, condition)
    noise = RowNoise.of(random_state, estimator.n_components_, n_samples, joint.x.device)
    rows = list(chunks(len(joint), 256))
    with torch.inference_mode():
        qs = [_precise(joint[r].posterior()) for r in rows]
        log_aggregate, terms = _aggregate(qs), []
        for r, q in zip(rows, qs, strict=True):
            z = q.rsample((n_samples,), noise=noise(r, slice(0, n_samples)))  # type: ignore
            log_q, own = log_aggregate(z), per_example(q.log_prob(z), 2)
            log_p = joint[r].log_prior(z.float())
            finite_sum({"posterior": own, "prior": log_p}, r)
            terms.append(torch.stack([log_q - log_p, own - log_q]).double())
    kl, information = torch.cat(terms, -1)  # (samples, n) each
    variance = kl.var(0).mean() if len(kl) > 1 else kl.var()
    error = math.sqrt(float(variance) / kl.numel())
    return AggregateKL(float(kl.mean()), float(information.mean()), error)


def _precise(q: Distribution) -> Distribution:
    """Return diagonal normals in float64: their mixture is multiplied out, which costs digits."""
    return DiagonalNormal(q.loc.double(), q.scale.double()) if type(q) is DiagonalNormal else q


def _aggregate(qs: list[Distribution]) -> Callable[[Tensor], Tensor]:
    """Return log q(z) of the mixture of all posteriors, as a function of z of any shape."""
    n = sum(len(q.mean) for q in qs)

    def pairwise(z: Tensor) -> Tensor:
        each = [per_example(q.log_prob(z[:, None]), 2) for q in qs]
        return torch.cat(each, 1).logsumexp(1) - math.log(n)

    log_q: Callable[[Tensor], Tensor] = pairwise
    if all(isinstance(q, DiagonalNormal) for q in qs):
        loc, scale = (torch.cat([getattr(q, of) for q in qs]) for of in ("loc", "scale"))
        log_q = DiagonalMixture(loc.new_zeros(n), loc, scale).log_prob

    def in_chunks(z: Tensor) -> Tensor:
        flat = z.reshape(-1, z.shape[-1]).split(max(1, PAIRS // n))
        return torch.cat([log_q(few) for few in flat]).reshape(z.shape[:-1])

    return in_chunks
