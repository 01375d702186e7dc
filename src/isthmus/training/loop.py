"""The trainer: it sees an objective that returns terms, and knows no model."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn

from isthmus.distributions import isolated_rng
from isthmus.model import LatentVariableModel
from isthmus.objective import Objective, Shown, Terms
from isthmus.rows import Training
from isthmus.schedules import SETTLED
from isthmus.training.adam import LeanAdamW
from isthmus.training.batches import Rows
from isthmus.training.callbacks import Callback
from isthmus.training.devices import enough_threads, flush_denormals
from isthmus.training.program import repeats, slopes
from isthmus.training.recording import Recorded
from isthmus.training.stopping import Asked, Stop, asked_to_stop

__all__ = ["Outcome", "Position", "Trainer", "layers_state", "warn_diverged"]

ENOUGH_STEPS = 6000  # what `epochs=None` aims at
BROKEN_OFF = ("diverged", "interrupted", "terminated")
Record = dict[str, Any]


@dataclass
class Outcome:
    """What came of training.

    Parameters
    ----------
    history : list of dict
        One record an epoch: `epoch`, `loss`, `reconstruction`, `kl`, `penalty` (nats an
        example), the same with `valid_` in front on held-out rows, `seconds`,
        `examples_per_second`.
    best_epoch : int
        The epoch whose weights the model has.
    stopped : str
        Why training ended: "epochs", "patience", "diverged", "interrupted" (Ctrl-C) or
        "terminated" (SIGTERM).
    asked : str, optional
        "interrupted" or "terminated" where somebody asked training to stop, be it in vain.
    """

    history: list[Record] = field(default_factory=list)
    best_epoch: int = 0
    stopped: str = "epochs"
    asked: str | None = None


@dataclass
class Position:
    """How far training has come.

    Parameters
    ----------
    epoch : int
        The one in progress, or the next.
    batch : int
        Batches of it that are done.
    sums : Tensor, optional
        Of the terms over their rows.
    began : Tensor, optional
        The generator's state when the epoch began, from which comes the order of its rows.
    seconds : float
        That the epoch had taken when training was broken off.
    """

    epoch: int = 1
    batch: int = 0
    sums: Tensor | None = None
    began: Tensor | None = None
    seconds: float = 0.0


class Trainer:
    """Minimise an objective over rows.

    Parameters
    ----------
    model : LatentVariableModel
        Trained in place, on the device where it is.
    objective : Objective
    settings : Training
        An instance of `Training`, or an estimator.
    generator : torch.Generator
        Source of all randomness, on the model's device.
    """

    def __init__(
        self,
        model: LatentVariableModel,
        objective: Objective,
        settings: Training,
        generator: Generator,
    ) -> None:
        self.model, self.objective, self.settings = model, objective, settings
        self.generator = generator
        self.outcome, self.best, self.position = Outcome(), Best(model), Position()
        self.about: dict[str, Any] = {}  # what a checkpoint says of the run
        self.most_rows: int | None = None  # in a step, once memory was too small for a batch
        self.started = 0.0
        self._states: tuple[Tensor, Tensor] | None = None
        self.optimizer = LeanAdamW(model.parameters(), **_options(settings))
        self.step = 0
        self.weights = list(model.parameters())
        self.slopes: Callable[..., Any] = self._slopes
        self.record_after: int | None = None  # steps of a kind; None for the usual number
        self._recorded_of: Any = None  # what a recording knows beside its tensors
        self.asked = Asked()

    def fit(
        self,
        rows: Rows,
        valid: Rows | None = None,
        callbacks: Sequence[Callback] = (),
        resume: Callable[[Trainer, Sequence[Callback]], None] | None = None,
    ) -> Outcome:
        """Train for the epochs of the settings, or until patience ends; keep the best weights.

        Ctrl-C and SIGTERM end training after the step at hand.

        Parameters
        ----------
        rows : Rows
        valid : Rows, optional
            Held-out rows; without them the loss on `rows` decides which weights are best only
            if training diverges or is interrupted.
        callbacks : sequence of Callback
        resume : callable, optional
            Puts the trainer and the callbacks, which have started, where an earlier one was.

        Returns
        -------
        Outcome
        """
        self.outcome, self.best, self.position = Outcome(), Best(self.model), Position()
        outcome = self.outcome
        for callback in callbacks:
            callback.on_start(self, rows)
        if resume is not None:
            resume(self, callbacks)
        try:
            with asked_to_stop() as self.asked:
                self._epochs(rows, valid, callbacks)
            outcome.asked = self.asked.why  # after the last step: nothing was broken off
        except KeyboardInterrupt:
            outcome.stopped = outcome.asked = "interrupted"
        except Stop as stop:
            outcome.stopped = outcome.asked = stop.why
        finally:
            if valid is not None or outcome.stopped in BROKEN_OFF:
                self.best.restore()
                outcome.best_epoch = self.best.epoch
            self.model.eval()
            for callback in callbacks:
                callback.on_end(self, outcome)
        return outcome

    def _epochs(self, rows: Rows, valid: Rows | None, callbacks: Sequence[Callback]) -> None:
        outcome, best = self.outcome, self.best
        while self.position.epoch <= self.n_epochs(rows):
            epoch = self.position.epoch
            if valid is not None and best.waited(epoch - 1, self.settings.patience):
                outcome.stopped = "patience"
                return
            record = self.epoch(rows, valid, callbacks, epoch)
            if self.diverged(record):
                outcome.stopped = "diverged"
                warn_diverged(record, best.epoch, stacklevel=6)
                return
            outcome.history.append(record)
            outcome.best_epoch = epoch
            best.offer(record["valid_loss" if valid else "loss"], epoch)
            for callback in callbacks:
                callback.on_epoch(self, record)

    def n_epochs(self, rows: Rows) -> int:
        """Return how many epochs there will be, at most."""
        if self.settings.epochs is not None:
            return self.settings.epochs
        return min(max(ENOUGH_STEPS // rows.n_batches(self.settings.batch_size), 20), 500)

    def epoch(
        self,
        rows: Rows,
        valid: Rows | None = None,
        callbacks: Sequence[Callback] = (),
        number: int = 1,
    ) -> Record:
        """Pass once over the rows; return the epoch's record."""
        if not self.position.batch:
            self.position = Position(number, began=self.generator.get_state())
        self.started = time.perf_counter() - self.position.seconds
        with flush_denormals(), enough_threads(self.model, self.settings.batch_size):
            with self._layers_rng():
                sums = self._steps(rows, callbacks)
            record: Record = {"epoch": number, **_means(sums, len(rows))}
            seconds = time.perf_counter() - self.started
            if valid is not None:
                record |= {f"valid_{k}": v for k, v in self.evaluate(valid).items()}
        self.position = Position(number + 1)
        return record | {"seconds": seconds, "examples_per_second": len(rows) / seconds}

    def one_epoch(self, rows: Rows, callbacks: Sequence[Callback], number: int) -> Record:
        """Pass once over the rows, the callbacks told of beginning and end."""
        for callback in callbacks:
            callback.on_start(self, rows)
        try:
            return self.epoch(rows, callbacks=callbacks, number=number)
        finally:
            for callback in callbacks:
                callback.on_end(self, Outcome())

    def _steps(self, rows: Rows, callbacks: Sequence[Callback]) -> Tensor:
        """Update on every batch that is left; return the sums of the terms over the rows."""
        self.model.train()
        self._choose_step(rows)
        at, size = self.position, self.settings.batch_size
        if at.sums is None:
            at.sums = torch.zeros(len(Terms._fields), device=rows.x.device)
        for x, c in rows.batches(size, self.generator, skip=at.batch):
            self._continue_draws()
            # Summed on the device: nothing waits for a number inside an epoch.
            at.sums += self._update_all(x, c)
            at.batch += 1
            for callback in callbacks:
                callback.on_step(self, len(x))
            if self.asked.why is not None:
                for callback in callbacks:
                    callback.on_stop(self)
                raise Stop(self.asked.why)
        self._continue_draws()
        self.model.eval()
        return at.sums

    def _choose_step(self, rows: Rows) -> None:
        """Play recordings where they say all that a step does; forget those of old times."""
        mark = (
            id(self.objective),
            [(m.training, getattr(m, "p", None)) for m in self.model.modules()],
            [w.requires_grad for w in self.weights],
        )
        if self._recorded_of != mark:
            full = rows.sizes(self.settings.batch_size)[0] if self.settings.compile else 0
            self.recorded = Recorded(
                self._slopes,
                after=self.record_after,
                state=lambda: list(self.model.buffers()),
                compiled=lambda weights, beta, x, *others: len(x) == full,
            )
            self._recorded_of, self._kept = mark, self.objective  # kept, so that its id is its own
        self.slopes = self.recorded if repeats(self.model, self.objective) else self._slopes

    def continue_from(self, generator: Tensor, layers: Tensor) -> None:
        """Draw on from these states of the generator, and of torch's own where layers draw."""
        self._states = generator, layers
        if self.position.began is not None:  # the rows are put in order first, by this state
            self.generator.set_state(self.position.began)
        else:
            self._continue_draws()

    def _continue_draws(self) -> None:
        if self._states is not None:
            generator, layers = self._states
            self.generator.set_state(generator)
            if self.position.began is not None and self.layers_draw:
                set_layers_state(self.generator.device, layers)
            self._states = None

    def _update_all(self, x: Tensor, c: Tensor | None) -> Tensor:
        """Update on a batch, in two steps where memory is too small for one; return sums."""
        if self.most_rows is not None and len(x) > self.most_rows:
            half = self.most_rows
            first = self._update_all(x[:half], None if c is None else c[:half])
            return first + self._update_all(x[half:], None if c is None else c[half:])
        try:
            return len(x) * self.update(x, c)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            self._halve(len(x))
        return self._update_all(x, c)

    def _halve(self, n: int) -> None:
        """Let no step have more than half of n rows; once."""
        if self.most_rows is not None or n < 2:
            raise MemoryError(
                f"memory is too small for a step on {n} rows: set a smaller batch_size than "
                f"{self.settings.batch_size}, or a smaller model."
            )
        self.most_rows = (n + 1) // 2
        warnings.warn(
            f"memory is too small for a batch of {n} rows: from here on each is taken in two "
            f"steps; batch_size={self.most_rows} would say so.",
            RuntimeWarning,
            stacklevel=2,
        )

    def diverged(self, record: Record) -> bool:
        """Whether an epoch ended with a loss or weights that are not finite."""
        finite = all(math.isfinite(v) for v in record.values())
        return not finite or not all(p.isfinite().all() for p in self.model.parameters())

    def update(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Take one optimiser step on a batch; return its terms, stacked."""
        shown = self.objective.show(x, c, self.generator)
        noise = self.objective.noise(self.model, len(x), self.generator)
        beta = torch.as_tensor(self.objective.weight_of_kl(self.step), device=x.device)
        gradients, terms = self.slopes(self.step, self.weights, beta, *shown, noise)
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient
        if self.settings.normalize_gradients:
            _normalize(self.model)
        self.optimizer.update()
        self.step += 1
        return terms

    def _slopes(
        self,
        step: int,
        weights: Sequence[Tensor],
        beta: Tensor,
        x: Tensor,
        seen: Tensor,
        c: Any,
        noise: Any,
    ) -> tuple[Sequence[Tensor | None], Tensor]:
        """Return the gradient of the loss for each weight, and the terms."""
        objective = replace(self.objective, beta=beta)
        shown = Shown(x, seen, c)
        terms = objective.terms(self.model, shown, step=step, generator=self.generator, noise=noise)
        return slopes(terms, weights)

    @property
    def layers_draw(self) -> bool:
        """Whether layers draw for themselves, which they can from torch's global state alone."""
        drawing = (nn.modules.dropout._DropoutNd, nn.RReLU)
        return any(isinstance(m, drawing) for m in self.model.modules())

    def _layers_rng(self) -> AbstractContextManager[None]:
        """Let dropout repeat; and put torch's global state back."""
        return isolated_rng(self.generator) if self.layers_draw else nullcontext()

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

    @torch.no_grad()
    def evaluate(self, rows: Rows) -> dict[str, float]:
        """Return the objective's mean terms on rows, the same noise at every call.

        Schedules count as settled, so that losses of different epochs can be compared.
        """
        self.model.eval()
        generator = Generator(rows.x.device).manual_seed(0)
        sums = torch.zeros(len(Terms._fields), device=rows.x.device)
        for x, c in rows.batches(max(self.settings.batch_size, 512)):
            terms = self.objective(self.model, x, c, step=SETTLED, generator=generator)
            sums += len(x) * torch.stack([t.detach() for t in terms])
        return _means(sums, len(rows))


class Best:
    """The best weights so far."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.epoch, self.loss = model, 0, math.inf
        self.state = copy.deepcopy(model.state_dict())

    def offer(self, loss: float, epoch: int) -> None:
        """Remember the model's weights if they are better."""
        if loss < self.loss:
            self.loss, self.epoch = loss, epoch
            for name, tensor in self.model.state_dict().items():
                self.state[name].copy_(tensor)

    def waited(self, epoch: int, patience: int | None) -> bool:
        """Whether nothing has been better for that many epochs."""
        return patience is not None and epoch - self.epoch >= patience

    def restore(self) -> None:
        """Put the best weights back."""
        self.model.load_state_dict(self.state)


def _options(settings: Training) -> dict[str, Any]:
    return {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}


def _normalize(model: nn.Module) -> None:
    """Divide the gradient of each parameter by its norm."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norms = torch._foreach_norm(gradients)
    torch._foreach_add_(norms, 1e-8)
    torch._foreach_div_(gradients, norms)


def layers_state(device: torch.device) -> Tensor:
    """Return torch's global random state, from which layers on a device draw."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_layers_state(device: torch.device, state: Tensor) -> None:
    """Put a `layers_state` back."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _means(sums: Tensor, n: int) -> dict[str, float]:
    return dict(zip(Terms._fields, (sums / n).tolist(), strict=True))


def warn_diverged(record: Record, best_epoch: int, stacklevel: int) -> None:
    """Warn, on the caller's own line, that an epoch was of no use."""
    broken = [k for k, v in record.items() if not math.isfinite(v) and not k.endswith("loss")]
    warnings.warn(
        f"training diverged in epoch {record['epoch']}: {', '.join(broken) or 'a weight'} is not "
        f"finite. The weights of epoch {best_epoch} are kept; try a smaller learning_rate.",
        RuntimeWarning,
        stacklevel=stacklevel,
    )
