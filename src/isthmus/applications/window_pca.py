"""Principal components of the windows of a series: their errors and their distances."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_WIDTH", "Moments", "WindowPCA", "interpolate_gaps"]

Array = NDArray[Any]
MAX_WIDTH = 4096  # numbers per window: their covariances take 128 MiB
RIDGE = 0.03  # share of the mean variance added to each direction
NEGLIGIBLE = 0.1  # share of the ridge below which a variance need not be known
EXPLAINED = 0.9  # share of the variance that the default number of components explains
FILLS = 20  # steps towards the expected values of gaps


@dataclass(eq=False)
class Moments:
    """Number, mean and covariance of rows, from blocks of rows.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> moments = Moments.of([X[:20], X[20:]])
    >>> np.allclose(moments.mean, X.mean(0)), np.allclose(moments.covariance, np.cov(X.T, ddof=0))
    (True, True)
    """

    n: float
    mean: Array
    covariance: Array

    @classmethod
    def of(cls, blocks: Iterable[Array]) -> Self:
        """Return the moments of blocks (n, width)."""
        n, first, total, products = 0, None, 0.0, 0.0
        for block in blocks:
            first = block.mean(0) if first is None and len(block) else first
            if first is not None:  # differences to a close value keep their digits when squared
                shifted = block - first
                n, total = n + len(block), total + shifted.sum(0)
                products = products + shifted.T @ shifted
        if first is None:
            raise ValueError("there is no row.")
        mean = total / n
        return cls(n, first + mean, products / n - np.outer(mean, mean))

    def merged(self, other: Self) -> Self:
        """Return the moments of both sets of rows (Chan, Golub, LeVeque, 1983)."""
        n = self.n + other.n
        share, apart = other.n / n, other.mean - self.mean
        covariance = (1 - share) * self.covariance + share * other.covariance
        covariance = covariance + share * (1 - share) * np.outer(apart, apart)
        return type(self)(n, self.mean + share * apart, covariance)


@dataclass(eq=False)
class WindowPCA:
    """Probabilistic principal component analysis of rows, with a ridge.

    Parameters
    ----------
    n_rows : float
        Number of rows that it was fitted to.
    mean : ndarray (width,)
    components : ndarray (n_components, width)
        Orthonormal directions.
    variances : ndarray (n_components,)
        Of the components.
    noise : float
        Mean variance of all other directions.
    ridge : float
        Added to all variances in distances.

    References
    ----------
    Probabilistic principal component analysis (Tipping, Bishop, 1999).

    Examples
    --------
    >>> from sklearn.decomposition import PCA
    >>> X = np.random.default_rng(0).normal(size=(50, 6)) * [5, 4, 3, 1, 1, 1]
    >>> ours, theirs = WindowPCA.fit(Moments.of([X]), 3), PCA(3).fit(X)
    >>> error = X - theirs.inverse_transform(theirs.transform(X))
    >>> np.allclose(ours.residual(X), error)
    True
    """

    n_rows: float
    mean: Array
    components: Array
    variances: Array
    noise: float
    ridge: float

    @classmethod
    def fit(
        cls, moments: Moments, n_components: int | None = None, *, distances: bool = False
    ) -> Self:
        """Fit to moments of rows.

        By default the components explain nine tenths of the variance or, for `distances`, are all
        those whose variance matters in a distance.
        """
        values, vectors = np.linalg.eigh(moments.covariance)
        values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
        ridge, total = RIDGE * values.mean(), values.sum()
        if n_components is not None:
            k = min(n_components, len(values))
        elif distances:
            k = int((values > NEGLIGIBLE * ridge).sum())
        else:
            k = 1 + int(np.searchsorted(values.cumsum(), EXPLAINED * total))
        noise = float(values[k:].mean()) if k < len(values) else 0.0
        components = np.ascontiguousarray(vectors[:, :k].T)
        return cls(moments.n, moments.mean, components, values[:k], noise, float(ridge) or 1.0)

    @property
    def moments(self) -> Moments:
        """The moments of the rows, as far as they are known."""
        signal = (self.components.T * (self.variances - self.noise)) @ self.components
        return Moments(self.n_rows, self.mean, signal + self.noise * np.eye(len(self.mean)))

    def residual(self, rows: Array) -> Array:
        """Return what the components leave of rows (n, width)."""
        centred = rows - self.mean
        return centred - (centred @ self.components.T) @ self.components

    def whitened(self, rows: Array) -> Array:
        """Return rows of uncorrelated values of variance 1, (n, width).

        Of all such maps it changes the rows least, so that each value still belongs to its place
        (zero-phase whitening). The squares sum to the squared Mahalanobis distance.
        """
        centred, rest = rows - self.mean, (self.noise + self.ridge) ** -0.5
        factors = (self.variances + self.ridge) ** -0.5 - rest
        return rest * centred + ((centred @ self.components.T) * factors) @ self.components

    def fill(self, rows: Array, known: NDArray[np.bool_]) -> Array:
        """Return rows with their unknown values replaced by what is expected given the others."""
        shrink = (self.variances - self.noise) / (self.variances + self.ridge)
        for _ in range(FILLS):
            codes = (rows - self.mean) @ self.components.T
            rows = np.where(known, rows, self.mean + (codes * shrink) @ self.components)
        return rows


def interpolate_gaps(windows: Array) -> Array:
    """Return windows (..., time) with NaN replaced: linearly, by the nearest value at the ends.

    Without any value in a window it is 0.

    Examples
    --------
    >>> interpolate_gaps(np.array([[np.nan, 1.0, np.nan, np.nan, 4.0], [np.nan] * 5]))
    array([[1., 1., 2., 3., 4.],
           [0., 0., 0., 0., 0.]])
    """
    known, n = ~np.isnan(windows), windows.shape[-1]
    at = np.arange(n)
    before = np.maximum.accumulate(np.where(known, at, -1), axis=-1)
    after = np.minimum.accumulate(np.where(known, at, n)[..., ::-1], axis=-1)[..., ::-1]
    before, after = np.where(before < 0, after, before), np.where(after == n, before, after)
    before, after = before.clip(0, n - 1), after.clip(0, n - 1)  # n or -1: without any value
    values = np.where(known, windows, 0.0)
    low, high = (np.take_along_axis(values, i, -1) for i in (before, after))
    share = (at - before) / np.maximum(after - before, 1)
    return low + share * (high - low)
