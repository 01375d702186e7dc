"""Try the settings that findings propose, on some of the rows."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ttest_1samp
from sklearn.base import clone

from isthmus._messages import one_line
from isthmus.data.columns import Table
from isthmus.estimators.base import LatentEstimator
from isthmus.evaluation.checks.claim import ALPHA, CannotCheckError, judge
from isthmus.evaluation.checks.context import Context, Rows
from isthmus.evaluation.checks.finding import Finding, Findings, NotMade, Trial, error_of_mean
from isthmus.evaluation.checks.registry import CHECKS
from isthmus.evaluation.checks.remedies import steps_per_epoch
from isthmus.evaluation.checks.sparse import is_sparse
from isthmus.training.callbacks import Callback

__all__ = ["with_trials"]

MOST_ROWS = 2_000  # on which models are fitted
MOST_SECONDS = 600.0  # of all trials


def with_trials(findings: Findings, context: Context) -> Findings:
    """Return findings with what came of the settings that warnings and failures propose."""
    if context.train is None or context.test is None:
        lack = NotMade("trials of settings", "needs training rows and test rows")
        return Findings(findings, (*findings.not_made, lack), findings.rows)
    trials = _Trials(context)
    return Findings([trials.of(each) for each in findings], findings.not_made, findings.rows)


class _Trials:
    """Models fitted to the same rows, with other settings than the model that was checked."""

    def __init__(self, context: Context) -> None:
        assert context.train is not None
        assert context.test is not None
        self.context, self.train, self.test = context, context.train.first(MOST_ROWS), context.test
        self.deadline = _Deadline(time.perf_counter() + MOST_SECONDS)
        self.fitted: dict[str, LatentEstimator | Exception] = {}

    def of(self, finding: Finding) -> Finding:
        """Return a finding with the trials of its remedy."""
        if finding.severity not in ("warning", "failure"):
            return finding
        trials = [self.trial(settings, finding.name) for settings in finding.remedy.options]
        return replace(finding, remedy=finding.remedy.with_trials(trials))

    def trial(self, settings: Mapping[str, Any], name: str) -> Trial:
        """Compare a model with other settings with one with the present settings."""
        before, after = self.model({}), self.model(settings)
        for each in (before, after):
            if isinstance(each, Exception):
                return Trial(settings, error=one_line(each))
        return self._compared(settings, name, before, after)

    def model(self, settings: Mapping[str, Any]) -> Any:
        """Return the model fitted with other settings, or the error; each is fitted once."""
        key = str(settings)
        if key not in self.fitted:
            try:
                self.fitted[key] = self._fit(settings)
            except Exception as error:  # such as a likelihood to which the values do not belong
                self.fitted[key] = error
        return self.fitted[key]

    def _fit(self, settings: Mapping[str, Any]) -> LatentEstimator:
        estimator: LatentEstimator = clone(self.context.estimator)
        estimator.set_params(**{"random_state": self.context.random_state} | dict(settings))
        estimator.set_params(progress="none", warm_start=False)
        self._keep_steps(estimator)
        X, columns = self.train.X, self.context.estimator.columns_
        rows = X if columns is None else Table(X, columns)
        estimator.fit(rows, self.train.condition, callbacks=[self.deadline])
        if estimator.stopped_ in ("interrupted", "terminated"):  # by Ctrl-C or SIGTERM
            raise KeyboardInterrupt
        return estimator

    def _keep_steps(self, estimator: LatentEstimator) -> None:
        """Let a model take as many steps on some of the rows as on all rows."""
        kept = len(self.train) * (1 - estimator.validation_fraction)
        factor = steps_per_epoch(self.context.estimator) / math.ceil(kept / estimator.batch_size)
        for name in ("epochs", "patience"):
            if value := getattr(estimator, name):
                estimator.set_params(**{name: math.ceil(value * max(1.0, factor))})

    def _compared(
        self,
        settings: Mapping[str, Any],
        name: str,
        before: LatentEstimator,
        after: LatentEstimator,
    ) -> Trial:
        gain, unit = self._gains(before, after)
        old, new = (self._finding(each, name) for each in (before, after))
        solved = False
        values: tuple[float | None, float | None] = (None, None)
        if old and new and old.evidence.quantity == new.evidence.quantity:
            solved = old.severity != "ok" == new.severity
            values = old.evidence.value, new.evidence.value
        better, worse = (
            bool(ttest_1samp(gain, 0, alternative=side).pvalue < ALPHA)
            for side in ("greater", "less")
        )
        helped = better or (solved and (is_sparse(after) or not worse))
        error = error_of_mean(gain)
        return Trial(settings, float(gain.mean()), error, unit, helped, *values, len(self.train))

    def _rows(self, estimator: LatentEstimator, rows: Rows) -> Rows:
        return Rows(estimator, rows.X, rows.y, rows.kind, len(rows))

    def _finding(self, estimator: LatentEstimator, name: str) -> Finding | None:
        """Return a finding on another model; None if it cannot be made."""
        [check] = (each for each in CHECKS if name in each.names)
        train, test = (self._rows(estimator, rows) for rows in (self.train, self.test))
        context = Context(estimator, train, test, None, self.context.random_state)
        if not check.applies(estimator):
            return None
        try:
            found = judge([*check.measure(context)])
        except CannotCheckError:
            return None
        return next((each for each in found if each.name == name), None)

    def _gains(self, before: LatentEstimator, after: LatentEstimator) -> tuple[NDArray[Any], str]:
        """Return by how much each test row gained: its bound, or its error if bounds differ."""
        measures = {each.model_.likelihood.measure() for each in (before, after)}
        rows = [self._rows(each, self.test) for each in (before, after)]
        if len(measures) == 1 and before.prior is not None:
            return rows[1].bound - rows[0].bound, "nats"
        old, new = (self.context.squared_errors(each) for each in rows)
        return (old - new) / np.mean(old), "of the squared error"


class _Deadline(Callback):
    """Ends a fit that takes too long."""

    def __init__(self, end: float) -> None:
        self.end = end

    def on_step(self, trainer: Any, n_rows: int) -> None:
        """Raise an error after the deadline."""
        if time.perf_counter() > self.end:
            minutes = f"{MOST_SECONDS / 60:.3g}"
            raise TimeoutError(f"all trials together may take {minutes} minutes")
