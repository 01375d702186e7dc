"""Base class of experiment trackers: what is logged, and when, numbers and images."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.data.image_grid import is_image, rescale, tile, to_rgba, value_range
from isthmus.data.layout import to_channels_first
from isthmus.models.params import params_of
from isthmus.training.batches import Source
from isthmus.training.callbacks import Callback, TrainerView
from isthmus.training.sample_history import SampleRecorder
from isthmus.training.state import Outcome

__all__ = ["FAILED", "FINISHED", "KILLED", "Tracker", "as_metrics", "as_sheet"]

Record = dict[str, Any]
Array = NDArray[Any]

FINISHED, KILLED, FAILED = "FINISHED", "KILLED", "FAILED"
STATUS = {"interrupted": KILLED, "terminated": KILLED, "diverged": FAILED, "failed": FAILED}
SPEED = ("seconds", "examples_per_second")
COLUMNS = 8  # images per row of a sheet
GAP = 0.1  # white space between images, in image widths
MIN_WIDTH = 480  # pixels; trackers show small sheets small


class Tracker(Callback):
    """Log a run to an experiment tracker.

    A subclass implements `start_run`, `log_metrics`, `log_image` and `end_run`. If one of them
    fails, a warning is issued once and training continues without the tracker. A run that
    resumes from a checkpoint continues in its tracker, and no point is written twice.

    Parameters
    ----------
    images : bool
        If the data are images, also log samples and reconstructions after epochs 1, 2, 4, 8, …
        and of the final weights.

    Attributes
    ----------
    run : str
        The tracker's name of the run; empty before it starts.
    settings : dict
        Settings of the run, plain values.
    last : int
        The last epoch that was logged.

    See Also
    --------
    isthmus.training.trackers.TensorBoard, isthmus.training.trackers.MLflow

    Examples
    --------
    >>> class Printed(Tracker):
    ...     def log_metrics(self, values, epoch):
    ...         print(epoch, *values)
    >>> from sklearn.datasets import load_digits
    >>> import isthmus
    >>> model = isthmus.VAE(epochs=1).fit(load_digits().data / 16, callbacks=[Printed()])
    1 train/loss train/reconstruction train/kl train/penalty ... speed/examples_per_second
    """

    def __init__(self, *, images: bool = True) -> None:
        self.wants_images = images
        self.run = ""
        self.last = 0
        self.settings: dict[str, Any] = {}

    def start_run(self) -> int:
        """Start a run, or continue the one named `run`; return its last epoch, or 0."""
        return self.last

    def log_metrics(self, values: Mapping[str, float], epoch: int) -> None:
        """Log the metrics of an epoch by name; losses in nats per example."""

    def log_image(self, name: str, pixels: NDArray[Any], epoch: int) -> None:
        """Log an image, bytes (height, width, 3)."""

    def end_run(self, status: str) -> None:
        """End the run: "FINISHED", "KILLED" (stop requested) or "FAILED" (diverged, an error)."""

    def on_start(self, trainer: TrainerView, rows: Source) -> None:
        """Collect settings; the run starts at the first step, once it is known if it resumes."""
        self.run, self.last, self.started, self.failed = "", 0, False, False
        self.settings = _settings(trainer) | {"rows": rows.n_rows}
        self.recorder: SampleRecorder | None = None
        if self.wants_images and is_image(tuple(trainer.model.likelihood.shape)):
            self.recorder = SampleRecorder(4 * COLUMNS)
            self.recorder.on_start(trainer, rows)
            self.shown = rows.first(COLUMNS)

    def state(self) -> dict[str, Any]:
        """Return the run and its last epoch."""
        return {"run": self.run, "epoch": self.last}

    def check_state(self, trainer: TrainerView, state: dict[str, Any]) -> None:
        """Check the types of the entries."""
        if type(state["run"]) is not str or type(state["epoch"]) is not int or state["epoch"] < 0:
            raise ValueError("run must be a name and epoch a number")

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue the run of a `state`."""
        self.run, self.last = state["run"], state["epoch"]

    def on_step(self, trainer: TrainerView, n_rows: int) -> None:
        """Start the run."""
        if not self.started:
            self._call(lambda: None)

    def on_epoch(self, trainer: TrainerView, record: Record) -> None:
        """Log the epochs that have not been logged, and images."""
        self._call(self._log_epoch, trainer, record)

    def on_end(self, trainer: TrainerView, outcome: Outcome) -> None:
        """Log the final images and end the run."""
        if self.started:
            self._call(self._end, trainer, outcome)

    def _call(self, action: Callable[..., None], *arguments: Any) -> None:
        """Call an action of a started run; after the first failure warn and do nothing more."""
        if self.failed:
            return
        try:
            if not self.started:
                self.last = self.start_run()
                self.started = True
            action(*arguments)
        except Exception as error:  # any error of a library or server
            self.failed = True
            reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
            warnings.warn(
                f"could not write to {type(self).__name__} ({reason or type(error).__name__}); "
                "training continues without it.",
                RuntimeWarning,
                stacklevel=3,
            )

    def _log_epoch(self, trainer: TrainerView, record: Record) -> None:
        is_new = record["epoch"] > self.last
        for each in trainer.outcome.history[self.last :]:  # all epochs, if tracking starts late
            self.log_metrics(as_metrics(each), each["epoch"])
            self.last = each["epoch"]
        if is_new and self.recorder is not None and not self.last & (self.last - 1):
            self.recorder.on_epoch(trainer, record)
            self._log_images(trainer, self.recorder, self.last)

    def _end(self, trainer: TrainerView, outcome: Outcome) -> None:
        status = STATUS.get(outcome.stopped, FINISHED)
        # An interrupted run may resume, and would log the images again.
        if self.recorder is not None and outcome.best_epoch and status == FINISHED:
            self.recorder.on_end(trainer, outcome)
            self._log_images(trainer, self.recorder, outcome.best_epoch, "best/")
        self.end_run(status)

    @torch.no_grad()
    def _log_images(
        self, trainer: TrainerView, recorder: SampleRecorder, epoch: int, prefix: str = ""
    ) -> None:
        """Log rows above their reconstructions, and the last samples, if the model has a prior."""
        model, scaler = trainer.model, getattr(trainer.settings, "scaler_", None)
        (x, c), was_training = self.shown, model.training
        model.eval()
        rebuilt = model.reconstruct(model.encode(x, c).mean, c)
        model.train(was_training)
        sheets = [("reconstructions", torch.cat([x, rebuilt]).cpu().numpy(), len(x))]
        if recorder.taken:
            sheets.append(("samples", recorder.taken[-1][1], COLUMNS))
            recorder.taken.clear()
        for name, images, columns in sheets:
            if scaler is not None:
                images = np.asarray(scaler.inverse_transform(images))
            self.log_image(prefix + name, as_sheet(to_channels_first(images), columns), epoch)


