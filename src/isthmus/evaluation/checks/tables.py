"""The columns of a table, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.estimators.base import LatentEstimator

__all__ = ["is_table", "listed", "sentence"]

Array = NDArray[Any]
NAMED = 3  # columns in a sentence


def is_table(estimator: LatentEstimator) -> bool:
    """Whether the features are the columns of a table, not pixels or samples of one signal."""
    one_axis = len(estimator.feature_shape_) == 1
    return one_axis and (estimator.columns_ is not None or estimator.scaling_ != "global")


def listed(estimator: LatentEstimator, found: Sequence[int] | Array, size: Any = None) -> str:
    """Return the names of columns in words, those with the greatest size first."""
    indices = np.asarray(found, dtype=int)
    if size is not None:
        sizes = np.asarray(size)
        sizes = sizes if len(sizes) == len(indices) else sizes[indices]
        indices = indices[np.argsort(-sizes, kind="stable")]
    names = _names(estimator)
    shown = [repr(names[i]) if names is not None else str(i) for i in indices[:NAMED]]
    more = [f"{len(indices) - NAMED} more"] if len(indices) > NAMED else []
    parts = [*shown, *more]
    text = ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else "".join(parts)
    return f"column{'s' if len(indices) != 1 else ''} {text}"


def _names(estimator: LatentEstimator) -> Sequence[Any] | None:
    if estimator.columns_ is not None:
        return estimator.columns_.names
    return getattr(estimator, "feature_names_in_", None)


def sentence(text: str) -> str:
    """Return text that starts with a capital letter."""
    return text[:1].upper() + text[1:]
