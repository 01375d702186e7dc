"""Training: the trainer, its batches, callbacks, checkpoints and trackers."""

from isthmus.training.batches import Rows, to_unit
from isthmus.training.callbacks import Callback, TrainerView
from isthmus.training.checkpoints import Checkpoint
from isthmus.training.devices import pick_device
from isthmus.training.state import Outcome
from isthmus.training.trackers import MLflow, TensorBoard
from isthmus.training.trainer import Trainer

__all__ = [
    "Callback",
    "Checkpoint",
    "MLflow",
    "Outcome",
    "Rows",
    "TensorBoard",
    "Trainer",
    "TrainerView",
    "pick_device",
    "to_unit",
]
