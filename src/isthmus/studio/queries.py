"""Model queries of the live studio."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import FunctionTransformer

from isthmus.applications.imputation import LatentImputer
from isthmus.applications.retrieval import LatentIndex
from isthmus.applications.with_condition import with_condition
from isthmus.studio.bundle import NO_DATA, Bundle
from isthmus.studio.runs import run_records

__all__ = ["ModelQueries"]

Array = NDArray[Any]

MAX_RESPONSE = 2**28  # bytes
DRAWS = 40  # draws per imputation: enough for a mean, and fast enough to follow the brush


class ModelQueries:
    """Thread-safe queries of a run's model and rows.

    All methods raise a ValueError with a message of one line for invalid arguments. The model of
    the first run is queried; `load` loads its `Bundle`, again and again while it has no model.
    """

    def __init__(self, runs: Sequence[Path], load: Callable[[], Bundle]) -> None:
        self.runs, self._load, self._bundle = runs, load, load()
        self._lock = threading.Lock()  # guards the model and the cached index

    def manifest(self) -> dict[str, Any]:
        """Return the manifest, loaded again if the run had no model before."""
        with self._lock:
            if self._bundle.estimator is None:
                self._bundle = self._load()
            return self._bundle.manifest

    def records(self) -> list[dict[str, Any]]:
        """Return the current training records of all runs."""
        return run_records(self.runs)

    def array(self, name: str) -> Array:
        """Return an array of the bundle; raise a KeyError if it does not exist."""
        return self._bundle.arrays[name]

    def items(self, rows: Array) -> Array:
        """Return rows (n, n_features) in the units of the data."""
        self._check_rows(rows)
        self._check_size(len(rows) * self.n_features)
        return self._bundle.items(rows)

    def codes(self, rows: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the codes of rows, each (n, n_components)."""
        self._check_rows(rows)
        self._check_size(2 * len(rows) * self.n_components)
        mean, std = self._bundle.arrays["codes"][rows], self._bundle.arrays.get("std")
        return mean, np.zeros_like(mean) if std is None else std[rows]

    def encode(self, x: Array, condition: int | None = None) -> tuple[Array, Array]:
        """Return mean and standard deviation of q(z|x), each (n, n_components)."""
        self._check_size(2 * len(x) * self.n_components)
        with self._lock:
            return self._estimator.posterior(self._reshape(x), condition=self._label(condition))

    def decode(self, z: Array, condition: int | None = None, seed: int | None = None) -> Array:
        """Return decoded codes, (n, *feature_shape); with a seed, rows of tables are draws."""
        self._check_size(len(z) * self.n_features)
        with self._lock:
            noise = seed is not None and self._estimator.columns_ is not None
            # float64 codes give float64 items, so that columns like 1e9 ± 1 keep their digits.
            return self._estimator.decode(
                z.astype(np.float64),
                condition=self._label(condition),
                noise=noise,
                random_state=seed,
            )

    def neighbours(self, code: Array, k: int) -> tuple[Array, Array]:
        """Return the k rows nearest to a code (n_components,) and their distances."""
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}.")
        with self._lock:
            index = self._index
            distances, rows = index.query(code[None], min(k, len(index.codes_)))
        return rows[0], distances[0]

    def impute(self, x: Array, condition: int | None = None) -> tuple[Array, Array | None]:
        """Replace NaN in an item (n_features,).

        Returns
        -------
        values, std : ndarray (1, *feature_shape)
            `std` is the standard deviation of the imputed values, or None if it is zero.
        """
        with self._lock:
            model = with_condition(self._estimator, self._label(condition))
            rows = self._reshape(x[None])
            imputer = LatentImputer(model, n_draws=DRAWS, random_state=0)
            values, std = imputer.fit(rows).impute(rows)
        return values, std if std.any() else None

    @property
    def n_components(self) -> int:
        """Number of latents."""
        return self._estimator.n_components_

    @property
    def n_features(self) -> int:
        """Number of values per item."""
        return self._estimator.n_features_in_

    @property
    def _estimator(self) -> Any:
        if self._bundle.estimator is None:
            raise ValueError("the model is still training; try again when training has finished.")
        return self._bundle.estimator

    @cached_property
    def _index(self) -> LatentIndex:
        if "codes" not in self._bundle.arrays:
            raise ValueError(NO_DATA)
        identity = FunctionTransformer()  # the rows are encoded already
        return LatentIndex.from_fitted(identity).fit(self._bundle.arrays["codes"])

    def _reshape(self, x: Array) -> Array:
        return x.reshape(len(x), *self._estimator.feature_shape_)

    def _label(self, condition: int | None) -> Any:
        """Return the label of a class index; None, for "unknown", stays None."""
        if condition is None:
            return None
        classes = getattr(self._estimator, "classes_", None)
        if classes is None:
            raise ValueError("this model is not conditional on classes; omit the condition.")
        if not 0 <= condition < len(classes):
            raise ValueError(f"condition must be from 0 to {len(classes) - 1}, got {condition}.")
        return classes[condition]

    def _check_rows(self, rows: Array) -> None:
        if self._bundle.X is None:
            raise ValueError(NO_DATA)
        n = len(self._bundle.X)
        outside = rows[(rows < 0) | (rows >= n)]
        if len(outside):
            raise ValueError(f"row {outside[0]} does not exist; expected 0 to {n - 1}.")

    def _check_size(self, n_numbers: int) -> None:
        if 8 * n_numbers > MAX_RESPONSE:
            raise ValueError(
                f"the response of {8 * n_numbers:,} bytes exceeds the limit of {MAX_RESPONSE:,}; "
                "request fewer rows at once."
            )
