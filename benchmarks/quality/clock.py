"""A clock that stops while quality is measured."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

Seconds = tuple[float, float]  # on the wall, of the processor


class Enough(Exception):
    """Raised at the end of an epoch to end training."""


def now() -> Seconds:
    """Return wall time and processor time of this process, all its threads together."""
    return time.perf_counter(), time.process_time()


@dataclass(frozen=True)
class Point:
    """Quality after an epoch, with the seconds of training up to there."""

    epoch: int
    wall: float
    processor: float
    quality: float


@dataclass
class Clock:
    """Record the quality at the end of each epoch against the seconds of training.

    A contender calls `start` before its first batch and `lap` after each epoch. Quality is measured
    between stopping and restarting the clock, without gradients, from a fixed random state that is
    then put back, so that a measured run trains as one that is not.

    Parameters
    ----------
    epochs : int, optional
        `lap` raises `Enough` after that many.
    enough : callable, optional
        Maps quality to whether training may end.
    measures : bool
        False leaves quality out, to time epochs alone.
    read : callable
        The clock itself.

    Attributes
    ----------
    points : list of Point
        One for each epoch; the first, epoch 0, is the model before training.
    """

    epochs: int | None = None
    enough: Callable[[float], bool] = lambda quality: False
    measures: bool = True
    read: Callable[[], Seconds] = now
    points: list[Point] = field(default_factory=list)

    def start(self, quality: Callable[[], float]) -> None:
        """Begin, before the first batch; `quality` measures the model as it then is."""
        self._quality = quality
        self._measure(0, 0.0, 0.0)

    def lap(self) -> None:
        """End an epoch; raises `Enough` after the last one."""
        wall, processor = self.read()
        last = self.points[-1]
        self._measure(
            last.epoch + 1,
            last.wall + wall - self._began[0],
            last.processor + processor - self._began[1],
        )
        if self.points[-1].epoch == self.epochs or self.enough(self.points[-1].quality):
            raise Enough

    def _measure(self, epoch: int, wall: float, processor: float) -> None:
        quality = math.nan
        if self.measures:
            with torch.random.fork_rng(), torch.no_grad():
                torch.manual_seed(0)
                quality = self._quality()
        self.points.append(Point(epoch, wall, processor, quality))
        self._began = self.read()
