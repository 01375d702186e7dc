"""Generation: new examples from a prior, of a class, around an input, or from a fitted mixture."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.utils.validation import check_is_fitted

from isthmus.applications.meta_estimator import LatentMetaEstimator, encode_in_chunks, model_digest
from isthmus.estimators.condition import check_labels
from isthmus.persistence.atomic import write_all_atomic
from isthmus.persistence.integrity import (
    check_content,
    check_record,
    read_bytes,
    read_json,
    read_tensors,
    with_checksums,
)
from isthmus.persistence.run_folder import to_json
from isthmus.persistence.schema import check_scalars, check_settings

__all__ = ["MIXTURE", "MIXTURES", "LatentSampler", "read_mixture", "variations"]

Array = NDArray[Any]

MIXTURE = "mixture"  # the folder, in a run, of the mixture of all codes
MIXTURES = "mixture-by-class"  # and of those of each class
ARRAYS, SETTINGS = "mixture.safetensors", "mixture.json"
FORMAT = 1
AGAIN = "delete the folder, and the mixture is fitted again"
# Of each mixture: what a scikit-learn one is made of, the last for its densities alone.
LEARNED = ("weights_", "means_", "covariances_", "precisions_cholesky_")
SOURCES = ("auto", "prior", "mixture")
RIDGE = 1e-6  # added to the variances of a mixture, in those of the codes
MOST_ROWS = 20_000  # codes that a mixture is fitted to, at most


class LatentSampler(LatentMetaEstimator):
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
    >>> sevens = sampler.sample(3, y=7, random_state=0)
    >>> sevens.shape
    (3, 8, 8)

    The mixtures are kept beside the model and read back:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sampler.save(folder)
    ...     again = LatentSampler.load(folder, sampler.estimator_)
    >>> bool((again.sample(3, y=7, random_state=0) == sevens).all())
    True
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
        return self._adopt(estimator, source, mixtures)

    def sample(
        self, n_samples: int = 1, random_state: int | None = None, *, y: Any = None
    ) -> Array:
        """Return new examples: the mean of p(x|z) at codes drawn from the source.

        Rows of a table are drawn from p(x|z) instead, and come as a data frame.

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
        model = self.estimator_
        table = model.columns_ is not None  # rows of a table vary about their mean
        made = model.decode(codes, noise=table, random_state=random_state, **context)
        return model.as_input_type(made)

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
            scale = self._mixtures.deviations(encode_in_chunks(self.estimator_, X))
        return variations(
            self.estimator_, X, n_samples, spread, scale=scale, random_state=random_state
        )

    # ----------------------------------------------------------------- on disk

    def save(self, path: str | PathLike[str], data: dict[str, Any] | None = None) -> None:
        """Write the mixture to a folder: mixture.safetensors and mixture.json.

        The model is not written again: a mixture lies in the folder `MIXTURE` of its run, one
        of each class in the folder `MIXTURES`.

        Parameters
        ----------
        path : path-like
            The folder; made where it is not there.
        data : dict, optional
            What to record of the data: name, fingerprint.

        Raises
        ------
        ValueError
            Where the source is the model's prior, which is saved with the model.
        """
        check_is_fitted(self)
        if self._mixtures is None:
            raise ValueError(
                "this sampler uses the model's prior, which is saved with the model; there is a "
                "mixture to save with source='mixture'."
            )
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        settings = {k: v for k, v in self.get_params(deep=False).items() if k != "estimator"}
        record = {
            "format": FORMAT,
            "settings": settings,
            "classes": self._mixtures.classes,
            "model": model_digest(self.estimator_),
            "data": data or {},
        }
        (folder / SETTINGS).unlink(missing_ok=True)  # an old one must not speak for a new mixture
        files = {ARRAYS: save_arrays(self._mixtures.arrays())}
        files[SETTINGS] = to_json(with_checksums(json.loads(to_json(record)), files)).encode()
        write_all_atomic({folder / name: content for name, content in files.items()})

    @classmethod
    def load(cls, path: str | PathLike[str], estimator: Any) -> Self:
        """Read a mixture back, for the fitted estimator to whose codes it was fitted.

        Parameters
        ----------
        path : path-like
            A folder written by `save`.
        estimator : LatentEstimator

        Returns
        -------
        LatentSampler
            Fitted: for one seed it draws what the saved one draws.

        Raises
        ------
        FileNotFoundError, ValueError
            No mixture there, a damaged one, or one of another model.
        """
        folder = Path(path)
        record = read_mixture(folder)
        if record["model"] != model_digest(estimator):
            raise ValueError(f"{folder} is of another model than this one; {AGAIN}.")
        try:
            content = read_bytes(folder / ARRAYS)
            check_content(record, ARRAYS, content)
            arrays = read_tensors(content, ARRAYS, load_arrays)
            mixtures = _Mixtures.of(arrays, record["classes"], estimator.n_components_)
        except (KeyError, ValueError) as error:
            raise ValueError(f"{folder / ARRAYS} is damaged; {AGAIN}.") from error
        sampler = cls.from_fitted(estimator, **record["settings"])
        return sampler._adopt(sampler.estimator, "mixture", mixtures)

    # ------------------------------------------------------------------ inside

    def _adopt(self, estimator: Any, source: str, mixtures: _Mixtures | None) -> Self:
        self.estimator_, self.source_, self._mixtures = estimator, source, mixtures
        if mixtures is not None and mixtures.classes is not None:
            self.classes_ = mixtures.classes
        return self

    def _learn(self, estimator: Any, X: Any, y: Any) -> _Mixtures:
        rng = np.random.default_rng(self.random_state)
        context = {"condition": y} if estimator.conditional and y is not None else {}
        q = estimator.posterior(X, **context)
        codes = (q.mean + q.std * rng.standard_normal(q.mean.shape)).astype(np.float64)
        labels = None if y is None else check_labels(y, len(codes))
        return _Mixtures.fit(codes, labels, self.n_modes, rng)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "source_")


