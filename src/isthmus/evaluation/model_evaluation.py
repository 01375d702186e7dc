"""Every number that applies to a fitted model and rows, as one table."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.estimators.base import LatentEstimator
from isthmus.estimators.defaults import as_data
from isthmus.estimators.scaling import as_float64
from isthmus.estimators.validation import as_array
from isthmus.evaluation.aggregate import aggregate_posterior_kl
from isthmus.evaluation.annealed import annealed_importance
from isthmus.evaluation.disentanglement import disentanglement_table
from isthmus.evaluation.joint import require
from isthmus.evaluation.likelihood import importance_weighted
from isthmus.evaluation.reconstruction import (
    bits_per_dimension,
    dice,
    f1,
    psnr,
    squared_error,
    ssim,
)
from isthmus.evaluation.samples import sample_quality
from isthmus.evaluation.sparsity import (
    active_units,
    dead_share,
    explained_variance,
    feature_density,
    l0,
    live_share,
    reconstruction_cosine,
)
from isthmus.registry import split_names

__all__ = ["evaluate_model"]

Array = NDArray[Any]
Numbers = dict[str, float]
Features = str | Callable[[Array], Array] | None

AIS_ROWS = 100  # annealing is dear: a part of the rows
PAIRED_ROWS = 5000  # for what takes time with the square of the rows
DENSITIES = ("gaussian", "laplace", "continuous")  # by how their names begin


def evaluate_model(
    estimator: LatentEstimator,
    X: Array,
    y: Any = None,
    *,
    n_samples: int = 500,
    factors: Array | None = None,
    features: Features = None,
    annealed: bool = False,
    random_state: int = 0,
) -> Numbers:
    """Return the numbers of a model on rows, by name.

    What does not apply is left out: likelihoods where the model has no prior, SSIM where rows
    are no pictures, Dice and F1 where values are not 0 and 1. Codes are posterior means, and
    reconstructions are decoded from them: both the same at every call. `docs/evaluation.md` says
    what each number means.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    X : ndarray (n, *features)
        Two rows at least.
    y : array-like (n,), optional
        Labels, told to conditional models.
    n_samples : int
        Importance samples of a row.
    factors : ndarray of int, (n, n_factors), optional
        True factors, for the disentanglement scores.
    features : {"values", "codes"} or callable, optional
        In what samples from the prior are compared with rows: the values themselves, the
        model's codes, or what a function makes of rows (m, *features), an array (m, d). None
        for not at all.
    annealed : bool
        Also estimate the likelihood by annealed importance sampling, on 100 rows drawn at
        random, beside the importance-weighted estimate of these rows.
    random_state : int
        Seed.

    Returns
    -------
    dict of str to float
        Nats an example; densities are those of X in its own units, bytes those of [0, 1].

    Raises
    ------
    ValueError
        For rows that do not fit the model, less than one sample, unknown features, and factors
        that are not whole numbers, one row each.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> import isthmus
    >>> X = load_digits().images[:200] / 16
    >>> model = isthmus.VAE(n_components=2, epochs=2, random_state=0).fit(X)
    >>> numbers = evaluate_model(model, X, n_samples=10)
    >>> numbers["rows"], numbers["rate (nats)"] > 0
    (200, True)
    """
    require(n_samples=n_samples)
    _check_features(features)
    rng = np.random.default_rng(random_state)
    X, condition = as_array(estimator, X), None
    if estimator.conditional and y is not None:
        condition = np.asarray(y)
    codes = estimator.transform(X, condition=condition)
    seen = _Seen(estimator, X, condition, random_state)
    out: Numbers = {"rows": len(X)}
    if estimator.prior is not None:
        out |= seen.bounds(n_samples) | seen.aggregate(rng)
        out["active units"] = active_units(codes)
        out |= seen.annealed(rng, n_samples) if annealed else {}
    else:
        score = estimator.score(X, condition=condition)
        out["log-likelihood at the code (nats)"] = score
        out |= _sparsity(estimator, codes)
    rebuilt = estimator.reconstruct(X, condition=condition)
    gaps = np.isnan(X) if X.dtype.kind == "f" else np.zeros(0, bool)
    known = np.where(gaps, rebuilt.reshape(X.shape), X) if gaps.any() else X
    out |= _rebuilding(estimator, known, rebuilt)  # what is missing cannot be wrong
    if factors is not None:
        out |= disentanglement_table(codes, factors, random_state=random_state)
    if features is not None and estimator.prior is not None:
        out |= seen.samples(features, rng)
    return out


class _Seen:
    """Rows and what is told of them: an estimator's numbers that have to do with its prior."""

    def __init__(
        self, estimator: LatentEstimator, X: Array, condition: Array | None, seed: int
    ) -> None:
        self.estimator, self.X, self.condition, self.seed = estimator, X, condition, seed

    def some(self, rng: np.random.Generator, most: int) -> tuple[Array, Array | None]:
        """Return rows drawn at random, as data are often sorted, and what is told of them."""
        n = len(self.X)
        rows = np.sort(rng.choice(n, most, replace=False)) if n > most else np.arange(n)
        return self.X[rows], None if self.condition is None else self.condition[rows]

    def bounds(self, n_samples: int) -> Numbers:
        """Return the bound with its two halves, and the importance-weighted likelihood."""
        given: dict[str, Any] = {"condition": self.condition}
        rate, distortion = self.estimator.rate_distortion(self.X, **given)
        found = importance_weighted(
            self.estimator, self.X, n_samples, random_state=self.seed, **given
        )
        each = found.log_likelihood
        mean = float(np.mean(each))
        out = {
            "ELBO (nats)": -float(np.mean(rate + distortion)),
            "rate (nats)": float(np.mean(rate)),
            "distortion (nats)": float(np.mean(distortion)),
            f"log-likelihood, {n_samples} importance samples (nats)": mean,
        }
        if n_samples > 1:
            out["its standard error, from the samples"] = _error_of_mean(found.standard_error)
        if len(each) > 1:
            out["its standard error, from the rows"] = float(each.std(ddof=1) / len(each) ** 0.5)
        out["effective sample size, median"] = float(np.median(found.effective_sample_size))
        out["effective sample size, least"] = float(np.min(found.effective_sample_size))
        out["bits per dimension"] = self._bits(mean)
        return out

    def _bits(self, log_likelihood: float) -> float:
        # Bytes are divided by 255; only a density, not a probability, knows of that.
        name = self.estimator.likelihood_
        density = name.startswith(DENSITIES) and "," not in name
        levels = 255 if density and self.X.dtype == np.uint8 else None
        return float(bits_per_dimension(-log_likelihood, self.estimator.n_features_in_, levels))

    def aggregate(self, rng: np.random.Generator) -> Numbers:
        """Return how far all codes together are from the prior, and what they tell of a row."""
        X, told = self.some(rng, PAIRED_ROWS)
        found = aggregate_posterior_kl(self.estimator, X, condition=told, random_state=self.seed)
        return {
            "aggregate posterior KL to the prior (nats)": found.kl,
            "mutual information of row and code (nats)": found.mutual_information,
            "the most it could be, log of the rows": float(np.log(len(X))),
        }

    def annealed(self, rng: np.random.Generator, n_samples: int) -> Numbers:
        """Return the annealed estimate for some rows, and the other one for the same."""
        X, told = self.some(rng, AIS_ROWS)
        given: dict[str, Any] = {"condition": told, "random_state": self.seed}
        found = annealed_importance(self.estimator, X, **given)
        weighted = importance_weighted(self.estimator, X, n_samples, **given)
        return {
            f"annealed log-likelihood, {len(X)} rows (nats)": float(np.mean(found.log_likelihood)),
            "annealed: its standard error, from the chains": _error_of_mean(found.standard_error),
            "annealed: effective chains, median": float(np.median(found.effective_sample_size)),
            "annealed: moves taken (share)": float(np.mean(found.acceptance_rate)),
            "annealed: importance weighting of the same rows (nats)": float(
                np.mean(weighted.log_likelihood)
            ),
        }

    def samples(self, features: Features, rng: np.random.Generator) -> Numbers:
        """Return how samples from the prior compare with as many rows."""
        X, told = self.some(rng, PAIRED_ROWS)
        made = as_array(
            self.estimator, self.estimator.sample(len(X), random_state=self.seed, y=told)
        )
        if callable(features):
            pair, name = (np.asarray(features(X)), np.asarray(features(made))), "features"
        elif features == "codes":
            pair, name = (self.estimator.transform(X), self.estimator.transform(made)), "codes"
        else:
            pair, name = (_flat(_values(self.estimator, X)), _flat(made)), "values"
        return {f"samples, in {name}: {k}": v for k, v in sample_quality(*pair).items()}


