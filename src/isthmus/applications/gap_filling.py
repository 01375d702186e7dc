"""The methods of `LatentImputer`: fill the gaps of a batch of rows with a fitted model."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.distributions import Distribution

from isthmus.applications.with_condition import with_condition
from isthmus.distributions.base import draw, per_example
from isthmus.distributions.families import Family
from isthmus.distributions.likelihood_distributions import GreyValues
from isthmus.distributions.truncated import draw_within
from isthmus.estimators.base import DECODED_NUMBERS, LatentEstimator
from isthmus.estimators.scaling import Scaler
from isthmus.estimators.validation import check_results, fill_missing
from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.training import to_unit

__all__ = ["Completions", "GapFiller"]

Array = NDArray[Any]
PASSES = 20  # passes through encoder and decoder of "decode"
STEPS, STEP_SIZE = 300, 0.05  # gradient steps of "optimize"
FILLS, CODES_PER_FILL, PRIOR_CODES = 24, 32, 256  # proposals of "sample"
LEAST_DISPERSION = 1e-4  # of grey values
PRIOR_VARIANCE = 0.05  # draws the dispersion of rows with few observed values towards 1
GIBBS_STEPS = 5  # Metropolis-within-Gibbs steps after importance resampling


@dataclass
class Completions:
    """Completions of rows: p(x|z) for each code, and draws of x (n_codes, n, *features).

    `units` holds factor and offset by which the values of each distribution become comparable.
    """

    distributions: list[Distribution]
    draws: Array
    units: list[tuple[Any, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.units = self.units or [(1.0, 0.0)] * len(self.distributions)

    def in_units_of(self, own: Scaler, other: Scaler) -> Completions:
        """Return the completions by a model with its own scaler in the units of another one."""
        factor = own.scale / other.scale
        offset = (own.shift - other.shift) / other.scale
        units = [(factor, offset)] * len(self.distributions)
        return Completions(self.distributions, self.draws * factor + offset, units)

    @classmethod
    def concatenate(cls, parts: list[Completions]) -> Completions:
        """Concatenate the completions of several models."""
        distributions = [p for part in parts for p in part.distributions]
        units = [unit for part in parts for unit in part.units]
        return cls(distributions, np.concatenate([part.draws for part in parts]), units)

    def summary(self, likelihood: Family) -> tuple[Array, Array]:
        """Return the value of each feature and its standard deviation, (n, *features) each.

        By the law of total variance. For classes (categories, and yes or no in tables) the second
        number is the probability of any other class than the value.
        """
        each = list(zip(self.distributions, self.units, strict=True))
        means = np.stack([a * likelihood.center(p).cpu().numpy() + b for p, (a, b) in each])
        value = means.mean(0)
        std = np.sqrt(means.var(0) + np.mean([a**2 * _variance(p) for p, (a, _) in each], 0))
        if not np.all(likelihood.ordered):
            classes = np.where(likelihood.ordered, 0, self.draws)  # without numbers of any size
            value = np.where(likelihood.ordered, value, _mode(classes))
        # Only in tables, because grey pixels are not rounded.
        binary = likelihood.binary if np.ndim(likelihood.binary) else False
        value = np.where(binary, value.round(), value)
        is_class = np.logical_or(binary, np.logical_not(likelihood.ordered))
        if is_class.any():
            x = torch.from_numpy(value.astype(np.float32)).to(self._device)
            right = np.mean([p.log_prob(x).exp().cpu().numpy() for p in self.distributions], 0)
            std = np.where(is_class, 1 - right, std)
        return value, std

    @property
    def _device(self) -> torch.device:
        return self.distributions[0].mean.device


def _variance(p: Distribution) -> Array:
    """Return the variance of x given z; NaN, with a warning, if the distribution has none."""
    try:
        return p.variance.cpu().numpy()
    except NotImplementedError:
        warnings.warn(
            f"the standard deviation of imputed values is NaN, because {type(p).__name__} has no "
            "variance: add the property `variance` to the distribution of your likelihood.",
            UserWarning,
            stacklevel=2,
        )
        return np.full((), np.nan)


def _mode(draws: Array) -> Array:
    categories = np.arange(int(draws.max()) + 1).reshape(-1, *[1] * draws.ndim)
    return (draws == categories).sum(1).argmax(0)


@dataclass
class GapFiller:
    """A batch of scaled rows with gaps, of which x holds the current fill.

    Completions lie between the ends, if there are any.
    """

    model: LatentVariableModel
    x: Tensor
    gaps: Tensor
    is_grey: bool
    ends: tuple[Tensor, Tensor] | None

    @classmethod
    def create(cls, estimator: LatentEstimator, X: Array, gaps: Array) -> GapFiller:
        """Read rows; gaps start as missing, or as 0 if the model accepts no missing values."""
        x, _ = estimator.tensors(fill_missing(X) if X.dtype.kind == "f" else X)
        gaps = estimator.scaler_.to_model_layout(gaps)
        x, missing = to_unit(x), torch.tensor(gaps).to(x.device)
        model = with_condition(estimator).model_
        start = x.masked_fill(missing, torch.nan if model.missing else 0.0)
        is_grey = model.likelihood.binary is True
        return cls(model, start, missing, is_grey, estimator.scaled_range)

    def filled(self, values: Tensor) -> Tensor:
        """Return x with values in its gaps."""
        return torch.where(self.gaps, values, self.x)

    def reconstruct(self) -> None:
        """Fill the gaps with the reconstruction of x."""
        self.x = self.filled(self.model.reconstruct(self.model.encode(self.x).mean))

    @torch.no_grad()
    def predict(self) -> Completions:
        """Encode once with the gaps hidden, as a denoising autoencoder does in training."""
        return self._completions([self.model.encode(self.x).mean])

    @torch.no_grad()
    def decode(self) -> Completions:
        """Encode and decode repeatedly."""
        for _ in range(1 + PASSES):
            self.reconstruct()
        return self._completions([self.model.encode(self.x).mean])

    def optimize(self) -> Completions:
        """Maximise p(observed | z) p(z) over z."""
        with torch.no_grad():
            self.reconstruct()
            z = self.model.encode(self.x).mean
        z = z.clone().requires_grad_()
        adam = torch.optim.Adam([z], lr=STEP_SIZE)
        with torch.enable_grad():
            for _ in range(STEPS):
                log_p = self.model.log_likelihood(self.model.decode(z), self.x, ~self.gaps)
                if self.model.prior is not None:
                    log_p = log_p + self.model.log_prior(z)
                loss = -log_p.sum()
                (z.grad,) = torch.autograd.grad(loss, z)
                adam.step()
        with torch.no_grad():
            return self._completions([z.detach()])

    @torch.no_grad()
    def sample(self, n: int, generator: Generator) -> Completions:
        """Draw n codes from p(z | observed) and complete the rows with each.

        Importance resampling finds the region of high probability; a few steps of Metropolis
        within Gibbs then separate identical draws.
        """
        z = self._resample(n, generator)  # (n, rows, n_components)
        for _ in range(GIBBS_STEPS):
            x = self._draw(z, generator)
            q = self.model.encode(x.flatten(0, 1))
            proposed = q.rsample(generator=generator).reshape(z.shape)  # type: ignore[call-arg]
            log_ratio = self._log_weight(proposed, x, q) - self._log_weight(z, x, q)
            u = torch.rand(log_ratio.shape, generator=generator, device=log_ratio.device)
            z = torch.where((u.log() < log_ratio)[..., None], proposed, z)
        return self._completions(list(z), generator)

    def _resample(self, n: int, generator: Generator) -> Tensor:
        """Return n codes per row by importance resampling."""
        proposals = self._proposals(generator)
        drawn = [q.rsample((CODES_PER_FILL,), generator=generator) for q in proposals]
        prior = draw(self.model.prior_given(), generator, (PRIOR_CODES * len(self.x),))
        z = torch.cat([*drawn, prior.reshape(PRIOR_CODES, len(self.x), -1)])  # (many, rows, ...)
        log_q = torch.stack([per_example(q.log_prob(z), z.ndim - 1) for q in proposals])
        log_prior = self.model.log_prior(z)
        log_mixture = torch.logaddexp(
            log_q.logsumexp(0) + math.log(CODES_PER_FILL / len(z)),
            log_prior + math.log(PRIOR_CODES / len(z)),
        )
        log_p = [
            self.model.log_likelihood(self.model.decode(part), self.x, ~self.gaps)
            for part in z.split(max(1, DECODED_NUMBERS // self.x.numel()))
        ]
        weights = (torch.cat(log_p) + log_prior - log_mixture).softmax(0)
        check_results((weights.T.cpu().numpy(),))
        chosen = torch.multinomial(weights.T, n, replacement=True, generator=generator).T
        return z.gather(0, chosen[..., None].expand(*chosen.shape, z.shape[-1]))

    def _proposals(self, generator: Generator) -> list[Any]:
        """Return q(z | x) for successive fills of the gaps."""
        self.reconstruct()
        proposals = []
        for _ in range(FILLS):
            q = self.model.encode(self.x)
            proposals.append(q)
            z = q.rsample(generator=generator)  # type: ignore[call-arg]
            self.x = self.filled(self.model.reconstruct(z))
        return proposals

    def _draw(self, z: Tensor, generator: Generator) -> Tensor:
        """Return rows with gaps drawn from p(x | z), (*batch of z, *features)."""
        return self.filled(draw(self.model.decode(z), generator).to(self.x.dtype))

    def _log_weight(self, z: Tensor, x: Tensor, q: Any) -> Tensor:
        """Return log p(x, z) - log q(z), (*batch of z,)."""
        log_p = self.model.log_likelihood(self.model.decode(z), x) + self.model.log_prior(z)
        return log_p - per_example(q.log_prob(z.flatten(0, 1)), 1).reshape(log_p.shape)

    def _completions(self, codes: list[Tensor], generator: Generator | None = None) -> Completions:
        """Return p(x|z) at each code, and draws from it, or its centres without a generator."""
        distributions = self._with_dispersion([self.model.decode(z) for z in codes])
        draws = [
            self.model.likelihood.center(p)
            if generator is None
            else draw_within(p, generator, self.ends)
            for p in distributions
        ]
        x = torch.stack([self.filled(each.to(self.x.dtype)) for each in draws])
        return Completions(distributions, x.cpu().numpy())

    def _with_dispersion(self, distributions: list[Any]) -> list[Any]:
        """Replace Bernoullis of grey rows by distributions as wide as the observed residuals.

        Rows that show only 0 and 1 stay Bernoulli.
        """
        if not self.is_grey:
            return distributions
        axes = tuple(range(1, self.x.ndim))
        x, shown = self.filled(torch.zeros_like(self.x)), ~self.gaps
        residual = sum(((x - p.mean) ** 2 * shown).sum(axes) for p in distributions)
        expected = sum((p.variance * shown).sum(axes) for p in distributions)
        ratio = (residual + PRIOR_VARIANCE) / (expected + PRIOR_VARIANCE)
        binary = ((x == 0) | (x == 1)).flatten(1).all(1)
        dispersion = torch.where(binary, 1.0, ratio.clamp(LEAST_DISPERSION, 1.0))
        dispersion = dispersion.reshape(-1, *[1] * len(axes))
        return [GreyValues(p.mean, dispersion) for p in distributions]