def as_sheet(images: Array, columns: int) -> Array:
    """Return images side by side, as bytes (height, width, 3).

    Images are (n, height, width) or (n, channels, height, width), with values in [0, 1]; other
    values are scaled so that the least is black and the greatest white.
    """
    pixels = to_rgba(rescale(images, value_range(images)))
    sheet = tile(pixels, -(-len(pixels) // columns), columns, GAP)[..., :3]
    factor = -(-MIN_WIDTH // sheet.shape[1])
    return sheet.repeat(factor, 0).repeat(factor, 1)


def _settings(trainer: TrainerView) -> dict[str, Any]:
    """Return the settings of a run as plain values, with the seed that was drawn."""
    settings = trainer.settings
    values = {name: getattr(settings, name) for name in params_of(type(settings))}
    values["random_state"] = trainer.generator.initial_seed()
    return {"model": type(settings).__name__} | {k: _plain(v) for k, v in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return " ".join(map(str, value))
    if isinstance(value, np.generic):
        return value.item()
    return getattr(value, "__qualname__", "custom") if callable(value) else value


def as_metrics(record: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers of a record under names such as "train/loss", which trackers group."""
    metrics = {}
    for key, value in record.items():
        group = "speed" if key in SPEED else "valid" if key.startswith("valid_") else "train"
        metrics[f"{group}/{key.removeprefix('valid_')}"] = float(value)
    metrics.pop("train/epoch", None)
    return metrics
