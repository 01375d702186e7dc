"""Apply a model to batches, as functions for the batch maps of Ray Data and Spark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.applications.anomaly_detection import AnomalyDetector, conformal_pvalues
from isthmus.bulk.files import UNKNOWN_COLUMN
from isthmus.data.feature_columns import FeatureColumns
from isthmus.data.frames import is_frame
from isthmus.estimators import model_io

__all__ = ["BatchMap", "Encode", "Score", "code_columns", "score_columns", "unknown_column"]

Array = NDArray[Any]


class BatchMap:
    """A picklable function of batches.

    A batch is a mapping of arrays, a pandas data frame or an Arrow table; the output is of the same
    type. Subclasses define the model and the output columns.
    """

    def __init__(self, column: str | None = None, keep: Sequence[str] = ()) -> None:
        self.column, self.keep = column, tuple(keep)

    @cached_property
    def estimator(self) -> Any:
        """The fitted model; it is not pickled."""
        raise NotImplementedError

    @property
    def reader(self) -> Any:
        """The model or detector whose columns the batches have."""
        return self.estimator

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "estimator"}

    def compute(self, X: Array) -> dict[str, Array]:
        """Return output columns by name, each (n,), for rows (n, n_features)."""
        raise NotImplementedError

    def __call__(self, batch: Any) -> Any:
        """Return the columns kept and the output columns of a batch."""
        features = FeatureColumns.for_model(self.reader, self.column, self.keep)
        output = self.compute(features.rows(batch))
        return _like(batch, {**features.kept(batch), **output})

    def frames(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield the outputs of batches, for Spark's ``mapInPandas``."""
        yield from map(self, batches)

    def schema(self, frame: Any) -> Any:
        """Return the Spark schema of the output of `frames` for a Spark data frame."""
        from pyspark.sql.types import DoubleType, StringType, StructField, StructType

        FeatureColumns.for_model(self.estimator, self.column, self.keep).names(frame.columns)
        names = self.compute(np.zeros((1, self.estimator.n_features_in_)))
        kept = [frame.schema[name] for name in self.keep]
        types = {UNKNOWN_COLUMN: StringType()}
        fields = [StructField(name, types.get(name, DoubleType())) for name in names]
        return StructType([*kept, *fields])


class Encode(BatchMap):
    """Compute the codes of rows, one column per component, named by `get_feature_names_out`.

    Parameters
    ----------
    model : path-like or LatentEstimator
        A folder written by ``isthmus fit`` or `save`, read once in each process; or a fitted
        model, which is pickled.
    column : str, optional
        The column that holds whole rows: lists, or arrays of any shape.
    keep : sequence of str
        Columns to copy to the output.

    See Also
    --------
    Score : Anomaly scores of rows.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> import isthmus
    >>> X = load_digits().data / 16
    >>> model = isthmus.VAE(n_components=2, epochs=1, random_state=0).fit(X)
    >>> encode = Encode(model, column="pixels", keep=["id"])
    >>> [*encode({"id": np.arange(5), "pixels": X[:5]})]
    ['id', 'vae0', 'vae1']
    """

    def __init__(self, model: Any, column: str | None = None, keep: Sequence[str] = ()) -> None:
        super().__init__(column, keep)
        self.model = model

    @cached_property
    def estimator(self) -> Any:
        """The fitted model."""
        return model_io.load(self.model) if isinstance(self.model, str | PathLike) else self.model

    def compute(self, X: Array) -> dict[str, Array]:
        """Return the codes of rows, one column per component."""
        return code_columns(self.estimator, X) | unknown_column(self.estimator, X)


class Score(BatchMap):
    """Compute anomaly_score, pvalue and prediction of rows, by one calibration.

    Parameters
    ----------
    detector : AnomalyDetector
        Fitted; it is pickled, so that all processes have the same threshold.
    column, keep
        As for `Encode`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import Autoencoder
    >>> from isthmus.applications import AnomalyDetector
    >>> X = load_digits().data / 16
    >>> detector = AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(X)
    >>> [*Score(detector, column="pixels")({"pixels": X[:5]})]
    ['anomaly_score', 'pvalue', 'prediction']
    """

    def __init__(
        self, detector: AnomalyDetector, column: str | None = None, keep: Sequence[str] = ()
    ) -> None:
        super().__init__(column, keep)
        self.detector = detector

    @cached_property
    def estimator(self) -> Any:
        """The model of the detector."""
        return self.detector.estimator_

    @property
    def reader(self) -> Any:
        """The detector."""
        return self.detector

    def compute(self, X: Array) -> dict[str, Array]:
        """Return the scores of rows as columns."""
        return score_columns(self.detector, X)


def code_columns(model: Any, X: Array) -> dict[str, Array]:
    """Return codes as columns (n,), named by `get_feature_names_out`."""
    codes = np.ascontiguousarray(model.transform(X).T)
    return dict(zip(model.get_feature_names_out(), codes, strict=True))


def score_columns(detector: AnomalyDetector, X: Array, warn: bool = True) -> dict[str, Array]:
    """Return anomaly score, p-value and prediction (1 or -1) of each row as columns (n,).

    `warn` as for `AnomalyDetector.score_samples`.
    """
    scores = detector.score_samples(X, warn=warn)
    columns = {
        "anomaly_score": -scores,
        "pvalue": conformal_pvalues(detector.calibration_scores_, scores),
        "prediction": np.where(scores < detector.offset_, -1, 1),
    }
    return columns | unknown_column(detector, X)


def unknown_column(reader: Any, X: Array) -> dict[str, Array]:
    """Return a column with the names of the columns of each row whose category is unknown.

    Only if the model or detector flags unknown categories, and has columns of categories.
    """
    columns = reader.columns_
    if columns is None or not columns.mixed or columns.handle_unknown != "flag":
        return {}
    names, unknown = np.array(columns.names, object), columns.find_unknown(np.asarray(X))
    return {UNKNOWN_COLUMN: np.array([", ".join(map(str, names[row])) for row in unknown], str)}


def _like(batch: Any, columns: dict[str, Any]) -> Any:
    """Return columns as a batch of the same type."""
    if isinstance(batch, Mapping):
        return columns
    if is_frame(batch):
        return type(batch)(columns, index=batch.index)
    return type(batch).from_pydict(columns)
