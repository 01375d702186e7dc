"""Base classes and helpers of the applications, which wrap an estimator."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import warnings
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as parse_arrays
from safetensors.numpy import save as serialize_arrays
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from isthmus.data.input_types import read_input
from isthmus.data.sparse_rows import is_sparse
from isthmus.estimators.sample_weight import WeightedRows, weight_rows
from isthmus.estimators.validation import count_rows_from
from isthmus.persistence.atomic import write_all_atomic
from isthmus.persistence.integrity import (
    check_record,
    read_described,
    read_json,
    read_tensors,
    read_together,
    with_checksums,
)
from isthmus.persistence.origin import with_code
from isthmus.persistence.run_folder import to_json
from isthmus.persistence.schema import check_settings

__all__ = [
    "LatentMetaEstimator",
    "MetaEstimator",
    "SavedMetaEstimator",
    "check_choice",
    "encode_in_chunks",
    "estimator_name",
    "fitted_model",
    "has_distribution",
    "is_fitted",
    "model_digest",
    "unwrap",
    "weight_options",
]

CHUNK = 8192  # rows encoded at once
FORMAT = 1


class MetaEstimator(BaseEstimator):
    """Base of estimators with a parameter `estimator`.

    `fit` uses a fitted estimator as it is and trains a clone of an unfitted one. As
    `sklearn.base.clone` returns unfitted copies, cross-validation and grid search train; wrap a
    fitted estimator in `sklearn.frozen.FrozenEstimator` to use it as it is there, too.

    Attributes
    ----------
    estimator_ : LatentEstimator
        The fitted model.
    """

    estimator: Any
    estimator_: Any

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Train a clone of the estimator, unless it is fitted, and fit what depends on it.

        Parameters
        ----------
        X : array-like (n, *features)
            Data that the estimator accepts: a table, images or signals; numbers or bytes.
        y : array-like (n,), optional
            Labels, with which an unfitted conditional estimator is trained.
        sample_weight : array-like (n,), optional
            How often each row counts in training, as in the `fit` of the estimator, and in what
            else is learned from the rows. Rows of weight 0 are left out.

        Returns
        -------
        self
            Unchanged if an error is raised.

        Raises
        ------
        ValueError
            If a parameter is invalid or does not match X, or the estimator rejects X.
        """
        new = copy.copy(self)
        X = X if is_sparse(X) else read_input(X)  # others than ours take no SparseRows
        new._fit(X, y, sample_weight)
        self.__dict__ = new.__dict__
        return self

    def _fit(self, X: Any, y: Any, weights: Any) -> None:
        raise NotImplementedError

    def _check_parameters(self) -> None:
        """Raise an error if a parameter is invalid, before the estimator is trained."""

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class LatentMetaEstimator(MetaEstimator):
    """Base of meta-estimators that use the codes of the estimator."""

    @classmethod
    def from_fitted(cls, estimator: Any, **settings: Any) -> Self:
        """Wrap a fitted model, which clones of the result use as it is, too."""
        check_is_fitted(estimator)
        return cls(FrozenEstimator(estimator), **settings)

    def _fit(self, X: Any, y: Any, weights: Any) -> None:
        self._check_parameters()
        self.estimator_ = fitted_model(self.estimator) or self._trained(X, y, weights)
        self._fit_codes(weight_rows(X, y, None, weights))

    def _trained(self, X: Any, y: Any, weights: Any) -> Any:
        """Return a trained clone of the estimator."""
        return clone(self.estimator).fit(X, y, **weight_options(weights))

    def _fit_codes(self, rows: WeightedRows) -> None:
        """Learn from the rows that count."""
        raise NotImplementedError