@dataclass(frozen=True)
class _Mixtures:
    """One mixture of normals for all codes, or one for each class; of codes of unit variance.

    Codes are middle + scale · point, and not below the floor; the parts are of points, and the
    shares those of the classes.
    """

    classes: Array | None
    parts: list[GaussianMixture]
    shares: Array
    middle: Array
    scale: Array
    floor: float

    @classmethod
    def fit(cls, codes: Array, labels: Array | None, modes: int, rng: Any) -> _Mixtures:
        """Fit to codes, each class on its own where there are labels."""
        classes, index = None, np.zeros(len(codes), int)
        if labels is not None:
            classes, index = np.unique(labels, return_inverse=True)
        counts = np.bincount(index)
        _check_counts(counts, classes, modes)
        middle, scale = codes.mean(0), codes.std(0)
        floor = 0.0 if codes.min() >= 0 else -np.inf
        points = _points(codes, middle, scale)
        parts = [_mixture(points[index == k], modes, rng) for k in range(len(counts))]
        return cls(classes, parts, counts / counts.sum(), middle, scale, floor)

    @classmethod
    def of(cls, arrays: dict[str, Array], classes: Any, n_components: int) -> _Mixtures:
        """Put together what `arrays` took apart; a ValueError or KeyError where it does not fit."""
        classes = None if classes is None else np.array(classes)
        k, modes = arrays["weights_"].shape
        d = n_components
        square = (k, modes, d, d)
        shapes = dict(zip(LEARNED, ((k, modes), (k, modes, d), square, square), strict=True))
        shapes |= {"shares": (k,), "middle": (d,), "scale": (d,), "floor": (1,)}
        fits = all(
            arrays[name].shape == shape and arrays[name].dtype.kind == "f"
            for name, shape in shapes.items()
        )
        if not fits or k != (1 if classes is None else len(classes)) or not modes:
            raise ValueError("arrays of other shapes than a mixture has.")
        finite = all(np.isfinite(arrays[name]).all() for name in shapes if name != "floor")
        parts_of_one = [arrays["weights_"], arrays["shares"]]
        if not finite or any(p.min() < 0 or not np.allclose(p.sum(-1), 1) for p in parts_of_one):
            raise ValueError("numbers that no mixture has.")
        np.linalg.cholesky(arrays["covariances_"])  # a LinAlgError is a ValueError
        parts = [_of_arrays({name: arrays[name][i] for name in LEARNED}) for i in range(k)]
        shares, middle, scale = (arrays[name] for name in ("shares", "middle", "scale"))
        return cls(classes, parts, shares, middle, scale, float(arrays["floor"][0]))

    def arrays(self) -> dict[str, Array]:
        """Return all numbers, by name; of the parts, one behind another."""
        parts = {name: np.stack([getattr(p, name) for p in self.parts]) for name in LEARNED}
        around = {"shares": self.shares, "middle": self.middle, "scale": self.scale}
        return parts | around | {"floor": np.array([self.floor])}

    def draw(self, n: int, rng: np.random.Generator, y: Any) -> tuple[Array, Array | None]:
        """Return n codes and their classes, of the classes y where they are given."""
        which = rng.choice(len(self.parts), n, p=self.shares) if y is None else self._index(y, n)
        points = np.empty((n, len(self.middle)))
        for k in np.unique(which):
            points[which == k] = _draw(self.parts[k], int((which == k).sum()), rng)
        codes = np.maximum(self.middle + self.scale * points, self.floor).astype(np.float32)
        return codes, None if self.classes is None else self.classes[which]

    def deviations(self, codes: Array) -> Array:
        """Return for each code the standard deviations of the likeliest mode, (n, d)."""
        points = _points(codes, self.middle, self.scale)
        out = np.empty(codes.shape)
        best = np.stack([part.score_samples(points) for part in self.parts]).argmax(0)
        for k in np.unique(best):
            part, mine = self.parts[k], best == k
            variances = np.diagonal(part.covariances_, axis1=1, axis2=2)
            out[mine] = np.sqrt(variances[part.predict(points[mine])])
        return out * self.scale

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


