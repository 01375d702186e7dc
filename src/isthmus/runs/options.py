"""Options of a run, and its result."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from isthmus.estimators import LatentEstimator
from isthmus.evaluation.checks import Finding
from isthmus.training import Callback

__all__ = ["Outcome", "Run", "RunOptions"]

Outcome = Literal["finished", "interrupted", "terminated"]


@dataclass(frozen=True)
class RunOptions:
    """Options of `fit_run`: everything that is neither the model nor the data.

    Parameters
    ----------
    out : path-like, optional
        Folder of the run; by default a new one, ``runs/DATA-MODEL``.
    force : bool
        Whether a run in `out` may be replaced.
    resume : bool
        Whether to continue the interrupted run in `out` from its last checkpoint, or to make what
        is missing of its report if its model is saved.
    test_fraction : float, optional
        Share of the rows to hold out for the summary, if the data have no test set of their own;
        0 for none. By default 0.1, or the value of the run to be resumed. The validation rows
        (`validation_fraction` of the model) are drawn from the others.
    checkpoint_every : float, optional
        Seconds between two checkpoints; None for no checkpoints, unless a run is resumed.
    trackers : sequence of {"tensorboard", "mlflow"}
        Experiment trackers that also receive numbers and pictures.
    track_to : str, optional
        Folder or address of the only tracker.
    page : bool
        Whether to write studio.html as well, a page that runs the model in the browser.
    quiet : bool
        Whether to print nothing to standard error, except why training ended early.
    callbacks : sequence of Callback
        More callbacks for training; see `isthmus.training.Callback`.

    Raises
    ------
    ValueError
        If `test_fraction` or `checkpoint_every` is out of bounds.

    Examples
    --------
    >>> RunOptions(out="runs/first", test_fraction=1.5)
    Traceback (most recent call last):
    ...
    ValueError: test_fraction must be at least 0 and below 1, got 1.5.
    """

    out: Path | None = None
    force: bool = False
    resume: bool = False
    test_fraction: float | None = None
    checkpoint_every: float | None = 30.0
    trackers: Sequence[str] = ()
    track_to: str | None = None
    page: bool = False
    quiet: bool = False
    callbacks: Sequence[Callback] = ()

    def __post_init__(self) -> None:
        if self.out is not None:
            object.__setattr__(self, "out", Path(os.fspath(self.out)))
        fraction, every = self.test_fraction, self.checkpoint_every
        if fraction is not None and not 0 <= fraction < 1:
            raise ValueError(f"test_fraction must be at least 0 and below 1, got {fraction!r}.")
        if every is not None and not 0 <= every < math.inf:
            raise ValueError(f"checkpoint_every must be at least 0 seconds, got {every!r}.")
        if self.resume and self.out is None:
            raise ValueError(
                "resume continues the run in a folder: name it by out (on the command line, --out)."
            )


@dataclass(frozen=True, eq=False)
class Run:
    """What `fit_run` leaves.

    Parameters
    ----------
    folder : Path or None
        The folder; None in the processes of a distributed run that write nothing.
    estimator : LatentEstimator or None
        The fitted model; None if torchrun restarted a run that was complete.
    outcome : {"finished", "interrupted", "terminated"}
        How training ended: by itself, by Ctrl-C, or by SIGTERM.
    summary : dict of str to float
        Numbers on the test rows; empty without test rows, or if the run was terminated.
    findings : list of Finding
        What `isthmus.evaluation.check` warns of, at most three.
    report : Path or None
        The report with figures.
    page : Path or None
        The page for the browser, if `RunOptions.page` asked for one.
    resumable : bool
        Whether the folder holds a checkpoint to continue from.
    """

    folder: Path | None = None
    estimator: LatentEstimator | None = None
    outcome: Outcome = "finished"
    summary: dict[str, float] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    report: Path | None = None
    page: Path | None = None
    resumable: bool = False

    @property
    def exit_code(self) -> int:
        """Exit code of a program that ends with this run: 0, 130 (Ctrl-C) or 143 (SIGTERM)."""
        return {"finished": 0, "interrupted": 130, "terminated": 143}[self.outcome]
