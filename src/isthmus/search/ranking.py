"""Evaluation of candidates, and successive halving."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus._messages import one_line
from isthmus.estimators import LatentEstimator
from isthmus.estimators.sample_weight import check_sample_weight
from isthmus.estimators.scaling import as_float64
from isthmus.estimators.validation import as_array, check_held_out
from isthmus.search.candidates import Candidate, CandidateRun

__all__ = ["METRICS", "Evaluator", "check_comparable", "end", "rank", "rungs", "stop", "worst"]

METRICS = ("score", "squared-error")


class Evaluator:
    """Evaluate candidates on the test rows X, with labels y, sample weights and row numbers."""

    def __init__(
        self,
        metric: str | Callable[[Any, Any], float],
        X: Any,
        y: Any,
        weights: Any,
        numbers: NDArray[Any],
    ) -> None:
        self.metric, self.X, self.y, self.numbers = metric, X, y, numbers
        self.weights = None if weights is None else check_sample_weight(weights, len(numbers))

    def check(self, estimator: LatentEstimator) -> None:
        """Refuse test rows that an estimator could not evaluate, before it is trained."""
        condition = self.y if estimator.conditional else None
        place = "the rows held out to compare the candidates"
        check_held_out(estimator, self.X, condition, self.numbers, place)

    def __call__(self, c: Candidate) -> dict[str, Any]:
        """Return a candidate's results."""
        condition = self.y if c.estimator.conditional else None
        terms = c.estimator.rate_distortion(self.X, condition=condition)
        rate, distortion = (float(np.average(term, weights=self.weights)) for term in terms)
        score = -(rate + distortion)
        metric = self._measure(c) if callable(self.metric) else score
        if self.metric == "squared-error":
            metric = -self._squared_error(c.estimator, condition)
        losses = [r["valid_loss"] for r in c.outcome.history if "valid_loss" in r]
        return {
            "params": c.params,
            "metric": metric,
            "score": score,
            "rate": rate,
            "distortion": distortion,
            "valid_loss": min(losses, default=None),
            "epochs": c.estimator.n_iter_,
            "best_epoch": c.estimator.best_epoch_,
            "stopped": c.estimator.stopped_,
            "seconds": c.seconds,
            "stacked": c.n_stacked,
        }

    def _squared_error(self, estimator: LatentEstimator, condition: Any) -> float:
        """Return the squared error per row; of tables in units of each column's spread."""
        X = as_array(estimator, self.X)
        decoded = estimator.decode(estimator.transform(X, condition=condition), condition=condition)
        if X.dtype == np.uint8 and not estimator.model_.likelihood.bytes_are_units:
            decoded = decoded / 255
        x = as_float64(X).reshape(decoded.shape)
        errors = x - decoded
        if errors.ndim == 2:  # the same unit for every scaling
            spread = np.nanstd(x, axis=0)
            errors = errors / np.where(spread > 0, spread, 1.0)
        errors = np.nan_to_num(errors)
        each = np.sum(errors.reshape(len(x), -1) ** 2, axis=1)
        return float(np.average(each, weights=self.weights))

    def _measure(self, c: Candidate) -> float:
        """Return the user's metric; NaN, the worst, if it fails."""
        try:
            return float(self.metric(c.estimator, self.X))  # type: ignore[operator]
        except Exception as error:
            warnings.warn(
                f"the metric failed on candidate {c.number}, {c.params} "
                f"({type(error).__name__}: {error}); it is ranked last.",
                RuntimeWarning,
                stacklevel=4,
            )
            return math.nan


def check_comparable(candidates: Sequence[Candidate], as_bytes: bool) -> None:
    """Refuse candidates whose scores have different measures, such as density and probability."""
    first = candidates[0].estimator
    expected = first.model_.likelihood.measure(as_bytes)
    for c in candidates:
        likelihood = c.estimator.model_.likelihood
        if (measure := likelihood.measure(as_bytes)) != expected:
            raise ValueError(
                f"the score of likelihood {one_line(likelihood.name)!r} is the logarithm of a "
                f"{measure}, that of {one_line(first.likelihood_)!r} of a {expected}: they cannot "
                "be ranked. Use metric='squared-error' or a function (--metric squared-error), or "
                "search each likelihood on its own."
            )


def rungs(n: int, factor: float | None) -> list[float]:
    """Return the fraction of the epochs that is complete after each rung.

    Examples
    --------
    >>> rungs(16, None), rungs(8, 2), rungs(1, 3)
    ([1.0], [0.125, 0.25, 0.5, 1.0], [1.0])
    """
    if factor is None:
        return [1.0]
    below = 0
    while n > 1:
        n, below = math.ceil(n / factor), below + 1
        if n == math.ceil(n / factor):  # a factor near 1 that rounding undoes
            break
    return [float(factor) ** -i for i in range(below, -1, -1)]


def worst(runs: list[CandidateRun], evaluator: Evaluator, keep: int) -> list[int]:
    """Return the numbers of the candidates that are not among the best `keep` of all runs."""
    alive = [(run, c) for run in runs for c in run.candidates if c.outcome.stopped != "halving"]
    for run, c in alive:
        if c.live:
            run.publish(c)
    alive.sort(key=lambda pair: rank(evaluator(pair[1])["metric"]), reverse=True)
    return [c.number for _, c in alive[keep:]]


def end(runs: list[CandidateRun], numbers: list[int]) -> None:
    """End the candidates with these numbers, and continue with the others."""
    for run in runs:
        for c in run.candidates:
            if c.number in numbers:
                if c.live:
                    run.drop(c, "halving")
                c.outcome.stopped = "halving"


def stop(runs: list[CandidateRun]) -> list[Candidate]:
    """End all training; return the candidates with at least one epoch."""
    for run in runs:
        for c in run.candidates:
            if c.live and c.outcome.history:
                run.drop(c, "interrupted")
    done = [c for run in runs for c in run.candidates if not c.live]
    return sorted(done, key=lambda c: c.number)


def rank(value: float) -> float:
    """Return a sort key in which NaN is worst."""
    return -math.inf if math.isnan(value) else value
