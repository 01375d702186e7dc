"""Estimates of log p(x), and what the codes of a data set are like together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.distributions import Distribution
from torch.utils._python_dispatch import TorchDispatchMode

from isthmus.distributions import DiagonalMixture, DiagonalNormal, per_example
from isthmus.estimators.base import LatentEstimator
from isthmus.estimators.choices import fresh_seed
from isthmus.model import LatentVariableModel
from isthmus.training import to_unit

__all__ = ["AggregateKL", "ImportanceWeighted", "aggregate_posterior_kl", "importance_weighted"]

Array = NDArray[Any]
Terms = dict[str, Tensor]
BLOCK = 1024  # draws of noise from one seed
PAIRS = 2**21  # of codes and posteriors at once
NAMED = 5  # rows in a complaint
# What stays in the processor's cache is decoded up to twice as fast; a GPU wants much at once.
CPU_BYTES, GPU_BYTES = 2**24, 2**30


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


@dataclass(frozen=True)
class Joint:
    """log p(x, z) and q(z|x) of some rows: an estimator's model, and tensors on its device."""

    model: LatentVariableModel
    x: Tensor
    c: Tensor | None
    prior: Distribution

    @classmethod
    def of(cls, estimator: LatentEstimator, X: Any, condition: Any) -> Self:
        """Read rows for a fitted estimator."""
        if estimator.prior is None:
            raise ValueError(
                f"{type(estimator).__name__} has no prior, and so no likelihood of x; VAEs have."
            )
        x, c = estimator.tensors(X, condition)
        with torch.no_grad():  # once: a VampPrior encodes all its pseudo-inputs
            prior = estimator.model_.prior_given(None if c is None else c[:1])
        return cls(estimator.model_, x, c, prior)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice) -> Joint:
        """Return some of the rows, bytes made numbers, with the prior that their context has."""
        c = None if self.c is None else self.c[rows]
        prior = self.prior if c is None else self.model.prior_given(c)
        return Joint(self.model, to_unit(self.x[rows]), c, prior)

    def posterior(self) -> Distribution:
        """Return q(z|x)."""
        return self.model.encode(self.x, self.c)

    def log_likelihood(self, z: Tensor) -> Tensor:
        """Return log p(x|z) for z (*batch, n, n_components), (*batch, n)."""
        return self.model.log_likelihood(self.model.decode(z, self.c), self.x)

    def log_prior(self, z: Tensor) -> Tensor:
        """Return log p(z), (*batch, n)."""
        return per_example(self.prior.log_prob(z), z.ndim - 1)

    def log_terms(self, q: Distribution, noise: Tensor) -> Terms:
        """Return the terms of the log-weight of codes drawn from q, each (samples, n)."""
        z = q.rsample(noise.shape[:1], noise=noise)  # type: ignore[call-arg]
        log_q = per_example(q.log_prob(z), z.ndim - 1)
        return {
            "likelihood": self.log_likelihood(z),
            "prior": self.log_prior(z),
            "posterior": -log_q,
        }


@dataclass(frozen=True)
class RowNoise:
    """Standard normal noise that depends on a seed, a row's place and a sample's, not on chunks."""

    seed: int
    n_components: int
    n_samples: int
    generator: Generator

    @classmethod
    def of(cls, seed: int | None, n_components: int, n_samples: int, device: torch.device) -> Self:
        """Start from a seed, or from a fresh one."""
        return cls(seed_of(seed), n_components, n_samples, Generator(device))

    def __call__(self, rows: slice, samples: slice) -> Tensor:
        """Return noise (samples, rows, n_components)."""
        first, last = samples.start // BLOCK, (samples.stop - 1) // BLOCK
        inside = slice(samples.start - first * BLOCK, samples.stop - first * BLOCK)
        each = range(first, last + 1)
        of_rows = range(rows.start, rows.stop)
        return torch.stack(
            [torch.cat([self._block(row, b) for b in each])[inside] for row in of_rows], 1
        )

    def _block(self, row: int, block: int) -> Tensor:
        mixed = np.random.SeedSequence((self.seed, row, block)).generate_state(1)
        self.generator.manual_seed(int(mixed[0]))
        size = min(BLOCK, self.n_samples - block * BLOCK), self.n_components
        return torch.randn(size, generator=self.generator, device=self.generator.device)


def finite_sum(terms: Terms, rows: slice) -> Tensor:
    """Return the sum of log-densities (samples, n) in float64, or say which is not finite."""
    total = sum(t.double() for t in terms.values())
    assert isinstance(total, Tensor)
    if not total.isfinite().all():
        part, values = next((p, t) for p, t in terms.items() if not t.isfinite().all())
        bad = ((~values.isfinite()).any(0).nonzero()[:, 0] + rows.start).tolist()
        several = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        raise ValueError(
            f"the log-density of the {part} is not finite for row{'s' * (len(bad) > 1)} "
            f"{', '.join(map(str, bad[:NAMED]))}{several} of X: of the kind the model was "
            "fitted on?"
        )
    return total


