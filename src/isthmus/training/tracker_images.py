"""What a model makes, as pictures, while it trains: for trackers."""

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

__all__ = ["Pictures", "as_sheet"]

Array = NDArray[Any]

COLUMNS = 8
SAMPLES = 4 * COLUMNS
GAP = 0.1  # white between pictures, in their widths
WIDTH = 480  # pixels that a sheet has at least: viewers show small ones small


class Pictures:
    """Samples of the prior, and a few rows above their reconstructions, as sheets.

    Parameters
    ----------
    trainer : Trainer
    rows : Source
        Of pictures; the first few are reconstructed.
    """

    def __init__(self, trainer: TrainerView, rows: Source) -> None:
        self.recorder = SampleRecorder(SAMPLES)
        self.recorder.on_start(trainer, rows)
        self.x, self.c = rows.first(COLUMNS)
        self.scaler = getattr(trainer.settings, "scaler_", None)  # of an estimator

    def after_epoch(self, trainer: TrainerView, record: dict[str, Any]) -> dict[str, Array]:
        """Return sheets by name after epochs 1, 2, 4, 8, …; after others none."""
        epoch = record["epoch"]
        if epoch & (epoch - 1):
            return {}
        self.recorder.on_epoch(trainer, record)
        return self._sheets(trainer)

    def at_end(self, trainer: TrainerView, outcome: Outcome) -> dict[str, Array]:
        """Return sheets by name of the weights that are kept."""
        self.recorder.on_end(trainer, outcome)
        return {f"best/{name}": sheet for name, sheet in self._sheets(trainer).items()}

    def _sheets(self, trainer: TrainerView) -> dict[str, Array]:
        pairs = torch.cat([self.x, self._reconstructed(trainer)]).cpu().numpy()
        sheets = {"reconstructions": as_sheet(self._in_units(pairs), len(self.x))}
        while self.recorder.taken:  # a model without a prior has none
            sheets["samples"] = as_sheet(self._in_units(self.recorder.taken.pop()[1]), COLUMNS)
        return sheets

    @torch.no_grad()
    def _reconstructed(self, trainer: TrainerView) -> Tensor:
        model = trainer.model
        was_training = model.training
        model.eval()
        made = model.reconstruct(model.encode(self.x, self.c).mean, self.c)
        model.train(was_training)
        return made

    def _in_units(self, x: Array) -> Array:
        return x if self.scaler is None else np.asarray(self.scaler.inverse_transform(x))


def as_sheet(pictures: Array, columns: int) -> Array:
    """Return pictures side by side, as bytes (height, width, 3).

    Parameters
    ----------
    pictures : ndarray (n, height, width) or (n, channels, height, width)
        In [0, 1], or of any values: then black is the least and white the greatest.
    columns : int
        Pictures in a row.

    Examples
    --------
    >>> as_sheet(np.zeros((16, 8, 8)), columns=8).shape
    (126, 504, 3)
    """
    pixels = to_rgba(rescale(pictures, value_range(pictures)))
    sheet = tile(pixels, -(-len(pixels) // columns), columns, GAP)[..., :3]
    times = -(-WIDTH // sheet.shape[1])
    return sheet.repeat(times, 0).repeat(times, 1)
