"""How long to train, and the learning rate of each step, from the settings alone.

Everything here is a function of the position in the training, so that a resumed run needs no state
of a scheduler, and more epochs can be asked for when it is resumed.
"""

from __future__ import annotations

import math

from isthmus.models.specs import Training

__all__ = ["TARGET_STEPS", "learning_rate", "n_epochs", "n_patience", "n_warm_up"]

TARGET_STEPS, LEAST_EPOCHS = 6000, 12  # of a run with epochs=None
PATIENCE_STEPS, LEAST_PATIENCE = 1000, 4  # steps and epochs of a run with patience=None
WARM_UP_STEPS, WARM_UP_PART = 100, 10  # with warmup=None at most a tenth of the planned steps
DECAY_SHARE = 0.25  # of a run with schedule "wsd"


def n_epochs(settings: Training, n_batches: int | None) -> int:
    """Return the maximum number of epochs, given the steps of each, which may be unknown.

    Examples
    --------
    >>> [n_epochs(Training(), n_batches) for n_batches in (2, 50, 1000)]
    [3000, 120, 12]
    """
    if settings.epochs is not None:
        return settings.epochs
    return max(TARGET_STEPS // (n_batches or TARGET_STEPS), LEAST_EPOCHS)


def n_patience(settings: Training, n_batches: int | None) -> float:
    """Return the epochs without improvement after which training stops; infinity for never.

    Examples
    --------
    >>> [n_patience(Training(), n_batches) for n_batches in (2, 50, 1000)]
    [500, 20, 4]
    """
    if settings.patience is not None:
        return settings.patience or math.inf
    if settings.lr_schedule != "constant":
        return math.inf  # its rate falls to 0 at the planned end
    return max(PATIENCE_STEPS // (n_batches or PATIENCE_STEPS), LEAST_PATIENCE)


def n_warm_up(settings: Training, n_batches: int | None) -> int:
    """Return the steps of the warm-up.

    Examples
    --------
    >>> [n_warm_up(Training(epochs=3), n_batches) for n_batches in (8, 1000, None)]
    [2, 100, 100]
    """
    if settings.warmup is not None:
        return settings.warmup
    planned = math.inf if n_batches is None else n_epochs(settings, n_batches) * n_batches
    return int(min(WARM_UP_STEPS, planned // WARM_UP_PART))


def learning_rate(settings: Training, step: int, n_batches: int | None, progress: float) -> float:
    """Return the learning rate of a step.

    Parameters
    ----------
    settings : Training
    step : int
        Optimizer steps before this one.
    n_batches : int, optional
        Steps of an epoch, if known.
    progress : float
        Share of the planned epochs that have passed, from 0 to 1.

    Examples
    --------
    >>> settings = Training(learning_rate=1.0, warmup=4, lr_schedule="cosine")
    >>> [round(learning_rate(settings, step, None, step / 8), 2) for step in range(8)]
    [0.25, 0.48, 0.64, 0.69, 0.5, 0.31, 0.15, 0.04]
    """
    rise = min(1.0, (step + 1) / max(n_warm_up(settings, n_batches), 1))
    fall = {
        "constant": 1.0,
        "cosine": (1 + math.cos(math.pi * progress)) / 2,
        "wsd": min(1.0, (1 - progress) / DECAY_SHARE),
    }
    return settings.learning_rate * rise * fall[settings.lr_schedule]
