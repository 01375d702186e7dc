"""Findings of one check, with rows as a test gives them."""

import numpy as np

from isthmus.evaluation.checks.claim import judge
from isthmus.evaluation.checks.context import Context, Rows


def context_of(model, train=None, test=None, new=None, labels=(None, None, None)):
    kinds = zip((train, test, new), labels, ("training", "test", "new"), strict=True)
    rng = np.random.default_rng(0)
    return Context(model, *(Rows.draw(model, X, y, kind, rng) for X, y, kind in kinds), 0)


def findings_of(measure, model, train=None, test=None, new=None, **options):
    """Return the findings of a check by name."""
    claims = measure(context_of(model, train, test, new, **options))
    return {finding.name: finding for finding in judge([*claims])}


def severities_of(*args, **options):
    return {name: each.severity for name, each in findings_of(*args, **options).items()}
