"""Nearest-neighbour search: find the rows whose codes are nearest to those of a query."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_array, check_is_fitted

from isthmus._optional import import_optional
from isthmus.applications import saved_arrays
from isthmus.applications.meta_estimator import LatentMetaEstimator, encode_in_chunks
from isthmus.persistence.schema import check_settings

__all__ = ["INDEX", "LatentIndex", "read_record"]

Array = NDArray[Any]

INDEX = "index"  # folder of the index within a run
CODES, RECORD = "codes.safetensors", "index.json"
HINT = "index the data again"
METRICS = ("euclidean", "cosine", "scaled")
BACKENDS = ("auto", "exact", "approximate")
LINKS = 32  # neighbours per node of the approximate graph
BREADTH = 64  # minimum number of candidates when the graph is built or searched


class LatentIndex(LatentMetaEstimator):
    """Find nearest neighbours in the latent space of any estimator.

    The index stores codes, not rows.

    Parameters
    ----------
    estimator : LatentEstimator
        `fit` trains a clone. Pass a fitted model through `from_fitted`.
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
    estimator_ : LatentEstimator
        The fitted model.
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

    codes_: Array
    scale_: Array
    backend_: str

    def __init__(
        self,
        estimator: Any,
        *,
        metric: str = "euclidean",
        n_neighbors: int = 10,
        backend: str = "auto",
        exact_up_to: int = 200_000,
    ) -> None:
        self.estimator = estimator
        self.metric = metric
        self.n_neighbors = n_neighbors
        self.backend = backend
        self.exact_up_to = exact_up_to

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train the estimator (unless frozen) and index the rows of X.

        Parameters
        ----------
        X : array-like (n, *features)
        y : array-like (n,), optional
            Labels for training a conditional estimator. Codes are computed without labels.

        Returns
        -------
        self
            Unchanged if an error is raised.

        Raises
        ------
        ValueError
            If a parameter is invalid or the estimator rejects X.
        ImportError
            If backend="approximate" and faiss is not installed.
        """
        backend = self._choose_backend(len(X))
        estimator = clone(self.estimator).fit(X, y)
        return self._set_fitted(estimator, encode_in_chunks(estimator, X), backend)

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
        """Return the nearest indexed rows of each code, nearest first.

        Parameters
        ----------
        codes : array-like (n, n_components)
        n_neighbors, return_distance
            As in `kneighbors`.

        Returns
        -------
        distances, rows
            As returned by `kneighbors`.

        See Also
        --------
        kneighbors : Query by rows of data.
        """
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

    def save(self, path: str | PathLike[str], data: dict[str, Any] | None = None) -> None:
        """Write codes and settings, without the model, to a folder.

        Parameters
        ----------
        path : path-like
            The folder, which is created if needed.
        data : dict, optional
            Description of the data to record: name, fingerprint.
        """
        check_is_fitted(self)
        folder = Path(path)
        fields = {"rows": len(self.codes_), "data": data or {}}
        saved_arrays.save_arrays(
            folder / CODES, folder / RECORD, self, {"codes": self.codes_}, fields
        )

    @classmethod
    def load(cls, path: str | PathLike[str], estimator: Any, **settings: Any) -> Self:
        """Load an index for the fitted estimator whose codes it contains.

        Parameters
        ----------
        path : path-like
        estimator : LatentEstimator
        settings
            Parameters that replace the saved ones, such as the metric.

        Raises
        ------
        FileNotFoundError, ValueError
            If the folder contains no index, a corrupt one, or one of another model.
        """
        folder = Path(path)
        record = read_record(folder)
        arrays = saved_arrays.read_arrays(folder / CODES, record, estimator, HINT)
        codes = arrays.get("codes", np.empty(0))
        good = codes.shape == (record["rows"], estimator.n_components_) and len(codes) > 0
        good = good and codes.dtype in (np.float32, np.float64)
        if not good or not np.isfinite(codes).all():
            raise ValueError(f"{folder / CODES} does not contain the codes of the index; {HINT}.")
        index = cls.from_fitted(estimator, **(record["settings"] | settings))
        return index._set_fitted(index.estimator, codes, index._choose_backend(len(codes)))

    def _choose_backend(self, n: int) -> str:
        for name, known in (("metric", METRICS), ("backend", BACKENDS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}."
                )
        if self.backend != "auto":
            if self.backend == "approximate":
                _faiss()
            return self.backend
        return "approximate" if n > self.exact_up_to and _has_faiss() else "exact"

    def _set_fitted(self, estimator: Any, codes: Array, backend: str) -> Self:
        self.estimator_, self.codes_, self.backend_ = estimator, codes, backend
        spread = codes.std(0)
        self.scale_ = np.where(spread > 0, spread, 1).astype(codes.dtype)
        self._points = self._prepare(codes)
        make = _ApproximateSearch if backend == "approximate" else _ExactSearch
        self._engine = make(self._points)
        return self

    def _prepare(self, codes: Array) -> Array:
        """Return points whose Euclidean distance determines the metric."""
        if self.metric == "scaled":
            return codes / self.scale_
        if self.metric == "cosine":
            norms = np.linalg.norm(codes, axis=1, keepdims=True)
            return codes / np.where(norms > 0, norms, 1)
        return codes

    def _search(self, points: Array, k: int) -> tuple[Array, Array]:
        distances, rows = self._engine(points, k)
        return (distances**2 / 2 if self.metric == "cosine" else distances), rows

    def _check_k(self, n_neighbors: int | None, most: int) -> int:
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= most:
            raise ValueError(f"n_neighbors must be an integer from 1 to {most}, got {k!r}.")
        return int(k)


class _ExactSearch:
    """Exact search with scikit-learn."""

    def __init__(self, points: Array) -> None:
        self.tree = NearestNeighbors().fit(points)

    def __call__(self, points: Array, k: int) -> tuple[Array, Array]:
        return self.tree.kneighbors(points, k)


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


def read_record(folder: Path) -> dict[str, Any]:
    """Return the checked record of a saved index."""
    path = Path(folder) / RECORD
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} contains no index: {RECORD} is missing. Create one with `isthmus search "
            "RUN QUERY --data DATA` or LatentIndex.save."
        )
    return saved_arrays.read_record(path, _is_valid, HINT)


def _is_valid(record: dict[str, Any]) -> bool:
    settings = {"metric": "", "n_neighbors": 1, "backend": "", "exact_up_to": 1}
    check_settings(record["settings"], settings)
    return set(record["settings"]) <= set(settings) and isinstance(record["rows"], int)


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