def _check_features(features: Features) -> None:
    if isinstance(features, str) and features not in ("values", "codes"):
        raise ValueError(f"features must be 'values', 'codes' or a function, got {features!r}.")


def _error_of_mean(errors: Array) -> float:
    return float(np.linalg.norm(errors)) / len(errors)


def _values(estimator: LatentEstimator, X: Array) -> Array:
    """Return rows as reconstructions come: float64, in the model's shape, bytes as it reads them.

    Where bytes are counts or categories they stand for themselves, else for [0, 1].
    """
    return as_float64(as_data(estimator.likelihood_, X)).reshape(len(X), *estimator.feature_shape_)


def _flat(X: Array) -> Array:
    return X.reshape(len(X), -1)


def _sparsity(estimator: LatentEstimator, codes: Array) -> Numbers:
    """Return how sparse codes are that are points: those of a posterior never are."""
    # A sigmoid is never 0: there a unit is on above one half.
    sigmoid = getattr(estimator.model_.posterior, "activation", None) == "sigmoid"
    threshold = 0.5 if sigmoid else 0.0
    return {
        f"codes: active units an example (L0, above {threshold:g})": l0(codes, threshold),
        "codes: live units (share)": live_share(codes, threshold),
        "codes: dead units (share)": dead_share(codes, threshold),
        "codes: median feature density": float(np.median(feature_density(codes, threshold))),
    }


