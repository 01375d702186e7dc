"""Callbacks: the interface, and what they see of the trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Generator, nn

from isthmus._messages import did_you_mean
from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.models.specs import Training
from isthmus.objectives.objective import Objective
from isthmus.training.batches import Rows, Source
from isthmus.training.disk_rows import DiskRows
from isthmus.training.distributed import ProcessGroup
from isthmus.training.state import BestWeights, Outcome, Position
from isthmus.training.weight_average import WeightAverage

__all__ = ["Callback", "Callbacks", "TrainerView", "as_callbacks"]


class TrainerView(Protocol):
    """Type of the `trainer` argument of a callback; `Trainer` implements it.

    Callbacks depend on this protocol and the trainer depends on callbacks, so that neither
    module imports the other.

    Attributes
    ----------
    settings : Training
        The settings of the run; an estimator, if one started it.
    weights : list of Parameter
        The parameters that the optimizer updates. In `on_epoch` and `on_end` the model has their
        average, unless ``ema=0``.
    step : int
        Optimizer steps so far.
    max_rows : int or None
        Most rows in one step, once memory was too small for a batch.
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
    average: WeightAverage
    rows: Source | None
    about: dict[str, Any]
    started: float

    def n_epochs(self, rows: Source) -> int:
        """Return the maximum number of epochs."""

    def evaluate(self, rows: Rows | DiskRows) -> dict[str, float]:
        """Return the mean loss terms on rows."""


class Callback:
    """Base class of callbacks; each method does nothing by default.

    With ``compile=True``, changes to anything but tensors (hooks, a dropout rate, the objective)
    take effect in the next epoch.

    In `on_epoch` the model has the average of the weights, which is evaluated; `on_step` is the
    place to change the weights that are trained.

    If several processes train together, only the main process calls callbacks. A callback that
    changes training must set `everywhere` and be passed in each process. With sharded weights
    (strategy "fsdp"), the trainer's model has the weights of the end of the last epoch.

    Attributes
    ----------
    everywhere : bool
        Whether every process calls it; by default False.

    See Also
    --------
    Checkpoint, isthmus.training.trackers.TensorBoard, isthmus.training.trackers.MLflow

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
        """Run before the first epoch."""

    def on_step(self, trainer: TrainerView, n_rows: int) -> None:
        """Run after each optimizer step; do not copy values from the device here."""

    def on_epoch(self, trainer: TrainerView, record: dict[str, Any]) -> None:
        """Run after each epoch with its record, with the averaged weights loaded."""

    def on_stop(self, trainer: TrainerView) -> None:
        """Run after the step during which a stop was requested, with the last weights."""

    def on_end(self, trainer: TrainerView, outcome: Outcome) -> None:
        """Run after training, however it ended, with the best weights loaded."""

    def state(self) -> dict[str, Any]:
        """Return the state to save in checkpoints: tensors and plain JSON."""
        return {}

    def check_state(self, trainer: TrainerView, state: dict[str, Any]) -> None:
        """Raise a ValueError if a `state` from a checkpoint, an untrusted file, is invalid."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from a `state`; called after `on_start`."""


EachEpoch = Callable[[TrainerView, dict[str, Any]], object]
Callbacks = Sequence[Callback | EachEpoch] | Callback | EachEpoch


class _EachEpoch(Callback):
    """Call a function after each epoch."""

    def __init__(self, function: EachEpoch) -> None:
        self.function = function

    def on_epoch(self, trainer: TrainerView, record: dict[str, Any]) -> None:
        """Call the function."""
        self.function(trainer, record)


def as_callbacks(given: Any) -> list[Callback]:
    """Return callbacks; a function of (trainer, record) is called after each epoch.

    Raises
    ------
    TypeError
        If one is neither, is a class instead of an instance, or has a misspelt method.

    Examples
    --------
    >>> class Losses(Callback):
    ...     def on_epoch_end(self, trainer, record): ...
    >>> as_callbacks([Losses()])
    Traceback (most recent call last):
    ...
    TypeError: the callback Losses has a method on_epoch_end, which is never called. Did you mean \
'on_epoch'?
    """
    single = isinstance(given, Callback) or not isinstance(given, Iterable)
    return [_as_callback(each) for each in ([given] if single else given)]


def _as_callback(given: Any) -> Callback:
    if isinstance(given, type):
        raise TypeError(f"callbacks takes objects, not classes: pass {given.__name__}().")
    known = [name for name in vars(Callback) if name.startswith("on_")]
    name = type(given).__name__
    for method in dir(given):
        if method.startswith("on_") and method not in known:
            near = did_you_mean(method, known)
            raise TypeError(
                f"the callback {name} has a method {method}, which is never called.{near}"
            )
    if isinstance(given, Callback) or any(hasattr(given, method) for method in known):
        return given
    if callable(given):
        return _EachEpoch(given)
    raise TypeError(
        "callbacks takes objects of isthmus.Callback, or functions of (trainer, record), got "
        f"{name}."
    )
