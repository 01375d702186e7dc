"""The trainer: optimizer steps, epochs, validation, early stopping and exact resume."""

from __future__ import annotations

import copy
import functools
import math
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor, nn

from isthmus.distributions.base import isolated_rng
from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.models.specs import Training
from isthmus.objectives.objective import Objective, StepInputs, Terms
from isthmus.objectives.schedules import SETTLED
from isthmus.training.batches import Batch, Rows, Source
from isthmus.training.callbacks import Callback
from isthmus.training.devices import enough_threads, flush_denormals, is_out_of_memory
from isthmus.training.disk_rows import DiskRows
from isthmus.training.distributed import ProcessGroup
from isthmus.training.functional_step import CompiledStep, Gradients, is_traceable
from isthmus.training.optimizers import fast_scales, faster, make_optimizer
from isthmus.training.schedules import learning_rate, n_epochs, n_patience, n_warm_up
from isthmus.training.state import (
    BestWeights,
    Outcome,
    Position,
    StopRequest,
    StopTraining,
    catch_signals,
    set_layers_state,
)
from isthmus.training.weight_average import WeightAverage, running_statistics

__all__ = ["Trainer", "warn_diverged"]

CUT_SHORT = ("diverged", "interrupted", "terminated")
WORSE = 3  # times the loss at the start, by which it may be exceeded without a warning
Record = dict[str, Any]


