"""Steps of the optimiser: the gradient of a batch, by whatever way is shortest."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor

from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.models.specs import Training
from isthmus.objectives.objective import Objective, StepInputs
from isthmus.training.adam import LeanAdamW
from isthmus.training.batches import Batch, Source
from isthmus.training.distributed import ProcessGroup
from isthmus.training.functional_step import Gradients, repeats
from isthmus.training.graph_replay import Recorded

__all__ = ["BatchTrainer"]


class BatchTrainer:
    """Update a model on batches; it knows no epochs.

    Parameters
    ----------
    model : LatentVariableModel
        Trained in place, on the device where it is.
    objective : Objective
    settings : Training
        An instance of `Training`, or an estimator.
    generator : torch.Generator
        Source of all randomness, on the model's device.
    process_group : ProcessGroup, optional
        The processes that train together; by default one alone.
    """

    def __init__(
        self,
        model: LatentVariableModel,
        objective: Objective,
        settings: Training,
        generator: Generator,
        process_group: ProcessGroup | None = None,
    ) -> None:
        self.model, self.objective, self.settings = model, objective, settings
        self.generator, self.process_group = generator, process_group or ProcessGroup()
        self.step = 0
        self.max_rows: int | None = None  # in a step, once memory was too small for a batch
        self.weights = self.process_group.wrap(model)
        self.optimizer = LeanAdamW(self.weights, **_options(settings))
        self.compute_gradients: Callable[..., Any] = self._compute_gradients
        self.record_after: int | None = None  # steps of a kind; None for the usual number
        self._recorded_of: Any = None  # what a recording knows beside its tensors

    def choose_gradients(self, rows: Source) -> None:
        """Play recordings where they say all that a step does; forget those of old times."""
        if self.process_group.size > 1:
            return
        mark = (
            id(self.objective),
            [(m.training, getattr(m, "p", None)) for m in self.model.modules()],
            [w.requires_grad for w in self.weights],
        )
        if self._recorded_of != mark:
            full = _usual(rows.n_rows, self.settings.batch_size) if self.settings.compile else 0
            self.recorded = Recorded(
                self._compute_gradients,
                after=self.record_after,
                state=lambda: list(self.model.buffers()),
                compiled=lambda weights, beta, x, *others: len(x) == full,
            )
            self._recorded_of, self._kept = mark, self.objective  # kept, so that its id is its own
        self.compute_gradients = (
            self.recorded if repeats(self.model, self.objective) else self._compute_gradients
        )

    def take(self, batch: Batch) -> Tensor:
        """Update on a batch, in two steps where memory is too small for one.

        Returns
        -------
        Tensor
            The sums of the terms over the own rows.
        """
        n, half = batch.n, self.max_rows
        if half is not None and n > half:
            x, c, *_ = batch
            first = Batch(x[:half], None if c is None else c[:half], half, 0)
            second = Batch(x[half:], None if c is None else c[half:], n - half, 0)
            return self.take(first) + self.take(second)
        try:
            return batch.own * self.update(batch)
        except RuntimeError as error:
            if not _is_out_of_memory(error) or self.process_group.size > 1:
                raise
            self._halve(n)
        return self.take(batch)

    def _halve(self, n: int) -> None:
        """Let no step have more than half of n rows; once."""
        if self.max_rows is not None or n < 2:
            raise MemoryError(
                f"memory is too small for a step on {n} rows: set a smaller batch_size than "
                f"{self.settings.batch_size}, or a smaller model."
            )
        self.max_rows = (n + 1) // 2
        warnings.warn(
            f"memory is too small for a batch of {n} rows: from here on each is taken in two "
            f"steps; batch_size={self.max_rows} would say so.",
            RuntimeWarning,
            stacklevel=2,
        )

    def update(self, batch: Batch) -> Tensor:
        """Take one optimiser step; return the terms of the own rows, stacked."""
        x, c, n, start = batch
        self._share, self._own = (
            batch.own / n,
            self.process_group.generator(self.generator, self.step),
        )
        shown = self.objective.draw_inputs(x, c, self._own)
        noise = self.objective.noise(self.model, n, self.generator)
        if noise is not None and len(x) < n:
            start = min(start, n - len(x))
            noise = noise[..., start : start + len(x), :]
        beta = torch.as_tensor(self.objective.kl_weight(self.step), device=x.device)
        gradients, terms = self.compute_gradients(self.step, self.weights, beta, *shown, noise)
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient
        if self.settings.normalize_gradients:
            _normalize(self.weights, self.process_group)
        self.optimizer.update()
        self.step += 1
        return terms

    def _compute_gradients(
        self,
        step: int,
        weights: Sequence[Tensor],
        beta: Tensor,
        x: Tensor,
        seen: Tensor,
        c: Any,
        noise: Any,
    ) -> Gradients:
        """Return the gradient of the loss of the whole batch for each weight, and the own terms."""
        objective, shown = replace(self.objective, beta=beta), StepInputs(x, seen, c)
        with self._autocast(x.device):
            terms = self.process_group.program(objective, shown, step, noise, self._own)
        return self.process_group.compute_gradients(terms, weights, self._share)

    def _autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Let networks compute in the precision of the settings."""
        if self.settings.precision == "float32":
            return nullcontext()
        return torch.autocast(device.type, getattr(torch, self.settings.precision))

    def state(self) -> dict[str, Any]:
        """Return what training needs beside the weights to go on."""
        return {"optimizer": self.optimizer.state_dict(), "step": self.step}

    def load_state(self, state: dict[str, Any] | None) -> None:
        """Go on from a `state`; None is the beginning."""
        if state is None:
            return
        # The settings may have changed since, and the state of another trainer is not to.
        now = _options(self.settings)
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        for group in self.optimizer.param_groups:
            group.update(now)
        self.step = state["step"]


def _options(settings: Training) -> dict[str, Any]:
    return {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}


def _usual(n: int | None, size: int) -> int:
    """Return the rows of the first batch."""
    return size if n is None else min(n, size)


def _normalize(weights: Sequence[Tensor], process_group: ProcessGroup) -> None:
    """Divide the gradient of each parameter by its norm."""
    gradients = [p.grad for p in weights if p.grad is not None]
    norms = [process_group.full_tensor(norm) for norm in torch._foreach_norm(gradients)]
    torch._foreach_add_(norms, 1e-8)
    torch._foreach_div_(gradients, norms)


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
