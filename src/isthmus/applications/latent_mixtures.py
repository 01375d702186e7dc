"""Gaussian mixtures of codes: one for all rows, or one per class."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from isthmus.data.column import labels_as_saved

__all__ = ["LatentMixtures"]

Array = NDArray[Any]

# Fitted attributes of a scikit-learn mixture; the last is needed only for densities.
LEARNED = ("weights_", "means_", "covariances_", "precisions_cholesky_")
RIDGE = 1e-6  # added to the variances of a mixture, relative to those of the codes
MAX_ROWS = 20_000  # codes to which a mixture is fitted


@dataclass(frozen=True)
class LatentMixtures:
    """Gaussian mixtures of standardised codes.

    A code is max(middle + scale * point, floor), where the point follows a mixture in `parts`.
    `shares` are the class frequencies.
    """

    classes: Array | None
    parts: list[GaussianMixture]
    shares: Array
    middle: Array
    scale: Array
    floor: float

    @classmethod
    def fit(
        cls, codes: Array, labels: Array | None, n_modes: int, rng: np.random.Generator
    ) -> LatentMixtures:
        """Fit one mixture to all codes, or one to those of each label."""
        classes, index = None, np.zeros(len(codes), int)
        if labels is not None:
            classes, index = np.unique(labels, return_inverse=True)
        counts = np.bincount(index)
        few = np.flatnonzero(counts < max(2, n_modes))
        if len(few):
            name = "X" if classes is None else f"class {classes[few[0]]!s}"
            raise ValueError(
                f"{name} has {counts[few[0]]} rows, too few for a mixture of {n_modes} modes: "
                "reduce n_modes or pass more rows."
            )
        middle, scale = codes.mean(0), codes.std(0)
        floor = 0.0 if codes.min() >= 0 else -np.inf
        points = _standardise(codes, middle, scale)
        parts = [_fit_mixture(points[index == k], n_modes, rng) for k in range(len(counts))]
        return cls(classes, parts, counts / counts.sum(), middle, scale, floor)

    @classmethod
    def from_arrays(cls, arrays: dict[str, Array], classes: Any, d: int) -> LatentMixtures:
        """Undo `arrays`, for codes of d components; a KeyError or ValueError if invalid."""
        classes = None if classes is None else np.array(classes)
        k, modes = arrays["weights_"].shape
        square = (k, modes, d, d)
        shapes = dict(zip(LEARNED, ((k, modes), (k, modes, d), square, square), strict=True))
        shapes |= {"shares": (k,), "middle": (d,), "scale": (d,), "floor": (1,)}
        fits = all(
            arrays[name].shape == shape and arrays[name].dtype == np.float64
            for name, shape in shapes.items()
        )
        if not fits or k != (1 if classes is None else len(classes)) or not modes:
            raise ValueError("the arrays do not have the shapes of a mixture.")
        finite = all(np.isfinite(arrays[name]).all() for name in shapes if name != "floor")
        weights = [arrays["weights_"], arrays["shares"]]
        if not finite or any(w.min() < 0 or not np.allclose(w.sum(-1), 1) for w in weights):
            raise ValueError("the arrays do not hold the values of a mixture.")
        if arrays["scale"].min() < 0 or arrays["floor"][0] not in (0.0, -np.inf):
            raise ValueError("the arrays do not hold the scaling of codes.")
        if classes is not None and not (classes[1:] > classes[:-1]).all():
            raise ValueError("the classes must be sorted, each of them once.")
        covariances, roots = arrays["covariances_"], arrays["precisions_cholesky_"]
        np.linalg.cholesky(covariances)  # a LinAlgError is a ValueError
        product = covariances @ roots @ roots.swapaxes(-1, -2)
        symmetric = np.allclose(covariances, covariances.swapaxes(-1, -2))
        if not symmetric or not np.allclose(product, np.eye(d), atol=1e-3):
            raise ValueError("the covariances do not agree with their inverses.")
        parts = [GaussianMixture(modes, reg_covar=RIDGE) for _ in range(k)]
        for i, part in enumerate(parts):
            vars(part).update({name: arrays[name][i] for name in LEARNED})
        shares, middle, scale = (arrays[name] for name in ("shares", "middle", "scale"))
        return cls(classes, parts, shares, middle, scale, float(arrays["floor"][0]))

    def arrays(self) -> dict[str, Array]:
        """Return all parameters by name, those of the parts stacked."""
        parts = {name: np.stack([getattr(p, name) for p in self.parts]) for name in LEARNED}
        common = {"shares": self.shares, "middle": self.middle, "scale": self.scale}
        return parts | common | {"floor": np.array([self.floor])}

    def sample(self, n: int, rng: np.random.Generator, y: Any) -> tuple[Array, Array | None]:
        """Return n codes and their classes, which are drawn unless y gives them."""
        which = rng.choice(len(self.parts), n, p=self.shares) if y is None else self._index(y, n)
        points = np.empty((n, len(self.middle)))
        for k in np.unique(which):
            points[which == k] = _sample(self.parts[k], int((which == k).sum()), rng)
        codes = np.maximum(self.middle + self.scale * points, self.floor).astype(np.float32)
        return codes, None if self.classes is None else self.classes[which]

    def standard_deviations(self, codes: Array) -> Array:
        """Return the standard deviations of the most likely mode of each code, (n, d)."""
        points = _standardise(codes, self.middle, self.scale)
        out = np.empty(codes.shape)
        best = np.stack([part.score_samples(points) for part in self.parts]).argmax(0)
        for k in np.unique(best):
            part, rows = self.parts[k], best == k
            variances = np.diagonal(part.covariances_, axis1=1, axis2=2)
            out[rows] = np.sqrt(variances[part.predict(points[rows])])
        return out * self.scale

    def _index(self, y: Any, n: int) -> Array:
        if self.classes is None:
            raise ValueError("the mixture was fitted without labels: pass y to fit.")
        labels = labels_as_saved(np.atleast_1d(np.asarray(y)))
        if labels.shape not in ((1,), (n,)):
            raise ValueError(f"y must hold one label or {n}, got shape {labels.shape}.")
        unknown = labels[~np.isin(labels, self.classes)]
        if len(unknown):
            known = ", ".join(map(str, self.classes[:20]))
            raise ValueError(f"unknown label {unknown[0]!s}; labels seen during fit: {known}.")
        return np.broadcast_to(np.searchsorted(self.classes, labels), n)


def _standardise(codes: Array, middle: Array, scale: Array) -> Array:
    return (codes - middle) / np.where(scale > 0, scale, 1)


def _fit_mixture(points: Array, n_modes: int, rng: np.random.Generator) -> GaussianMixture:
    if len(points) > MAX_ROWS:
        points = points[rng.choice(len(points), MAX_ROWS, replace=False)]
    mixture = GaussianMixture(n_modes, reg_covar=RIDGE, random_state=int(rng.integers(2**31)))
    with warnings.catch_warnings():  # 100 iterations are accurate enough for sampling
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(points)


def _sample(mixture: GaussianMixture, n: int, rng: np.random.Generator) -> Array:
    """Draw n points; `GaussianMixture.sample` would return the same ones in every call."""
    which = rng.choice(len(mixture.weights_), n, p=mixture.weights_ / mixture.weights_.sum())
    roots = np.linalg.cholesky(mixture.covariances_)
    noise = rng.standard_normal((n, mixture.means_.shape[1]))
    return mixture.means_[which] + np.einsum("nij,nj->ni", roots[which], noise)
