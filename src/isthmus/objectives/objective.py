"""The objective: what training *minimises*. A trained model can forget it."""

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
    """A batch as one step has it: what is to be rebuilt, what the encoder sees, and the context."""

    x: Tensor
    seen: Tensor
    condition: Tensor | None


@dataclass(frozen=True)
class Objective:
    """A bound on -log p(x), with β before its KL, and penalties.

    As it stands: E_q[-log p(x|z)] + β KL(q(z|x~) || p(z)).

    Parameters
    ----------
    beta : float or callable
        Weight of the KL term, or a schedule: a function of the step's number.
    bound : callable
        Takes a `Pass` and β, returns a scalar: `Elbo`, or `ImportanceWeighted`.
    penalties : tuple of callable
        Each takes a `Pass` and returns a scalar.
    corruption : callable, optional
        (x, generator) to the x~ that the encoder sees; the target stays x.
    observe : callable, optional
        (x, generator) to what is seen and rebuilt in this step: for data that stand for
        distributions, such as grey pixels drawn as 0 or 1.
    condition_dropout : float
        Share of rows whose context is replaced by the one for "unknown" (the last column).
    n_samples : int
        Samples of z a row.

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
        """Return the loss of a batch x (n, *features), and its parts.

        All randomness comes from `generator`; no number is read back from the device.
        """
        shown = self.draw_inputs(x, condition, generator)
        return self.terms(model, shown, step=step, generator=generator)

    def draw_inputs(
        self, x: Tensor, condition: Tensor | None = None, generator: Generator | None = None
    ) -> StepInputs:
        """Return what is drawn of a batch before the model sees it; no weight plays a part."""
        x = x if self.observe is None else self.observe(x, generator)
        seen = x if self.corruption is None else self.corruption(x, generator)
        return StepInputs(x, seen, self._hide(condition, generator))

    def terms(
        self,
        model: LatentVariableModel,
        shown: StepInputs,
        *,
        step: int = 0,
        generator: Generator | None = None,
        noise: Tensor | None = None,
    ) -> Terms:
        """Return the loss of a batch that was shown, and its parts.

        The posterior draws from `generator`, or takes the standard normal `noise`
        (*samples, n, n_components).
        """
        x, seen, condition = shown
        q = model.encode(seen, condition)
        shape = self._sample_shape
        z = q.rsample(shape, generator=generator, noise=noise)  # type: ignore[call-arg]
        p = model.decode(z, condition)
        reconstruction = -model.log_likelihood(p, x)  # (*samples, n)
        kl = model.kl(q, z, condition)
        this = Pass(model, seen, condition, q, z, p, reconstruction, kl, step, generator)
        bound = self.bound(this, self.kl_weight(step))
        penalty = sum((term(this) for term in self.penalties), bound.new_zeros(()))
        loss = bound + penalty if self.penalties else bound
        return Terms(loss, reconstruction.detach().mean(), kl.detach().mean(), penalty)

    def noise(self, model: LatentVariableModel, n: int, generator: Generator) -> Tensor | None:
        """Return what the posterior of n rows draws, (*samples, n, n_components)."""
        if not model.posterior.draws:
            return None
        shape = (*self._sample_shape, n, *model.posterior.shape)
        return torch.randn(shape, generator=generator, device=generator.device)

    def kl_weight(self, step: int) -> float | Tensor:
        """Return β at a step."""
        return self.beta(step) if callable(self.beta) else self.beta

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
