"""What all checks share: the model, the rows, and what the model makes of them, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from isthmus._messages import one_line
from isthmus.data.input_types import read_input
from isthmus.data.sparse_rows import SparseRows
from isthmus.estimators.base import LatentEstimator, Posterior, RateDistortion
from isthmus.estimators.scaling import as_float64
from isthmus.evaluation.baselines import known_mean
from isthmus.evaluation.components_in_use import count_in_use
from isthmus.evaluation.likelihood import importance_weighted
from isthmus.evaluation.reconstruction import column_units

__all__ = ["Context", "Rows"]

Array = NDArray[Any]
MOST_ROWS, LEAST_ROWS = 5_000, 500  # of each kind, drawn at random if there are more
MOST_NUMBERS = 2**22  # of each kind, if these are at least the least rows
MOST = 200  # components of a linear model
SCORED_ROWS, SAMPLES = 1_000, 100  # rows and importance samples for log-likelihoods
SCORED_NUMBERS = 2**20


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one kind, and what the model makes of them; each is computed when first used.

    Parameters
    ----------
    estimator : LatentEstimator
    X : ndarray (n, *features)
        The rows, as an array.
    y : ndarray or None
        Their labels.
    kind : str
        "training", "test" or "new".
    n_given : int
        Number of rows from which these were drawn.
    """

    estimator: LatentEstimator
    X: Array
    y: Array | None
    kind: str
    n_given: int

    @classmethod
    def draw(
        cls, estimator: LatentEstimator, X: Any, y: Any, kind: str, rng: np.random.Generator
    ) -> Rows | None:
        """Return at most 5,000 random rows of X, fewer of many features; None if there are none.

        Raises a ValueError if they do not fit the model.
        """
        if X is None:
            return None
        X = read_input(X)
        X = X if hasattr(X, "shape") else np.asarray(X)
        n = int(X.shape[0]) if X.ndim else 0
        if X.ndim and n == 0:
            return None
        y = None if y is None else np.atleast_1d(np.asarray(y))
        if y is not None and len(y) != n:
            raise ValueError(f"{n} {kind} rows, but {len(y)} labels for them.")
        chosen = np.arange(n)
        most = min(MOST_ROWS, max(LEAST_ROWS, MOST_NUMBERS // estimator.n_features_in_))
        if n > most:
            chosen = np.sort(rng.choice(n, most, replace=False))
        try:
            if isinstance(X, SparseRows):  # dense, all rows might not fit into memory
                X = np.asarray(X[chosen])
                X, _ = estimator.check_input(X)
            else:
                X, _ = estimator.check_input(X)
                X = X[chosen]
            y = None if y is None else y[chosen]
            if estimator.conditional:
                estimator.encode_condition(y, len(X))
        except ValueError as error:
            raise ValueError(f"the {kind} rows do not fit the model: {one_line(error)}") from None
        return cls(estimator, X, y, kind, n)

    def __len__(self) -> int:
        return len(self.X)

    def __str__(self) -> str:
        drawn = "" if len(self) == self.n_given else f" of {self.n_given:,}"
        labels = " without labels" if self.estimator.conditional and self.y is None else ""
        return f"{len(self):,}{drawn} {self.kind} row{'s'[: len(self) > 1]}{labels}"

    def first(self, n: int) -> Rows:
        """Return at most n of these rows at random, for checks whose cost per row is high."""
        if len(self) <= n:
            return self
        rows = np.random.default_rng(0).permutation(len(self))[:n]
        y = None if self.y is None else self.y[rows]
        return Rows(self.estimator, self.X[rows], y, self.kind, self.n_given)

    @property
    def condition(self) -> Array | None:
        """Their condition; None if the model is not conditional."""
        return self.y if self.estimator.conditional else None

    @cached_property
    def posterior(self) -> Posterior:
        """Mean and standard deviation of q(z|x) of each row."""
        return self.estimator.posterior(self.X, condition=self.condition)

    @cached_property
    def in_use(self) -> int:
        """Number of components of the code in use; see `isthmus.evaluation.components_in_use`."""
        return count_in_use(self.estimator, self.posterior)

    @cached_property
    def rate_distortion(self) -> RateDistortion:
        """The two terms of the bound of each row, in nats."""
        return self.estimator.rate_distortion(self.X, condition=self.condition)

    @property
    def bound(self) -> Array:
        """The bound of each row in nats: the ELBO, or the log-likelihood at the code, (n,)."""
        rate, distortion = self.rate_distortion
        return -(rate + distortion)

    @cached_property
    def scored(self) -> Rows:
        """At most 1,000 of these rows, whose log-likelihoods are estimated."""
        most = SCORED_NUMBERS // self.estimator.n_features_in_
        return self.first(min(SCORED_ROWS, max(50, most)))

    @cached_property
    def log_likelihood(self) -> Array:
        """Estimates of log p(x) in nats of the rows `scored`; for models with a prior."""
        rows = self.scored
        found = importance_weighted(self.estimator, rows.X, SAMPLES, condition=rows.condition)
        return found.log_likelihood

    @cached_property
    def values(self) -> Array:
        """The rows as float64 (n, features), with bytes as the model reads them."""
        values = as_float64(self.estimator.model_.likelihood.convert_bytes(self.X))
        return values.reshape(len(self), -1)

    @cached_property
    def reconstruction(self) -> Array:
        """The mean of p(x|z) at the code of each row, (n, features)."""
        return self.decoded(self.condition)

    def decoded(self, condition: Array | None) -> Array:
        """Return the mean of p(x|z) at the code of each row under a condition, (n, features)."""
        decoded = self.estimator.decode(self.posterior.mean, condition=condition)
        return as_float64(decoded).reshape(len(self), -1)


class Context:
    """A fitted model, its rows and its history.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    train, test, new : Rows or None
    random_state : int
    """

    def __init__(
        self,
        estimator: LatentEstimator,
        train: Rows | None,
        test: Rows | None,
        new: Rows | None,
        random_state: int,
    ) -> None:
        self.estimator, self.random_state = estimator, random_state
        self.train, self.test, self.new = train, test, new

    @property
    def history(self) -> list[dict[str, Any]]:
        """One record per epoch of training; empty if it was not kept."""
        return self.estimator.history_

    @property
    def rng(self) -> np.random.Generator:
        """A new generator: each check draws the same numbers, whichever checks are made."""
        return np.random.default_rng(self.random_state)

    @cached_property
    def signal_components(self) -> int:
        """The number of components that a linear model of the training rows would use, at most 200.

        With a normal likelihood of variance σ² it is the number of eigenvalues of the covariance
        that are above σ². They must also be above those of noise in as many rows. If the likelihood
        has no learned scale, the variance of each feature counts as noise, so that the number is
        that of correlations that are not noise.

        References
        ----------
        Distribution of eigenvalues for some sets of random matrices (Marchenko, Pastur, 1967).
        """
        assert self.train is not None
        x = self.estimator.scaler_.transform(self.train.X).reshape(len(self.train), -1)
        x = np.nan_to_num(x - known_mean(x))
        varies = x.std(axis=0) > 0
        if not varies.any():
            return 0
        scale = getattr(self.estimator.model_.likelihood, "scale", None)
        noise = x.std(axis=0) if scale is None else scale.detach().cpu().double().numpy().ravel()
        x = x[:, varies] / np.broadcast_to(noise, len(varies))[varies]
        n, d = x.shape
        eigenvalues = PCA(min(MOST, n - 1, d), random_state=0).fit(x).explained_variance_
        return int(np.sum(eigenvalues > (1 + (d / n) ** 0.5) ** 2))

    @cached_property
    def ordered(self) -> Array:
        """Which features hold numbers, whose squared errors can be added, (features,): bool."""
        ordered = np.asarray(self.estimator.model_.likelihood.ordered)
        return np.broadcast_to(ordered, (self.estimator.n_features_in_,))

    def numbers(self, rows: Rows) -> Array:
        """Return the features that hold numbers, in units in which errors can be compared."""
        return (rows.values / self._units)[:, self.ordered]

    def squared_errors(self, rows: Rows, condition: Array | None = None) -> Array:
        """Return the squared error of the reconstruction of each row, in these units, (n,).

        With a condition, the codes of the rows are decoded under it instead of their own.
        """
        decoded = rows.reconstruction if condition is None else rows.decoded(condition)
        errors = (rows.values - decoded) / self._units
        return np.sum(np.nan_to_num(errors[:, self.ordered]) ** 2, axis=1)  # of missing values 0

    @cached_property
    def _units(self) -> Array:
        """The unit of each feature, (features,) or (1,)."""
        rows = self.train or self.test
        assert rows is not None
        units = column_units(self.estimator, rows.values)
        return np.ones(1) if units is None else units
