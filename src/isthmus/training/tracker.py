"""What every tracker of experiments is told, and when; `trackers.py` has TensorBoard and others."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.image_grid import is_image
from isthmus.models.params import params_of
from isthmus.training.batches import Source
from isthmus.training.callbacks import Callback
from isthmus.training.state import Outcome
from isthmus.training.tracker_images import Pictures
from isthmus.training.trainer_view import TrainerView

__all__ = ["FAILED", "FINISHED", "KILLED", "Tracker", "named", "settings_of"]

Record = dict[str, Any]

FINISHED, KILLED, FAILED = "FINISHED", "KILLED", "FAILED"
PACE = ("seconds", "examples_per_second")


class Tracker(Callback):
    """Tell a tracker of experiments what happens: the one place where all that is decided.

    A subclass says how to `begin` and `end` a run, and to write `numbers` and a `picture`. Where
    one of these fails, that is said once, and training goes on. A run that goes on from a
    checkpoint goes on in its tracker, without a point written twice.

    Parameters
    ----------
    pictures : bool
        Also send samples and reconstructions after epochs 1, 2, 4, 8, … and of the weights that
        are kept, where the data are pictures.

    Attributes
    ----------
    run : str
        What the tracker calls the run; empty before it is begun.
    settings : dict
        Of the run, plain values.
    last : int
        The last epoch that was written.

    Examples
    --------
    >>> class Printed(Tracker):
    ...     def numbers(self, values, epoch):
    ...         print(epoch, *values)
    >>> from sklearn.datasets import load_digits
    >>> import isthmus
    >>> model = isthmus.VAE(epochs=1).fit(load_digits().data / 16, callbacks=[Printed()])
    1 train/loss train/reconstruction train/kl train/penalty ... speed/examples_per_second
    """

    def __init__(self, *, pictures: bool = True) -> None:
        self.wants_pictures = pictures
        self.run = ""
        self.last = 0
        self.settings: dict[str, Any] = {}

    # ------------------------------------------------------- what a subclass says

    def begin(self) -> int:
        """Begin a run, or go on with that of the name `run`; return its last epoch, or 0."""
        return self.last

    def numbers(self, values: Mapping[str, float], epoch: int) -> None:
        """Write the numbers of an epoch, by name; losses in nats per example."""

    def picture(self, name: str, pixels: NDArray[Any], epoch: int) -> None:
        """Write a picture, bytes (height, width, 3)."""

    def end(self, status: str) -> None:
        """End the run: "FINISHED", "KILLED" (asked to stop) or "FAILED" (diverged, an error)."""

    # ---------------------------------------------------- when it is told of what

    def on_start(self, trainer: TrainerView, rows: Source) -> None:
        """Note what run it is. It begins with the first step, when it is known if it goes on."""
        self.run, self.last, self.begun, self.failed = "", 0, False, False
        self.settings = settings_of(trainer) | {"rows": rows.n_rows}
        wanted = self.wants_pictures and is_image(tuple(trainer.model.likelihood.shape))
        self.pictures = Pictures(trainer, rows) if wanted else None

    def state(self) -> dict[str, Any]:
        """Return which run it is, and how far."""
        return {"run": self.run, "epoch": self.last}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on with that run."""
        self.run, self.last = state["run"], state["epoch"]

    def on_step(self, trainer: TrainerView, n_rows: int) -> None:
        """Begin, once."""
        if not self.begun:
            self._safely(lambda: None)

    def on_epoch(self, trainer: TrainerView, record: Record) -> None:
        """Write what is new."""
        self._safely(self._write, trainer, record)

    def on_end(self, trainer: TrainerView, outcome: Outcome) -> None:
        """End the run, by how training ended."""
        if self.begun:
            self._safely(self._end, trainer, outcome)

    def _safely(self, action: Callable[..., None], *given: Any) -> None:
        """Do something, the run begun before; whatever fails is said once, and no more is done."""
        if self.failed:
            return
        try:
            if not self.begun:
                self.last = self.begin()
                self.begun = True
            action(*given)
        except Exception as error:  # of any library or server, and none is worth a run
            self.failed = True
            reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
            warnings.warn(
                f"could not write to {type(self).__name__} ({reason or type(error).__name__}); "
                "training goes on without it.",
                RuntimeWarning,
                stacklevel=3,
            )

    def _write(self, trainer: TrainerView, record: Record) -> None:
        is_new = record["epoch"] > self.last
        for each in trainer.outcome.history[self.last :]:  # all of it, where tracking begins late
            self.numbers(named(each), each["epoch"])
            self.last = each["epoch"]
        if is_new and self.pictures is not None:
            self._send(self.pictures.after_epoch(trainer, record), self.last)

    def _end(self, trainer: TrainerView, outcome: Outcome) -> None:
        status = self._status(outcome)
        # A run that was broken off may go on, and would send them again.
        if self.pictures is not None and outcome.best_epoch and status == FINISHED:
            self._send(self.pictures.at_end(trainer, outcome), outcome.best_epoch)
        self.end(status)

    def _status(self, outcome: Outcome) -> str:
        if outcome.stopped in ("interrupted", "terminated"):
            return KILLED
        return FAILED if outcome.stopped in ("diverged", "failed") else FINISHED

    def _send(self, sheets: dict[str, NDArray[Any]], epoch: int) -> None:
        for name, pixels in sheets.items():
            self.picture(name, pixels, epoch)


def settings_of(trainer: TrainerView) -> dict[str, Any]:
    """Return the settings of a run by name, plain values; with the seed that was drawn."""
    chosen = trainer.settings
    values = {name: getattr(chosen, name) for name in params_of(type(chosen))}
    values["random_state"] = trainer.generator.initial_seed()
    return {"model": type(chosen).__name__} | {k: _plain(v) for k, v in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return " ".join(map(str, value))
    if isinstance(value, np.generic):  # as of np.arange, which few libraries know
        return value.item()
    return getattr(value, "__qualname__", "custom") if callable(value) else value


def named(record: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers of a record by names that viewers put in groups.

    Examples
    --------
    >>> named({"epoch": 1, "loss": 3.0, "valid_loss": 4.0, "seconds": 0.5})
    {'train/loss': 3.0, 'valid/loss': 4.0, 'speed/seconds': 0.5}
    """
    return {_name(k): float(v) for k, v in record.items() if k != "epoch"}


def _name(key: str) -> str:
    if key in PACE:
        return f"speed/{key}"
    return f"valid/{key.removeprefix('valid_')}" if key.startswith("valid_") else f"train/{key}"
