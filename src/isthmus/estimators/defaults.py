"""The values that "auto" stands for: likelihood, scaling and seed."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.data.columns import Columns
from isthmus.distributions.families import Family, remove_rounding
from isthmus.distributions.mixed import count_categories, make_likelihood, split_names
from isthmus.estimators.scaling import as_float64, row_slices
from isthmus.models.params import params_of
from isthmus.models.specs import Training

__all__ = [
    "LikelihoodChoice",
    "check_likelihood",
    "fresh_seed",
    "greyness",
    "resolve_likelihood",
    "resolve_scaling",
    "seed_of",
]

Array = NDArray[Any]
#: Least greyness of data in [0, 1] that "auto" takes for real numbers: that of MNIST is 0.22, of
#: Fashion-MNIST 0.47, of tables scaled to [0, 1] at least 0.6.
MOST_GREY = 0.3


class LikelihoodChoice(NamedTuple):
    """The name of a likelihood, and why it was chosen."""

    name: str
    reason: str


def resolve_likelihood(
    name: str,
    X: Array,
    columns: Columns | None = None,
    *,
    rows: Any = slice(None),
    weights: Array | None = None,
    binarize: bool = False,
    one_scale: bool = False,
) -> LikelihoodChoice:
    """Return the likelihood to use for data X (n, *features), and the reason.

    All rows must be in its support; those numbered in `rows`, which have the sample weights
    `weights`, decide whether they are nearly binary.

    "auto" is one likelihood per column for a table of mixed columns, and "bernoulli" for values
    within [0, 1] that are nearly binary: see `greyness`. Otherwise it is "gaussian-per-feature" for
    tables, and "gaussian", with one scale, for images and signals, and with `one_scale`: without a
    prior on the code, a model with a scale per feature fits a few features exactly and gives up the
    others. "categorical" gets the number of categories in X.

    Examples
    --------
    >>> resolve_likelihood("auto", np.array([[0.0, 1.0], [1.0, 1.0]]))
    LikelihoodChoice(name='bernoulli', reason='all values are 0 or 1')
    >>> resolve_likelihood("auto", np.array([[0.0, 0.5], [1.0, 0.6]])).name
    'gaussian-per-feature'
    """
    if name != "auto":
        return LikelihoodChoice(count_categories(name, X), "chosen by the user")
    if columns is not None and columns.mixed:
        return LikelihoodChoice(columns.likelihood, "one for each column, by its type")
    gaussian = "gaussian-per-feature" if X.ndim == 2 and not one_scale else "gaussian"
    if not all(_is_in_unit_interval(X[rows]) for rows in row_slices(X)):
        return LikelihoodChoice(gaussian, "some values are below 0 or above 1")
    if binarize:
        return LikelihoodChoice("bernoulli", "binarize draws each value as 0 or 1")
    grey = greyness(X[rows], weights)
    if not grey:
        return LikelihoodChoice("bernoulli", "all values are 0 or 1")
    binary = grey < MOST_GREY
    words = f"{'nearly' if binary else 'not nearly'} binary: greyness {grey:.2g}, limit {MOST_GREY}"
    return LikelihoodChoice("bernoulli" if binary else gaussian, f"values in [0, 1], {words}")


def _is_in_unit_interval(X: Array) -> bool:
    X = remove_rounding(as_float64(X), (0, 1))
    return not ((X < 0) | (X > 1)).any()


def greyness(X: Array, weights: Array | None = None) -> float:
    """Return how far values in [0, 1] are from binary: 0 if all are 0 or 1, 1 if all are constant.

    It is the sum over features of E[x (1 - x)], relative to that of m (1 - m) for the mean m of
    each feature: the share of the variance of Bernoulli variables with these means that is missing
    in X (n, *features). Means count sample weights (n,) and leave out NaN.

    Examples
    --------
    >>> greyness(np.array([[0.0, 1.0], [1.0, 0.0]])), greyness(np.array([[0.3], [0.3]]))
    (0.0, 1.0)
    >>> greyness(np.array([[0.0], [0.1], [1.0]]))
    0.12...
    """
    n = mean = product = np.zeros(X.shape[1:])
    for rows in row_slices(X):
        x = np.clip(remove_rounding(as_float64(X[rows]), (0, 1), integer=True), 0, 1)
        counts = (1.0 if weights is None else _by_row(weights[rows], x)) * ~np.isnan(x)
        x = np.nan_to_num(x)
        n, mean = n + counts.sum(0), mean + (counts * x).sum(0)
        product = product + (counts * x * (1 - x)).sum(0)
    n = np.where(n > 0, n, 1)
    mean = mean / n
    most = float(np.sum(mean * (1 - mean)))
    return float(np.sum(product / n)) / most if most > 0 else 0.0


def _by_row(values: Array, X: Array) -> Array:
    """Return values (n,) that multiply the rows of X (n, *features)."""
    return values.reshape(-1, *[1] * (X.ndim - 1))


def check_likelihood(name: str) -> None:
    """Raise a ValueError if a likelihood is unknown; needs no data."""
    for each in split_names(name):
        if each != "auto":
            make_likelihood(each, (1,))


def resolve_scaling(name: str, likelihood: Family, X: Array) -> str:
    """Return the scaling to use: "auto" is "standard" for tables, "global" for other arrays.

    Data that must not be scaled, such as counts, get "none".
    """
    if not np.any(likelihood.scalable):
        if name in ("standard", "global"):
            raise ValueError(
                f"scaling={name!r} would move values out of the range of likelihood "
                f"{likelihood.name!r}; use scaling='none' or 'auto'."
            )
        return "none"
    if np.ndim(likelihood.scalable) and name == "global":
        raise ValueError("mixed tables do not take scaling='global'; use 'standard' or 'none'.")
    if name == "auto":
        return "standard" if X.ndim == 2 else "global"
    return name


def fresh_seed() -> int:
    """Return a seed from the operating system; global random states stay untouched."""
    return int.from_bytes(os.urandom(7), "big")


def seed_of(random_state: Any) -> int:
    """Return a seed for torch's generators: `random_state`, or a fresh one for None.

    Examples
    --------
    >>> seed_of(7)
    7
    >>> seed_of(-1)
    Traceback (most recent call last):
    ...
    ValueError: random_state must be an integer of at least 0 and below 2^64 or None, got -1.
    """
    if random_state is None:
        return fresh_seed()
    if not (known := params_of(Training)["random_state"]).accepts(random_state):
        raise ValueError(f"random_state must be {known.expected}, got {random_state!r}.")
    return int(random_state)