def read_mixture(folder: Path) -> dict[str, Any]:
    """Return what mixture.json says; a one-line error where it is missing or damaged."""
    path = Path(folder) / SETTINGS
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no mixture: there is no {SETTINGS} in it. `isthmus sample RUN "
            "--source mixture --data DATA` or LatentSampler.save writes one."
        )
    known = set(LatentSampler._get_param_names()) - {"estimator"}
    try:
        record = read_json(path)
        check_record(record, path)
        whole = record["format"] == FORMAT and set(record["settings"]) == known
        whole = whole and isinstance(record["data"], dict) and isinstance(record["model"], str)
        check_settings(record["settings"], {"source": "", "n_modes": 1, "random_state": None})
        if record["classes"] is not None:
            check_scalars(record["classes"], "classes")
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise ValueError(f"{path} is damaged or of another version; {AGAIN}.")
    return record


def _points(codes: Array, middle: Array, scale: Array) -> Array:
    return (codes - middle) / np.where(scale > 0, scale, 1)


def _check_counts(counts: Array, classes: Array | None, modes: int) -> None:
    few = np.flatnonzero(counts < max(2, modes))
    if len(few):
        whose = "X" if classes is None else f"class {classes[few[0]]!s}"
        raise ValueError(
            f"{whose} has {counts[few[0]]} rows, too few for a mixture of {modes} modes: use a "
            "smaller n_modes, or more rows."
        )


def _of_arrays(learned: dict[str, Array]) -> GaussianMixture:
    mixture = GaussianMixture(len(learned["weights_"]), reg_covar=RIDGE)
    for name, array in learned.items():
        setattr(mixture, name, array)
    return mixture


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
