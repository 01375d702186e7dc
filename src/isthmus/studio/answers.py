"""What a live studio is asked, answered by the model: numbers in, numbers out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import FunctionTransformer

from isthmus.applications.imputation import LatentImputer
from isthmus.applications.retrieval import LatentIndex
from isthmus.applications.with_condition import with_condition
from isthmus.studio.bundle import Bundle
from isthmus.studio.runs import run_records

__all__ = ["Answers"]

Array = NDArray[Any]

LARGEST = 2**29  # bytes of one answer
DRAWS = 40  # behind a repair: enough for a mean, and no wait for the hand that paints
NO_DATA = "this run is shown without its data."


class Answers:
    """A run and its rows, asked from several threads at a time.

    Parameters
    ----------
    runs : sequence of Path
        Folders of runs; the first one's model answers.
    make : callable
        Makes the `Bundle`; called again while there is no model.

    Raises
    ------
    FileNotFoundError, ValueError
        As from `Bundle.of`. All methods raise a ValueError, of one line, for what cannot be
        answered.
    """

    def __init__(self, runs: Sequence[Path], make: Callable[[], Bundle]) -> None:
        self.runs, self._make, self._bundle = runs, make, make()
        self._lock = threading.Lock()  # of the model and of all that is made once

    def manifest(self) -> dict[str, Any]:
        """Return what the page is told of the run; of one that trained before, anew."""
        with self._lock:
            if self._bundle.estimator is None:
                self._bundle = self._make()
            return self._bundle.manifest

    def records(self) -> list[dict[str, Any]]:
        """Return the training of all runs, as far as it has come."""
        return run_records(self.runs)

    def array(self, name: str) -> Array:
        """Return an array of the bundle; a KeyError where there is none."""
        return self._bundle.arrays[name]

    def items(self, rows: Array) -> Array:
        """Return rows (n, features) in the units of the data."""
        self._check_rows(rows)
        self._check_answer(len(rows) * self.n_features)
        return self._bundle.items(rows)

    def codes(self, rows: Array) -> tuple[Array, Array]:
        """Return codes of rows and their spreads, each (n, n_components)."""
        self._check_rows(rows)
        self._check_answer(2 * len(rows) * self.n_components)
        codes, spreads = self._bundle.arrays["codes"], self._bundle.arrays.get("std")
        mean = codes[rows]
        return mean, np.zeros_like(mean) if spreads is None else spreads[rows]

    def encode(self, x: Array, condition: int | None = None) -> tuple[Array, Array]:
        """Return mean and spread of q(z|x) of items (n, features), each (n, n_components)."""
        self._check_answer(2 * len(x) * self.n_components)
        with self._lock:
            return self._estimator.posterior(self._shaped(x), condition=self._label(condition))

    def decode(self, z: Array, condition: int | None = None) -> Array:
        """Return what codes (n, n_components) stand for, (n, *feature_shape)."""
        self._check_answer(len(z) * self.n_features)
        with self._lock:
            exact = z.astype(np.float64)  # answers have the precision of what was asked
            return self._estimator.decode(exact, condition=self._label(condition))

    def neighbours(self, code: Array, k: int) -> tuple[Array, Array]:
        """Return the rows nearest to a code (n_components,), and how far they are, each (k,)."""
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}.")
        with self._lock:
            index = self._index
            distances, rows = index.query(code[None], min(k, len(index.codes_)))
        return rows[0], distances[0]

    def repair(self, x: Array, condition: int | None = None) -> tuple[Array, Array | None]:
        """Return an item (features,) with its NaN filled in.

        Returns
        -------
        values, std : ndarray (1, *feature_shape)
            The standard deviation of what was missing; None where the model gives none.
        """
        with self._lock:
            model = with_condition(self._estimator, self._label(condition))
            rows = self._shaped(x[None])
            imputer = LatentImputer(FrozenEstimator(model), n_draws=DRAWS, random_state=0)
            values, std = imputer.fit(rows).impute(rows)
        return values, std if std.any() else None

    @property
    def n_components(self) -> int:
        """Numbers in a code."""
        return self._estimator.n_components_

    @property
    def n_features(self) -> int:
        """Numbers in an item."""
        return self._estimator.n_features_in_

    @property
    def _estimator(self) -> Any:
        if self._bundle.estimator is None:
            raise ValueError("the model is still being trained: ask again when it is done.")
        return self._bundle.estimator

    @cached_property
    def _index(self) -> LatentIndex:
        if "codes" not in self._bundle.arrays:
            raise ValueError(NO_DATA)
        known = FunctionTransformer()  # hands codes on: the rows are encoded already
        return LatentIndex.from_fitted(known).fit(self._bundle.arrays["codes"])

    def _shaped(self, x: Array) -> Array:
        return x.reshape(len(x), *self._estimator.feature_shape_)

    def _label(self, condition: int | None) -> Any:
        """Return the label of a class by its number; of None, "unknown", None."""
        if condition is None:
            return None
        classes = getattr(self._estimator, "classes_", None)
        if classes is None:
            raise ValueError("this model is told no class: leave the condition out.")
        if not 0 <= condition < len(classes):
            raise ValueError(f"there is no class {condition}: expected 0 to {len(classes) - 1}.")
        return classes[condition]

    def _check_rows(self, rows: Array) -> None:
        if self._bundle.X is None:
            raise ValueError(NO_DATA)
        n = len(self._bundle.X)
        outside = rows[(rows < 0) | (rows >= n)]
        if len(outside):
            raise ValueError(f"there is no row {outside[0]}: expected 0 to {n - 1}.")

    def _check_answer(self, numbers: int) -> None:
        if 8 * numbers > LARGEST:
            raise ValueError(
                f"the answer would have {8 * numbers:,} bytes, more than {LARGEST:,}: ask for "
                "fewer at once."
            )
