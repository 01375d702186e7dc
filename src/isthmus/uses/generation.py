"""Generation: new examples from a prior, of a class, around an input, or from a fitted mixture."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.utils.validation import check_is_fitted

from isthmus.estimators.context import check_labels
from isthmus.uses.search import encode_rows
from isthmus.uses.wrapping import Wrapper

__all__ = ["LatentSampler", "variations"]

Array = NDArray[Any]

SOURCES = ("auto", "prior", "mixture")
RIDGE = 1e-6  # added to the variances of a mixture, in those of the codes
MOST_ROWS = 20_000  # codes that a mixture is fitted to, at most


class LatentSampler(Wrapper):
    """New examples from any estimator, with or without a prior of its own.

    The source of codes is the model's prior, or a mixture of normals fitted to the aggregate
    posterior: to one draw from q(z|x) for each training row, which of a plain autoencoder is
    the code itself. With labels there is one mixture a class, so that any model generates a
    class on demand; a conditional model is told the class besides.

    `fit` trains a copy of the estimator; one that is fitted already goes in by `from_fitted`
    (or as ``sklearn.frozen.FrozenEstimator``) and is not trained again.

    Parameters
    ----------
    estimator : LatentEstimator
    source : {"auto", "prior", "mixture"}
        "auto" is the prior where the model has one, else the mixture.
    n_modes : int
        Normals of the mixture, of full covariance; of each class where there are labels.
    random_state : int, optional
        Seed of the mixture's fit.

    Attributes
    ----------
    estimator_ : LatentEstimator
        The fitted model.
    source_ : str
        "prior" or "mixture".
    classes_ : ndarray
        The labels, where there were any and the source is a mixture.

    References
    ----------
    From variational to deterministic autoencoders (Ghosh, Sajjadi, Vergari, Black, Schölkopf,
    2020).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import Autoencoder
    >>> digits = load_digits()
    >>> model = Autoencoder(n_components=8, epochs=5, random_state=0)
    >>> sampler = LatentSampler(model, n_modes=2, random_state=0)
    >>> _ = sampler.fit(digits.images / 16, digits.target)
    >>> sampler.sample(3, y=7, random_state=0).shape
    (3, 8, 8)
    """

    estimator_: Any
    source_: str
    classes_: Array

    def __init__(
        self,
        estimator: Any,
        *,
        source: str = "auto",
        n_modes: int = 10,
        random_state: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.source = source
        self.n_modes = n_modes
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train the estimator (unless frozen) and, where it is the source, the mixture.

        Parameters
        ----------
        X : array-like (n, *features)
        y : array-like (n,), optional
            Labels: then `sample` takes them too.

        Returns
        -------
        self
            Unchanged where an error is raised.

        Raises
        ------
        ValueError
            A setting that is none, a prior that is not there, or a class with too few rows.
        """
        if self.source not in SOURCES:
            raise ValueError(f"source must be one of {', '.join(SOURCES)}, got {self.source!r}.")
        estimator = clone(self.estimator).fit(X, y)
        has_prior = estimator.model_.prior is not None
        if self.source == "prior" and not has_prior:
            raise ValueError(
                f"{_name(estimator)} has no prior to sample from: a VAE has; or use "
                "source='mixture'."
            )
        source = "prior" if has_prior and self.source != "mixture" else "mixture"
        mixtures = None if source == "prior" else self._learn(estimator, X, y)
        self.estimator_, self.source_, self._mixtures = estimator, source, mixtures
        if mixtures is not None and mixtures.classes is not None:
            self.classes_ = mixtures.classes
        return self

    def sample(
        self, n_samples: int = 1, random_state: int | None = None, *, y: Any = None
    ) -> Array:
        """Return new examples: the mean of p(x|z) at codes drawn from the source.

        Parameters
        ----------
        n_samples : int
        random_state : int, optional
            Seed; without one every call differs.
        y : label or array-like (n_samples,), optional
            What to generate; needs a conditional model, or a mixture fitted with labels.

        Returns
        -------
        ndarray (n_samples, *feature_shape_)
        """
        check_is_fitted(self)
        if self.source_ == "prior":
            if y is not None and not self.estimator_.conditional:
                raise ValueError(
                    f"{_name(self.estimator_)} cannot be asked for a class: ConditionalVAE can, "
                    "and any model by source='mixture' fitted with labels."
                )
            return self.estimator_.sample(n_samples, random_state, y=y)
        codes, drawn = self._draw(n_samples, random_state, y)
        context = {"condition": drawn} if self.estimator_.conditional else {}
        return self.estimator_.inverse_transform(codes, **context)

    def sample_codes(
        self, n_samples: int = 1, random_state: int | None = None, *, y: Any = None
    ) -> Array:
        """Return codes drawn from the mixture, (n_samples, n_components) of float32.

        Codes of rectified units, none of which was negative, are not negative here either.

        Parameters
        ----------
        n_samples, random_state, y
            As in `sample`.
        """
        check_is_fitted(self)
        return self._draw(n_samples, random_state, y)[0]

    def _draw(self, n: int, random_state: int | None, y: Any) -> tuple[Array, Array | None]:
        if self._mixtures is None:
            raise ValueError("codes are drawn from a mixture; this sampler uses the model's prior.")
        if n < 1:
            raise ValueError(f"n_samples must be at least 1, got {n!r}.")
        return self._mixtures.draw(n, np.random.default_rng(random_state), y)

    def variations(
        self, X: Any, n_samples: int = 8, spread: float = 1.0, random_state: int | None = None
    ) -> Array:
        """Return new examples around each row of X: see the function `variations`.

        A model whose codes have no spread of their own takes that of the nearest mode of the
        mixture: its standard deviations, times `spread`.

        Returns
        -------
        ndarray (n, n_samples, *feature_shape_)
        """
        check_is_fitted(self)
        scale = None
        if self._mixtures is not None and not _has_spread(self.estimator_):
            scale = self._mixtures.deviations(encode_rows(self.estimator_, X))
        return variations(
            self.estimator_, X, n_samples, spread, scale=scale, random_state=random_state
        )

    def _learn(self, estimator: Any, X: Any, y: Any) -> _Mixtures:
        rng = np.random.default_rng(self.random_state)
        context = {"condition": y} if estimator.conditional and y is not None else {}
        q = estimator.posterior(X, **context)
        codes = (q.mean + q.std * rng.standard_normal(q.mean.shape)).astype(np.float64)
        labels = None if y is None else check_labels(y, len(codes))
        return _Mixtures(codes, labels, self.n_modes, rng)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "source_")


