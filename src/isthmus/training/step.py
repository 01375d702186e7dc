"""Optimizer steps: update a model on one batch."""

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
from isthmus.training.adam import FusedAdamW
from isthmus.training.batches import Batch, Source
from isthmus.training.compiled_step import CompiledStep
from isthmus.training.distributed import ProcessGroup
from isthmus.training.functional_step import Gradients, is_traceable

__all__ = ["BatchTrainer"]


class BatchTrainer:
    """Update a model batch by batch; the base of `Trainer`, which adds epochs.

    Parameters
    ----------
    model : LatentVariableModel
        Trained in place, on its device.
    objective : Objective
    settings : Training
        An instance of `Training`, or an estimator.
    generator : torch.Generator
        Source of all randomness, on the model's device.
    process_group : ProcessGroup, optional
        The processes that train together; by default this one alone.
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
        self.max_rows: int | None = None  # rows per step, once memory was too small for a batch
        self.weights = self.process_group.wrap(model)
        self.optimizer: torch.optim.Optimizer = FusedAdamW(self.weights, **_options(settings))
        self.compute_gradients: Callable[..., Gradients] = self._compute_gradients
        self.compiled: CompiledStep | None = None
        self._compiled_for: Any = None  # everything but tensors that the compiled graph contains

    def choose_gradients(self, rows: Source) -> None:
        """Compile the step if the settings ask for it; compile anew if the model has changed."""
        if self.process_group.size > 1 or not self.settings.compile:
            return
        content = (
            self.objective,
            [(m.training, getattr(m, "p", None)) for m in self.model.modules()],
            [w.requires_grad for w in self.weights],
        )
        if self._compiled_for is None or not _same(self._compiled_for, content):
            size = self.settings.batch_size
            full = size if rows.n_rows is None else min(rows.n_rows, size)
            self.compiled = CompiledStep(
                self._compute_gradients,
                wanted=lambda weights, beta, x, *others: len(x) == full,
                state=lambda: list(self.model.buffers()),
            )
            self._compiled_for = content
        traceable = self.compiled is not None and is_traceable(self.model, self.objective)
        self.compute_gradients = self.compiled if traceable else self._compute_gradients  # type: ignore[assignment]

    def train_on(self, batch: Batch) -> Tensor:
        """Update on a batch, in two steps if memory is too small for one.

        Returns
        -------
        Tensor
            The sums of the loss terms over the local rows.
        """
        n, half = batch.n, self.max_rows
        if half is not None and n > half:
            x, c, *_ = batch
            first = Batch(x[:half], None if c is None else c[:half], half, 0)
            second = Batch(x[half:], None if c is None else c[half:], n - half, 0)
            return self.train_on(first) + self.train_on(second)
        try:
            return batch.n_local * self.update(batch)
        except RuntimeError as error:
            if not _is_out_of_memory(error) or self.process_group.size > 1:
                raise
            self._halve_batches(n)
        return self.train_on(batch)

    def _halve_batches(self, n: int) -> None:
        if self.max_rows is not None or n < 2:
            raise MemoryError(
                f"memory is too small for a step on {n} rows: set a smaller batch_size than "
                f"{self.settings.batch_size}, or use a smaller model."
            )
        self.max_rows = (n + 1) // 2
        warnings.warn(
            f"memory is too small for a batch of {n} rows; each batch is split in two from now "
            f"on. Set batch_size={self.max_rows} to avoid this warning.",
            RuntimeWarning,
            stacklevel=2,
        )

    def update(self, batch: Batch) -> Tensor:
        """Take one optimizer step; return the stacked loss terms of the local rows."""
        x, c, n, start = batch
        self._share = batch.n_local / n
        self._local_generator = self.process_group.generator(self.generator, self.step)
        shown = self.objective.draw_inputs(x, c, self._local_generator)
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
        self.optimizer.step()
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
        """Return the gradients of the whole batch's loss, and the loss terms of local rows."""
        objective, shown = replace(self.objective, beta=beta), StepInputs(x, seen, c)
        with self._autocast(x.device):
            terms = self.process_group.program(objective, shown, step, noise, self._local_generator)
        return self.process_group.compute_gradients(terms, weights, self._share)

    def _autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        if self.settings.precision == "float32":
            return nullcontext()
        return torch.autocast(device.type, getattr(torch, self.settings.precision))

    def state(self) -> dict[str, Any]:
        """Return what training needs beside the weights to continue."""
        return {"optimizer": self.optimizer.state_dict(), "step": self.step}

    def load_state(self, state: dict[str, Any] | None) -> None:
        """Continue from a `state`; None starts from the beginning."""
        if state is None:
            return
        # Copied, since the trainer it belongs to may continue; the settings may have changed.
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        for group in self.optimizer.param_groups:
            group.update(_options(self.settings))
        self.step = state["step"]


def _options(settings: Training) -> dict[str, Any]:
    return {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}


def _same(a: Any, b: Any) -> bool:
    """Whether two contents of a compiled graph agree; objectives by identity."""
    return a[0] is b[0] and a[1:] == b[1:]


def _normalize(weights: Sequence[Tensor], process_group: ProcessGroup) -> None:
    """Divide the gradient of each parameter by its norm."""
    gradients = [p.grad for p in weights if p.grad is not None]
    norms = [process_group.full_tensor(norm) for norm in torch._foreach_norm(gradients)]
    torch._foreach_add_(norms, 1e-8)
    torch._foreach_div_(gradients, norms)


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
