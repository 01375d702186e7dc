"""Batches in, answers out, as the batch maps of Ray Data and Spark call them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.applications.anomaly_detection import AnomalyDetector
from isthmus.applications.anomaly_thresholds import conformal_pvalues
from isthmus.data.columns import is_frame
from isthmus.data.feature_columns import FeatureColumns
from isthmus.estimators import model_io

__all__ = ["BatchMap", "Encode", "Score", "code_columns", "score_columns"]

Array = NDArray[Any]


class BatchMap:
    """A function of batches that can be sent to other processes.

    Batches are mappings of arrays, data frames of pandas or tables of Arrow, and the answer is of
    the same kind. Subclasses say which model, and what it answers.
    """

    def __init__(self, column: str | None = None, keep: Sequence[str] = ()) -> None:
        self.column, self.keep = column, tuple(keep)

    @property
    def estimator(self) -> Any:
        """The fitted model that takes the rows."""
        raise NotImplementedError

    def answer(self, X: Array) -> dict[str, Array]:
        """Return columns by name, each (n,), for rows (n, n_features)."""
        raise NotImplementedError

    def __call__(self, batch: Any) -> Any:
        """Return the answer for a batch: the columns kept, and those of the answer.

        Raises
        ------
        ValueError
            Where the batch has not the columns of the model.
        """
        features = FeatureColumns.for_model(self.estimator, self.column, self.keep)
        answer = self.answer(features.rows(batch))
        return _like(batch, {**features.kept(batch), **answer})

    def frames(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield the answers for batches, as Spark's ``mapInPandas`` wants its function."""
        yield from map(self, batches)

    def schema(self, frame: Any) -> Any:
        """Return the schema of what `frames` makes of a data frame of Spark: numbers are doubles.

        Parameters
        ----------
        frame : pyspark.sql.DataFrame

        Raises
        ------
        ValueError
            Where a column to keep is not there.
        """
        from pyspark.sql.types import DoubleType, StructField, StructType

        FeatureColumns.for_model(self.estimator, self.column, self.keep).names(frame.columns)
        names = self.answer(np.zeros((1, self.estimator.n_features_in_)))
        kept = [frame.schema[name] for name in self.keep]
        return StructType([*kept, *(StructField(name, DoubleType()) for name in names)])


class Encode(BatchMap):
    """The codes of rows, a column for each number: named as by `get_feature_names_out`.

    Parameters
    ----------
    model : path-like or LatentEstimator
        A folder that ``isthmus fit`` or `save` wrote, which is read once in each process; or a
        fitted model, which is sent along.
    column : str, optional
        The one column that holds whole rows: lists, or arrays of any shape.
    keep : sequence of str
        Columns that go with the answer as they are.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> import isthmus
    >>> X = load_digits().data / 16
    >>> model = isthmus.VAE(n_components=2, epochs=1, random_state=0).fit(X)
    >>> encode = Encode(model, column="pixels", keep=["id"])
    >>> answer = encode({"id": np.arange(5), "pixels": X[:5]})
    >>> [*answer]
    ['id', 'vae0', 'vae1']
    >>> bool((answer["vae1"] == model.transform(X)[:5, 1]).all())
    True
    """

    def __init__(
        self,
        model: str | PathLike[str] | Any,
        column: str | None = None,
        keep: Sequence[str] = (),
    ) -> None:
        super().__init__(column, keep)
        self.model = model

    @cached_property
    def _loaded(self) -> Any:
        return model_io.load(self.model)

    @property
    def estimator(self) -> Any:
        """The fitted model."""
        return self._loaded if isinstance(self.model, str | PathLike) else self.model

    def answer(self, X: Array) -> dict[str, Array]:
        """Return the codes of rows."""
        return code_columns(self.estimator, X)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_loaded"}


class Score(BatchMap):
    """How strange each row is: anomaly_score, pvalue and prediction, by one calibration.

    Parameters
    ----------
    detector : AnomalyDetector
        Fitted; it is sent along, so that every process has the same cut.
    column, keep
        As for `Encode`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus.applications import AnomalyDetector
    >>> X = load_digits().data / 16
    >>> from isthmus import Autoencoder
    >>> detector = AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(X)
    >>> [*Score(detector, column="pixels")({"pixels": X[:5]})]
    ['anomaly_score', 'pvalue', 'prediction']
    """

    def __init__(
        self, detector: AnomalyDetector, column: str | None = None, keep: Sequence[str] = ()
    ) -> None:
        super().__init__(column, keep)
        self.detector = detector

    @property
    def estimator(self) -> Any:
        """The model of the detector."""
        return self.detector.estimator_

    def answer(self, X: Array) -> dict[str, Array]:
        """Return the scores of rows."""
        return score_columns(self.detector, X)


def code_columns(model: Any, X: Array) -> dict[str, Array]:
    """Return the code of each row by columns, each (n,), under the names scikit-learn gives."""
    codes = np.ascontiguousarray(model.transform(X).T)
    return dict(zip(model.get_feature_names_out(), codes, strict=True))


def score_columns(detector: AnomalyDetector, X: Array) -> dict[str, Array]:
    """Return how strange each row is by columns, each (n,)."""
    scores = detector.score_samples(X)
    return {
        "anomaly_score": -scores,
        "pvalue": conformal_pvalues(detector.calibration_scores_, scores),
        "prediction": np.where(scores < detector.offset_, -1, 1),
    }


def _like(batch: Any, columns: dict[str, Any]) -> Any:
    """Return columns as a batch of the same kind."""
    if isinstance(batch, Mapping):
        return columns
    if is_frame(batch):
        return type(batch)(columns, index=batch.index)
    return type(batch).from_pydict(columns)
