"""What "auto" means, and what data a likelihood allows."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.columns import Columns
from isthmus.distributions.mixed import count_categories, make_likelihood
from isthmus.registry import split_names

__all__ = [
    "as_data",
    "check_names",
    "fresh_seed",
    "real_columns",
    "resolve_likelihood",
    "resolve_scaling",
]

Array = NDArray[Any]
REAL = ("gaussian", "laplace")  # likelihoods of real numbers, by how their names begin
BYTES = (*REAL, "bernoulli", "continuous-bernoulli")  # those for which bytes stand for [0, 1]


def resolve_likelihood(spec: str, X: Array, columns: Columns | None = None) -> str:
    """Return the likelihood to use for data: bytes and [0, 1] are bernoulli by default.

    Of a table of mixed columns it is one each. Of "categorical" the number of categories is
    counted; names of columns are joined by commas.
    """
    if spec == "auto" and columns is not None and columns.mixed:
        return columns.likelihood
    if spec == "auto":
        return "bernoulli" if X.dtype == np.uint8 or (X.min() >= 0 and X.max() <= 1) else "gaussian"
    names = split_names(spec)
    if not isinstance(names, str) and X.shape[1:] != (len(names),):
        raise ValueError(
            f"likelihood names {len(names)} columns, but one example of X has shape {X.shape[1:]}."
        )
    return ",".join(np.atleast_1d(count_categories(names, X)).tolist())


def check_names(spec: str) -> None:
    """Raise a ValueError for a name that is no likelihood, before any data are read."""
    for name in np.atleast_1d(split_names(spec)).tolist():
        if name != "auto":
            make_likelihood(name, (1,))


def as_data(likelihood: str, X: Array) -> Array:
    """Return bytes as plain numbers where the likelihood does not read them as [0, 1]."""
    if X.dtype == np.uint8 and ("," in likelihood or not likelihood.startswith(BYTES)):
        return X.astype(np.float32)
    return X


def resolve_scaling(name: str, likelihood: str, X: Array) -> str:
    """Return the scaling to use: by feature for tables, else by one scale; none for counts etc."""
    if not any(real_columns(likelihood)):
        if name in ("standard", "global"):
            raise ValueError(
                f"scaling={name!r} would take values to where likelihood {likelihood!r} has none; "
                "use scaling='none' or 'auto'."
            )
        return "none"
    if "," in likelihood and name == "global":
        raise ValueError("scaling='global' is not for mixed tables; use 'standard' or 'none'.")
    if name == "auto":
        return "standard" if X.ndim == 2 else "global"
    return name


def real_columns(likelihood: str) -> list[bool]:
    """Return for each name in a likelihood whether it is one of real numbers."""
    return [name.startswith(REAL) for name in np.atleast_1d(split_names(likelihood)).tolist()]


def fresh_seed() -> int:
    """Return a seed from the operating system, leaving every global random state alone."""
    return int.from_bytes(os.urandom(7), "big")
