"""Progress of training: a live bar, lines, and records of the logger "isthmus"."""

from __future__ import annotations

import io
import logging
import sys
import time
from typing import Any

from isthmus._messages import say
from isthmus.training.batches import Source
from isthmus.training.callbacks import Callback, TrainerView
from isthmus.training.state import Outcome

__all__ = [
    "LogRecords",
    "NotebookBar",
    "ProgressBar",
    "ProgressLines",
    "log_epoch",
    "progress_callbacks",
]

REFRESH_SECONDS = 0.1
NOTEBOOK_WIDTH = 100  # characters
LOGGER = logging.getLogger("isthmus.training")
Record = dict[str, Any]

#: Why training ended, in words.
REASONS = {
    "epochs": "all epochs are done",
    "patience": "the validation loss no longer improves",
    "diverged": "the loss diverged",
    "interrupted": "it was interrupted",
    "terminated": "it was terminated",
    "failed": "of an error",
}


def progress_callbacks(how: str) -> list[Callback]:
    """Return the records for the logger, and the display for a `progress` setting.

    With "auto" nothing is displayed if the logger prints the same to the standard streams.
    """
    live = in_notebook() or sys.stderr.isatty()
    if how == "auto":
        how = "none" if _log_is_printed() else "bar" if live else "lines"
    bar = NotebookBar if in_notebook() else ProgressBar
    displays: dict[str, list[Callback]] = {"bar": [bar()], "lines": [ProgressLines()]}
    return [LogRecords(), *displays.get(how, [])]


