"""Whether the rows themselves are at fault: columns, ranges, scales and drift."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, false_discovery_control

from isthmus.estimators.base import LatentEstimator
from isthmus.evaluation.checks.claim import ALPHA, CannotCheckError, Claim
from isthmus.evaluation.checks.context import Context, Rows
from isthmus.evaluation.checks.finding import Evidence, Remedy
from isthmus.evaluation.checks.tables import is_table, listed, sentence
from isthmus.evaluation.checks.two_sample import moved_columns, separation

__all__ = ["bad_scale", "columns", "drift", "is_scaled", "out_of_range"]

Array = NDArray[Any]
UNIQUE = 0.95  # of the values of a column of whole numbers
FAR = 0.5  # of the range seen, by which a value is outside
OUTSIDE = 0.01  # of the rows
DOMINANT = 100.0  # times the mean variance of the other columns
MAJOR = 0.5  # of the variance of all columns
TAIL, IN_TAIL = 0.01, 0.9  # of the rows, and of the variance of a column that they make up
SEPARABLE = 0.7  # area under the ROC curve
MOVED = 0.25  # distance of Kolmogorov and Smirnov


def is_scaled(estimator: LatentEstimator) -> bool:
    """Whether rows are vectors with real numbers, whose scale matters."""
    return len(estimator.feature_shape_) == 1 and bool(np.any(_scalable(estimator)))


def columns(context: Context) -> Iterator[Claim]:
    """Look for columns that hold one value, or a number for each row."""
    train, estimator = context.train, context.estimator
    assert train is not None
    few = np.array([_distinct(column) for column in train.values.T])
    whole = np.all(np.isnan(train.values) | (train.values == np.rint(train.values)), axis=0)
    constant = np.flatnonzero(few < 2)
    unique = np.flatnonzero(whole & (few > max(2, UNIQUE * len(train))))
    for name, found, wrong, right, why in (
        (
            "constant columns",
            constant,
            "All rows have the same value in {}.",
            "No column has the same value in all rows.",
            "Constant columns carry no information",
        ),
        (
            "identifiers",
            unique,
            "Almost every row has a different whole number in {}, as identifiers do.",
            "No column has a different whole number in almost every row.",
            "Identifiers can only be learned by heart",
        ),
    ):
        yield Claim(
            name,
            Evidence("columns", len(found), 0, rows=len(train)),
            wrong.format(listed(estimator, found)),
            right,
            Remedy(advice=f"{why}: leave them out."),
            "note",
        )


def _distinct(column: Array) -> int:
    return len(np.unique(column[~np.isnan(column)]))


def out_of_range(context: Context) -> Iterator[Claim]:
    """Check for values far outside the range of the training rows.

    Far is by more than half of that range. Of n training rows with any distribution, the next value
    is outside the range of a column with a probability of 2 / (n + 1).
    """
    train, estimator = context.train, context.estimator
    assert train is not None
    if context.test is None and context.new is None:
        raise CannotCheckError("needs test rows or new rows")
    table = is_table(estimator)
    low, high = _range(train.values, table)
    margin = FAR * (high - low)
    for rows in (context.test, context.new):
        if rows is None:
            continue
        far: Array = (rows.values < low - margin) | (rows.values > high + margin)
        outside = far if table else far.max(axis=1, keepdims=True)
        chance = 2 / (len(train) + 1)
        counts = outside.sum(axis=0)
        p = false_discovery_control(
            [binomtest(int(k), len(rows), chance, alternative="greater").pvalue for k in counts]
        )
        worst = int(np.argmax(counts))
        found = np.flatnonzero((p < ALPHA) & (counts > OUTSIDE * len(rows)))
        where = f"in {listed(estimator, found, counts)}" if table else "in images or signals"
        yield Claim(
            f"range of {rows.kind} rows",
            Evidence(
                "share of rows far outside the range seen, in the worst column",
                float(counts[worst] / len(rows)),
                OUTSIDE,
                p_value=float(p[worst]),
                rows=len(rows),
            ),
            f"Values of {rows.kind} rows are far outside the range of the training rows {where}.",
            f"Values of {rows.kind} rows are in the range of the training rows.",
            Remedy(advice="Check the units of these columns, and how missing values are marked."),
        )


def _range(values: Array, per_column: bool) -> tuple[Array, Array]:
    axis = 0 if per_column else None
    known = np.ma.masked_invalid(values)
    low, high = known.min(axis), known.max(axis)
    return np.ma.filled(low, -np.inf), np.ma.filled(high, np.inf)


def bad_scale(context: Context) -> Iterator[Claim]:
    """Check whether one column, or few of its rows, dominates the loss.

    Values are compared as the model sees them, after `scaling`.
    """
    train, estimator = context.train, context.estimator
    assert train is not None
    scaled = estimator.scaler_.transform(train.X).astype(np.float64)
    real = np.flatnonzero(np.broadcast_to(_scalable(estimator), scaled.shape[1:]))
    real = real[~np.isnan(scaled[:, real]).all(axis=0)]
    squares = (scaled[:, real] - np.nanmean(scaled[:, real], axis=0)) ** 2
    squares = np.nan_to_num(squares)
    variances = squares.mean(axis=0)
    if not variances.sum() > 0:
        raise CannotCheckError("needs numbers that vary")
    worst, n = int(np.argmax(variances)), len(real)
    name = listed(estimator, real[[worst]])
    if n > 1:
        share = float(variances[worst] / variances.sum())
        yield Claim(
            "dominant column",
            Evidence(
                "share of the variance of all columns",
                share,
                max(MAJOR, DOMINANT / (DOMINANT + n - 1)),
                rows=len(train),
            ),
            f"{sentence(name)} makes up {share:.1%} of the variance of all columns, so that the "
            "model learns little else.",
            "No column makes up most of the variance.",
            Remedy({"scaling": "standard"}),
            "failure",
        )
    yield _heavy_tail(estimator, real, squares, scaled)


def _heavy_tail(estimator: LatentEstimator, real: Array, squares: Array, scaled: Array) -> Claim:
    few = max(1, int(TAIL * len(squares)))
    top = np.sort(squares, axis=0)[-few:].sum(axis=0)
    tails = top / np.maximum(squares.sum(axis=0), np.finfo(float).tiny)
    quarter, three = np.nanquantile(scaled[:, real], (0.25, 0.75), axis=0)
    tails = np.where(three > quarter, tails, 0.0)  # not columns that are zero in most rows
    worst = int(np.argmax(tails))
    name = listed(estimator, real[tails > IN_TAIL], tails[tails > IN_TAIL])
    return Claim(
        "heavy tails",
        Evidence(
            f"share of the variance of a column in {few} of its rows",
            float(tails[worst]),
            IN_TAIL,
            rows=len(squares),
        ),
        f"{few} of {len(squares)} rows make up nearly all of the variance of {name}: all "
        "other values look the same to the model.",
        "No column has nearly all of its variance in few rows.",
        Remedy(
            {"likelihood": "laplace"},
            advice="Better still, transform the column first, by its logarithm or by "
            "QuantileTransformer of scikit-learn.",
        ),
    )


def drift(context: Context) -> Iterator[Claim]:
    """Check whether new rows have the distribution of test rows, or else of training rows.

    The codes of the rows are compared, and the distributions of the columns of a table.
    """
    new, known = context.new, context.test or context.train
    assert new is not None
    if known is None:
        raise CannotCheckError("needs test rows or training rows")
    estimator = context.estimator
    area, p_value = separation(*(_codes_and_scores(each) for each in (known, new)))
    remedy = Remedy(
        advice="Fit the model on rows like the new ones, or check how they were measured."
    )
    yield Claim(
        "drift",
        Evidence(
            "area under the ROC curve of a classifier of codes, 0.5 by chance",
            area,
            SEPARABLE,
            p_value=p_value,
            rows=len(new),
        ),
        f"New rows differ from {known.kind} rows: a classifier tells them apart by their codes.",
        f"New rows have codes like those of {known.kind} rows.",
        remedy,
    )
    if not is_table(estimator):
        return
    distance, p = moved_columns(known.values, new.values)
    worst = int(np.argmax(distance))
    found = np.flatnonzero((p < ALPHA) & (distance > MOVED))
    yield Claim(
        "drifted columns",
        Evidence(
            "distance of the distributions of the worst column, from 0 to 1",
            float(distance[worst]),
            MOVED,
            p_value=float(p[worst]),
            rows=len(new),
        ),
        f"The distribution of {listed(estimator, found, distance)} differs between {known.kind} "
        "rows and new rows.",
        f"The columns of new rows have about the distributions of {known.kind} rows.",
        remedy,
    )


def _codes_and_scores(rows: Rows) -> Array:
    """Return the codes and the bound of each row: rows unlike any other may share a code."""
    return np.column_stack([rows.posterior.mean, rows.bound])


def _scalable(estimator: LatentEstimator) -> Any:
    return estimator.model_.likelihood.scalable
