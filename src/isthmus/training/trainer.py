"""The trainer: epochs, validation, early stopping and exact resume."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Generator, Tensor, nn

from isthmus.distributions.base import isolated_rng
from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.models.specs import Training
from isthmus.objectives.objective import Objective, Terms
from isthmus.objectives.schedules import SETTLED
from isthmus.training.batches import Rows, Source
from isthmus.training.callbacks import Callback
from isthmus.training.devices import enough_threads, flush_denormals
from isthmus.training.distributed import ProcessGroup
from isthmus.training.state import BestWeights, Outcome, Position, set_layers_state
from isthmus.training.step import BatchTrainer
from isthmus.training.stopping import StopRequest, StopTraining, catch_signals

__all__ = ["Trainer", "warn_diverged"]

TARGET_STEPS = 6000  # of a run with epochs=None
CUT_SHORT = ("diverged", "interrupted", "terminated")
Record = dict[str, Any]


class Trainer(BatchTrainer):
    """Minimise an objective over rows, epoch by epoch.

    It calls `Objective.terms` on batches; `BatchTrainer` documents its parameters.
    """

    def __init__(
        self,
        model: LatentVariableModel,
        objective: Objective,
        settings: Training,
        generator: Generator,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__(model, objective, settings, generator, process_group)
        self.outcome, self.best, self.position = Outcome(), BestWeights(model), Position()
        self.about: dict[str, Any] = {}  # stored in checkpoints
        self.rows: Source | None = None  # of training
        self.started = 0.0
        self.stop_request = StopRequest()
        self._states: tuple[Tensor, Tensor] | None = None

    def fit(
        self,
        rows: Source,
        valid: Rows | None = None,
        callbacks: Sequence[Callback] = (),
        resume: Callable[[Trainer, Sequence[Callback]], None] | None = None,
    ) -> Outcome:
        """Train for the configured epochs or until patience ends; keep the best weights.

        Ctrl-C and SIGTERM end training after the current step.

        Parameters
        ----------
        rows : Source
            Training rows.
        valid : Rows, optional
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
        self.rows = rows
        callbacks = self._called_here(callbacks)
        for callback in callbacks:
            callback.on_start(self, rows)
        if resume is not None:
            resume(self, callbacks)
        try:
            with catch_signals() as self.stop_request:
                self._epochs(rows, valid, callbacks)
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
        return outcome

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

    def _epochs(self, rows: Source, valid: Rows | None, callbacks: Sequence[Callback]) -> None:
        outcome, best = self.outcome, self.best
        while self.position.epoch <= self.n_epochs(rows):
            epoch = self.position.epoch
            patience = self.settings.patience
            if valid is not None and patience is not None and epoch - 1 - best.epoch >= patience:
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
        if self.settings.epochs is not None:
            return self.settings.epochs
        n_batches = rows.n_batches(self.settings.batch_size) or TARGET_STEPS
        return min(max(TARGET_STEPS // n_batches, 20), 500)

    def epoch(
        self,
        rows: Source,
        valid: Rows | None = None,
        callbacks: Sequence[Callback] = (),
        number: int = 1,
    ) -> Record:
        """Train for one epoch; return its record."""
        if not self.position.batch:
            self.position = Position(number, began=self.generator.get_state())
        self.started = time.perf_counter() - self.position.seconds
        with flush_denormals(), enough_threads(self.model, self.settings.batch_size):
            with self._layers_rng():
                sums = self.process_group.sum(self._steps(rows, callbacks))
            n = self.position.rows
            record: Record = {"epoch": number, **_means(sums, n)}
            seconds = time.perf_counter() - self.started
            self.process_group.gather_weights(self.model)
            if valid is not None:
                record |= {f"valid_{k}": v for k, v in self.evaluate(valid).items()}
        self.position = Position(number + 1)
        return record | {"seconds": seconds, "examples_per_second": n / seconds}

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
            # Summed on the device, so that nothing waits for it within an epoch.
            at.sums += self.train_on(batch)
            at.batch += 1
            at.rows += batch.n
            for callback in callbacks:
                callback.on_step(self, batch.n)
            if reason := self._stop_reason():
                for callback in callbacks:
                    callback.on_stop(self)
                raise StopTraining(reason)
        self._continue_draws()
        self.process_group.program.eval()
        return at.sums

    def _stop_reason(self) -> str | None:
        """Return why to stop after this step; all processes return the same."""
        if not self.process_group.syncs_at(self.step):
            return None
        return self.process_group.first_not_none(self.stop_request.reason)

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
    def evaluate(self, rows: Rows) -> dict[str, float]:
        """Return the mean loss terms on rows, with the same noise at every call.

        Schedules have their final values, so that losses of different epochs are comparable.
        """
        self.model.eval()
        generator = Generator(rows.device).manual_seed(0)
        sums = torch.zeros(len(Terms._fields), device=rows.device)
        for number, (x, c) in enumerate(rows.batches(max(self.settings.batch_size, 512))):
            # All processes draw for all batches, so that results do not depend on their number.
            shown = self.objective.draw_inputs(x, c, generator)
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
