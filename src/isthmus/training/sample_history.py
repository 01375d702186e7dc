"""Samples from several epochs, for the report."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.distributions.base import draw
from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.training.batches import Source
from isthmus.training.callbacks import Callback, TrainerView
from isthmus.training.state import Outcome

__all__ = ["SampleRecorder", "final_samples"]


class SampleRecorder(Callback):
    """Decode the same few codes, drawn from the prior, after epochs 1, 2, 4, 8, … and the last.

    Parameters
    ----------
    n : int
        Number of samples; 18 fill a grid of three by six.
    """

    def __init__(self, n: int = 18) -> None:
        self.n = n
        self.taken: list[tuple[int, NDArray[Any]]] = []

    def on_start(self, trainer: TrainerView, rows: Source) -> None:
        """Store the conditions to generate for."""
        self.taken = []
        self.c = rows.first(self.n)[1]

    def on_epoch(self, trainer: TrainerView, record: dict[str, Any]) -> None:
        """Decode after epochs that are powers of two."""
        epoch = record["epoch"]
        if epoch & (epoch - 1) == 0:
            self._take(trainer.model, epoch)

    def on_end(self, trainer: TrainerView, outcome: Outcome) -> None:
        """Decode with the final weights."""
        self.taken = [(e, x) for e, x in self.taken if e < outcome.best_epoch]
        self._take(trainer.model, outcome.best_epoch)

    def state(self) -> dict[str, Any]:
        """Return the samples."""
        samples = {str(epoch): torch.from_numpy(x) for epoch, x in self.taken}
        return {**samples, "epochs": [epoch for epoch, _ in self.taken]}

    def check_state(self, trainer: TrainerView, state: dict[str, Any]) -> None:
        """Check the epochs and the shape of the samples."""
        epochs, shape = state["epochs"], tuple(trainer.model.likelihood.shape)
        if epochs not in ([], [1 << i for i in range(len(epochs))]):
            raise ValueError("epochs must be powers of two")
        for epoch in epochs:
            x = state[str(epoch)]
            valid = x.numpy().dtype.kind in "fiu" and 0 < len(x) <= self.n and x.shape[1:] == shape
            if not valid:
                raise ValueError(f"the samples of epoch {epoch} must have the shape {shape}")

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from the samples of a `state`."""
        self.taken = [(epoch, state[str(epoch)].numpy()) for epoch in state["epochs"]]

    @torch.no_grad()
    def _take(self, model: LatentVariableModel, epoch: int) -> None:
        if model.prior is None:
            return
        p = model.prior_given(self.c)
        unconditional = len(p.batch_shape + p.event_shape) == 1
        generator = torch.Generator(next(model.parameters()).device).manual_seed(0)
        z = draw(p, generator, (self.n,) if unconditional else ())
        was_training = model.training
        self.taken.append((epoch, model.eval().reconstruct(z, self.c).cpu().numpy()))
        model.train(was_training)

    def pictures(self, estimator: Any) -> list[tuple[int, NDArray[Any]]]:
        """Return (epoch, samples (n, *features)) in the units of the data."""
        return [
            (epoch, np.asarray(estimator.scaler_.inverse_transform(x), np.float32))
            for epoch, x in self.taken
        ]


def final_samples(estimator: Any, y: Any = None) -> list[tuple[int, NDArray[Any]]]:
    """Return what `SampleRecorder.pictures` does for a trained model: only its own samples.

    `y` are the labels of the data, for conditional models.
    """
    recorder = SampleRecorder()
    labels = y[: recorder.n] if estimator.conditional else None
    c = estimator.encode_condition(labels, recorder.n if labels is None else len(labels))
    recorder.c = None if c is None else torch.from_numpy(c).to(estimator.device_)
    recorder._take(estimator.model_, estimator.best_epoch_)
    return recorder.pictures(estimator)