class _Mixtures:
    """One mixture of normals for all codes, or one for each class; of codes of unit variance."""

    def __init__(self, codes: Array, labels: Array | None, modes: int, rng: Any) -> None:
        self.classes, index = None, np.zeros(len(codes), int)
        if labels is not None:
            self.classes, index = np.unique(labels, return_inverse=True)
        counts = np.bincount(index)
        self._check(counts, modes)
        self.middle, self.scale = codes.mean(0), codes.std(0)
        self.floor = 0.0 if codes.min() >= 0 else -np.inf
        points = self._points(codes)
        self.parts = [_mixture(points[index == k], modes, rng) for k in range(len(counts))]
        self.weights = counts / counts.sum()

    def draw(self, n: int, rng: np.random.Generator, y: Any) -> tuple[Array, Array | None]:
        """Return n codes and their classes, of the classes y where they are given."""
        which = rng.choice(len(self.parts), n, p=self.weights) if y is None else self._index(y, n)
        points = np.empty((n, len(self.middle)))
        for k in np.unique(which):
            points[which == k] = _draw(self.parts[k], int((which == k).sum()), rng)
        codes = np.maximum(self.middle + self.scale * points, self.floor).astype(np.float32)
        return codes, None if self.classes is None else self.classes[which]

    def deviations(self, codes: Array) -> Array:
        """Return for each code the standard deviations of the likeliest mode, (n, d)."""
        points, out = self._points(codes), np.empty(codes.shape)
        best = np.stack([part.score_samples(points) for part in self.parts]).argmax(0)
        for k in np.unique(best):
            part, mine = self.parts[k], best == k
            variances = np.diagonal(part.covariances_, axis1=1, axis2=2)
            out[mine] = np.sqrt(variances[part.predict(points[mine])])
        return out * self.scale

    def _points(self, codes: Array) -> Array:
        return (codes - self.middle) / np.where(self.scale > 0, self.scale, 1)

    def _check(self, counts: Array, modes: int) -> None:
        few = np.flatnonzero(counts < max(2, modes))
        if len(few):
            whose = "X" if self.classes is None else f"class {self.classes[few[0]]!s}"
            raise ValueError(
                f"{whose} has {counts[few[0]]} rows, too few for a mixture of {modes} modes: use a "
                "smaller n_modes, or more rows."
            )

    def _index(self, y: Any, n: int) -> Array:
        if self.classes is None:
            raise ValueError(
                "this sampler was fitted without labels and cannot be asked for a class: give y "
                "to fit."
            )
        labels = np.atleast_1d(np.asarray(y))
        if labels.shape not in ((1,), (n,)):
            raise ValueError(f"expected one label for each of the {n} samples, got {labels.shape}.")
        unknown = labels[~np.isin(labels, self.classes)]
        if len(unknown):
            known = ", ".join(map(str, self.classes[:20]))
            raise ValueError(f"no class {unknown[0]!s} was there in fit; known are: {known}.")
        return np.broadcast_to(np.searchsorted(self.classes, labels), n)