def in_notebook() -> bool:
    """Whether this code runs in a Jupyter kernel, whose outputs can be updated."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def _log_is_printed() -> bool:
    """Whether a handler prints the records of `LOGGER` to standard output or standard error."""
    streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    logger: logging.Logger | None = LOGGER
    while logger is not None and LOGGER.isEnabledFor(logging.INFO):
        for handler in logger.handlers:
            if handler.level <= logging.INFO and getattr(handler, "stream", None) in streams:
                return True
        logger = logger.parent if logger.propagate else None
    return False


def terms_text(record: Record) -> str:
    """Return the loss terms of a record as text, with the validation loss if there is one."""
    names = ["loss", *(k for k in ("reconstruction", "kl", "penalty") if record[k])]
    parts = [f"{name} {record[name]:.2f}" for name in names]
    if "valid_loss" in record:
        parts.append(f"validation {record['valid_loss']:.2f}")
    return "  ".join(parts)


def compact_text(record: Record) -> str:
    """Return a short form with the speed, for a terminal of 80 columns."""
    kl = f" KL {record['kl']:.2f}" if record["kl"] else ""
    pace = f"{record['examples_per_second']:,.0f}/s"
    return f"loss {record['loss']:.2f} rec {record['reconstruction']:.2f}{kl} {pace}"


def log_epoch(record: Record, epochs: int | None = None) -> None:
    """Log the record of an epoch, and its entries as attributes of the log record."""
    of = "" if epochs is None else f"/{epochs}"
    pace = f"{record['examples_per_second']:,.0f} examples/s"
    LOGGER.info(
        "epoch %d%s  %s  %s", record["epoch"], of, terms_text(record), pace,
        extra={"event": "epoch", "epochs": epochs, **record},
    )  # fmt: skip


class LogRecords(Callback):
    """Log the start and the end of training and each epoch, at the level INFO."""

    def on_start(self, trainer: TrainerView, rows: Source) -> None:
        """Log the size of the run."""
        self.epochs = trainer.n_epochs(rows)
        name, n = type(trainer.settings).__name__, rows.n_rows
        of = "the rows of a loader" if n is None else f"{n:,} rows"
        LOGGER.info(
            "training starts: %s on %s, up to %d epochs", name, of, self.epochs,
            extra={"event": "start", "model": name, "rows": n, "epochs": self.epochs},
        )  # fmt: skip

    def on_epoch(self, trainer: TrainerView, record: Record) -> None:
        """Log the record."""
        log_epoch(record, self.epochs)

    def on_end(self, trainer: TrainerView, outcome: Outcome) -> None:
        """Log why training ended."""
        n, best = len(outcome.history), outcome.best_epoch
        LOGGER.info(
            "training ended after %d epochs because %s; the weights are those of %s",
            n, REASONS.get(outcome.stopped, outcome.stopped),
            f"epoch {best}" if best else "the start",
            extra={"event": "end", "stopped": outcome.stopped, "epochs": n, "best_epoch": best},
        )  # fmt: skip


class ProgressLines(Callback):
    """Print about twenty lines per run, for logs."""

    def on_start(self, trainer: TrainerView, rows: Source) -> None:
        """Choose how often to print."""
        self.epochs = trainer.n_epochs(rows)
        self.every = max(1, self.epochs // 20)
        self.start, self.last = time.perf_counter(), -1

    def on_epoch(self, trainer: TrainerView, record: Record) -> None:
        """Print a line."""
        epoch, now = record["epoch"], time.perf_counter()
        self.last = epoch - 1 if self.last < 0 else self.last  # a resumed run begins later
        if epoch in (1, self.epochs) or epoch % self.every == 0:
            # Speed since the last line; the first epoch includes the warm-up.
            pace = (now - self.start) / (epoch - self.last)
            left = pace * (self.epochs - epoch)
            self.start, self.last = now, epoch
            say(
                f"epoch {epoch}/{self.epochs}  {terms_text(record)}  "
                f"{record['examples_per_second']:,.0f} examples/s  {left:.0f} s left at most",
                error=True,
            )


class ProgressBar(Callback):
    """Show a progress bar in the terminal."""

    def on_start(self, trainer: TrainerView, rows: Source) -> None:
        """Show the empty bar."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.epochs = trainer.n_epochs(rows)
        n_batches = rows.n_batches(trainer.settings.batch_size)
        total = None if n_batches is None else self.epochs * n_batches
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            TextColumn("{task.fields[terms]}"),
            TimeRemainingColumn(compact=True),
            console=self._console(),
            auto_refresh=False,
        )
        self.task = self.bar.add_task(f"epoch 1/{self.epochs}", total=total, terms="")
        self.before = self.step = trainer.step  # a warm start continues to count
        self.drawn = 0.0
        self._open()

    def on_step(self, trainer: TrainerView, n_rows: int) -> None:
        """Update the bar from time to time."""
        self.step = trainer.step
        if time.perf_counter() - self.drawn > REFRESH_SECONDS:
            self._update()

    def on_epoch(self, trainer: TrainerView, record: Record) -> None:
        """Show the numbers of the epoch."""
        upcoming = min(record["epoch"] + 1, self.epochs)
        self.bar.update(
            self.task,
            description=f"epoch {upcoming}/{self.epochs}",
            terms=compact_text(record),
        )

    def on_end(self, trainer: TrainerView, outcome: Outcome) -> None:
        """Leave the final state on the screen."""
        last = len(outcome.history)
        self.bar.update(self.task, description=f"epoch {last}/{self.epochs}")
        self._update()
        self._close()

    def _update(self) -> None:
        self.bar.update(self.task, completed=self.step - self.before)
        self._draw()
        self.drawn = time.perf_counter()

    def _console(self) -> Any:
        from rich.console import Console

        return Console(stderr=True)

    def _open(self) -> None:
        self.bar.start()

    def _draw(self) -> None:
        self.bar.refresh()

    def _close(self) -> None:
        self.bar.stop()


class NotebookBar(ProgressBar):
    """Show a progress bar in a notebook, as one output that is updated; needs no ipywidgets."""

    def _console(self) -> Any:
        from rich.console import Console

        # rich would need ipywidgets to show a live bar in a notebook.
        return Console(
            file=io.StringIO(), width=NOTEBOOK_WIDTH, force_jupyter=False, color_system=None
        )

    def _open(self) -> None:
        from IPython.display import display

        self.output = display(self._content(), raw=True, display_id=True)

    def _draw(self) -> None:
        self.output.update(self._content(), raw=True)

    def _close(self) -> None:
        """Leave the output."""

    def _content(self) -> dict[str, str]:
        with self.bar.console.capture() as capture:
            self.bar.console.print(self.bar.get_renderable())
        return {"text/plain": capture.get().rstrip()}
