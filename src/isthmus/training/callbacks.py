"""What may watch training: the interface, and the progress display."""

from __future__ import annotations

import sys
import time
from typing import Any

from isthmus.training.batches import Source
from isthmus.training.state import Outcome
from isthmus.training.trainer_view import TrainerView

__all__ = ["Callback", "ProgressBar", "ProgressLines", "progress_callbacks"]

REFRESH_SECONDS = 0.1


class Callback:
    """Watch training: override what you need.

    Steps may be recorded: what a callback changes beside numbers in tensors (hooks, a rate of
    dropout, the objective) counts from the next epoch on.

    Of several processes that train together only the main one has callbacks, so that each thing
    is written once; a callback that changes training must be `everywhere`, and be given in each.
    Where each has a part of the weights ("fsdp"), the trainer's model has those of the last epoch.

    Attributes
    ----------
    everywhere : bool
        Whether each process of several is to call it; False.

    Examples
    --------
    >>> class Losses(Callback):
    ...     def __init__(self):
    ...         self.values = []
    ...     def on_epoch(self, trainer, record):
    ...         self.values.append(record["loss"])
    >>> from sklearn.datasets import load_digits
    >>> import isthmus
    >>> losses = Losses()
    >>> model = isthmus.VAE(epochs=3).fit(load_digits().images / 16, callbacks=[losses])
    >>> len(losses.values)
    3
    """

    everywhere = False

    def on_start(self, trainer: TrainerView, rows: Source) -> None:
        """Before the first epoch."""

    def on_step(self, trainer: TrainerView, n_rows: int) -> None:
        """After each optimiser step; do not read numbers off the device here."""

    def on_epoch(self, trainer: TrainerView, record: dict[str, Any]) -> None:
        """After each epoch, with its record."""

    def on_stop(self, trainer: TrainerView) -> None:
        """After the step in which somebody asked to stop, the last weights in place."""

    def on_end(self, trainer: TrainerView, outcome: Outcome) -> None:
        """After training, however it ended, the best weights in place."""

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold for this to go on: tensors, and plain JSON."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a `state`; called after `on_start`."""


def progress_callbacks(how: str) -> list[Callback]:
    """Return the display for a value of the `progress` setting."""
    if how == "auto":
        how = "bar" if sys.stderr.isatty() else "lines"
    displays: dict[str, list[Callback]] = {
        "none": [],
        "bar": [ProgressBar()],
        "lines": [ProgressLines()],
    }
    return displays[how]


def terms_text(record: dict[str, Any]) -> str:
    """Return the terms of a record as words, held-out ones where there are any.

    Examples
    --------
    >>> terms_text({"loss": 3.0, "reconstruction": 2.0, "kl": 1.0, "penalty": 0.0})
    'loss 3.00  reconstruction 2.00  kl 1.00'
    """
    parts = [
        f"{k} {record[k]:.2f}"
        for k in ("loss", "reconstruction", "kl", "penalty")
        if k == "loss" or record[k]
    ]
    if "valid_loss" in record:
        parts.append(f"held-out {record['valid_loss']:.2f}")
    return "  ".join(parts)


def compact_text(record: dict[str, Any]) -> str:
    """Return the same in few letters, with the pace, for a terminal of 80 columns.

    Examples
    --------
    >>> compact_text({"loss": 3.0, "reconstruction": 2.0, "kl": 1.0, "examples_per_second": 76e3})
    'loss 3.00 rec 2.00 KL 1.00 76,000/s'
    """
    kl = f" KL {record['kl']:.2f}" if record["kl"] else ""
    pace = f"{record['examples_per_second']:,.0f}/s"
    return f"loss {record['loss']:.2f} rec {record['reconstruction']:.2f}{kl} {pace}"


class ProgressLines(Callback):
    """A plain line now and then, for logs: at most about twenty a run."""

    def on_start(self, trainer: TrainerView, rows: Source) -> None:
        """Note how often to write."""
        self.epochs = trainer.n_epochs(rows)
        self.every = max(1, self.epochs // 20)
        self.start, self.last = time.perf_counter(), -1

    def on_epoch(self, trainer: TrainerView, record: dict[str, Any]) -> None:
        """Write a line."""
        epoch, now = record["epoch"], time.perf_counter()
        self.last = epoch - 1 if self.last < 0 else self.last  # a resumed run begins later
        if epoch in (1, self.epochs) or epoch % self.every == 0:
            # By the pace since the last line: the first epoch also warms everything up.
            pace = (now - self.start) / (epoch - self.last)
            left = pace * (self.epochs - epoch)
            self.start, self.last = now, epoch
            print(
                f"epoch {epoch}/{self.epochs}  {terms_text(record)}  "
                f"{record['examples_per_second']:,.0f} examples/s  {left:.0f} s left at most",
                file=sys.stderr,
                flush=True,
            )


class ProgressBar(Callback):
    """A live bar in the terminal."""

    def on_start(self, trainer: TrainerView, rows: Source) -> None:
        """Draw the empty bar."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.epochs = trainer.n_epochs(rows)
        n_batches = rows.n_batches(trainer.settings.batch_size)
        total = None if n_batches is None else self.epochs * n_batches
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            TextColumn("{task.fields[terms]}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            auto_refresh=False,
        )
        self.task = self.bar.add_task(f"epoch 1/{self.epochs}", total=total, terms="")
        self.steps, self.drawn = trainer.step, 0.0
        self.bar.start()

    def on_step(self, trainer: TrainerView, n_rows: int) -> None:
        """Move the bar, now and then."""
        self.steps = trainer.step
        if time.perf_counter() - self.drawn > REFRESH_SECONDS:
            self._draw()

    def on_epoch(self, trainer: TrainerView, record: dict[str, Any]) -> None:
        """Show the epoch's numbers."""
        upcoming = min(record["epoch"] + 1, self.epochs)
        self.bar.update(
            self.task,
            description=f"epoch {upcoming}/{self.epochs}",
            terms=compact_text(record),
        )

    def on_end(self, trainer: TrainerView, outcome: Outcome) -> None:
        """Leave the last state on the screen."""
        last = len(outcome.history)
        self.bar.update(self.task, description=f"epoch {last}/{self.epochs}")
        self._draw()
        self.bar.stop()

    def _draw(self) -> None:
        self.bar.update(self.task, completed=self.steps)
        self.bar.refresh()
        self.drawn = time.perf_counter()