def _rebuilding(estimator: LatentEstimator, X: Array, rebuilt: Array) -> Numbers:
    """Return how close reconstructions come: of numbers by distance, of categories by name."""
    x, r = _values(estimator, X), as_float64(rebuilt)
    names = np.atleast_1d(split_names(estimator.likelihood_)).tolist()
    named = np.array([name.startswith("categorical") for name in names])
    out: Numbers = {}
    if named.any():
        of = (x, r) if named.all() else (x[:, named], r[:, named])
        out["categories rebuilt (share)"] = float(np.mean(of[0] == of[1]))
        x, r = (x[:, ~named], r[:, ~named]) if not named.all() else (x[:0], r[:0])
    return out | (_distances(x, r) | _likeness(estimator, x, r) if x.size else {})


def _distances(x: Array, r: Array) -> Numbers:
    return {
        "mean squared error": squared_error(x, r),
        "squared error an example": squared_error(x, r, per="example"),
        "explained variance": explained_variance(x, r),
        "cosine of reconstruction": reconstruction_cosine(x, r),
    }


def _likeness(estimator: LatentEstimator, x: Array, r: Array) -> Numbers:
    """Return what is of pictures with pixels from 0 to 1, and of masks of 0 and 1."""
    out: Numbers = {}
    if x.min() < 0 or x.max() > 1:
        return out
    picture = x.ndim in (3, 4) and min(x.shape[-2:]) >= 3 and estimator.backbone != "conv1d"
    if picture:
        r = r.clip(0, 1)
        out["PSNR (dB)"] = psnr(x, r)
        with contextlib.suppress(ImportError):  # without the extra the other numbers stand
            out["SSIM"] = ssim(x, r)
    if ((x == 0) | (x == 1)).all():
        out |= {"Dice, mean over rows": dice(x, r), "F1, all rows together": f1(x, r)}
    return out
