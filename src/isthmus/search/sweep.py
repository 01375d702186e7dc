"""Sweeps: models trained over a grid of settings and compared on the same test rows."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import wraps
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, MetaEstimatorMixin, TransformerMixin
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit
from sklearn.utils import Tags, get_tags
from sklearn.utils.validation import check_array, check_is_fitted

from isthmus._messages import one_line, say
from isthmus.data.columns import Table
from isthmus.data.disk_array import DiskArray, as_disk_array
from isthmus.data.frames import is_frame
from isthmus.data.input_types import has_masked_bytes, read_input
from isthmus.data.sparse_rows import SparseRows
from isthmus.estimators import LatentEstimator
from isthmus.estimators.defaults import fresh_seed
from isthmus.estimators.run_fingerprint import fingerprint
from isthmus.estimators.sample_weight import WeightedRows, take_rows, weight_rows
from isthmus.search.candidates import (
    Candidate,
    CandidateRun,
    Grid,
    group_candidates,
    make_candidates,
    prepare,
)
from isthmus.search.ranking import (
    METRICS,
    Evaluator,
    check_comparable,
    end,
    rank,
    rungs,
    stop,
    worst,
)
from isthmus.search.sequential import SequentialRun
from isthmus.search.stacked import StackedRun
from isthmus.search.sweep_folder import SweepFolder, check_same_sweep, describe_sweep, read_sweep
from isthmus.training import Rows
from isthmus.training.batches import draw_rows, hold_out
from isthmus.training.devices import own_torch_defaults

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Sweep"]

MAX_LINES = 20  # of progress per rung
LOGGER = logging.getLogger(__name__)


def _of_best(name: str) -> Any:
    """Return a method that calls the method of this name of the best estimator."""

    @wraps(getattr(LatentEstimator, name))
    def method(self: Sweep, *args: Any, **options: Any) -> Any:
        check_is_fitted(self)
        return getattr(self.best_estimator_, name)(*args, **options)

    return method


class Sweep(TransformerMixin, MetaEstimatorMixin, BaseEstimator):
    """Train one model at every point of a grid of settings, and keep the best.

    Dense models that differ only in numbers (`beta`, `random_state`, `learning_rate`,
    `weight_decay`, `penalty_weight`, `corruption_level`, `patience`, schedules of β) are trained
    together, in one program over stacked weights; models with other shapes or parts are trained
    group by group. Each result equals that of its own `fit` on the same rows, up to float32
    rounding. All are compared on the same test rows, on which none of them is trained.

    Parameters
    ----------
    estimator : LatentEstimator
        The model, with the settings that are not varied.
    grid : dict of lists, or list of such dicts
        Settings and their values; every combination is tried, as in scikit-learn's
        `ParameterGrid`.
    metric : {"score", "squared-error"} or callable
        "score" is the ELBO in nats per example, -(rate + distortion), which is comparable between
        models trained with different β, but not between likelihoods that are densities
        ("gaussian", "laplace", "continuous-bernoulli") and probabilities ("bernoulli", "poisson",
        "categorical"): a grid that varies these needs another metric. "squared-error" is minus
        the squared error per example of the reconstructions, of tables in units of the standard
        deviation of each column. Or a function of (estimator, test rows) that returns a number.
        Higher is better.
    halving : number above 1, optional
        Successive halving: train all for a few epochs, continue with the best 1/halving of them,
        and so on until the last ones have all their epochs.
    test_fraction : float
        Fraction of the rows held out to compare the candidates.
    max_stacked : int
        Maximum number of models in one program; 1 trains one after another.
    random_state : int, optional
        Seed for the choice of test rows; the models have their own.
    progress : {"none", "lines"}
        "lines" prints progress to standard error.

    Attributes
    ----------
    results_ : list of dict
        One for each candidate in the order of the grid: `params`; on the test rows `metric`,
        `score`, `rate` and `distortion`, nats per example; `valid_loss`, the lowest loss on the
        candidate's own validation rows, or None; `epochs`, `best_epoch`, `stopped` ("epochs",
        "patience", "diverged", "halving" or "interrupted"); `seconds`, its share of the training
        time; `stacked`, the number of models in its program.
    estimators_ : list of LatentEstimator
        The fitted candidates, in the same order.
    best_index_, best_params_, best_score_, best_estimator_
        The candidate with the highest metric.
    train_rows_, test_rows_ : ndarray of int
        Row numbers of the training rows and of the test rows; rows of weight 0 are in neither.

    References
    ----------
    Non-stochastic best arm identification and hyperparameter optimization (Jamieson, Talwalkar,
    2016), for successive halving.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import BetaVAE, Sweep
    >>> X = load_digits().data / 16
    >>> model = BetaVAE(n_components=4, hidden=(32,), epochs=5, random_state=0)
    >>> sweep = Sweep(model, {"beta": [0.5, 1.0, 8.0]}, random_state=0).fit(X)
    >>> [row["stacked"] for row in sweep.results_]
    [3, 3, 3]
    >>> sweep.results_[0]["rate"] > sweep.results_[2]["rate"]
    True
    >>> sweep.transform(X).shape
    (1797, 4)
    """

    def __init__(
        self,
        estimator: LatentEstimator,
        grid: Grid,
        *,
        metric: str | Callable[[Any, Any], float] = "score",
        halving: float | None = None,
        test_fraction: float = 0.1,
        max_stacked: int = 16,
        random_state: int | None = None,
        progress: str = "none",
    ) -> None:
        self.estimator = estimator
        self.grid = grid
        self.metric = metric
        self.halving = halving
        self.test_fraction = test_fraction
        self.max_stacked = max_stacked
        self.random_state = random_state
        self.progress = progress

    def check(self) -> int:
        """Check every setting of every candidate; return the number of candidates.

        Raises
        ------
        ValueError
            If a setting is unknown, a value is out of bounds, or the grid is empty.
        """
        return len(self.candidates())

    @own_torch_defaults()
    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        groups: Any = None,
        folder: str | Path | None = None,
        resume_from: str | Path | None = None,
    ) -> Self:
        """Train and evaluate every candidate.

        Parameters
        ----------
        X, y, sample_weight
            As for the estimator's own `fit`. Sample weights count in training and in the scores of
            the test rows; a function as `metric` receives the test rows only. Of data that are
            read in parts, candidates are trained one after another.
        groups : array-like (n,), optional
            Rows of one group, such as windows of one recording, stay together in both splits.
        folder : path-like, optional
            Where to keep the models of candidates as they finish, so that the sweep can be resumed.
        resume_from : path-like, optional
            The folder of a sweep with the same settings on the same data that was interrupted or
            killed: candidates that are finished are read from it, and the others are trained. The
            results equal those of an uninterrupted sweep.

        Returns
        -------
        self
            Unchanged if an error is raised.

        Raises
        ------
        ValueError
            Before any training, if a setting is out of bounds or the data are unsuitable, the
            scores of candidates cannot be compared, or the sweep to resume differs.
        FileNotFoundError
            If there is no sweep to resume.
        KeyboardInterrupt
            After Ctrl-C; models trained so far are evaluated and kept.
        """
        candidates = self.candidates()
        before = None if resume_from is None else read_sweep(Path(resume_from))
        seed = self.random_state if before is None else before["settings"]["random_state"]
        if seed is None and folder is not None:
            seed = fresh_seed() % 2**31
        X, y, groups, weights, numbers = weight_rows(read_input(X), y, groups, sample_weight)
        stored = None if isinstance(X, SparseRows) else as_disk_array(X)
        if stored is None:
            X = _checked(X)
            train, held = self._split(X, y, groups, seed)
            own = train if numbers is None else numbers[train]
            y_train, own_groups, own_weights = _parts((y, groups, weights), train)
            given = WeightedRows(take_rows(X, train), y_train, own_groups, own_weights, own)
            X_held = take_rows(X, held)
        else:  # y, groups and weights are those of the whole array
            kept, part = self._split_stored(stored, groups, seed)
            given, X_held = WeightedRows(kept, y, groups, weights), part.read()
            train, held = kept.indices(), part.indices()
        y_held, weights_held = _parts((y, weights), held)
        if numbers is not None:
            train, held = numbers[train], numbers[held]
        evaluator = Evaluator(self.metric, X_held, y_held, weights_held, held)
        seeds = None if before is None else before["seeds"]
        runs = self._runs(candidates, given, evaluator, seeds)
        where = folder if before is None else resume_from
        finished = self._finished(runs, evaluator, seed, where, before)
        interrupted = False
        try:
            self._train(runs, evaluator, finished)
        except KeyboardInterrupt:
            interrupted = True
            candidates = stop(runs)
            if not candidates:
                raise
        rows = [evaluator(c) for c in candidates]
        self._adopt(candidates, rows, train, held)
        if interrupted:
            raise KeyboardInterrupt(
                f"interrupted; the {len(candidates)} models trained so far are kept."
            )
        return self

    def _finished(
        self,
        runs: list[CandidateRun],
        evaluator: Evaluator,
        seed: int | None,
        folder: str | Path | None,
        before: dict[str, Any] | None,
    ) -> SweepFolder:
        """Return the folder of the sweep, which is started or restored."""
        if folder is None:
            return SweepFolder(None, {"ended": []})
        names = ("halving", "test_fraction", "max_stacked")
        metric = {"metric": self.metric if isinstance(self.metric, str) else "custom"}
        settings = {n: getattr(self, n) for n in names} | metric | {"random_state": seed}
        candidates = sorted((c for run in runs for c in run.candidates), key=lambda c: c.number)
        first = candidates[0]
        labels = evaluator.y if first.estimator.conditional else None
        held = first.estimator.tensors(evaluator.X, labels)
        weights = None if evaluator.weights is None else torch.as_tensor(evaluator.weights)
        rows = Rows(*held, weights=weights)
        data = {"train": fingerprint(first.train), "held": fingerprint(rows)}
        now = describe_sweep(candidates, settings, data)
        if before is None:
            kept = SweepFolder(Path(folder), now)
            kept.start()
        else:
            check_same_sweep(before, now, Path(folder))
            kept = SweepFolder(Path(folder), before)
            kept.restore(runs)
        return kept

    def _runs(
        self,
        candidates: list[Candidate],
        given: WeightedRows,
        evaluator: Evaluator,
        seeds: list[int] | None,
    ) -> list[CandidateRun]:
        prepare(candidates, given, evaluator.check, seeds)
        if self.metric == "score":
            as_bytes = getattr(evaluator.X, "dtype", None) == np.uint8
            check_comparable(candidates, as_bytes)
        elif self.metric == "squared-error":
            _check_ordered(candidates)
        in_memory = all(isinstance(c.train, Rows) for c in candidates)
        runs: list[CandidateRun] = []
        for group in group_candidates(candidates, self.max_stacked if in_memory else 1):
            for c in group:
                c.n_stacked = len(group)
            runs.append(StackedRun(group) if len(group) > 1 else SequentialRun(group[0]))
        return runs

    def _train(self, runs: list[CandidateRun], evaluator: Evaluator, kept: SweepFolder) -> None:
        """Train all, rung by rung; after each rung but the last only the best continue."""
        n = sum(len(run.candidates) for run in runs)
        shares = rungs(n, self.halving)
        for rung, share in enumerate(shares):
            for number, run in enumerate(runs):
                if not any(c.live for c in run.candidates):
                    continue
                self._print_progress(f"rung {rung + 1}/{len(shares)}", number, runs, share)
                run.advance(share)
                kept.keep(run)
            if rung + 1 < len(shares):
                n = math.ceil(n / float(self.halving or 1))
                ended = kept.ended_in(rung)
                if ended is None:
                    ended = worst(runs, evaluator, n)
                    kept.end_rung(ended)
                end(runs, ended)
                for run in runs:
                    kept.keep(run)

    def _print_progress(
        self, rung: str, number: int, runs: list[CandidateRun], share: float
    ) -> None:
        if number % max(1, len(runs) // MAX_LINES):
            return
        live = sum(c.live for c in runs[number].candidates)
        models = f"{live} model" + "s" * (live != 1)
        text = f"{rung}  group {number + 1}/{len(runs)}: {models}, to {share:.0%} of the epochs"
        LOGGER.info(text)
        if self.progress == "lines":
            say(text, error=True)

    def _adopt(
        self, candidates: list[Candidate], rows: list[dict[str, Any]], train: Any, held: Any
    ) -> None:
        self.results_ = rows
        self.estimators_ = [c.estimator for c in candidates]
        best = max(range(len(rows)), key=lambda i: rank(rows[i]["metric"]))
        self.best_index_, self.best_estimator_ = best, self.estimators_[best]
        self.best_score_, self.best_params_ = rows[best]["metric"], rows[best]["params"]
        self.train_rows_, self.test_rows_ = train, held
        self.n_features_in_ = self.best_estimator_.n_features_in_
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_

    def _split(self, X: Any, y: Any, groups: Any, seed: int | None) -> tuple[Any, Any]:
        """Return the positions of the training rows and of the test rows in X."""
        rows = X.X if isinstance(X, Table) else X
        if self.estimator.validation_split == "time":
            held = draw_rows(groups, len(rows), self.test_fraction, rng=None)
            return np.setdiff1d(np.arange(len(rows)), held), held
        splitter = ShuffleSplit if groups is None else GroupShuffleSplit
        one = splitter(1, test_size=self.test_fraction, random_state=seed)
        train, held = next(one.split(rows, y, groups))
        return np.sort(train), np.sort(held)

    def _split_stored(
        self, stored: DiskArray, groups: Any, seed: int | None
    ) -> tuple[DiskArray, DiskArray]:
        """Return the training rows and the test rows of an array on disk."""
        in_time = self.estimator.validation_split == "time"
        rng = None if in_time else np.random.default_rng(seed)
        return hold_out(stored, groups, self.test_fraction, rng)

    def candidates(self) -> list[Candidate]:
        """Return the candidates, unfitted, after checking all settings."""
        known = callable(self.metric) or self.metric in METRICS
        whole = isinstance(self.max_stacked, Integral) and self.max_stacked >= 1
        share = isinstance(self.test_fraction, Real) and 0 < self.test_fraction < 1
        factor = isinstance(self.halving, Real) and 1 < self.halving < math.inf
        for name, right, expected in (
            ("metric", known, "'score', 'squared-error' or a function"),
            ("halving", self.halving is None or factor, "a number above 1 or None"),
            ("test_fraction", share, "a number above 0 and below 1"),
            ("max_stacked", whole, "an integer of at least 1"),
            ("progress", self.progress in ("none", "lines"), "'none' or 'lines'"),
        ):
            if not right:
                got = one_line(repr(getattr(self, name)))
                raise ValueError(f"Sweep: {name} must be {expected}, got {got}.")
        return make_candidates(self.estimator, self.grid)

    transform = _of_best("transform")
    inverse_transform = _of_best("inverse_transform")
    reconstruct = _of_best("reconstruct")
    score_samples = _of_best("score_samples")
    score = _of_best("score")
    sample = _of_best("sample")
    get_feature_names_out = _of_best("get_feature_names_out")

    def figure(self, label: str | None = None) -> Figure:
        """Plot the rate and distortion of every candidate on the test rows.

        Parameters
        ----------
        label : str, optional
            Setting to show at each point; by default beta if it is varied.
        """
        from isthmus.search.figure import rate_distortion_figure

        check_is_fitted(self)
        return rate_distortion_figure(self.results_, self.best_index_, label)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "best_estimator_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.target_tags, tags.input_tags = inner.target_tags, inner.input_tags
        tags.transformer_tags = inner.transformer_tags
        return tags


def _check_ordered(candidates: list[Candidate]) -> None:
    """Refuse categories, whose squared errors mean nothing."""
    for c in candidates:
        if not np.all(c.estimator.model_.likelihood.ordered):
            raise ValueError(
                "metric='squared-error' is for numbers, but X has categories: pass a function of "
                "(estimator, test rows) as metric."
            )


def _checked(X: Any) -> Any:
    """Return rows that can be split; the estimators check their values."""
    if isinstance(X, Table | SparseRows) or is_frame(X) or has_masked_bytes(X):
        return X
    return check_array(X, dtype=None, allow_nd=True, ensure_all_finite=False, ensure_min_samples=2)


def _parts(values: tuple[Any, ...], rows: Any) -> list[Any]:
    """Return some rows of each of several values, of which any may be None."""
    return [None if each is None else take_rows(each, rows) for each in values]
