"""What uses have in common: an estimator inside, to be trained or fitted already."""

from __future__ import annotations

from typing import Any, Self

from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

__all__ = ["Wrapper"]


class Wrapper(BaseEstimator):
    """A use whose first setting is the estimator that it wraps."""

    @classmethod
    def from_fitted(cls, estimator: Any, **settings: Any) -> Self:
        """Wrap a model that is fitted already: `fit` then does not train it again."""
        check_is_fitted(estimator)
        return cls(FrozenEstimator(estimator), **settings)
