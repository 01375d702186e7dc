"""The values that "auto" stands for: likelihood, scaling and seed."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.columns import Columns
from isthmus.distributions.families import Family, remove_rounding
from isthmus.distributions.mixed import count_categories, make_likelihood, split_names
from isthmus.estimators.scaling import row_slices
from isthmus.models.params import params_of
from isthmus.models.specs import Training

__all__ = ["check_likelihood", "fresh_seed", "resolve_likelihood", "resolve_scaling", "seed_of"]

Array = NDArray[Any]


def resolve_likelihood(name: str, X: Array, columns: Columns | None = None) -> str:
    """Return the likelihood to use for data X (n, *features).

    "auto" is one likelihood per column for a table of mixed columns; "bernoulli" for data that are
    all 0 or 1, for bytes, and for images and signals within [0, 1]; else "gaussian". "categorical"
    gets the number of categories in X.

    Examples
    --------
    >>> resolve_likelihood("auto", np.array([[0.0, 1.0], [1.0, 1.0]]))
    'bernoulli'
    >>> resolve_likelihood("auto", np.array([[0.0, 0.5], [1.0, 1.0]]))
    'gaussian'
    """
    if name != "auto":
        return count_categories(name, X)
    if columns is not None and columns.mixed:
        return columns.likelihood
    if X.dtype == np.uint8:
        return "bernoulli"
    is_unit = _is_zero_or_one if X.ndim == 2 else _is_in_unit_interval
    return "bernoulli" if all(is_unit(X[rows]) for rows in row_slices(X)) else "gaussian"


def _is_zero_or_one(X: Array) -> bool:
    X = remove_rounding(X, (0, 1), integer=True)
    return bool(((X == 0) | (X == 1)).all())


def _is_in_unit_interval(X: Array) -> bool:
    X = remove_rounding(X, (0, 1))
    return bool(((X >= 0) & (X <= 1)).all())


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
