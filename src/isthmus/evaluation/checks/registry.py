"""The checks, and what each of them needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from isthmus._messages import one_line
from isthmus.evaluation.baselines import has_normal_posterior
from isthmus.evaluation.checks.bounds import gaps
from isthmus.evaluation.checks.calibration import calibration
from isthmus.evaluation.checks.claim import CannotCheckError, Claim, judge
from isthmus.evaluation.checks.codes import collapsed_units
from isthmus.evaluation.checks.condition import ignored_condition, is_conditional
from isthmus.evaluation.checks.context import Context
from isthmus.evaluation.checks.copies import copies
from isthmus.evaluation.checks.data import (
    bad_scale,
    columns,
    drift,
    is_scaled,
    out_of_range,
)
from isthmus.evaluation.checks.finding import Findings, NotMade
from isthmus.evaluation.checks.likelihood import has_one_likelihood, wrong_likelihood
from isthmus.evaluation.checks.memory import memorisation
from isthmus.evaluation.checks.prior import can_sample, holes, mismatch
from isthmus.evaluation.checks.simple_models import (
    likelihood_of_simple_models,
    narrow_code,
    pca_reconstruction,
)
from isthmus.evaluation.checks.sparse import activity, dead_units, is_sparse
from isthmus.evaluation.checks.tables import is_table
from isthmus.evaluation.checks.training import convergence, overfitting

__all__ = ["CHECKS", "Check", "run_checks"]


def _has_labels(context: Context) -> bool:
    return all(each is not None and each.y is not None for each in (context.train, context.test))


Need = Literal["train", "test", "new", "history", "labels"]
NEEDS: dict[Need, tuple[str, Callable[[Context], bool]]] = {
    "train": ("training rows", lambda context: context.train is not None),
    "test": ("test rows", lambda context: context.test is not None),
    "new": ("new rows", lambda context: context.new is not None),
    "history": ("the history of training", lambda context: bool(context.history)),
    "labels": ("labels of training and test rows", _has_labels),
}


@dataclass(frozen=True)
class Check:
    """One check: a function that measures, and when it can be made.

    Parameters
    ----------
    name : str
        By which it is listed if it cannot be made.
    measure : callable
        ``measure(context)`` yields claims; raises `CannotCheckError` if the rows do not allow it.
    needs : tuple of str
        Which of "train", "test", "new", "history" and "labels" it needs.
    applies : callable
        ``applies(estimator)``: whether the check makes sense for a model; if not, it is not listed.
    costly : bool
        Whether it takes more than about a second; `isthmus fit` omits it.
    findings : tuple of str
        The names of its findings; by default it has one, with the name of the check.
    """

    name: str
    measure: Callable[[Context], Iterable[Claim]]
    needs: tuple[Need, ...] = ()
    applies: Callable[[Any], bool] = lambda estimator: True
    costly: bool = False
    findings: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its findings."""
        return self.findings or (self.name,)

    def missing(self, context: Context) -> str:
        """Return what the check needs and lacks, or an empty string."""
        missing = [NEEDS[need][0] for need in self.needs if not NEEDS[need][1](context)]
        return f"needs {' and '.join(missing)}" if missing else ""


def has_prior(estimator: Any) -> bool:
    """Whether a model is variational."""
    return estimator.prior is not None


# From causes to consequences: of equally severe findings the first one explains the others.
CHECKS: tuple[Check, ...] = (
    Check("copied rows", copies, ("train", "test")),
    Check(
        "scale of columns",
        bad_scale,
        ("train",),
        is_scaled,
        findings=("dominant column", "heavy tails"),
    ),
    Check(
        "range",
        out_of_range,
        ("train",),
        findings=("range of test rows", "range of new rows"),
    ),
    Check("drift", drift, ("new",), findings=("drift", "drifted columns")),
    Check("columns", columns, ("train",), is_table, findings=("constant columns", "identifiers")),
    Check("likelihood", wrong_likelihood, ("train",), has_one_likelihood),
    Check("unconverged training", convergence, ("history",)),
    Check("ignored condition", ignored_condition, ("labels",), is_conditional),
    Check("collapsed units", collapsed_units, ("train",), has_prior),
    Check("dead units", dead_units, ("train",), is_sparse),
    Check("dense code", activity, ("test",), is_sparse),
    Check("narrow code", narrow_code, ("train",)),
    Check("memorisation", memorisation, ("train", "test"), findings=("memorisation", "copying")),
    Check("overfitting", overfitting, ("train", "test")),
    Check("reconstruction", pca_reconstruction, ("train", "test")),
    Check(
        "simple distributions",
        likelihood_of_simple_models,
        ("train", "test"),
        has_prior,
        findings=("independent features", "normal distribution"),
    ),
    Check("holes in the prior", holes, ("train", "test"), can_sample),
    Check("prior mismatch", mismatch, ("train", "test"), has_prior),
    Check("calibration", calibration, ("test",)),
    Check(
        "gaps of the bound",
        gaps,
        ("train",),
        has_normal_posterior,
        costly=True,
        findings=("amortisation", "family of the posterior"),
    ),
)


def run_checks(context: Context, *, costly: bool = True) -> Findings:
    """Make every check that applies, and judge them together."""
    claims: list[Claim] = []
    not_made: list[NotMade] = []
    for check in CHECKS:
        if not check.applies(context.estimator) or (check.costly and not costly):
            continue
        try:
            if missing := check.missing(context):
                raise CannotCheckError(missing)
            claims += check.measure(context)
        except CannotCheckError as reason:
            not_made.append(NotMade(check.name, str(reason)))
        except Exception as error:  # whatever it is, a check must not cost a fit its report
            not_made.append(NotMade(check.name, f"failed: {one_line(error)}"))
    rows = [str(each) for each in (context.train, context.test, context.new) if each is not None]
    return Findings(judge(claims), not_made, rows)
