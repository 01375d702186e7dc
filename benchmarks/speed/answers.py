"""What a fitted model is asked: codes, reconstructions, scores, the likelihood of rows.

The floor is the forward products alone, of pieces of 250 or 1,000 rows (or codes), whichever is
faster here. Every contender answers for the same rows with the same
number of draws a row. All but isthmus answer in pieces of 1,000 codes, from a float tensor that is
there; isthmus gets an array of bytes, as users have it, which it reads and checks at each call.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from speed import floor as floors
from speed.contenders import Job, Plain, size
from speed.race import CannotRace, Contender, Makers
from speed.rivals import pythae_model
from torch import Tensor, nn

from isthmus.estimators import LatentEstimator
from isthmus.estimators.base import SCORE_SAMPLES
from isthmus.evaluation.likelihood import importance_weighted

PIECE = 1000
FLOOR_PIECES = (250, 1000)
TRAINING_ROWS = 2000


@dataclass(frozen=True)
class Question:
    """What is asked of a VAE, and how each contender answers.

    Parameters
    ----------
    ours : callable
        (estimator, X) to numbers.
    by_hand : callable
        (`Plain`, x, draws) to numbers, for rows x.
    pythae : callable, optional
        (pythae's model, x) to numbers.
    draws : int
        Codes decoded for each row; 0 where none is.
    """

    ours: Callable[[LatentEstimator, Any], Any]
    by_hand: Callable[[Plain, Tensor, int], Tensor]
    pythae: Callable[[Any, Tensor], Any] | None = None
    draws: int = 1

    @property
    def rows(self) -> int:
        """Rows that are answered for at once, but by isthmus."""
        return max(1, PIECE // max(1, self.draws))

    def makers(self, job: Job) -> Makers:
        """Return what makes the contenders, around one model that isthmus has fitted."""

        @functools.cache
        def fitted() -> LatentEstimator:
            settings = {"epochs": 1, "validation_fraction": 0.0, "random_state": 0}
            rows = np.resize(job.x, (TRAINING_ROWS, *job.x.shape[1:]))
            model = type(job.settings)(**job.settings.get_params()).set_params(**settings)
            return model.set_params(likelihood=job.likelihood).fit(rows)

        return {
            "isthmus": lambda: self._ours(fitted(), job),
            "plain loop": lambda: self._by_hand(fitted(), job),
            "pythae": lambda: self._pythae(fitted(), job),
            "floor": lambda: self._floor(job),
        }

    def _ours(self, model: LatentEstimator, job: Job) -> Contender:
        return Contender(lambda: float(np.mean(self.ours(model, job.x))), size(model.model_))

    def _by_hand(self, model: LatentEstimator, job: Job) -> Contender:
        plain = _with_networks_of(model, Plain(job))
        return self._in_pieces(plain, lambda x: self.by_hand(plain, x, self.draws), job, self.rows)

    def _pythae(self, model: LatentEstimator, job: Job) -> Contender:
        answer = self.pythae
        if answer is None:
            raise CannotRace("has no such function")
        rival = pythae_model(job)
        rival.encoder.network = model.model_.encoder
        rival.decoder.network = model.model_.decoder
        # Its likelihood goes row by row on its own.
        rows = len(job.x) if self.draws > PIECE else PIECE
        return self._in_pieces(rival.eval(), lambda x: answer(rival, x), job, rows)

    def _in_pieces(
        self, model: nn.Module, answer: Callable[[Tensor], Any], job: Job, rows: int
    ) -> Contender:
        pieces = job.floats().split(rows)

        def epoch() -> float:
            with torch.inference_mode():
                return float(np.mean([float(torch.as_tensor(answer(x)).mean()) for x in pieces]))

        return Contender(epoch, size(model))

    def _floor(self, job: Job) -> Contender:
        """Return the floor in pieces of the size that is fastest here."""
        return min((self._floor_in(job, piece) for piece in FLOOR_PIECES), key=_best_time)

    def _floor_in(self, job: Job, piece: int) -> Contender:
        model, n = Plain(job).eval(), len(job.x)
        x = job.floats()[:piece]
        z = torch.zeros(min(piece, n * self.draws), job.settings.n_components)
        encode = floors.watch(model.encoder, lambda: model.encoder(x))
        decode = floors.watch(model.decoder, lambda: model.decoder(z)) if self.draws else []
        encoding = floors.floor(encode, math.ceil(n / len(x)), backward=False)
        decoding = floors.floor(decode, math.ceil(n * self.draws / piece), backward=False)
        return Contender(lambda: encoding.epoch() + decoding.epoch())


def _best_time(contender: Contender) -> float:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        contender.epoch()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _with_networks_of(model: LatentEstimator, plain: Plain) -> Plain:
    plain.encoder, plain.decoder = model.model_.encoder, model.model_.decoder
    return plain.eval()


def codes(model: Plain, x: Tensor, draws: int) -> Tensor:
    """Return the means of q(z|x)."""
    return model.encoder(x).chunk(2, 1)[0]


def reconstructions(model: Plain, x: Tensor, draws: int) -> Tensor:
    """Return the means of p(x|z) at the codes."""
    return model.decoder(codes(model, x, draws)).sigmoid()


def scores(model: Plain, x: Tensor, draws: int) -> Tensor:
    """Return the ELBO of each row by some draws, nats."""
    mean, log_variance = model.encoder(x).chunk(2, 1)
    kl = -0.5 * (1 + log_variance - mean.pow(2) - log_variance.exp()).sum(1)
    z = mean + torch.exp(0.5 * log_variance) * torch.randn(draws, *mean.shape)
    return _log_likelihood(model, z, x).mean(0) - kl


def likelihoods(model: Plain, x: Tensor, draws: int) -> Tensor:
    """Return log p(x) of each row by importance sampling, nats."""
    mean, log_variance = model.encoder(x).chunk(2, 1)
    sums = []
    for some in torch.full((draws // PIECE,), PIECE).tolist():
        noise = torch.randn(some, *mean.shape)
        z = mean + torch.exp(0.5 * log_variance) * noise
        ratio = 0.5 * (noise.pow(2) + log_variance - z.pow(2)).sum(-1)  # log p(z) - log q(z|x)
        sums.append(torch.logsumexp(_log_likelihood(model, z, x) + ratio, 0))
    return torch.logsumexp(torch.stack(sums), 0) - math.log(draws)


def _log_likelihood(model: Plain, z: Tensor, x: Tensor) -> Tensor:
    """Return log p(x|z), (draws, n), for Bernoulli pixels."""
    logits = model.decoder(z.flatten(0, 1)).reshape(len(z), *x.flatten(1).shape)
    x = x.flatten(1)
    return (x * logits - nn.functional.softplus(logits)).sum(-1)


def likelihood_question(draws: int) -> Question:
    """Return the question for log p(x) by that many draws a row, a multiple of 1,000."""
    return Question(
        lambda model, X: importance_weighted(model, X, draws).log_likelihood,
        likelihoods,
        lambda model, x: model.get_nll(x, n_samples=draws, batch_size=PIECE),
        draws,
    )


QUESTIONS = {
    "encode": Question(
        lambda model, X: model.transform(X), codes, lambda model, x: model.embed(x), 0
    ),
    "reconstruct": Question(
        lambda model, X: model.reconstruct(X),
        reconstructions,
        lambda model, x: model.reconstruct(x),
    ),
    "score": Question(lambda model, X: model.score_samples(X), scores, None, SCORE_SAMPLES),
    "likelihood": likelihood_question(5000),
}
