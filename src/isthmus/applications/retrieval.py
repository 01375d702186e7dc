"""Search: the rows of a collection whose codes are nearest to those of a query."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from sklearn.base import clone
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_array, check_is_fitted

from isthmus._optional import import_optional
from isthmus.applications.meta_estimator import (
    LatentMetaEstimator,
    encode_in_chunks,
    model_digest,
)
from isthmus.persistence.atomic import write_all_atomic
from isthmus.persistence.integrity import (
    check_content,
    check_record,
    read_bytes,
    read_json,
    read_tensors,
    with_checksums,
)
from isthmus.persistence.run_folder import to_json
from isthmus.persistence.schema import check_settings

__all__ = ["INDEX", "LatentIndex", "read_record"]

Array = NDArray[Any]

INDEX = "index"  # the folder of a run's index
CODES, SETTINGS = "codes.safetensors", "index.json"
FORMAT = 1
METRICS = ("euclidean", "cosine", "scaled")
BACKENDS = ("auto", "exact", "approximate")
LINKS = 32  # neighbours that each point of the approximate graph knows
BREADTH = 64  # candidates kept while the approximate graph is built or searched, at least


class LatentIndex(LatentMetaEstimator):
    """Nearest neighbours in the latent space of any estimator.

    `fit` trains a copy of the estimator and encodes the rows; one that is fitted already goes in
    by `from_fitted` (or as ``sklearn.frozen.FrozenEstimator``) and is not trained again. Only
    codes are kept, never the rows.

    Parameters
    ----------
    estimator : LatentEstimator
    metric : {"euclidean", "cosine", "scaled"}
        Distance of codes; "scaled" divides each latent by its standard deviation over the
        indexed rows.
    n_neighbors : int
        Neighbours to return where a call does not say.
    backend : {"auto", "exact", "approximate"}
        Exact search by scikit-learn, or approximate by faiss (a graph of small worlds), an
        extra: ``pip install 'isthmus[search]'``. "auto" is approximate for more rows than
        `exact_up_to`, where faiss is installed.
    exact_up_to : int
        Rows up to which "auto" searches exactly.

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

    estimator_: Any
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
            Labels, for estimators that learn from them; the codes are those of rows whose
            label is not known.

        Returns
        -------
        self
            Unchanged where an error is raised.

        Raises
        ------
        ValueError
            A setting that is none, or data that the estimator does not take.
        ImportError
            backend="approximate" without faiss.
        """
        backend = self._choose_backend(len(X))
        estimator = clone(self.estimator).fit(X, y)
        return self._adopt(estimator, encode_in_chunks(estimator, X), backend)

    def kneighbors(
        self, X: Any = None, n_neighbors: int | None = None, return_distance: bool = True
    ) -> Any:
        """Return the indexed rows nearest to rows of X, nearest first.

        Parameters
        ----------
        X : array-like (n, *features), optional
            Without it the indexed rows themselves are asked for, each without itself.
        n_neighbors : int, optional
        return_distance : bool

        Returns
        -------
        distances : ndarray (n, n_neighbors)
            In the metric, of codes; only with `return_distance`.
        rows : ndarray of int, (n, n_neighbors)
            Numbers of indexed rows.
        """
        check_is_fitted(self)
        if X is not None:
            return self.query(encode_in_chunks(self.estimator_, X), n_neighbors, return_distance)
        k = self._check_k(n_neighbors, len(self.codes_) - 1)
        distances, rows = self._search(self._points, k + 1)
        return _answer(*_without_self(distances, rows), return_distance)

    def query(
        self, codes: ArrayLike, n_neighbors: int | None = None, return_distance: bool = True
    ) -> Any:
        """Return the indexed rows nearest to codes: of rows, or made by moves in the space.

        Parameters
        ----------
        codes : array-like (n, n_components)
        n_neighbors, return_distance
            As in `kneighbors`.

        Returns
        -------
        distances, rows
            As from `kneighbors`.
        """
        check_is_fitted(self)
        Z: Array = check_array(codes, dtype=[np.float32, np.float64], input_name="codes")
        if Z.shape[1] != self.codes_.shape[1]:
            raise ValueError(
                f"codes have {Z.shape[1]} columns, but this index holds codes of "
                f"{self.codes_.shape[1]}; kneighbors takes rows of data."
            )
        k = self._check_k(n_neighbors, len(self.codes_))
        return _answer(*self._search(self._prepare(Z), k), return_distance)

    # ----------------------------------------------------------------- on disk

    def save(self, path: str | PathLike[str], data: dict[str, Any] | None = None) -> None:
        """Write codes and settings to a folder: codes.safetensors and index.json.

        The model is not written again: an index lies in the folder `INDEX` of its run.

        Parameters
        ----------
        path : path-like
        data : dict, optional
            What to record of the data: name, fingerprint.
        """
        check_is_fitted(self)
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        settings = {k: v for k, v in self.get_params(deep=False).items() if k != "estimator"}
        record = {
            "format": FORMAT,
            "settings": settings,
            "rows": len(self.codes_),
            "model": model_digest(self.estimator_),
            "data": data or {},
        }
        (folder / SETTINGS).unlink(missing_ok=True)  # an old one must not speak for new codes
        files = {CODES: save_arrays({"codes": np.ascontiguousarray(self.codes_)})}
        files[SETTINGS] = to_json(with_checksums(json.loads(to_json(record)), files)).encode()
        write_all_atomic({folder / name: content for name, content in files.items()})

    @classmethod
    def load(cls, path: str | PathLike[str], estimator: Any, **settings: Any) -> Self:
        """Read an index back, for the fitted estimator whose codes it holds.

        Parameters
        ----------
        path : path-like
        estimator : LatentEstimator
        settings
            Parameters to have instead of the saved ones, such as the metric.

        Raises
        ------
        FileNotFoundError, ValueError
            No index there, a damaged one, or one of another model.
        """
        folder = Path(path)
        record = read_record(folder)
        if record["model"] != model_digest(estimator):
            raise ValueError(
                f"{folder} was made by another model than this one; index the data again."
            )
        content = read_bytes(folder / CODES)
        try:
            check_content(record, CODES, content)
            codes = read_tensors(content, CODES, load_arrays)["codes"]
        except (ValueError, KeyError) as error:
            raise ValueError(f"{folder / CODES} is damaged; index the data again.") from error
        good = codes.dtype in (np.float32, np.float64) and bool(np.isfinite(codes).all())
        if codes.shape != (record["rows"], estimator.n_components_) or not good or not len(codes):
            raise ValueError(f"{folder} holds codes of shape {codes.shape}; index the data again.")
        index = cls.from_fitted(estimator, **(record["settings"] | settings))
        return index._adopt(index.estimator, codes, index._choose_backend(len(codes)))

    # ------------------------------------------------------------------ inside

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

    def _adopt(self, estimator: Any, codes: Array, backend: str) -> Self:
        self.estimator_, self.codes_, self.backend_ = estimator, codes, backend
        spread = codes.std(0)
        self.scale_ = np.where(spread > 0, spread, 1).astype(codes.dtype)
        self._points = self._prepare(codes)
        make = _ApproximateSearch if backend == "approximate" else _ExactSearch
        self._engine = make(self._points)
        return self

    def _prepare(self, codes: Array) -> Array:
        """Return points whose Euclidean distance is, or gives, the metric."""
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
            raise ValueError(f"n_neighbors must be a whole number from 1 to {most}, got {k!r}.")
        return int(k)


class _ExactSearch:
    """Exact neighbours, by scikit-learn."""

    def __init__(self, points: Array) -> None:
        self.tree = NearestNeighbors().fit(points)

    def __call__(self, points: Array, k: int) -> tuple[Array, Array]:
        return self.tree.kneighbors(points, k)


class _ApproximateSearch:
    """Approximate neighbours, by a graph of faiss."""

    def __init__(self, points: Array) -> None:
        self.graph = _faiss().IndexHNSWFlat(points.shape[1], LINKS)
        self.graph.hnsw.efConstruction = 2 * BREADTH
        self.graph.add(np.ascontiguousarray(points, np.float32))

    def __call__(self, points: Array, k: int) -> tuple[Array, Array]:
        self.graph.hnsw.efSearch = max(BREADTH, 2 * k)
        squares, rows = self.graph.search(np.ascontiguousarray(points, np.float32), k)
        if (rows < 0).any():
            raise ValueError(f"the graph found fewer than {k} neighbours; use backend='exact'.")
        return np.sqrt(np.maximum(squares, 0)), rows


def read_record(folder: Path) -> dict[str, Any]:
    """Return what index.json says; a one-line error where it is missing or damaged."""
    path = Path(folder) / SETTINGS
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no index: there is no {SETTINGS} in it. `isthmus search RUN QUERY "
            "--data DATA` or LatentIndex.save writes one."
        )
    try:
        record = read_json(path)
        check_record(record, path)
        whole = record["format"] == FORMAT and set(record["settings"]) <= _setting_names()
        whole = whole and isinstance(record["rows"], int) and isinstance(record["data"], dict)
        whole = whole and isinstance(record["model"], str)
        numbers = {"n_neighbors": 1, "exact_up_to": 1}
        check_settings(record["settings"], dict.fromkeys(_setting_names(), "") | numbers)
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise ValueError(f"{path} is damaged or of another version; index the data again.")
    return record


def _setting_names() -> set[str]:
    return set(LatentIndex._get_param_names()) - {"estimator"}


def _without_self(distances: Array, rows: Array) -> tuple[Array, Array]:
    """Drop each row's own number, or, where equal rows crowd it out, the farthest neighbour."""
    own = rows == np.arange(len(rows))[:, None]
    own[~own.any(1), -1] = True
    shape = (len(rows), rows.shape[1] - 1)
    return distances[~own].reshape(shape), rows[~own].reshape(shape)


def _answer(distances: Array, rows: Array, return_distance: bool) -> Any:
    return (distances, rows) if return_distance else rows


def _has_faiss() -> bool:
    try:
        return bool(_faiss())
    except ImportError:
        return False


def _faiss() -> Any:
    return import_optional(
        "faiss", extra="search", what="approximate search", instead="use backend='exact'"
    )
