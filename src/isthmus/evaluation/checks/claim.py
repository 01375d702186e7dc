"""What a check measured, before all checks are judged together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from scipy.stats import false_discovery_control

from isthmus.evaluation.checks.finding import Evidence, Finding, Remedy, Severity

__all__ = ["ALPHA", "CannotCheckError", "Claim", "judge"]

ALPHA = 0.01  # largest p-value of a finding, corrected for the number of tests


class CannotCheckError(Exception):
    """A check does not apply to these rows; the message says why, as "needs labels" does."""


@dataclass(frozen=True)
class Claim:
    """Something that is wrong with a model if the evidence crosses its threshold.

    Parameters
    ----------
    name : str
        Of the check.
    evidence : Evidence
        The threshold is the practical size: the least value that is worth a change. If the value
        has a sampling error, crossing it must also be significant.
    wrong, right : str
        The verdict if it is wrong, and if it is not: one sentence each.
    remedy : Remedy
    severity : {"note", "warning", "failure"}
        If it is wrong.
    """

    name: str
    evidence: Evidence
    wrong: str
    right: str
    remedy: Remedy = field(default_factory=Remedy)
    severity: Severity = "warning"

    def finding(self, p_value: float | None) -> Finding:
        """Return the finding, given the p-value after correction for the number of tests."""
        evidence = replace(self.evidence, p_value=p_value)
        if evidence.crossed and (p_value is None or p_value < ALPHA):
            return Finding(self.name, self.severity, self.wrong, evidence, self.remedy)
        return Finding(self.name, "ok", self.right, evidence)


def judge(claims: Sequence[Claim]) -> list[Finding]:
    """Return the findings; p-values are corrected together, by Benjamini and Hochberg.

    If all is well the probability of any false finding is below 1%; otherwise the share of false
    findings is.

    References
    ----------
    Controlling the false discovery rate (Benjamini, Hochberg, 1995).

    Examples
    --------
    >>> evidence = Evidence("gap", 3.0, threshold=1.0, standard_error=1.0)
    >>> [finding] = judge([Claim("gap", evidence, "The gap is wide.", "The gap is small.")])
    >>> finding.severity, finding.verdict  # two standard errors are not enough
    ('ok', 'The gap is small.')
    """
    tested = [p for claim in claims if (p := claim.evidence.probability) is not None]
    tested = [1.0 if math.isnan(p) else p for p in tested]  # nothing was measured
    corrected = iter(false_discovery_control(tested).tolist() if tested else [])
    return [
        claim.finding(None if claim.evidence.probability is None else next(corrected))
        for claim in claims
    ]
