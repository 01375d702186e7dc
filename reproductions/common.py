"""Shared code of the reproductions: jobs that resume, and their results.

A published table is a module with `JOBS`. A job trains one model, in one or more stages, and
measures it. It can be stopped at any moment: training resumes from its last checkpoint.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import isthmus
from isthmus.estimators import LatentEstimator
from isthmus.training import Callback, Checkpoint
from isthmus.training.checkpoints import find_checkpoints

HERE = Path(__file__).parent
RUNS, RESULTS = HERE / "runs", HERE / "results"
#: Published results are those of the last weights, trained from the first step at the full rate.
AS_PUBLISHED: dict[str, Any] = {"warmup": 0, "ema": 0.0}


class Data(NamedTuple):
    """Rows to train on and, if training ends by patience, rows to watch."""

    X: Any
    X_val: Any = None


@dataclass(frozen=True)
class Job:
    """A model of a published table.

    Parameters
    ----------
    table : str
        Folder of the results.
    name : str
        Of the result file.
    hours : float
        Of one processor, estimated before it ran.
    estimator : callable
        Returns the unfitted estimator.
    data : callable
        Returns the data, given the folder that contains mnist/ and fashion-mnist/.
    measure : callable
        Returns what is compared with the published numbers, given the fitted estimator and that
        folder.
    published : dict
        Published numbers, by the name of the measure.
    stages : tuple of dict
        Settings that change from one stage of training to the next; the optimizer continues.
    """

    table: str
    name: str
    hours: float
    estimator: Callable[[], LatentEstimator]
    data: Callable[[str], Data]
    measure: Callable[[LatentEstimator, str], dict[str, Any]]
    published: dict[str, float] = field(default_factory=dict)
    stages: tuple[dict[str, Any], ...] = ({},)

    @property
    def folder(self) -> Path:
        """Checkpoints and trained models."""
        return RUNS / self.table / self.name

    @property
    def result(self) -> Path:
        """The result file."""
        return RESULTS / self.table / f"{self.name}.json"

    @property
    def done(self) -> bool:
        """Whether the model is trained to its end and measured."""
        return self.result.is_file() and json.loads(self.result.read_text())["done"]

    @property
    def planned_epochs(self) -> int | None:
        """Most epochs of all stages; None if the package chooses."""
        planned = [s.get("epochs", self.estimator().epochs) for s in self.stages]
        return None if None in planned else sum(planned)

    def progress(self) -> dict[str, float]:
        """Return the epochs and processor seconds of the stages that have begun."""
        clocks = [self._clock(i) for i in range(len(self.stages))]
        return {key: sum(clock[key] for clock in clocks) for key in ("epochs", "seconds")}

    def _clock(self, stage: int) -> dict[str, float]:
        path = self.folder / str(stage) / "clock.json"
        return json.loads(path.read_text()) if path.is_file() else {"epochs": 0, "seconds": 0.0}

    def train(self, home: str) -> LatentEstimator:
        """Train the stages that are not finished; return the model."""
        model, data = self.estimator(), None
        for number, settings in enumerate(self.stages):
            folder = self.folder / str(number)
            if (folder / "model").is_dir():
                model = isthmus.load(folder / "model")
                continue
            data = data or self.data(home)
            model.set_params(**settings, warm_start=number > 0)
            resume = folder if find_checkpoints(folder) else None
            callbacks = [Clock(folder / "clock.json"), Checkpoint(folder)]
            model.fit(data.X, X_val=data.X_val, callbacks=callbacks, resume_from=resume)
            model.save(folder / "model")
        return model

    def save(self, model: LatentEstimator, measured: dict[str, Any], *, done: bool) -> None:
        """Write measures, settings, versions and processor time as JSON."""
        progress = self.progress()
        text = json.dumps(
            {
                "done": done,
                "published": self.published,
                "measured": measured,
                "epochs": int(progress["epochs"]),
                "planned_epochs": self.planned_epochs,
                "best_epoch": model.best_epoch_,
                "processor_hours": round(progress["seconds"] / 3600, 5),
                "settings": model.get_params(deep=False),
                "stages": self.stages if len(self.stages) > 1 else None,
                "isthmus": isthmus.__version__,
                "torch": torch.__version__,
            },
            indent=2,
            default=plain,
        )
        self.result.parent.mkdir(parents=True, exist_ok=True)
        self.result.write_text(text + "\n")


class Clock(Callback):
    """Count epochs and processor seconds of a stage, in all its sessions."""

    def __init__(self, path: Path) -> None:
        self.path, self.seconds = path, 0.0

    def on_start(self, trainer, rows):
        self.start = time.process_time()

    def on_epoch(self, trainer, record):
        self.path.write_text(json.dumps({"epochs": record["epoch"], **self.state()}))

    def state(self):
        return {"seconds": self.seconds + time.process_time() - self.start}

    def load_state(self, state):
        self.seconds = state["seconds"]


def plain(value: Any) -> Any:
    """Convert NumPy numbers to Python numbers, and anything else to text."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)


def binarized(pictures: np.ndarray, seed: int) -> np.ndarray:
    """Return bytes 0 or 255, drawn once with the grey values as probabilities."""
    draw = np.random.default_rng(seed).random(pictures.shape) < pictures / 255
    return 255 * draw.astype(np.uint8)