class Trainer:
    """Minimise an objective over rows, epoch by epoch.

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
        self.optimizer: torch.optim.Optimizer = make_optimizer(self.weights, settings)
        names, fast = [name for name, _ in model.named_parameters()], fast_scales(model, objective)
        self.scales = [w for name, w in zip(names, self.weights, strict=True) if name in fast]
        statistics = running_statistics(self.process_group.program)
        self.average = WeightAverage([*self.weights, *statistics], settings.ema)
        self.compute_gradients: Callable[..., Gradients] = self._compute_gradients
        self.compiled: CompiledStep | None = None
        # Everything but tensors that the compiled graph contains.
        self._compiled_for: tuple[Objective | None, Any] = None, None
        self.outcome, self.best, self.position = Outcome(), BestWeights(model), Position()
        self.about: dict[str, Any] = {}  # stored in checkpoints
        self.rows: Source | None = None  # of training
        self.n_batches: int | None = None  # of an epoch
        self.started = 0.0
        # The first batch of `fit` and its loss, to notice that training made the model worse.
        self.first: tuple[Batch, float] | None = None
        self.keeps_first = False
        self.stop_request = StopRequest()
        self._states: tuple[Tensor, Tensor] | None = None

    def fit(
        self,
        rows: Source,
        valid: Rows | DiskRows | None = None,
        callbacks: Sequence[Callback] = (),
        resume: Callable[[Trainer, Sequence[Callback]], None] | None = None,
    ) -> Outcome:
        """Train for the configured epochs or until patience ends; keep the best weights.

        Ctrl-C and SIGTERM end training after the current step.

        Parameters
        ----------
        rows : Source
            Training rows.
        valid : Rows or DiskRows, optional
            Validation rows. Without them, the best weights by the loss on `rows` are kept only if
            training diverges or is interrupted, and the last weights otherwise.
        callbacks : sequence of Callback
        resume : callable, optional
            Restores the state of an earlier run, after the callbacks have started.

        Returns
        -------
        Outcome
        """
        self.outcome, self.best, self.position = Outcome(), BestWeights(self.model), Position()
        outcome = self.outcome
        self.rows, self.keeps_first = rows, True
        callbacks = self._called_here(callbacks)
        for callback in callbacks:
            callback.on_start(self, rows)
        if resume is not None:
            resume(self, callbacks)
        try:
            with catch_signals() as self.stop_request:
                self._epochs(rows, valid, callbacks)
                self.show_average()
            # A signal after the last step ends nothing.
            outcome.stop_signal = self.process_group.first_not_none(self.stop_request.reason)
        except KeyboardInterrupt:
            outcome.stopped = outcome.stop_signal = "interrupted"
        except StopTraining as stop:
            outcome.stopped = outcome.stop_signal = stop.reason
        except BaseException:  # of a callback or a custom part
            outcome.stopped = "failed"
            raise
        finally:
            if valid is not None or outcome.stopped in CUT_SHORT:
                self.best.restore()
                outcome.best_epoch = self.best.epoch
            self.model.eval()
            for callback in callbacks:
                callback.on_end(self, outcome)
            first, self.first, self.keeps_first = self.first, None, False
        if first is not None and outcome.stopped in ("epochs", "patience"):
            self._check_progress(*first)
        return outcome

    def _check_progress(self, batch: Batch, before: float) -> None:
        """Warn if the loss of the first batch is far above its value before training."""
        after = self._loss_on(batch)
        if after - before > WORSE * (1 + abs(before)):
            warnings.warn(
                f"training diverged: the loss of the first batch has risen from {before:.4g} to "
                f"{after:.4g}. Try a smaller learning_rate.",
                RuntimeWarning,
                stacklevel=4,
            )

    def _called_here(self, callbacks: Sequence[Callback]) -> Sequence[Callback]:
        """Return the callbacks that this process calls."""
        everywhere = [c for c in callbacks if c.everywhere]
        names = [type(c).__name__ for c in everywhere]
        if not self.process_group.all_equal(names):
            raise ValueError(
                "callbacks with `everywhere`, such as Checkpoint, must be passed in every process; "
                f"this one has {', '.join(names) or 'none'}, another one differs."
            )
        return callbacks if self.process_group.is_main else everywhere

    def _epochs(
        self, rows: Source, valid: Rows | DiskRows | None, callbacks: Sequence[Callback]
    ) -> None:
        outcome, best = self.outcome, self.best
        while self.position.epoch <= self.n_epochs(rows):
            epoch = self.position.epoch
            if valid is not None and epoch - 1 - best.epoch >= self.n_patience(rows):
                outcome.stopped = "patience"
                return
            record = self.epoch(rows, valid, callbacks, epoch)
            if self.diverged(record):
                outcome.stopped = "diverged"
                if self.process_group.is_main:
                    warn_diverged(record, best.epoch, stacklevel=5)
                return
            outcome.history.append(record)
            outcome.best_epoch = epoch
            best.offer(record["valid_loss" if valid else "loss"], epoch)
            for callback in callbacks:
                callback.on_epoch(self, record)

    def n_epochs(self, rows: Source) -> int:
        """Return the maximum number of epochs."""
        return n_epochs(self.settings, rows.n_batches(self.settings.batch_size))

    def n_patience(self, rows: Source) -> float:
        """Return the epochs without improvement after which training stops."""
        return n_patience(self.settings, rows.n_batches(self.settings.batch_size))

    def epoch(
        self,
        rows: Source,
        valid: Rows | DiskRows | None = None,
        callbacks: Sequence[Callback] = (),
        number: int = 1,
    ) -> Record:
        """Train for one epoch; return its record."""
        if not self.position.batch:
            self.position = Position(number, began=self.generator.get_state())
        self.started = time.perf_counter() - self.position.seconds
        self.n_batches = rows.n_batches(self.settings.batch_size)
        self.average.hide()
        with flush_denormals(), enough_threads(self.model, self.settings.batch_size):
            with self._layers_rng():
                sums = self.process_group.sum(self._steps(rows, callbacks))
            n = self.position.rows
            record: Record = {"epoch": number, **_means(sums, n)}
            seconds = time.perf_counter() - self.started
            self.process_group.gather_weights(self.model)
            self.show_average()
            if valid is not None:
                record |= {f"valid_{k}": v for k, v in self.evaluate(valid).items()}
        self.position = Position(number + 1)
        return record | {"seconds": seconds, "examples_per_second": n / seconds}

    def show_average(self) -> None:
        """Give the model the averaged weights, if there is an average, until the next step."""
        if not self.average.is_shown and self.settings.ema:
            self.average.show()
            self.process_group.gather_weights(self.model)

    def one_epoch(self, rows: Source, callbacks: Sequence[Callback], number: int) -> Record:
        """Train for one epoch with the start and end of the callbacks; return its record."""
        for callback in callbacks:
            callback.on_start(self, rows)
        try:
            return self.epoch(rows, callbacks=callbacks, number=number)
        finally:
            for callback in callbacks:
                callback.on_end(self, Outcome())

    def _steps(self, rows: Source, callbacks: Sequence[Callback]) -> Tensor:
        """Update on the remaining batches; return the sums of the loss terms over local rows."""
        self.process_group.program.train()  # the model, or its wrapper
        self.choose_gradients(rows)
        at, size = self.position, self.settings.batch_size
        if at.sums is None:
            at.sums = torch.zeros(len(Terms._fields), device=rows.device)
        for batch in rows.local_batches(
            size, self.generator, self.process_group, at.batch, at.epoch
        ):
            self._continue_draws()
            if self.keeps_first and not self.step and self.process_group.size == 1:
                self.first = batch, self._loss_on(batch)
            # Summed on the device, so that nothing waits for it within an epoch.
            at.sums += self.train_on(batch)
            at.batch += 1
            at.rows += batch.n
            for callback in callbacks:
                callback.on_step(self, batch.n)
            if not self.process_group.syncs_at(self.step):
                continue
            # All processes stop for the same reason.
            if reason := self.process_group.first_not_none(self.stop_request.reason):
                for callback in callbacks:
                    callback.on_stop(self)
                raise StopTraining(reason)
        self._continue_draws()
        self.process_group.program.eval()
        return at.sums

    @torch.no_grad()
    def _loss_on(self, batch: Batch) -> float:
        """Return the loss of a batch after the schedules, always with the same noise."""
        generator, was_training = Generator(batch.x.device).manual_seed(0), self.model.training
        self.model.eval()
        shown = self.objective.draw_inputs(batch.x, batch.c, generator)
        shown = shown._replace(row_weights=batch.row_weights)
        noise = self.objective.noise(self.model, batch.n, generator)
        terms = self.objective.terms(
            self.model, shown, step=SETTLED, generator=generator, noise=noise
        )
        self.model.train(was_training)
        return float(terms.loss)

    def choose_gradients(self, rows: Source) -> None:
        """Compile the step if the settings ask for it; compile anew if the model has changed."""
        if self.process_group.size > 1 or not self.settings.compile:
            return
        modes = [(m.training, getattr(m, "p", None)) for m in self.model.modules()]
        content = modes, [w.requires_grad for w in self.weights]
        objective, compiled_content = self._compiled_for
        if objective is not self.objective or compiled_content != content:
            size = self.settings.batch_size
            full = size if rows.n_rows is None else min(rows.n_rows, size)
            self.compiled = CompiledStep(
                self._compute_gradients,
                wanted=lambda weights, beta, x, *others: (
                    len(x) == full and self.step >= self.objective.warm_up
                ),
                state=lambda: list(self.model.buffers()),
            )
            self._compiled_for = self.objective, content
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
            x, c, _, _, w = batch
            parts = (
                Batch(
                    x[rows],
                    None if c is None else c[rows],
                    len(x[rows]),
                    0,
                    None if w is None else w[rows],
                )
                for rows in (slice(start, start + half) for start in range(0, n, half))
            )
            return functools.reduce(torch.add, map(self.train_on, parts))
        try:
            return batch.n_local * self.update(batch)
        except RuntimeError as error:
            if not is_out_of_memory(error) or self.process_group.size > 1:
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
        x, c, n, start, row_weights = batch
        self._share = batch.n_local / n
        self._local_generator = self.process_group.generator(self.generator, self.step)
        shown = self.objective.draw_inputs(x, c, self._local_generator)
        shown = shown._replace(row_weights=row_weights)
        noise = self.objective.noise(self.model, n, self.generator)
        if noise is not None and len(x) < n:
            start = min(start, n - len(x))
            noise = noise[..., start : start + len(x), :]
        beta = torch.as_tensor(self.objective.kl_weight(self.step), device=x.device)
        for weight in self.weights:  # their memory, still in the cache, takes the next ones
            weight.grad = None
        gradients, terms = self.compute_gradients(self.step, self.weights, beta, *shown, noise)
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient
        if self.settings.normalize_gradients:
            _normalize(self.weights, self.process_group)
        if self.settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.weights, self.settings.clip_norm)
        # A constant rate is left alone after the warm-up, so that a callback may change it.
        warms_up = self.step < n_warm_up(self.settings, self.n_batches)
        if warms_up or self.settings.lr_schedule != "constant":
            rate = learning_rate(self.settings, self.step, self.n_batches, self.progress)
            self._set_rate(rate)
        with faster(self.scales):
            self.optimizer.step()
        self.step += 1
        self.average.update(self.step)
        return terms

    def _set_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    @property
    def progress(self) -> float:
        """Share of the planned epochs that have passed; 0 if no end is planned."""
        if self.rows is None or self.settings.lr_schedule == "constant":
            return 0.0
        size = self.n_batches or math.inf
        passed = self.position.epoch - 1 + min(1.0, self.position.batch / size)
        return min(1.0, passed / self.n_epochs(self.rows))

    def _compute_gradients(
        self,
        step: int,
        weights: Sequence[Tensor],
        beta: Tensor,
        x: Tensor,
        seen: Tensor,
        c: Any,
        row_weights: Any,
        noise: Any,
    ) -> Gradients:
        """Return the gradients of the whole batch's loss, and the loss terms of local rows."""
        objective, shown = replace(self.objective, beta=beta), StepInputs(x, seen, c, row_weights)
        with self._autocast(x.device):
            terms = self.process_group.program(objective, shown, step, noise, self._local_generator)
        return self.process_group.compute_gradients(terms, weights, self._share)

    def _autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        if self.settings.precision == "float32":
            return nullcontext()
        return torch.autocast(device.type, getattr(torch, self.settings.precision))

    def state(self) -> dict[str, Any]:
        """Return what training needs beside the weights to continue."""
        return {
            "name": self.settings.optimizer,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "average": self.average.state(),
        }

    def load_state(self, state: dict[str, Any] | None) -> None:
        """Continue from a `state`; None starts from the beginning."""
        if state is None:
            return
        # Copied, since the trainer it belongs to may continue; the settings may have changed.
        if state["name"] == self.settings.optimizer:
            self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self._set_rate(self.settings.learning_rate)
        for group in self.optimizer.param_groups:
            group["weight_decay"] = self.settings.weight_decay
        self.step = state["step"]
        self.average.load_state(state["average"])

    def continue_from(self, generator: Tensor, layers: Tensor) -> None:
        """Continue from these states of the generator and of torch's global generator."""
        self._states = generator, layers
        if self.position.began is not None:  # determines the order of the rows
            self.generator.set_state(self.position.began)
        else:
            self._continue_draws()

    def _continue_draws(self) -> None:
        if self._states is not None:
            generator, layers = self._states
            self.generator.set_state(generator)
            if self.position.began is not None and self.layers_draw and self.process_group.is_main:
                set_layers_state(self.generator.device, layers)
            self._states = None

    def diverged(self, record: Record) -> bool:
        """Whether the loss or the weights are not finite after an epoch."""
        finite = all(math.isfinite(v) for v in record.values())
        return not finite or not all(p.isfinite().all() for p in self.model.parameters())

    @property
    def layers_draw(self) -> bool:
        """Whether layers draw random numbers, which come from torch's global generator."""
        drawing = (nn.modules.dropout._DropoutNd, nn.RReLU)
        return any(isinstance(m, drawing) for m in self.model.modules())

    def _layers_rng(self) -> AbstractContextManager[None]:
        """Seed dropout per process, and restore torch's global state afterwards."""
        if not self.layers_draw:
            return nullcontext()
        return isolated_rng(self.generator, self.process_group.rank)

    @torch.no_grad()
    def evaluate(self, rows: Rows | DiskRows) -> dict[str, float]:
        """Return the mean loss terms on rows, with the same noise at every call.

        Schedules have their final values, so that losses of different epochs are comparable.
        """
        self.model.eval()
        generator, start = Generator(rows.device).manual_seed(0), 0
        sums = torch.zeros(len(Terms._fields), device=rows.device)
        for number, (x, c) in enumerate(rows.batches(max(self.settings.batch_size, 512))):
            # All processes draw for all batches, so that results do not depend on their number.
            shown = self.objective.draw_inputs(x, c, generator)
            shown = shown._replace(row_weights=rows.weights_of(start, len(x)))
            start += len(x)
            noise = self.objective.noise(self.model, len(x), generator)
            if number % self.process_group.size == self.process_group.rank:
                terms = self.objective.terms(
                    self.model, shown, step=SETTLED, generator=generator, noise=noise
                )
                sums += len(x) * torch.stack([t.detach() for t in terms])
        return _means(self.process_group.sum(sums), len(rows))


def _means(sums: Tensor, n: int) -> dict[str, float]:
    return dict(zip(Terms._fields, (sums / n).tolist(), strict=True))


def warn_diverged(record: Record, best_epoch: int, stacklevel: int) -> None:
    """Warn that an epoch diverged."""
    broken = [k for k, v in record.items() if not math.isfinite(v) and not k.endswith("loss")]
    warnings.warn(
        f"training diverged in epoch {record['epoch']}: {', '.join(broken) or 'a weight'} is not "
        f"finite. The weights of epoch {best_epoch} are kept. Try a smaller learning_rate.",
        RuntimeWarning,
        stacklevel=stacklevel,
    )


def _normalize(weights: Sequence[Tensor], process_group: ProcessGroup) -> None:
    """Divide the gradient of each parameter by its norm."""
    gradients = [p.grad for p in weights if p.grad is not None]
    norms = [process_group.full_tensor(norm) for norm in torch._foreach_norm(gradients)]
    torch._foreach_add_(norms, 1e-8)
    torch._foreach_div_(gradients, norms)