def variations(
    estimator: Any,
    X: Any,
    n_samples: int = 8,
    spread: float = 1.0,
    *,
    scale: ArrayLike | None = None,
    condition: Any = None,
    random_state: int | None = None,
) -> Array:
    """Return new examples around each row of X: decoded draws about its code.

    Codes are mean + spread · scale · noise, with noise standard normal. The scale is the
    standard deviation of q(z|x), so that a spread of 1 draws from the posterior itself.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    X : array-like (n, *features)
    n_samples : int
        Variations of each row.
    spread : float
        From 0, where all are the reconstruction.
    scale : array-like (n_components,) or (n, n_components), optional
        Unit of the spread, needed for models whose codes are points.
    condition : label or array-like (n,), optional
        For conditional models.
    random_state : int, optional
        Seed; without one every call differs.

    Returns
    -------
    ndarray (n, n_samples, *feature_shape_)

    Raises
    ------
    ValueError
        A model of point codes without `scale`, or numbers out of range.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import VAE
    >>> X = load_digits().images / 16
    >>> model = VAE(n_components=4, epochs=2, random_state=0).fit(X)
    >>> variations(model, X[:2], 5, spread=2.0, random_state=0).shape
    (2, 5, 8, 8)
    """
    if n_samples < 1 or not (np.isfinite(spread) and spread >= 0):
        raise ValueError(
            f"expected n_samples of at least 1 and a spread from 0, got {n_samples!r} and "
            f"{spread!r}."
        )
    context = {} if condition is None else {"condition": condition}
    q = estimator.posterior(X, **context)
    if scale is None and not _has_spread(estimator):
        raise ValueError(
            f"the codes of {_name(estimator)} are points without a spread of their own: a VAE's "
            "have one; or give scale, or use LatentSampler, whose mixture gives one."
        )
    unit = q.std if scale is None else np.broadcast_to(np.asarray(scale), q.mean.shape)
    rng = np.random.default_rng(random_state)
    noise = rng.standard_normal((len(q.mean), n_samples, q.mean.shape[1]))
    codes = (q.mean[:, None] + spread * unit[:, None] * noise).astype(np.float32)
    flat = codes.reshape(-1, codes.shape[-1])
    if np.ndim(condition):
        context = {"condition": np.repeat(np.asarray(condition), n_samples, axis=0)}
    decoded = estimator.decode(flat, **context)
    return decoded.reshape(len(q.mean), n_samples, *decoded.shape[1:])


def _mixture(points: Array, modes: int, rng: np.random.Generator) -> GaussianMixture:
    if len(points) > MOST_ROWS:
        points = points[rng.choice(len(points), MOST_ROWS, replace=False)]
    mixture = GaussianMixture(modes, reg_covar=RIDGE, random_state=int(rng.integers(2**31)))
    with warnings.catch_warnings():  # a hundred steps are near enough to draw from
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(points)


def _draw(mixture: GaussianMixture, n: int, rng: np.random.Generator) -> Array:
    """Draw n codes; scikit-learn's own `sample` gives the same ones at every call."""
    which = rng.choice(len(mixture.weights_), n, p=mixture.weights_ / mixture.weights_.sum())
    roots = np.linalg.cholesky(mixture.covariances_)
    noise = rng.standard_normal((n, mixture.means_.shape[1]))
    return mixture.means_[which] + np.einsum("nij,nj->ni", roots[which], noise)


def _has_spread(estimator: Any) -> bool:
    return estimator.model_.prior is not None


def _name(estimator: Any) -> str:
    inner = getattr(estimator, "estimator", estimator)  # of a frozen one
    return type(inner).__name__