class SavedMetaEstimator(MetaEstimator):
    """A meta-estimator whose arrays are saved beside the model, with a JSON record.

    Subclasses set the names of both files, and what error messages say about them.
    """

    _arrays_file: str
    _record_file: str
    _content: str
    _command: str
    _hint: str

    def save(self, path: str | PathLike[str], data: dict[str, Any] | None = None) -> None:
        """Write arrays and settings, without the model, to a folder.

        Parameters
        ----------
        path : path-like
            The folder, which is created if needed.
        data : dict, optional
            Description of the data to record: name, fingerprint.
        """
        check_is_fitted(self)
        arrays, fields = self._to_arrays()
        content = serialize_arrays({k: np.ascontiguousarray(v) for k, v in arrays.items()})
        settings = self._saved_settings()
        record = {"format": FORMAT, "settings": settings, "model": self._model_digest()}
        record = json.loads(to_json(record | fields | {"data": data or {}}))
        record["data"] = with_code(record["data"], record["model"])
        arrays_path, record_path = (Path(path) / n for n in (self._arrays_file, self._record_file))
        Path(path).mkdir(parents=True, exist_ok=True)
        sealed = to_json(with_checksums(record, {arrays_path.name: content}))
        write_all_atomic({arrays_path: content, record_path: sealed.encode()}, record_path)

    @classmethod
    def load(cls, path: str | PathLike[str], estimator: Any, **settings: Any) -> Self:
        """Load what `save` wrote, for the fitted estimator whose codes it describes.

        Parameters
        ----------
        path : path-like
            The folder.
        estimator : LatentEstimator
        settings
            Parameters that replace the saved ones.

        Raises
        ------
        FileNotFoundError, ValueError
            If a file is missing or corrupt, or belongs to another model.
        """
        arrays_path = Path(path) / cls._arrays_file

        def read(record: dict[str, Any]) -> bytes:
            try:
                return read_described(arrays_path, record)
            except ValueError as error:
                raise ValueError(f"{arrays_path} is corrupt; {cls._hint}.") from error

        record, content = read_together(lambda: cls.read_record(path), read)
        several = isinstance(estimator, list | tuple)
        frozen = [FrozenEstimator(unwrap(e)) for e in (estimator if several else [estimator])]
        loaded = cls(frozen if several else frozen[0], **(record["settings"] | settings))
        loaded._check_parameters()
        loaded._set_models([unwrap(e) for e in frozen])
        if record["model"] != loaded._model_digest():
            raise ValueError(f"{path} belongs to another model; {cls._hint}.")
        try:
            arrays = read_tensors(content, arrays_path.name, parse_arrays)
            loaded._from_arrays(arrays, record)
        except (KeyError, ValueError) as error:
            raise ValueError(f"{arrays_path} is corrupt; {cls._hint}.") from error
        return loaded

    @classmethod
    def read_record(cls, path: str | PathLike[str]) -> dict[str, Any]:
        """Return the checked record in a folder, without reading the arrays.

        Raises
        ------
        FileNotFoundError, ValueError
            If it is missing or corrupt.
        """
        file = Path(path) / cls._record_file
        if not file.is_file():
            raise FileNotFoundError(
                f"{path} contains no {cls._content}: {file.name} is missing. Create one with "
                f"`{cls._command}` or {cls.__name__}.save."
            )
        parameters = inspect.signature(cls).parameters.values()
        try:
            record = read_json(file)
            check_record(record, file)
            check_settings(
                record["settings"], {p.name: p.default for p in parameters if p.name != "estimator"}
            )
            valid = type(record["format"]) is int and record["format"] == FORMAT
            valid = valid and isinstance(record["model"], str)
            valid = valid and isinstance(record["data"], dict) and cls._is_valid(record)
        except (ValueError, KeyError, TypeError, AttributeError):
            valid = False
        if not valid:
            raise ValueError(f"{file} is corrupt or has another format version; {cls._hint}.")
        return record

    def _saved_settings(self) -> dict[str, Any]:
        """Return the parameters to save, fit for JSON."""
        return {k: v for k, v in self.get_params(deep=False).items() if k != "estimator"}

    def _model_digest(self) -> str:
        """Return what identifies the model."""
        return model_digest(self.estimator_)

    def _set_models(self, models: list[Any]) -> None:
        """Set the fitted attributes that hold models."""
        (self.estimator_,) = models

    def _to_arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the arrays to save, and further fields of the record."""
        raise NotImplementedError

    def _from_arrays(self, arrays: dict[str, NDArray[Any]], record: dict[str, Any]) -> None:
        """Set the fitted attributes; raise a KeyError or ValueError if the arrays are invalid."""
        raise NotImplementedError

    @classmethod
    def _is_valid(cls, record: dict[str, Any]) -> bool:
        """Whether the further fields of a record are valid."""
        raise NotImplementedError


def check_choice(name: str, value: Any, known: Iterable[str]) -> None:
    """Raise a ValueError if the value of a parameter is not one of the known ones."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}.")


def weight_options(weights: Any) -> dict[str, Any]:
    """Return the keyword argument of `fit` for sample weights, if there are any."""
    return {} if weights is None else {"sample_weight": weights}


def unwrap(estimator: Any) -> Any:
    """Return the estimator in a FrozenEstimator; any other estimator as it is."""
    while isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    return estimator


def is_fitted(estimator: Any) -> bool:
    """Whether an application uses an estimator as it is: if it is fitted, or frozen."""
    if isinstance(estimator, FrozenEstimator):
        return True
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):  # the latter for objects that are no estimators
        return False
    return True


def fitted_model(estimator: Any) -> Any:
    """Return the fitted model in an estimator; None if the estimator must be trained.

    Settings that changed since the fit have no effect, of which a `UserWarning` informs.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator is frozen but not fitted.
    """
    if not is_fitted(estimator):
        return None
    model = unwrap(estimator)
    check_is_fitted(model)
    then, now = getattr(model, "fitted_params_", {}), model.get_params(deep=False)
    now.pop("handle_unknown", None)  # takes effect without a fit
    changed = [k for k, v in then.items() if k in now and now[k] is not v and now[k] != v]
    if changed:
        warnings.warn(
            f"{', '.join(changed)} of the fitted {type(model).__name__} changed after it was "
            "fitted, which has no effect: fit it again, or pass sklearn.base.clone(estimator) to "
            "train it with the new settings.",
            UserWarning,
            stacklevel=4,
        )
    return model


def estimator_name(estimator: Any) -> str:
    """Return the class name of an estimator, frozen or not."""
    return type(unwrap(estimator)).__name__


def has_distribution(estimator: Any) -> bool:
    """Whether the codes of a fitted estimator are distributions, as a VAE's, and not points."""
    return estimator.model_.prior is not None


def encode_in_chunks(estimator: Any, X: Any) -> NDArray[Any]:
    """Return the codes of X; arrays, which may be large memory maps, are encoded in chunks."""
    if not isinstance(X, np.ndarray) or len(X) <= CHUNK:
        return np.asarray(estimator.transform(X))
    parts = []
    for start in range(0, len(X), CHUNK):
        with count_rows_from(start):
            parts.append(np.asarray(estimator.transform(X[start : start + CHUNK])))
    return np.concatenate(parts)


def model_digest(estimator: Any) -> str:
    """Return the SHA-256 of everything that codes depend on: weights and scaling."""
    digest = hashlib.sha256()
    arrays = {k: v.cpu().numpy() for k, v in estimator.model_.state_dict().items()}
    scaler = estimator.scaler_
    for name, array in sorted({**arrays, "shift": scaler.shift, "scale": scaler.scale}.items()):
        digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
