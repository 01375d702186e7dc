"""Rows of a scipy.sparse matrix, which become dense a few at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_DENSE_BYTES", "DenseParts", "SparseRows", "as_rows", "is_sparse"]

MAX_DENSE_BYTES = 2**26  # as float32, up to which a sparse matrix is converted whole

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class SparseRows:
    """A sparse matrix (n, features) of floats; `numpy.asarray` converts it to a dense array.

    Examples
    --------
    >>> from scipy import sparse
    >>> rows = SparseRows.of(sparse.coo_array(([3, 4], ([0, 2], [1, 1]))))
    >>> rows.shape, np.asarray(rows[1:]).tolist()
    ((3, 2), [[0.0, 0.0], [0.0, 4.0]])
    """

    matrix: Any

    @classmethod
    def of(cls, X: Any) -> Self:
        """Return the rows of a scipy.sparse matrix or array; integers and booleans as float64."""
        if X.ndim != 2 or X.dtype.kind not in "biuf":
            raise ValueError(
                f"X must be a sparse matrix of real numbers with two axes, got {X.dtype} of shape "
                f"{X.shape}."
            )
        from scipy.sparse import csr_array

        X = csr_array(X)
        return cls(X if X.dtype.kind == "f" else X.astype(np.float64))

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows and of features."""
        return (int(self.matrix.shape[0]), int(self.matrix.shape[1]))

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers."""
        return np.dtype(self.matrix.dtype)

    @property
    def is_large(self) -> bool:
        """Whether the dense array would be too large."""
        return 4 * self.shape[0] * self.shape[1] > MAX_DENSE_BYTES

    @property
    def notable_rows(self) -> Array:
        """Rows that hold the lowest, the highest, a fractional and a non-finite number, if any."""
        values = self.matrix.data
        if not len(values):
            return np.zeros(0, int)
        fractions = values != np.floor(values)
        tests = (~np.isfinite(values), fractions, values == values.min(), values == values.max())
        places = [int(test.argmax()) for test in tests if test.any()]
        return np.unique(np.searchsorted(self.matrix.indptr, places, "right") - 1)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Array) -> SparseRows:
        """Return some rows, sparse."""
        return SparseRows(self.matrix[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return all rows, dense."""
        return np.asarray(self.matrix.toarray(), dtype)


def is_sparse(X: Any) -> bool:
    """Return whether X is a matrix or array of scipy.sparse, without importing that."""
    library = sys.modules.get("scipy.sparse")
    return library is not None and bool(library.issparse(X))


def as_rows(X: Any) -> Any:
    """Return the rows of a scipy.sparse matrix, and other data unchanged."""
    return SparseRows.of(X) if is_sparse(X) else X


@dataclass(frozen=True, eq=False)
class DenseParts:
    """The rows of a sparse matrix, of which slices are dense and checked.

    `read` maps dense rows and their numbers to what slicing returns.
    """

    rows: SparseRows
    read: Callable[[Array, Array], Array]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers."""
        return self.rows.dtype

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice) -> Array:
        numbers = np.arange(*rows.indices(len(self)))
        return self.read(np.asarray(self.rows[rows]), numbers)
