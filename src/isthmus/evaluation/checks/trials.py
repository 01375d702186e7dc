"""Try the settings that findings propose, on some of the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ttest_1samp
from sklearn.base import clone

from isthmus.estimators.base import LatentEstimator
from isthmus.evaluation.checks.claim import ALPHA
from isthmus.evaluation.checks.context import Context, Rows
from isthmus.evaluation.checks.finding import Finding, Findings, Trial, error_of_mean

__all__ = ["with_trials"]

MOST_ROWS = 2_000  # on which models are fitted


def with_trials(findings: Findings, context: Context) -> Findings:
    """Return findings with what came of the settings that warnings and failures propose."""
    if context.train is None or context.test is None:
        return findings
    trials = _Trials(context)
    tried = [trials.of(each) for each in findings]
    return Findings(tried, findings.not_made, findings.rows)


class _Trials:
    """Models fitted to the same rows, with other settings than the model that was checked."""

    def __init__(self, context: Context) -> None:
        assert context.train is not None
        assert context.test is not None
        self.context, self.train, self.test = context, context.train.first(MOST_ROWS), context.test
        self.known: dict[str, Trial] = {}
        self.before: LatentEstimator | None = None

    def of(self, finding: Finding) -> Finding:
        """Return a finding with the trials of its remedy."""
        if finding.severity not in ("warning", "failure"):
            return finding
        trials = [self.trial(settings) for settings in finding.remedy.options]
        return replace(finding, remedy=finding.remedy.with_trials(trials))

    def trial(self, settings: Mapping[str, Any]) -> Trial:
        """Fit a model with other settings, and compare it with one with the present settings."""
        if str(settings) not in self.known:
            self.before = self.before or self._fit({})
            after = self._fit(settings)
            gain, unit = self._gains(self.before, after)
            helped = bool(ttest_1samp(gain, 0, alternative="greater").pvalue < ALPHA)
            mean, error = float(gain.mean()), error_of_mean(gain)
            self.known[str(settings)] = Trial(settings, mean, error, unit, helped)
        return self.known[str(settings)]

    def _fit(self, settings: Mapping[str, Any]) -> LatentEstimator:
        estimator = clone(self.context.estimator)
        estimator.set_params(**{"random_state": self.context.random_state} | dict(settings))
        estimator.set_params(progress="none", warm_start=False)
        return estimator.fit(self.train.X, self.train.condition)

    def _gains(self, before: LatentEstimator, after: LatentEstimator) -> tuple[NDArray[Any], str]:
        """Return by how much each test row gained: its bound, or its error if bounds differ."""
        measures = {each.model_.likelihood.measure() for each in (before, after)}
        rows = [
            Rows(each, self.test.X, self.test.y, "test", len(self.test)) for each in (before, after)
        ]
        if len(measures) == 1 and before.prior is not None:
            return rows[1].bound - rows[0].bound, "nats"
        old, new = (self.context.squared_errors(each) for each in rows)
        return (old - new) / np.mean(old), "of the squared error"
