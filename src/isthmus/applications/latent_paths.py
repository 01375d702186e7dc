"""Latent arithmetic: interpolation, traversals, analogies and attribute vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from sklearn.utils.validation import check_is_fitted

from isthmus.applications.meta_estimator import (
    LatentMetaEstimator,
    check_choice,
    encode_in_chunks,
    estimator_name,
    fitted_model,
)
from isthmus.estimators.condition import check_labels
from isthmus.estimators.sample_weight import weight_rows

__all__ = [
    "AttributeVectors",
    "decode_grid",
    "interpolate",
    "latent_arithmetic",
    "latent_path",
    "traverse",
]

Array = NDArray[Any]

HOW = ("linear", "spherical")
REACH = 3.0  # default limits of a traversal, in standard deviations of the prior
EDGE = 0.01  # fraction of the codes outside each end of a range computed from codes
PRIOR_EDGE = 0.025  # prior mass outside each end of a grid
PARALLEL = 1e-6  # sine of the angle below which two directions count as parallel


def latent_path(start: ArrayLike, end: ArrayLike, n_steps: int = 9, how: str = "linear") -> Array:
    """Interpolate between codes, both ends included.

    A spherical path rotates at constant speed while the norm changes linearly, and so avoids the
    origin, near which a standard normal prior has almost no mass in many dimensions. If both ends
    lie on a line through the origin, it is straight.

    Parameters
    ----------
    start, end : array-like (n_components,) or (n, n_components)
    n_steps : int
        Number of codes per path, at least 2.
    how : {"linear", "spherical"}

    Returns
    -------
    ndarray (n_steps, n_components) or (n, n_steps, n_components)

    References
    ----------
    Animating rotation with quaternion curves (Shoemake, 1985). Sampling generative networks
    (White, 2016).

    Examples
    --------
    >>> latent_path([0.0, 1.0], [1.0, 0.0], 3).tolist()
    [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]
    >>> latent_path([0.0, 1.0], [1.0, 0.0], 3, "spherical").round(3).tolist()
    [[0.0, 1.0], [0.707, 0.707], [1.0, 0.0]]
    """
    a, b = (np.asarray(code, dtype=np.float64) for code in (start, end))
    if a.shape != b.shape or a.ndim not in (1, 2):
        raise ValueError(f"start and end must have the same shape, got {a.shape} and {b.shape}.")
    check_choice("how", how, HOW)
    if n_steps < 2:
        raise ValueError(f"n_steps must be at least 2, got {n_steps!r}.")
    t = np.linspace(0, 1, n_steps)[:, None]
    a, b = a[..., None, :], b[..., None, :]
    straight = (1 - t) * a + t * b
    if how == "linear":
        return straight
    lengths = [np.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b)]
    u, v = (w / np.where(n > 0, n, 1) for w, n in zip((a, b), lengths, strict=True))
    angle = 2 * np.arctan2(  # accurate for small angles, unlike arccos
        np.linalg.norm(u - v, axis=-1, keepdims=True), np.linalg.norm(u + v, axis=-1, keepdims=True)
    )
    sine = np.sin(angle)
    bent = (sine > PARALLEL) & (lengths[0] > 0) & (lengths[1] > 0)
    safe = np.where(bent, sine, 1)
    direction = (np.sin((1 - t) * angle) * u + np.sin(t * angle) * v) / safe
    out = np.where(bent, direction * ((1 - t) * lengths[0] + t * lengths[1]), straight)
    out[..., :1, :], out[..., -1:, :] = a, b
    return out


def interpolate(
    estimator: Any,
    start: Any,
    end: Any,
    n_steps: int = 9,
    how: str = "linear",
    *,
    condition: Any = None,
) -> Array:
    """Interpolate between rows of data: encode both ends and decode the path between their codes.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    start, end : array-like (n, *features)
    n_steps, how
        As in `latent_path`.
    condition : label, optional
        One condition for all rows of a conditional model.

    Returns
    -------
    ndarray (n, n_steps, *feature_shape_)
        The first and last step of each path are the reconstructions of its ends.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import VAE
    >>> X = load_digits().images / 16
    >>> model = VAE(n_components=4, epochs=2, random_state=0).fit(X)
    >>> interpolate(model, X[:1], X[1:2], n_steps=5, how="spherical").shape
    (1, 5, 8, 8)
    """
    first, last = (estimator.transform(X, condition=condition) for X in (start, end))
    return _decode(estimator, latent_path(first, last, n_steps, how), condition)


def traverse(
    estimator: Any,
    X: Any,
    latent: int,
    values: ArrayLike | None = None,
    *,
    condition: Any = None,
) -> Array:
    """Decode the codes of X with one latent set to a range of values.

    Parameters
    ----------
    estimator, condition
        As in `interpolate`.
    X : array-like (n, *features)
    latent : int
        Index of the latent.
    values : array-like (n_steps,), optional
        The default is nine values from -3 to 3 and requires a standard normal prior.

    Returns
    -------
    ndarray (n, n_steps, *feature_shape_)

    See Also
    --------
    decode_grid : Vary two latents.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import VAE
    >>> X = load_digits().images / 16
    >>> model = VAE(n_components=4, epochs=2, random_state=0).fit(X)
    >>> traverse(model, X[:2], latent=3, values=[-2, 0, 2]).shape
    (2, 3, 8, 8)
    """
    if not 0 <= latent < estimator.n_components_:
        raise ValueError(f"latent must be from 0 to {estimator.n_components_ - 1}, got {latent}.")
    if values is None:
        _require_standard_prior(estimator, "values")
        values = np.linspace(-REACH, REACH, 9)
    steps = np.atleast_1d(np.asarray(values, dtype=np.float64))
    codes = estimator.transform(X, condition=condition)
    codes = np.repeat(codes[:, None], len(steps), axis=1)
    codes[:, :, latent] = steps
    return _decode(estimator, codes, condition)


def decode_grid(
    estimator: Any,
    n: int = 15,
    latents: tuple[int, int] = (0, 1),
    codes: ArrayLike | None = None,
    *,
    condition: Any = None,
) -> Array:
    """Decode a grid over the plane of two latents.

    Grid points are evenly spaced quantiles of the standard normal prior, from 2.5 to 97.5 %; or,
    if codes are given, evenly spaced over their central 98 %. The other latents are 0, or the
    medians of the codes.

    Parameters
    ----------
    estimator, condition
        As in `interpolate`; the model needs at least two components.
    n : int
        Grid points per axis.
    latents : (int, int)
        Indices of the latents along the first axis (rows) and the second (columns).
    codes : array-like (m, n_components), optional
        Codes of data; required for models without a standard normal prior.

    Returns
    -------
    ndarray (n, n, *feature_shape_)

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import VAE
    >>> model = VAE(n_components=2, epochs=2).fit(load_digits().images / 16)
    >>> decode_grid(model, 5).shape
    (5, 5, 8, 8)
    """
    d = estimator.n_components_
    first, second = latents
    if first == second or not (0 <= first < d and 0 <= second < d):
        raise ValueError(f"latents must be two different indices below {d}, got {latents!r}.")
    if codes is None:
        _require_standard_prior(estimator, "codes")
        ticks = np.tile(ndtri(np.linspace(PRIOR_EDGE, 1 - PRIOR_EDGE, n)), (d, 1))
        center = np.zeros(d)
    else:
        codes = np.asarray(codes, dtype=np.float64)
        low, high = np.quantile(codes, [EDGE, 1 - EDGE], axis=0)
        ticks, center = np.linspace(low, high, n).T, np.median(codes, axis=0)
    grid = np.tile(center, (n, n, 1))
    grid[:, :, first], grid[:, :, second] = ticks[first][:, None], ticks[second]
    return _decode(estimator, grid, condition)


def latent_arithmetic(
    estimator: Any, plus: Any, minus: Any = (), *, condition: Any = None
) -> Array:
    """Add and subtract the codes of rows and decode the result.

    For the analogy "a is to b as c is to what?" call
    ``latent_arithmetic(model, plus=[b, c], minus=[a])``.

    Parameters
    ----------
    estimator, condition
        As in `interpolate`.
    plus, minus : array-like (n, *features)

    Returns
    -------
    ndarray (*feature_shape_)

    References
    ----------
    Unsupervised representation learning with deep convolutional generative adversarial networks
    (Radford, Metz, Chintala, 2016).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import VAE
    >>> X = load_digits().images / 16
    >>> model = VAE(n_components=4, epochs=2).fit(X)
    >>> latent_arithmetic(model, plus=X[[1, 2]], minus=X[[0]]).shape
    (8, 8)
    """
    code = estimator.transform(plus, condition=condition).sum(0)
    if len(minus):
        code = code - estimator.transform(minus, condition=condition).sum(0)
    return estimator.decode(code[None], condition=condition)[0]


@dataclass(eq=False, repr=False)
class AttributeVectors(LatentMetaEstimator):
    """Estimate a latent direction for each attribute.

    The vector of an attribute is the mean code of the rows that have it minus the mean code of
    the rows that do not. The argument y of `fit` holds one class per row (n,), each class being an
    attribute, or one column of 0 and 1 per attribute (n, n_attributes); columns of a data frame
    keep their names. Some rows must have each attribute, and some must not.

    Parameters
    ----------
    estimator : LatentEstimator
        A fitted estimator is used as it is; of an unfitted one `fit` trains a clone.

    Attributes
    ----------
    vectors_ : ndarray (n_attributes, n_components)
    means_ : ndarray (n_attributes, n_components)
        Mean code of the rows that have each attribute.
    names_ : list
        The classes, or the names or indices of the columns of y.

    References
    ----------
    Deep feature interpolation for image content changes (Upchurch, Gardner, Pleiss, Pless,
    Snavely, Bala, Weinberger, 2017). Autoencoding beyond pixels using a learned similarity
    metric (Larsen, Sønderby, Larochelle, Winther, 2016).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import VAE
    >>> digits = load_digits()
    >>> X = digits.images / 16
    >>> attributes = AttributeVectors(VAE(n_components=4, epochs=2)).fit(X, digits.target)
    >>> attributes.apply(X[:3], add=7, remove=0, amount=1.0).shape
    (3, 8, 8)
    """

    estimator: Any

    def _fit(self, X: Any, y: Any, weights: Any) -> None:
        rows = weight_rows(X, y, None, weights)
        self.names_, has = _attributes(rows.y, len(rows.X))
        trained = fitted_model(self.estimator) or self._trained(X, np.asarray(y), weights)
        self.estimator_ = trained
        codes = encode_in_chunks(self.estimator_, rows.X).astype(np.float64)
        own = np.ones(len(codes)) if rows.weights is None else rows.weights
        with_it, without = (part * own[:, None] for part in (has, ~has))  # (n, attributes)
        self.means_ = with_it.T @ codes / with_it.sum(0)[:, None]
        self.vectors_ = self.means_ - without.T @ codes / without.sum(0)[:, None]

    def vector(self, add: Any = None, remove: Any = None) -> Array:
        """Return the direction (n_components,) that adds an attribute, removes one, or both.

        With both arguments it is the difference of their mean codes.
        """
        check_is_fitted(self)
        if add is None and remove is None:
            raise ValueError("pass an attribute to add, one to remove, or both.")
        of = self.vectors_ if add is None or remove is None else self.means_
        added, removed = (0.0 if name is None else of[self._index(name)] for name in (add, remove))
        return np.asarray(added - removed)

    def apply(
        self,
        X: Any,
        add: Any = None,
        remove: Any = None,
        amount: ArrayLike = 1.0,
        *,
        condition: Any = None,
    ) -> Array:
        """Shift the codes of X (n, *features) along the direction of `vector` and decode them.

        Multiples of the direction are given by `amount`; 0 gives the reconstruction.

        Returns
        -------
        ndarray (n, *feature_shape_), or (n, n_steps, *feature_shape_) for several amounts
        """
        direction = self.vector(add, remove)
        codes = self.estimator_.transform(X, condition=condition)[:, None]
        amounts = np.atleast_1d(np.asarray(amount, dtype=np.float64))
        out = _decode(self.estimator_, codes + amounts[:, None] * direction, condition)
        return out if np.ndim(amount) else out[:, 0]

    def _index(self, name: Any) -> int:
        if name not in self.names_:
            known = ", ".join(map(str, self.names_[:20]))
            raise ValueError(f"unknown attribute {name!r}; attributes seen during fit: {known}.")
        return self.names_.index(name)


def _attributes(y: Any, n: int) -> tuple[list[Any], Array]:
    """Return the attribute names and which rows have them, (n, attributes) of bool."""
    labels = check_labels(y, n)
    if labels.ndim == 1:
        classes, index = np.unique(labels, return_inverse=True)
        names, has = classes.tolist(), index[:, None] == np.arange(len(classes))
    elif labels.ndim == 2 and np.isin(labels, (0, 1)).all():
        names = list(getattr(y, "columns", range(labels.shape[1])))
        has = labels.astype(bool)
    else:
        raise ValueError("y must hold one class per row, or one column of 0 and 1 per attribute.")
    for name, count in zip(names, has.sum(0), strict=True):
        if count in (0, n):
            raise ValueError(
                f"{'all rows have' if count else 'no row has'} the attribute {name!r}: its vector "
                "needs rows with and without it."
            )
    return names, has


def _require_standard_prior(estimator: Any, argument: str) -> None:
    if estimator.prior != "standard":
        name = estimator_name(estimator)
        raise ValueError(f"{name} has no standard normal prior to set a range: pass {argument}.")


def _decode(estimator: Any, codes: Array, condition: Any) -> Array:
    """Decode codes (*batch, n_components) to (*batch, *feature_shape_)."""
    flat = codes.reshape(-1, codes.shape[-1]).astype(np.float32)
    decoded = estimator.decode(flat, condition=condition)
    return decoded.reshape(*codes.shape[:-1], *decoded.shape[1:])