class _Count(TorchDispatchMode):
    """Counts the numbers that operations return."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        several = out if isinstance(out, tuple | list) else (out,)
        self.numbers += sum(t.numel() for t in several if isinstance(t, Tensor))
        return out


def codes_at_once(joint: Joint, max_bytes: int | None) -> int:
    """Return how many codes fit into memory, from what one more code was seen to take."""
    if max_bytes is None:
        max_bytes = GPU_BYTES if joint.x.is_cuda else CPU_BYTES
    require(max_bytes=max_bytes)
    few = joint[slice(0, 1)]
    q, counts = few.posterior(), []
    for samples in (1, 2):
        with _Count() as count:
            few.log_terms(q, few.x.new_zeros(samples, 1, q.mean.shape[-1]))
        counts.append(count.numbers)
    a_code = max(counts[1] - counts[0], few.model.likelihood.total_outputs)
    return max(1, max_bytes // (a_code * few.x.element_size()))


def pieces(n: int, size: int) -> Iterator[slice]:
    """Return the slices that cut n into pieces of a size, the last one smaller."""
    return (slice(start, min(n, start + size)) for start in range(0, n, size))


def require(**numbers: int) -> None:
    """Raise a ValueError for what is no integer of at least 1, by its name."""
    for name, number in numbers.items():
        if not isinstance(number, Integral) or number < 1:
            raise ValueError(f"{name} must be at least 1, an integer; got {number!r}.")


def seed_of(random_state: int | None) -> int:
    """Return a seed, a fresh one for None."""
    seed = fresh_seed() if random_state is None else int(random_state)
    if seed < 0:
        raise ValueError(f"random_state must be 0 or more, or None; got {random_state!r}.")
    return seed


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
    """Estimate how far the codes of a data set together are from the prior.

    The mean rate is KL(q(z) || p(z)) + I(row; z), where q(z) is the mixture of the rows'
    posteriors. Both are estimated from the same codes, so that they add up to the rate at
    these codes, and I(row; z) is never above log n.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted, with a prior.
    X : array-like (n, *features)
        Time grows with n².
    n_samples : int
        Codes drawn from each row's posterior.
    random_state : int, optional
        Seed; without one every call differs.
    condition : label or array-like (n,), optional
        For conditional models; where the prior depends on it, a code is held against its own.

    Returns
    -------
    AggregateKL
        The standard error is of the draws, the rows as given; with one code a row it is an
        upper estimate, the differences between rows being in it.

    Raises
    ------
    ValueError
        For a model without a prior, less than one sample, and log-densities that are not
        finite.

    Notes
    -----
    A code's own row is in the mixture: exact for the rows given, but against the population
    they are from, the KL is too large and the information too small (at most log n).

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
    require(n_samples=n_samples)
    joint = Joint.of(estimator, X, condition)
    noise = RowNoise.of(random_state, estimator.n_components_, n_samples, joint.x.device)
    rows = list(pieces(len(joint), 256))
    with torch.inference_mode():
        qs = [_precise(joint[r].posterior()) for r in rows]
        log_aggregate, terms = _aggregate(qs), []
        for r, q in zip(rows, qs, strict=True):
            z = q.rsample((n_samples,), noise=noise(r, slice(0, n_samples)))  # type: ignore
            log_q, own = log_aggregate(z), per_example(q.log_prob(z), 2)
            log_p = joint[r].log_prior(z.float())
            finite_sum({"posterior": own, "prior": log_p}, r)
            terms.append(torch.stack([log_q - log_p, own - log_q]).double())
    return _summary(*torch.cat(terms, -1))


def _summary(kl: Tensor, information: Tensor) -> AggregateKL:
    """Return the means of terms (samples, n), and the error of the first."""
    variance = kl.var(0).mean() if len(kl) > 1 else kl.var()
    return AggregateKL(
        float(kl.mean()), float(information.mean()), math.sqrt(float(variance) / kl.numel())
    )


def _precise(q: Distribution) -> Distribution:
    """Return diagonal normals in float64: their mixture is multiplied out, which costs digits."""
    return DiagonalNormal(q.loc.double(), q.scale.double()) if type(q) is DiagonalNormal else q


def _aggregate(qs: list[Distribution]) -> Callable[[Tensor], Tensor]:
    """Return the function log q(z) of the mixture of all rows' posteriors, any shape of z."""
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
