"""The objective: what training minimises. A trained model does not need it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.objectives.bounds import Bound, Elbo
from isthmus.objectives.corruptions import Corruption
from isthmus.objectives.penalties import Pass, Penalty

__all__ = ["Objective", "StepInputs", "Terms"]


class Terms(NamedTuple):
    """The loss and its parts: means over the batch, scalars, nats per example."""

    loss: Tensor
    reconstruction: Tensor
    kl: Tensor
    penalty: Tensor


class StepInputs(NamedTuple):
    """The inputs of one step: the target x, the `seen` input of the encoder, the condition.

    The sample weights (n,), if there are any, have the mean 1 over the data set.
    """

    x: Tensor
    seen: Tensor
    condition: Tensor | None
    row_weights: Tensor | None = None


@dataclass(frozen=True)
class Objective:
    """A bound on -log p(x) with a weighted KL term, and penalties.

    By default the negative ELBO: E_q[-log p(x|z)] + β KL(q(z|x~) || p(z)).

    Parameters
    ----------
    beta : float or callable
        Weight of the KL term, or a schedule: a function of the step number.
    bound : callable
        Takes a `Pass` and β, returns a scalar: `Elbo`, or `ImportanceWeighted`.
    penalties : tuple of callable
        Each takes a `Pass` and returns a scalar.
    corruption : callable, optional
        Maps (x, generator) to the x~ that the encoder sees; the target stays x.
    observe : callable, optional
        Maps (x, generator) to the input and target of one step, for data that represent
        distributions, such as grey pixels drawn as 0 or 1.
    condition_dropout : float
        Share of rows whose condition is replaced by "unknown" (the last column).
    n_samples : int
        Samples of z per row.

    Examples
    --------
    >>> Objective(beta=4.0).kl_weight(step=0)
    4.0
    """

    beta: float | Tensor | Callable[[int], float] = 1.0
    bound: Bound = field(default_factory=Elbo)
    penalties: tuple[Penalty, ...] = ()
    corruption: Corruption | None = None
    observe: Corruption | None = None
    condition_dropout: float = 0.0
    n_samples: int = 1

    def __call__(
        self,
        model: LatentVariableModel,
        x: Tensor,
        condition: Tensor | None = None,
        *,
        step: int = 0,
        generator: Generator | None = None,
    ) -> Terms:
        """Return the loss of a batch x (n, *features) and its parts.

        All randomness comes from `generator`; no value is read back from the device.
        """
        inputs = self.draw_inputs(x, condition, generator)
        return self.terms(model, inputs, step=step, generator=generator)

    def draw_inputs(
        self, x: Tensor, condition: Tensor | None = None, generator: Generator | None = None
    ) -> StepInputs:
        """Draw the inputs of a step: observed values, corruption, hidden conditions."""
        x = x if self.observe is None else self.observe(x, generator)
        seen = x if self.corruption is None else self.corruption(x, generator)
        return StepInputs(x, seen, self._hide(condition, generator))

    def terms(
        self,
        model: LatentVariableModel,
        inputs: StepInputs,
        *,
        step: int = 0,
        generator: Generator | None = None,
        noise: Tensor | None = None,
    ) -> Terms:
        """Return the loss of the inputs of a step and its parts.

        The posterior draws from `generator`, or takes the standard normal `noise`
        (*samples, n, n_components).
        """
        x, seen, condition, row_weights = inputs
        q = model.encode(seen, condition)
        shape = self._sample_shape
        z = q.rsample(shape, generator=generator, noise=noise)  # type: ignore[call-arg]
        p = model.decode(z, condition)
        reconstruction = -model.log_likelihood(p, x)  # (*samples, n)
        kl = model.kl(q, z, condition)
        forward = Pass(
            model, seen, condition, q, z, p, reconstruction, kl, step, generator, row_weights
        )
        bound = self.bound(forward, self.kl_weight(step))
        penalty = sum((term(forward) for term in self.penalties), bound.new_zeros(()))
        loss = bound + penalty if self.penalties else bound
        return Terms(loss, forward.mean_reconstruction.detach(), forward.mean_kl.detach(), penalty)

    def noise(self, model: LatentVariableModel, n: int, generator: Generator) -> Tensor | None:
        """Return standard normal noise for the posterior of n rows, (*samples, n, n_components)."""
        if not model.posterior.draws:
            return None
        shape = (*self._sample_shape, n, *model.posterior.shape)
        return torch.randn(shape, generator=generator, device=generator.device)

    def kl_weight(self, step: int) -> float | Tensor:
        """Return β at a step."""
        return self.beta(step) if callable(self.beta) else self.beta

    @property
    def warm_up(self) -> int:
        """The steps after which its terms, apart from β, no longer depend on the step's number."""
        parts = (self.bound, getattr(self.bound, "divergence", None), *self.penalties)
        return max(getattr(part, "warm_up", 0) for part in parts)

    @property
    def _sample_shape(self) -> tuple[int, ...]:
        return () if self.n_samples == 1 else (self.n_samples,)

    def _hide(self, condition: Tensor | None, generator: Generator | None) -> Tensor | None:
        if condition is None or not self.condition_dropout:
            return condition
        unknown = torch.zeros_like(condition)
        unknown[:, -1] = 1
        noise = torch.rand(len(condition), 1, device=condition.device, generator=generator)
        return torch.where(noise < self.condition_dropout, unknown, condition)
