"""Checks of a fitted model: what is wrong, how certain that is, and which setting to change."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from isthmus.estimators.base import LatentEstimator
from isthmus.evaluation.checks.context import Context, Rows
from isthmus.evaluation.checks.finding import Evidence, Finding, Findings, NotMade, Remedy, Trial
from isthmus.evaluation.checks.registry import run_checks
from isthmus.evaluation.checks.trials import with_trials

__all__ = ["Evidence", "Finding", "Findings", "NotMade", "Remedy", "Trial", "check"]


def check(
    estimator: LatentEstimator,
    X_train: Any = None,
    X_test: Any = None,
    X_new: Any = None,
    *,
    y_train: Any = None,
    y_test: Any = None,
    y_new: Any = None,
    costly: bool = True,
    try_remedies: bool = False,
    random_state: int = 0,
) -> Findings:
    """Say what is wrong with a fitted model, with the evidence and the setting to change.

    A warning needs both a practical size, the threshold that it names, and a p-value below 1%
    after correction for the number of tests. `docs/check.md` lists the checks, their thresholds
    and the sources. Of more than 5,000 rows of a kind, 5,000 are drawn at random.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    X_train : array-like (n, *features), optional
        Rows that the model was trained on.
    X_test : array-like (n_test, *features), optional
        Held-out rows.
    X_new : array-like (n_new, *features), optional
        Rows that the model is to be used on. Checks without their rows are listed as not made.
    y_train, y_test, y_new : array-like, optional
        Labels, the condition of conditional models.
    costly : bool
        Whether to make checks that take more than about a second.
    try_remedies : bool
        Whether to fit the settings that warnings propose to at most 2,000 training rows, and say
        which helped test rows; takes as long as several fits.
    random_state : int
        Seed of the rows and samples that are drawn.

    Returns
    -------
    Findings
        The worst first; ``print`` shows a table.

    Raises
    ------
    ValueError
        If rows do not fit the model, such as those with another number of features, or only some
        of the rows have labels.

    See Also
    --------
    evaluate_model : Every metric that applies.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> import isthmus
    >>> X = load_digits().images / 16
    >>> model = isthmus.VAE(n_components=4, epochs=1, random_state=0).fit(X[:1500])
    >>> findings = check(model, X[:1500], X[1500:])
    >>> print(findings[0])
    failure: ...
    """
    if not isinstance(estimator, LatentEstimator):
        raise TypeError(
            f"check expects a model of isthmus, such as a VAE, got an object of type "
            f"{type(estimator).__name__}."
        )
    check_is_fitted(estimator)
    rng = np.random.default_rng(random_state)
    train, test, new = (
        Rows.draw(estimator, X, y, kind, rng)
        for X, y, kind in (
            (X_train, y_train, "training"),
            (X_test, y_test, "test"),
            (X_new, y_new, "new"),
        )
    )
    if train is not None and len(train) < 2:
        raise ValueError("expected at least 2 training rows, got 1.")
    if estimator.conditional:
        _check_labels([each for each in (train, test, new) if each is not None])
    context = Context(estimator, train, test, new, random_state)
    findings = run_checks(context, costly=costly)
    return with_trials(findings, context) if try_remedies else findings


def _check_labels(given: list[Rows]) -> None:
    """Raise a ValueError if only some of the rows have labels, which would make them differ."""
    known = [each.kind for each in given if each.y is not None]
    for each in given:
        if known and each.y is None:
            raise ValueError(
                f"the {known[0]} rows have labels, but the {each.kind} rows have none: pass labels "
                "for all rows, or for none."
            )
