"""Fits that continue a fitted model: what must stay, and the weights that they begin with."""

from __future__ import annotations

from typing import Any

from isthmus.estimators.run_fingerprint import params_to_json
from isthmus.models.params import params_of
from isthmus.models.specs import Training
from isthmus.registry import OBJECTIVE_SETTINGS
from isthmus.training import Callback, Rows
from isthmus.training.batches import Source
from isthmus.training.callbacks import TrainerView
from isthmus.training.disk_rows import DiskRows

__all__ = ["StartAsBest", "check_same_model"]

#: Settings with which a fitted model can be trained on, besides those of its objective.
FREE = {*params_of(Training), *OBJECTIVE_SETTINGS, "handle_unknown"}


def check_same_model(estimator: Any) -> None:
    """Raise a ValueError if a setting that a fitted model was built with has changed."""
    then, now = (
        params_to_json({k: v for k, v in params.items() if k not in FREE})
        for params in (estimator.fitted_params_, estimator.get_params(deep=False))
    )
    if changed := [name for name, value in now.items() if then.get(name, value) != value]:
        words = "; ".join(f"{name} was {then[name]!r}, is {now[name]!r}" for name in changed)
        raise ValueError(
            f"a fitted {type(estimator).__name__} keeps the settings of its model ({words}): set "
            "them back, or fit a new model with warm_start=False."
        )


class StartAsBest(Callback):
    """Keep the weights that training begins with unless an epoch has a lower validation loss."""

    everywhere = True

    def __init__(self, valid: Rows | DiskRows) -> None:
        self.valid = valid

    def on_start(self, trainer: TrainerView, rows: Source) -> None:
        """Evaluate the weights as those of epoch 0."""
        trainer.best.offer(trainer.evaluate(self.valid)["loss"], 0)
