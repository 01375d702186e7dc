"""Building blocks of likelihood estimates: log p(x, z), reproducible noise, chunking."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from torch import Generator, Tensor
from torch.distributions import Distribution
from torch.utils._python_dispatch import TorchDispatchMode

from isthmus.distributions.base import per_example
from isthmus.estimators.base import LatentEstimator
from isthmus.estimators.defaults import seed_of
from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.training import to_unit

__all__ = ["Joint", "RowNoise", "check_positive", "chunk_size", "chunks", "finite_sum"]

Terms = dict[str, Tensor]
BLOCK = 1024  # draws of noise from one seed
MAX_NAMED = 5  # row numbers in an error message
# Chunks that fit the CPU cache decode up to twice as fast; a GPU is efficient with large ones.
CPU_BYTES, GPU_BYTES = 2**24, 2**30


@dataclass(frozen=True)
class Joint:
    """log p(x, z) and q(z|x) for a set of rows, on the device of the model."""

    model: LatentVariableModel
    x: Tensor
    c: Tensor | None
    prior: Distribution

    @classmethod
    def of(cls, estimator: LatentEstimator, X: Any, condition: Any) -> Self:
        """Validate rows for a fitted estimator."""
        if estimator.prior is None:
            raise ValueError(
                f"{type(estimator).__name__} has no prior, so log p(x) is undefined; use a VAE."
            )
        x, c = estimator.tensors(X, condition)
        with torch.no_grad():  # once: a VampPrior encodes all its pseudo-inputs
            prior = estimator.model_.prior_given(None if c is None else c[:1])
        return cls(estimator.model_, x, c, prior)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice) -> Joint:
        """Return a subset of the rows as floats, with the prior for their condition."""
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
        """Return the terms of the log importance weight of samples from q, each (samples, n)."""
        z = q.rsample(noise.shape[:1], noise=noise)  # type: ignore[call-arg]
        log_q = per_example(q.log_prob(z), z.ndim - 1)
        return {
            "likelihood": self.log_likelihood(z),
            "prior": self.log_prior(z),
            "posterior": -log_q,
        }


@dataclass(frozen=True)
class RowNoise:
    """Standard normal noise that depends on seed, row and sample, not on the chunking."""

    seed: int
    n_components: int
    n_samples: int
    generator: Generator

    @classmethod
    def of(cls, seed: int | None, n_components: int, n_samples: int, device: torch.device) -> Self:
        """Create from a seed; None draws a fresh one."""
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
    """Return the sum of log-densities (samples, n) in float64; raise if one is not finite."""
    total = sum(t.double() for t in terms.values())
    assert isinstance(total, Tensor)
    if not total.isfinite().all():
        part, values = next((p, t) for p, t in terms.items() if not t.isfinite().all())
        bad = ((~values.isfinite()).any(0).nonzero()[:, 0] + rows.start).tolist()
        several = f" and {len(bad) - MAX_NAMED} more" if len(bad) > MAX_NAMED else ""
        raise ValueError(
            f"the log-density of the {part} is not finite for row{'s' * (len(bad) > 1)} "
            f"{', '.join(map(str, bad[:MAX_NAMED]))}{several} of X. Check that X has the units and "
            "range of the data the model was fitted on."
        )
    return total


class _Count(TorchDispatchMode):
    """Count the elements that tensor operations return."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        several = out if isinstance(out, tuple | list) else (out,)
        self.numbers += sum(t.numel() for t in several if isinstance(t, Tensor))
        return out


def chunk_size(joint: Joint, max_bytes: int | None) -> int:
    """Return how many codes fit into memory, measured on one additional code."""
    if max_bytes is None:
        max_bytes = GPU_BYTES if joint.x.is_cuda else CPU_BYTES
    check_positive(max_bytes=max_bytes)
    few = joint[slice(0, 1)]
    q, counts = few.posterior(), []
    for samples in (1, 2):
        with _Count() as count:
            few.log_terms(q, few.x.new_zeros(samples, 1, q.mean.shape[-1]))
        counts.append(count.numbers)
    a_code = max(counts[1] - counts[0], few.model.likelihood.total_outputs)
    return max(1, max_bytes // (a_code * few.x.element_size()))


def chunks(n: int, size: int) -> Iterator[slice]:
    """Return slices that cut range(n) into chunks of a given size."""
    return (slice(start, min(n, start + size)) for start in range(0, n, size))


def check_positive(**numbers: int) -> None:
    """Raise a ValueError if an argument is not an integer of at least 1."""
    for name, number in numbers.items():
        if not isinstance(number, Integral) or number < 1:
            raise ValueError(f"{name} must be at least 1, an integer; got {number!r}.")
