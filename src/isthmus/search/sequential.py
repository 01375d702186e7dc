"""Training of one candidate as in its own `fit`, with pauses between rungs."""

from __future__ import annotations

import copy
import math
from typing import Any

from isthmus.search.candidates import Candidate, CandidateRun
from isthmus.training import Trainer
from isthmus.training.dictionary import training_callbacks
from isthmus.training.trainer import warn_diverged

__all__ = ["SequentialRun"]


class SequentialRun(CandidateRun):
    """Train one prepared candidate epoch by epoch, through the `Trainer`."""

    def __init__(self, candidate: Candidate) -> None:
        self.candidate, self.candidates = candidate, [candidate]
        self.trainer: Trainer | None = None
        self.held = candidate.valid is not None

    def _begin(self) -> Trainer:
        c, e = self.candidate, self.candidate.estimator
        self.kept, self.valid = c.train, c.valid
        trainer = e._trainer(self.kept, c.generator)
        trainer.rows = self.kept
        self.callbacks = training_callbacks(e, e.model_)
        self.best: dict[str, Any] = copy.deepcopy(e.model_.state_dict())
        self.last: dict[str, Any] | None = None
        for callback in self.callbacks:
            callback.on_start(trainer, self.kept)
        return trainer

    def advance(self, share: float) -> None:
        """Train up to a fraction of the epochs, or until the candidate stops."""
        c = self.candidate
        if not c.live:
            return
        if self.trainer is None:
            self.trainer = self._begin()
        if self.last is not None:
            self.trainer.model.load_state_dict(self.last)
            self.last = None
        n_epochs = self.trainer.n_epochs(self.kept)
        limit = math.ceil(share * n_epochs)
        while c.live and len(c.outcome.history) < limit:
            self._epoch(self.trainer)
        if c.live and limit == n_epochs:
            self.drop(c, "epochs")

    def _epoch(self, trainer: Trainer) -> None:
        c = self.candidate
        number = len(c.outcome.history) + 1
        record = trainer.epoch(self.kept, self.valid, self.callbacks, number)
        c.seconds += record["seconds"]
        if trainer.diverged(record):
            warn_diverged(record, c.best_epoch, stacklevel=6)
            self.drop(c, "diverged")
            return
        if c.offer(record, self.held):
            self.best = copy.deepcopy(trainer.model.state_dict())
        for callback in self.callbacks:
            callback.on_epoch(trainer, record)
        if self.held and number - c.best_epoch >= trainer.n_patience(self.kept):
            self.drop(c, "patience")

    def publish(self, candidate: Candidate) -> None:
        """Load the weights to keep into the model; training continues from the last ones."""
        model = candidate.estimator.model_
        if candidate.live and self.last is None:
            self.last = copy.deepcopy(model.state_dict())
        if candidate.wants_best(self.held):
            model.load_state_dict(self.best)
        model.eval()
        candidate.describe(self.held)

    def drop(self, candidate: Candidate, why: str) -> None:
        """End training."""
        candidate.end(why)
        self.publish(candidate)
        if self.trainer is not None:
            for callback in self.callbacks:
                callback.on_end(self.trainer, candidate.outcome)
        self.trainer = None
        del self.kept, self.valid, self.best, self.last
