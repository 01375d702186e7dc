"""Samples and reconstructions as images, for experiment trackers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isthmus.data.image_grid import rescale, tile, to_rgba, value_range
from isthmus.training.batches import Source
from isthmus.training.sample_history import SampleRecorder
from isthmus.training.state import Outcome
from isthmus.training.trainer_view import TrainerView

__all__ = ["TrackerImages", "as_sheet"]

Array = NDArray[Any]

COLUMNS = 8
SAMPLES = 4 * COLUMNS
GAP = 0.1  # white space between images, in image widths
MIN_WIDTH = 480  # pixels; trackers show small sheets small


class TrackerImages:
    """Make sheets of samples from the prior, and of rows above their reconstructions.

    Parameters
    ----------
    trainer : TrainerView
    rows : Source
        Images; the first eight are reconstructed.
    """

    def __init__(self, trainer: TrainerView, rows: Source) -> None:
        self.recorder = SampleRecorder(SAMPLES)
        self.recorder.on_start(trainer, rows)
        self.x, self.c = rows.first(COLUMNS)
        self.scaler = getattr(trainer.settings, "scaler_", None)  # of an estimator

    def after_epoch(self, trainer: TrainerView, record: dict[str, Any]) -> dict[str, Array]:
        """Return sheets by name after epochs 1, 2, 4, 8, …; an empty dict after others."""
        epoch = record["epoch"]
        if epoch & (epoch - 1):
            return {}
        self.recorder.on_epoch(trainer, record)
        return self._sheets(trainer)

    def at_end(self, trainer: TrainerView, outcome: Outcome) -> dict[str, Array]:
        """Return sheets by name for the final weights."""
        self.recorder.on_end(trainer, outcome)
        return {f"best/{name}": sheet for name, sheet in self._sheets(trainer).items()}

    def _sheets(self, trainer: TrainerView) -> dict[str, Array]:
        pairs = torch.cat([self.x, self._reconstruct(trainer)]).cpu().numpy()
        sheets = {"reconstructions": as_sheet(self._in_data_units(pairs), len(self.x))}
        while self.recorder.taken:  # empty for a model without a prior
            samples = self._in_data_units(self.recorder.taken.pop()[1])
            sheets["samples"] = as_sheet(samples, COLUMNS)
        return sheets

    @torch.no_grad()
    def _reconstruct(self, trainer: TrainerView) -> Tensor:
        model = trainer.model
        was_training = model.training
        model.eval()
        x = model.reconstruct(model.encode(self.x, self.c).mean, self.c)
        model.train(was_training)
        return x

    def _in_data_units(self, x: Array) -> Array:
        return x if self.scaler is None else np.asarray(self.scaler.inverse_transform(x))


def as_sheet(images: Array, columns: int) -> Array:
    """Return images side by side, as bytes (height, width, 3).

    Parameters
    ----------
    images : ndarray (n, height, width) or (n, channels, height, width)
        Values in [0, 1]; other values are scaled so that the least is black and the greatest
        white.
    columns : int
        Images per row of the sheet.

    Examples
    --------
    >>> as_sheet(np.zeros((16, 8, 8)), columns=8).shape
    (126, 504, 3)
    """
    pixels = to_rgba(rescale(images, value_range(images)))
    sheet = tile(pixels, -(-len(pixels) // columns), columns, GAP)[..., :3]
    factor = -(-MIN_WIDTH // sheet.shape[1])
    return sheet.repeat(factor, 0).repeat(factor, 1)
