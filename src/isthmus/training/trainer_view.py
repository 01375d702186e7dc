"""The part of the trainer that callbacks use, as a protocol."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Generator, nn

from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.models.specs import Training
from isthmus.objectives.objective import Objective
from isthmus.training.batches import Source
from isthmus.training.distributed import ProcessGroup
from isthmus.training.state import BestWeights, Outcome, Position

__all__ = ["TrainerView"]


class TrainerView(Protocol):
    """Type of the `trainer` argument of a callback; `Trainer` implements it.

    Callbacks depend on this protocol and the trainer depends on callbacks, so that neither
    module imports the other.

    Attributes
    ----------
    model : LatentVariableModel
    objective : Objective
    settings : Training
        The settings of the run; an estimator, if one started it.
    generator : torch.Generator
        Source of all randomness.
    process_group : ProcessGroup
        The processes that train together.
    optimizer : torch.optim.Optimizer
    weights : list of Parameter
        The parameters that the optimizer updates.
    step : int
        Optimizer steps so far.
    max_rows : int or None
        Most rows in one step, once memory was too small for a batch.
    outcome : Outcome
    position : Position
    best : BestWeights
    rows : Source or None
        Training rows, once training has started.
    about : dict
        Description of the run, stored in its checkpoints.
    started : float
        When the epoch started, by `time.perf_counter`.
    """

    model: LatentVariableModel
    objective: Objective
    settings: Training
    generator: Generator
    process_group: ProcessGroup
    optimizer: torch.optim.Optimizer
    weights: list[nn.Parameter]
    step: int
    max_rows: int | None
    outcome: Outcome
    position: Position
    best: BestWeights
    rows: Source | None
    about: dict[str, Any]
    started: float

    def n_epochs(self, rows: Source) -> int:
        """Return the maximum number of epochs."""
