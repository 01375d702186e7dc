"""Nearest-neighbour search: find the rows whose codes are nearest to those of a query."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_array, check_is_fitted

from isthmus._optional import import_optional
from isthmus.applications.meta_estimator import (
    LatentMetaEstimator,
    SavedMetaEstimator,
    check_choice,
    encode_in_chunks,
    fitted_model,
)

__all__ = ["INDEX", "LatentIndex"]

Array = NDArray[Any]

INDEX = "index"  # folder of the index within a run
CODES, RECORD = "codes.safetensors", "index.json"
METRICS = ("euclidean", "cosine", "scaled")
BACKENDS = ("auto", "exact", "approximate")
LINKS = 32  # neighbours per node of the approximate graph
BREADTH = 64  # minimum number of candidates when the graph is built or searched


@dataclass(eq=False, repr=False)
class LatentIndex(SavedMetaEstimator, LatentMetaEstimator):
    """Find nearest neighbours in the latent space of any estimator.

    The index stores codes, not rows. Sample weights count in training only: all rows are indexed.

    Parameters
    ----------
    estimator : LatentEstimator
        A fitted estimator is used as it is; of an unfitted one `fit` trains a clone.
    metric : {"euclidean", "cosine", "scaled"}
        Distance between codes; "scaled" divides each latent by its standard deviation over the
        indexed rows.
    n_neighbors : int
        Default number of neighbours to return.
    backend : {"auto", "exact", "approximate"}
        "exact" uses scikit-learn; "approximate" uses faiss (a small-world graph), from
        ``pip install 'isthmus[search]'``. "auto" is approximate if faiss is installed and there
        are more rows than `exact_up_to`.
    exact_up_to : int
        Maximum number of rows for which "auto" searches exactly.

    Attributes
    ----------
    codes_ : ndarray (n, n_components)
        Codes of the indexed rows.
    backend_ : str
        "exact" or "approximate".

    References
    ----------
    Using very deep autoencoders for content-based image retrieval (Krizhevsky, Hinton, 2011).
    Efficient and robust approximate nearest neighbor search using hierarchical navigable small
    world graphs (Malkov, Yashunin, 2018).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import VAE
    >>> X = load_digits().images / 16
    >>> index = LatentIndex(VAE(n_components=8, epochs=2, random_state=0)).fit(X)
    >>> distances, rows = index.kneighbors(X[:2], n_neighbors=3)
    >>> rows.shape, rows[:, 0].tolist()
    ((2, 3), [0, 1])
    """

    estimator: Any
    _: KW_ONLY
    metric: str = "euclidean"
    n_neighbors: int = 10
    backend: str = "auto"
    exact_up_to: int = 200_000

    _arrays_file, _record_file = CODES, RECORD
    _content, _command, _hint = (
        "index",
        "isthmus search RUN QUERY --data DATA",
        "index the data again",
    )

    def _check_parameters(self) -> None:
        check_choice("metric", self.metric, METRICS)
        check_choice("backend", self.backend, BACKENDS)
        if self.backend == "approximate":
            _faiss()

    def _fit(self, X: Any, y: Any, weights: Any) -> None:
        self._check_parameters()
        self.estimator_ = fitted_model(self.estimator) or self._trained(X, y, weights)
        self._set_codes(encode_in_chunks(self.estimator_, X))

    def _set_codes(self, codes: Array) -> None:
        backend = self.backend
        if backend == "auto":
            many = len(codes) > self.exact_up_to
            backend = "approximate" if many and _has_faiss() else "exact"
        self.codes_, self.backend_ = codes, backend
        spread = codes.std(0)
        self.scale_ = np.where(spread > 0, spread, 1).astype(codes.dtype)
        self._points = self._prepare(codes)
        if backend == "approximate":
            self._find: Any = _ApproximateSearch(self._points)
        else:
            self._find = NearestNeighbors().fit(self._points).kneighbors

    def kneighbors(
        self, X: Any = None, n_neighbors: int | None = None, return_distance: bool = True
    ) -> Any:
        """Return the nearest indexed rows of each row of X, nearest first.

        Parameters
        ----------
        X : array-like (n, *features), optional
            By default the indexed rows, of which none is its own neighbour.
        n_neighbors : int, optional
        return_distance : bool

        Returns
        -------
        distances : ndarray (n, n_neighbors)
            Distances between codes; only if `return_distance`.
        rows : ndarray of int, (n, n_neighbors)
            Indices of the indexed rows.
        """
        check_is_fitted(self)
        if X is not None:
            return self.query(encode_in_chunks(self.estimator_, X), n_neighbors, return_distance)
        k = self._check_k(n_neighbors, len(self.codes_) - 1)
        distances, rows = self._search(self._points, k + 1)
        distances, rows = _without_self(distances, rows)
        return (distances, rows) if return_distance else rows

    def query(
        self, codes: ArrayLike, n_neighbors: int | None = None, return_distance: bool = True
    ) -> Any:
        """Return the nearest indexed rows of codes (n, n_components), as `kneighbors` of rows."""
        check_is_fitted(self)
        Z: Array = check_array(codes, dtype=[np.float32, np.float64], input_name="codes")
        if Z.shape[1] != self.codes_.shape[1]:
            raise ValueError(
                f"codes has {Z.shape[1]} columns, but the indexed codes have "
                f"{self.codes_.shape[1]}; to query by rows of data, use kneighbors."
            )
        k = self._check_k(n_neighbors, len(self.codes_))
        distances, rows = self._search(self._prepare(Z), k)
        return (distances, rows) if return_distance else rows

    def _to_arrays(self) -> tuple[dict[str, Array], dict[str, Any]]:
        return {"codes": self.codes_}, {"rows": len(self.codes_)}

    def _from_arrays(self, arrays: dict[str, Array], record: dict[str, Any]) -> None:
        codes, d = arrays["codes"], self.estimator_.n_components_
        valid = codes.shape == (record["rows"], d) and codes.dtype in (np.float32, np.float64)
        if not valid or not len(codes) or not np.isfinite(codes).all():
            raise ValueError("the arrays do not hold the codes of the index.")
        self._set_codes(codes)

    @classmethod
    def _is_valid(cls, record: dict[str, Any]) -> bool:
        return type(record["rows"]) is int

    def _prepare(self, codes: Array) -> Array:
        """Return points whose Euclidean distance determines the metric."""
        if self.metric == "scaled":
            return codes / self.scale_
        if self.metric == "cosine":
            norms = np.linalg.norm(codes, axis=1, keepdims=True)
            return codes / np.where(norms > 0, norms, 1)
        return codes

    def _search(self, points: Array, k: int) -> tuple[Array, Array]:
        distances, rows = self._find(points, k)
        return (distances**2 / 2 if self.metric == "cosine" else distances), rows

    def _check_k(self, n_neighbors: int | None, most: int) -> int:
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= most:
            raise ValueError(f"n_neighbors must be an integer from 1 to {most}, got {k!r}.")
        return int(k)


class _ApproximateSearch:
    """Approximate search with a faiss graph."""

    def __init__(self, points: Array) -> None:
        self.graph = _faiss().IndexHNSWFlat(points.shape[1], LINKS)
        self.graph.hnsw.efConstruction = 2 * BREADTH
        self.graph.add(np.ascontiguousarray(points, np.float32))

    def __call__(self, points: Array, k: int) -> tuple[Array, Array]:
        self.graph.hnsw.efSearch = max(BREADTH, 2 * k)
        squares, rows = self.graph.search(np.ascontiguousarray(points, np.float32), k)
        if (rows < 0).any():
            raise ValueError(
                f"the approximate search found fewer than {k} neighbours; use backend='exact'."
            )
        return np.sqrt(np.maximum(squares, 0)), rows


def _without_self(distances: Array, rows: Array) -> tuple[Array, Array]:
    """Drop each row's own index or, if equal rows displaced it, the farthest neighbour."""
    own = rows == np.arange(len(rows))[:, None]
    own[~own.any(1), -1] = True
    shape = (len(rows), rows.shape[1] - 1)
    return distances[~own].reshape(shape), rows[~own].reshape(shape)


def _has_faiss() -> bool:
    try:
        return bool(_faiss())
    except ImportError:
        return False


def _faiss() -> Any:
    return import_optional(
        "faiss", extra="search", what="approximate search", instead="use backend='exact'"
    )
