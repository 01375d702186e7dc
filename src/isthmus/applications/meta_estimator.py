"""Base class and helpers of the applications, which wrap an estimator."""

from __future__ import annotations

import hashlib
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

__all__ = [
    "LatentMetaEstimator",
    "condition_kwargs",
    "encode_in_chunks",
    "estimator_name",
    "has_distribution",
    "model_digest",
]

CHUNK = 8192  # rows encoded at once


class LatentMetaEstimator(BaseEstimator):
    """Base of meta-estimators: `fit` trains a clone of the parameter `estimator`."""

    estimator_: Any

    @classmethod
    def from_fitted(cls, estimator: Any, **settings: Any) -> Self:
        """Wrap a fitted model; `fit` then uses it as it is instead of training a clone."""
        check_is_fitted(estimator)
        return cls(FrozenEstimator(estimator), **settings)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")


def condition_kwargs(condition: Any) -> dict[str, Any]:
    """Return the keyword arguments that pass on a condition; none if it is None."""
    return {} if condition is None else {"condition": condition}


def estimator_name(estimator: Any) -> str:
    """Return the class name of an estimator, frozen or not."""
    return type(getattr(estimator, "estimator", estimator)).__name__


def has_distribution(estimator: Any) -> bool:
    """Whether the codes of a fitted estimator are distributions, as a VAE's, and not points."""
    return estimator.model_.prior is not None


def encode_in_chunks(estimator: Any, X: Any) -> NDArray[Any]:
    """Return the codes of X; arrays, which may be large memory maps, are encoded in chunks."""
    if not isinstance(X, np.ndarray) or len(X) <= CHUNK:
        return np.asarray(estimator.transform(X))
    parts = [estimator.transform(X[i : i + CHUNK]) for i in range(0, len(X), CHUNK)]
    return np.concatenate([np.asarray(part) for part in parts])


def model_digest(estimator: Any) -> str:
    """Return the SHA-256 of everything that codes depend on: weights and scaling."""
    digest = hashlib.sha256()
    arrays = {k: v.cpu().numpy() for k, v in estimator.model_.state_dict().items()}
    scaler = estimator.scaler_
    for name, array in sorted({**arrays, "shift": scaler.shift, "scale": scaler.scale}.items()):
        digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
