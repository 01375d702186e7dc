"""Moves in the latent space: from one example to another, along a latent, by an attribute."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from isthmus.applications._wrapper import Wrapper
from isthmus.applications.retrieval import encode_rows
from isthmus.estimators.condition import check_labels

__all__ = ["AttributeVectors", "combine", "decoded_grid", "interpolate", "path", "traverse"]

Array = NDArray[Any]

HOW = ("linear", "spherical")
REACH = 3.0  # how far a traversal goes from the centre of a standard normal prior
EDGE = 0.01  # share of the codes beyond either end of a range taken from codes
PRIOR_EDGE = 0.025  # mass of the prior beyond either end of a grid
PARALLEL = 1e-6  # sine of the angle below which directions are one line


def path(start: ArrayLike, end: ArrayLike, n_steps: int = 9, how: str = "linear") -> Array:
    """Return codes on the way from one code to another, both ends included.

    A linear path is straight. A spherical one turns at an even pace along the great circle
    while the length changes linearly: under a normal prior in many dimensions it does not cut
    through the middle, where no codes are. Along one line through the origin, where no circle
    is the shortest, it is straight.

    Parameters
    ----------
    start, end : array-like (n_components,) or (n, n_components)
    n_steps : int
        Codes of a path, at least 2.
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
    >>> path([0.0, 1.0], [1.0, 0.0], 3).tolist()
    [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]
    >>> path([0.0, 1.0], [1.0, 0.0], 3, "spherical").round(3).tolist()
    [[0.0, 1.0], [0.707, 0.707], [1.0, 0.0]]
    """
    a, b = (np.asarray(code, dtype=np.float64) for code in (start, end))
    if a.shape != b.shape or a.ndim not in (1, 2):
        raise ValueError(f"start and end must be of one shape, got {a.shape} and {b.shape}.")
    if how not in HOW:
        raise ValueError(f"how must be one of {', '.join(HOW)}, got {how!r}.")
    if n_steps < 2:
        raise ValueError(f"n_steps must be at least 2, got {n_steps!r}.")
    t = np.linspace(0, 1, n_steps)[:, None]
    a, b = a[..., None, :], b[..., None, :]
    straight = (1 - t) * a + t * b
    return straight if how == "linear" else _round(a, b, t, straight)


def _round(a: Array, b: Array, t: Array, straight: Array) -> Array:
    """Return the spherical path, or the straight one where the ends lie on one line."""
    lengths = [np.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b)]
    u, v = (w / np.where(n > 0, n, 1) for w, n in zip((a, b), lengths, strict=True))
    angle = 2 * np.arctan2(  # keeps its digits where arccos loses them
        np.linalg.norm(u - v, axis=-1, keepdims=True), np.linalg.norm(u + v, axis=-1, keepdims=True)
    )
    sine = np.sin(angle)
    bent = (sine > PARALLEL) & (lengths[0] > 0) & (lengths[1] > 0)
    safe = np.where(bent, sine, 1)
    turned = (np.sin((1 - t) * angle) * u + np.sin(t * angle) * v) / safe
    out = np.where(bent, turned * ((1 - t) * lengths[0] + t * lengths[1]), straight)
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
    """Return what lies between examples: the decoded path between their codes.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    start, end : array-like (n, *features)
        Rows of data, as many of each.
    n_steps, how
        As in `path`.
    condition : label, optional
        For conditional models: one for all.

    Returns
    -------
    ndarray (n, n_steps, *feature_shape_)
        The first and the last of each path are the reconstructions of its ends.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import VAE
    >>> X = load_digits().images / 16
    >>> model = VAE(n_components=4, epochs=2, random_state=0).fit(X)
    >>> interpolate(model, X[:1], X[1:2], n_steps=5, how="spherical").shape
    (1, 5, 8, 8)
    """
    context = {} if condition is None else {"condition": condition}
    first, last = (estimator.transform(X, **context) for X in (start, end))
    return _decode(estimator, path(first, last, n_steps, how), context)


def traverse(
    estimator: Any,
    X: Any,
    latent: int,
    values: ArrayLike | None = None,
    *,
    condition: Any = None,
) -> Array:
    """Return what becomes of examples as one latent takes other values, the rest kept.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    X : array-like (n, *features)
    latent : int
        Number of the latent, from 0.
    values : array-like (n_steps,), optional
        By default nine from -3 to 3, for models with a standard normal prior; others need
        them.
    condition : label, optional
        For conditional models: one for all.

    Returns
    -------
    ndarray (n, n_steps, *feature_shape_)

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
        raise ValueError(
            f"there is no latent {latent}: this model has 0 to {estimator.n_components_ - 1}."
        )
    if values is None:
        _check_standard(estimator, "values")
        values = np.linspace(-REACH, REACH, 9)
    steps = np.atleast_1d(np.asarray(values, dtype=np.float64))
    context = {} if condition is None else {"condition": condition}
    codes = estimator.transform(X, **context)
    moved = np.repeat(codes[:, None], len(steps), axis=1)
    moved[:, :, latent] = steps
    return _decode(estimator, moved, context)


