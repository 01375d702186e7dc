"""Whether the output of a conditional model depends on the condition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from isthmus.estimators.base import LatentEstimator
from isthmus.evaluation.checks.claim import CannotCheckError, Claim
from isthmus.evaluation.checks.context import Context
from isthmus.evaluation.checks.finding import Evidence, Remedy
from isthmus.evaluation.checks.remedies import OFTEN

__all__ = ["ignored_condition", "is_conditional"]

IGNORED = 0.5  # of the gain that a linear regression on the condition would have
RELEVANT = 0.01  # of the variance of test rows, explained by the condition
NAME = "ignored condition"


def is_conditional(estimator: LatentEstimator) -> bool:
    """Whether a model takes a condition."""
    return bool(estimator.conditional)


def ignored_condition(context: Context) -> Iterator[Claim]:
    """Check whether rows are reconstructed worse if their conditions are swapped.

    The gain of the right condition is compared with that of a linear regression on the condition,
    around which the code would hold the rest.
    """
    estimator, train, test = context.estimator, context.train, context.test
    assert train is not None
    assert test is not None
    y, y_test = np.asarray(train.y), np.asarray(test.y)
    if estimator.condition_dropout > OFTEN:
        hidden = estimator.condition_dropout
        evidence = Evidence("share of rows whose condition was hidden in training", hidden, OFTEN)
        text = f"The condition was hidden from {hidden:.0%} of the rows in training."
        yield Claim(NAME, evidence, text, "", Remedy({"condition_dropout": 0.1}), "failure")
        return
    if not context.ordered.any():
        raise CannotCheckError("needs columns of numbers")
    swapped = context.rng.permutation(y_test)
    c, right, wrong = (estimator.encode_condition(each, len(each)) for each in (y, y_test, swapped))
    x, x_test = (np.nan_to_num(context.numbers(rows)) for rows in (train, test))
    linear = LinearRegression().fit(c, x)
    explained = r2_score(x_test, linear.predict(right), multioutput="variance_weighted")
    if explained < RELEVANT:
        evidence = Evidence(
            "share of the variance that the condition explains", explained, RELEVANT
        )
        evidence = replace(evidence, worse="below", rows=len(test))
        wrong_text = "The condition says nothing about the rows."
        remedy = Remedy(advice="Check that labels belong to their rows, or use a VAE.")
        yield Claim(NAME, evidence, wrong_text, "", remedy, "note")
        return
    expected = np.sum((linear.predict(right) - linear.predict(wrong)) ** 2, axis=1).mean()
    gain = (context.squared_errors(test, swapped) - context.squared_errors(test)) / expected
    yield Claim(
        NAME,
        Evidence.of_mean(
            "gain of the right condition over a wrong one, relative to that of a linear regression",
            gain,
            IGNORED,
            worse="below",
        ),
        "The output hardly depends on the condition.",
        "The output depends on the condition.",
        Remedy(
            {"n_components": max(1, estimator.n_components_ // 2)},
            advice="Check that labels belong to their rows.",
        ),
    )
