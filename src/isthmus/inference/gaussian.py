"""Gaussians in mean-and-scale form, and standard normal noise from Sobol points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

__all__ = ["Gaussian", "SobolNoise", "moment_matched"]

SOBOL_LIMIT = torch.quasirandom.SobolEngine.MAXDIM
MIN_DEGREES = 5  # minimum degrees of freedom of Student-t proposals, otherwise n_dims


@dataclass(frozen=True)
class Gaussian:
    """A mean (d,) and a scale: standard deviations (d,) or a Cholesky factor (d, d)."""

    mean: Tensor
    scale: Tensor

    @property
    def full(self) -> bool:
        """Whether the scale is a Cholesky factor."""
        return self.scale.ndim == 2

    def at(self, noise: Tensor) -> Tensor:
        """Transform standard normal noise (n, d) to points."""
        return self.mean + (noise @ self.scale.mT if self.full else noise * self.scale)

    def noise_of(self, z: Tensor) -> Tensor:
        """Return the noise of points: the inverse of `at`."""
        centred = z - self.mean
        if not self.full:
            return centred / self.scale
        return torch.linalg.solve_triangular(self.scale, centred.mT, upper=False).mT

    def entropy(self) -> Tensor:
        """Return the entropy in nats."""
        return 0.5 * len(self.mean) * math.log(2 * math.pi * math.e) + self._log_det()

    def _log_det(self) -> Tensor:
        return (self.scale.diagonal() if self.full else self.scale).log().sum()

    def student(self, n: int, generator: Generator) -> Tensor:
        """Draw (n, d) from the Student-t distribution with this location and scale."""
        normal = torch.randn(n, len(self.mean), dtype=torch.float64, generator=generator)
        degrees = max(MIN_DEGREES, len(self.mean))
        chi = torch.randn(n, degrees, dtype=torch.float64, generator=generator)
        stretch = chi.square().mean(-1, keepdim=True).rsqrt()
        return self.at((normal * stretch).to(self.mean))

    def student_log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density of this Student-t distribution, (n,)."""
        d = len(self.mean)
        degrees = max(MIN_DEGREES, d)
        constant = math.lgamma(0.5 * (degrees + d)) - math.lgamma(0.5 * degrees)
        constant -= 0.5 * d * math.log(degrees * math.pi)
        square = self.noise_of(z).square().sum(-1)
        return constant - self._log_det() - 0.5 * (degrees + d) * (square / degrees).log1p()

    def moved(self, mean: Tensor, scale: Tensor) -> Gaussian:
        """Return the Gaussian after a step in units of its own scale."""
        if not self.full:
            return Gaussian(self.mean + self.scale * mean, self.scale * scale.exp())
        # The entries of a row add up, so they are scaled down.
        factor = scale.tril(-1) / math.sqrt(len(mean)) + scale.diagonal().exp().diag()
        return Gaussian(self.mean + self.scale @ mean, self.scale @ factor)

    def distribution(self) -> Distribution:
        """Return the equivalent torch distribution."""
        if self.full:
            return MultivariateNormal(self.mean, scale_tril=self.scale)
        return Independent(Normal(self.mean, self.scale), 1)


class SobolNoise:
    """Standard normal noise (n, d) from Sobol points with a new random shift in each call."""

    def __init__(self, n_dims: int, seed: int, generator: Generator) -> None:
        self.n_dims, self.generator = n_dims, generator
        self.seed = seed % 2**63
        self.points: dict[int, Tensor] = {}

    def __call__(self, n: int) -> Tensor:
        """Return noise (n, d); pseudorandom if there are too many dimensions for Sobol points."""
        if self.n_dims > SOBOL_LIMIT:
            return torch.randn(n, self.n_dims, dtype=torch.float64, generator=self.generator)
        if n not in self.points:
            engine = torch.quasirandom.SobolEngine(self.n_dims, scramble=True, seed=self.seed)
            self.points[n] = engine.draw(n, dtype=torch.float64)
        # The shift makes estimates unbiased.
        shift = torch.rand(self.n_dims, dtype=torch.float64, generator=self.generator)
        even = (self.points[n] + shift).remainder(1).clamp(1e-12, 1 - 1e-12)
        return torch.special.ndtri(even)

    def balanced(self, n: int) -> Tensor:
        """Return noise with mean 0 and covariance 1, which averages quadratics exactly."""
        noise = self(n)
        if n < 10 * self.n_dims:  # too few draws to match the moments
            return noise
        return moment_matched(noise, full=True).noise_of(noise)


def moment_matched(
    z: Tensor, full: bool, weights: Tensor | None = None, shrink: bool = False
) -> Gaussian:
    """Return the Gaussian with the moments of weighted draws (n, d)."""
    weights = z.new_full((len(z),), 1 / len(z)) if weights is None else weights
    mean = weights @ z
    centred = z - mean
    variance = weights @ centred.square()
    if not full:
        return Gaussian(mean, variance.sqrt().clamp(min=torch.finfo(z.dtype).tiny))
    covariance = (centred * weights[:, None]).mT @ centred
    if shrink:  # too wide a proposal is better than too narrow a one
        covariance = 0.95 * covariance + 0.05 * variance.diag()
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if failed:
        raise ValueError(
            f"the {len(z)} draws have a singular covariance; increase n_samples, "
            "pass a better start, or use covariance='diagonal'."
        )
    return Gaussian(mean, factor)