def decoded_grid(
    estimator: Any,
    n: int = 15,
    latents: tuple[int, int] = (0, 1),
    codes: ArrayLike | None = None,
    *,
    condition: Any = None,
) -> Array:
    """Return what a grid over the plane of two latents decodes to.

    The grid lies at even quantiles of the standard normal prior, from 2.5 to 97.5 %, or evenly
    over the middle 98 % of the codes given. Other latents stay at 0, or at the codes' medians.
    `isthmus.plots.latent_grid` draws it for models of two components.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted, with two components or more.
    n : int
        Places along each axis.
    latents : (int, int)
        The latents of the first axis (rows) and of the second (columns).
    codes : array-like (m, n_components), optional
        Codes of data; models without a standard normal prior need them.
    condition : label, optional
        For conditional models.

    Returns
    -------
    ndarray (n, n, *feature_shape_)

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import VAE
    >>> model = VAE(n_components=2, epochs=2).fit(load_digits().images / 16)
    >>> decoded_grid(model, 5).shape
    (5, 5, 8, 8)
    """
    d = estimator.n_components_
    first, second = latents
    if first == second or not (0 <= first < d and 0 <= second < d):
        raise ValueError(f"latents must be two of 0 to {d - 1}, got {latents!r}.")
    if codes is None:
        _check_standard(estimator, "codes")
        lines = np.tile(ndtri(np.linspace(PRIOR_EDGE, 1 - PRIOR_EDGE, n)), (d, 1))
        middle = np.zeros(d)
    else:
        codes = np.asarray(codes, dtype=np.float64)
        low, high = np.quantile(codes, [EDGE, 1 - EDGE], axis=0)
        lines, middle = np.linspace(low, high, n).T, np.median(codes, axis=0)
    grid = np.tile(middle, (n, n, 1))
    grid[:, :, first], grid[:, :, second] = lines[first][:, None], lines[second]
    return _decode(estimator, grid, {} if condition is None else {"condition": condition})


def combine(estimator: Any, plus: Any, minus: Any = (), *, condition: Any = None) -> Array:
    """Return the example at the sum of the codes of some rows, less those of others.

    "a is to b as c to what": ``combine(model, plus=[b, c], minus=[a])``. Where as many are
    taken away as are added less one, the sum does not depend on where the origin lies.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    plus, minus : array-like (n, *features)
    condition : label, optional
        For conditional models.

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
    >>> combine(model, plus=X[[1, 2]], minus=X[[0]]).shape
    (8, 8)
    """
    context = {} if condition is None else {"condition": condition}
    code = estimator.transform(plus, **context).sum(0)
    if len(minus):
        code = code - estimator.transform(minus, **context).sum(0)
    return estimator.decode(code[None], **context)[0]


