"""What trains, as its users run it; each calls the clock before its first batch and each epoch.

isthmus trains by `fit`, with its defaults; loops and pythae are those of `benchmarks/speed`, which
train the same networks from PyTorch's own initial weights; pyod trains by `fit`, with its defaults.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from quality.clock import Clock, Enough
from quality.measures import Coder, negative_elbo, squared_error
from quality.tables import Split
from sklearn.metrics import roc_auc_score
from speed.contenders import Job
from speed.race import Contender
from speed.rivals import installed
from torch import Tensor, nn

from isthmus.applications import AnomalyDetector
from isthmus.applications.anomaly_detection import resolve_score
from isthmus.data import Dataset
from isthmus.distributions.families import ACTIVATIONS
from isthmus.distributions.priors import StandardNormal
from isthmus.estimators import LatentEstimator
from isthmus.training import Callback

Train = Callable[[Any, int, Clock], None]
Networks = tuple[nn.Module, nn.Module]


class EpochEnds(Callback):
    """Pass the first batch and the ends of epochs to a clock.

    Parameters
    ----------
    clock : Clock
    quality : callable
        Maps the estimator as it is after so many epochs to its quality.
    """

    def __init__(self, clock: Clock, quality: Callable[[LatentEstimator], float]) -> None:
        self.clock, self.quality = clock, quality

    def on_start(self, trainer: Any, rows: Any) -> None:
        """Run before the first batch."""

        def quality() -> float:
            model = copy.copy(trainer.settings)  # the estimator that `fit` trains
            model.model_ = trainer.model
            return self.quality(model)

        self.clock.start(quality)

    def on_epoch(self, trainer: Any, record: Any) -> None:
        """Run after each epoch."""
        self.clock.lap()


def floats(pictures: Any) -> Tensor:
    """Return pictures of bytes as numbers in [0, 1]."""
    return torch.from_numpy(pictures).float() / 255


# -------------------------------------------------------------------- pictures


def ours(make: Callable[[], LatentEstimator]) -> Train:
    """Return the training of an estimator by `fit`, in full unless the clock ends it."""

    def train(data: Dataset, seed: int, clock: Clock) -> None:
        model, test = make().set_params(random_state=seed), floats(data.X_test)

        def quality(model: LatentEstimator) -> float:
            if model.prior is not None:
                return negative_elbo(_coder(model), test)
            return squared_error(lambda x: torch.from_numpy(model.reconstruct(x.numpy())), test)

        model.fit(data.X, callbacks=[EpochEnds(clock, quality)])

    return train


def _coder(estimator: LatentEstimator) -> Coder:
    model = estimator.model_

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        q: Any = model.encode(x)
        return q.mean, 2 * q.stddev.log()

    standard = isinstance(model.prior, StandardNormal)
    return Coder(encode, model.decoder, None if standard else model.log_prior)


def loop(make: Callable[[Job], Contender], settings: LatentEstimator, likelihood: str) -> Train:
    """Return the training by a loop of `benchmarks/speed`, until the clock ends it."""

    def train(data: Dataset, seed: int, clock: Clock) -> None:
        job, test = Job(settings, likelihood, data.X, seed=seed), floats(data.X_test)
        contender = make(job)
        encoder, decoder = contender.networks or job.model()
        activation = ACTIVATIONS[settings.activation]

        def encode(x: Tensor) -> tuple[Tensor, Tensor]:
            mean, log_variance = encoder(x).chunk(2, 1)
            return mean, log_variance

        def quality() -> float:
            if settings.prior is not None:
                return negative_elbo(Coder(encode, decoder), test)
            return squared_error(lambda x: decoder(activation(encoder(x))), test)

        clock.start(quality)
        while True:
            contender.epoch()
            clock.lap()

    return train


# ---------------------------------------------------------------------- tables


def detector(make: Callable[[int], AnomalyDetector]) -> Train:
    """Return the training of a detector of isthmus by `fit`."""

    def train(data: Split, seed: int, clock: Clock) -> None:
        chosen = make(seed)
        fit = LatentEstimator.fit

        def quality(model: LatentEstimator) -> float:
            settings = chosen.get_params(deep=False)
            score = resolve_score(chosen.score_method, chosen.estimator, data.train.shape[1:])
            settings |= {"estimator": model, "score_method": score}
            scores = AnomalyDetector(**settings).fit(data.train).anomaly_score(data.test)
            return float(roc_auc_score(data.outlier, scores))

        def watched(model: LatentEstimator, X: Any, *labels: Any, **options: Any) -> Any:
            return fit(model, X, *labels, callbacks=[EpochEnds(clock, quality)], **options)

        with patch.object(LatentEstimator, "fit", watched):
            chosen.fit(data.train)

    return train


def pyod(module: str, name: str) -> Train:
    """Return the training of a detector of pyod by `fit`."""

    def train(data: Split, seed: int, clock: Clock) -> None:
        kind = getattr(installed(f"pyod.models.{module}", "pyod numba"), name)
        model = kind(random_state=seed, verbose=0, device="cpu")
        epochs = model.train

        def quality() -> float:
            scores = model.decision_function(data.test)
            model.model.train()
            return float(roc_auc_score(data.outlier, scores))

        def timed(loader: Any) -> None:
            clock.start(quality)
            epochs(loader)
            raise Enough  # what `fit` does afterwards is not training

        model.train, model.epoch_update = timed, clock.lap
        model.fit(data.train)

    return train