class AttributeVectors(Wrapper):
    """Directions of attributes in the latent space of any estimator, by difference of means.

    The vector of an attribute is the mean code of the rows that have it, less that of the rows
    that do not. `fit` trains a copy of the estimator; one that is fitted already goes in by
    `from_fitted` (or as ``sklearn.frozen.FrozenEstimator``) and is not trained again.

    Parameters
    ----------
    estimator : LatentEstimator

    Attributes
    ----------
    estimator_ : LatentEstimator
        The fitted model.
    vectors_ : ndarray (n_attributes, n_components)
    means_ : ndarray (n_attributes, n_components)
        Mean code of the rows with each attribute.
    names_ : list
        The classes, or the columns' numbers or names.

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
    >>> moves = AttributeVectors(VAE(n_components=4, epochs=2)).fit(X, digits.target)
    >>> moves.apply(X[:3], add=7, remove=0, amount=1.0).shape
    (3, 8, 8)
    """

    estimator_: Any
    vectors_: Array
    means_: Array
    names_: list[Any]

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any) -> Self:
        """Train the estimator (unless frozen) and take the means.

        Parameters
        ----------
        X : array-like (n, *features)
        y : array-like (n,) or (n, n_attributes)
            A class for each row, each class an attribute; or one column of 0 and 1 for each
            attribute, whose names are a data frame's.

        Returns
        -------
        self
            Unchanged where an error is raised.

        Raises
        ------
        ValueError
            An attribute that all rows have, or none.
        """
        names, has = _attributes(y, len(X))
        estimator = clone(self.estimator).fit(X, np.asarray(y))
        codes = encode_rows(estimator, X).astype(np.float64)
        count = has.sum(0)[:, None]  # (attributes, 1)
        having = has.T @ codes / count
        lacking = (~has).T @ codes / (len(codes) - count)
        self.estimator_, self.names_ = estimator, names
        self.means_, self.vectors_ = having, having - lacking
        return self

    def vector(self, add: Any = None, remove: Any = None) -> Array:
        """Return the direction that adds an attribute, removes one, or turns one into another.

        Of both it is the difference of their mean codes; of one, its vector.

        Returns
        -------
        ndarray (n_components,)
        """
        check_is_fitted(self)
        if add is None and remove is None:
            raise ValueError("name an attribute to add, one to remove, or both.")
        if add is not None and remove is not None:
            return self.means_[self._place(add)] - self.means_[self._place(remove)]
        return (
            -self.vectors_[self._place(remove)] if add is None else self.vectors_[self._place(add)]
        )

    def apply(
        self,
        X: Any,
        add: Any = None,
        remove: Any = None,
        amount: ArrayLike = 1.0,
        *,
        condition: Any = None,
    ) -> Array:
        """Return rows moved along an attribute's direction, decoded.

        Parameters
        ----------
        X : array-like (n, *features)
        add, remove
            Names of attributes, as for `vector`.
        amount : float or array-like (n_steps,)
            How far: 0 is the reconstruction, 1 the whole difference of means.
        condition : label, optional
            For conditional models.

        Returns
        -------
        ndarray (n, *feature_shape_), or (n, n_steps, *feature_shape_) for several amounts
        """
        direction = self.vector(add, remove)
        context = {} if condition is None else {"condition": condition}
        codes = self.estimator_.transform(X, **context)[:, None]
        amounts = np.atleast_1d(np.asarray(amount, dtype=np.float64))
        out = _decode(self.estimator_, codes + amounts[:, None] * direction, context)
        return out if np.ndim(amount) else out[:, 0]

    def _place(self, name: Any) -> int:
        if name not in self.names_:
            known = ", ".join(map(str, self.names_[:20]))
            raise ValueError(f"there is no attribute {name!r}; known are: {known}.")
        return self.names_.index(name)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "vectors_")


def _attributes(y: Any, n: int) -> tuple[list[Any], Array]:
    """Return the names of attributes, and which rows have them, (n, attributes) of bool."""
    labels = check_labels(y, n)
    if labels.ndim == 1:
        classes, index = np.unique(labels, return_inverse=True)
        names, has = classes.tolist(), index[:, None] == np.arange(len(classes))
    else:
        if labels.ndim != 2 or not np.isin(labels, (0, 1)).all():
            raise ValueError(
                "attributes are columns of 0 and 1, one row an example, or one class a row."
            )
        columns = getattr(y, "columns", range(labels.shape[1]))
        names, has = list(columns), labels.astype(bool)
    count = has.sum(0)
    for name, c in zip(names, count, strict=True):
        if c in (0, n):
            which = "all rows have" if c else "no row has"
            raise ValueError(f"{which} the attribute {name!r}: a difference needs both kinds.")
    return names, has


def _check_standard(estimator: Any, what: str) -> None:
    if estimator.prior != "standard":
        inner = getattr(estimator, "estimator", estimator)
        raise ValueError(
            f"{type(inner).__name__} has no standard normal prior that sets a range, as a VAE "
            f"has: give {what}."
        )


def _decode(estimator: Any, codes: Array, context: dict[str, Any]) -> Array:
    """Decode codes (*batch, n_components) to (*batch, *feature_shape_)."""
    flat = codes.reshape(-1, codes.shape[-1]).astype(np.float32)
    decoded = estimator.decode(flat, **context)
    return decoded.reshape(*codes.shape[:-1], *decoded.shape[1:])
