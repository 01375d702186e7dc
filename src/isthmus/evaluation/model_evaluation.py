"""All metrics that apply to a fitted model and a data set, in one table."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.estimators.base import LatentEstimator
from isthmus.estimators.scaling import as_float64
from isthmus.estimators.validation import as_array
from isthmus.evaluation.aggregate import aggregate_posterior_kl
from isthmus.evaluation.annealed import annealed_importance
from isthmus.evaluation.components_in_use import count_in_use
from isthmus.evaluation.disentanglement import disentanglement_table
from isthmus.evaluation.joint import check_positive
from isthmus.evaluation.likelihood import importance_weighted
from isthmus.evaluation.reconstruction import (
    SCALED,
    bits_per_dimension,
    column_units,
    dice,
    f1,
    psnr,
    squared_error,
    ssim,
)
from isthmus.evaluation.samples import sample_quality
from isthmus.evaluation.sparsity import (
    active_threshold,
    explained_variance,
    feature_density,
    l0,
    live_share,
    reconstruction_cosine,
)

__all__ = ["evaluate_model"]

Array = NDArray[Any]
Numbers = dict[str, float]
Features = str | Callable[[Array], Array] | None

AIS_ROWS = 100  # annealing is expensive
SAME_DIRECTION = 0.99  # cosine of rows and their mean above which cosines tell nothing
PAIRED_ROWS = 5000  # for metrics whose cost is quadratic in the rows


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
    """Return every metric that applies to a model and a data set, by name.

    Likelihood estimates need a prior, SSIM needs images, Dice and F1 need values of 0 and 1; other
    metrics are left out. Codes are posterior means and reconstructions are decoded from them, so
    both are deterministic. `docs/evaluation.md` explains each number.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    X : ndarray (n, *features)
        At least two rows.
    y : array-like (n,), optional
        Labels, the condition of conditional models.
    n_samples : int
        Importance samples per row.
    factors : ndarray of int, (n, n_factors), optional
        True factors, for the disentanglement scores.
    features : {"values", "codes"} or callable, optional
        Compare samples from the prior with rows in these features: values, codes of the model, or
        the result (m, d) of a function of rows (m, *features). None skips the comparison.
    annealed : bool
        Also estimate the likelihood of 100 random rows by annealed importance sampling, next to
        the importance-weighted estimate of the same rows.
    random_state : int

    Returns
    -------
    dict of str to float
        In nats per example, for the density of X in its own units; bytes count as [0, 1].

    See Also
    --------
    held_out_summary : The short summary that ends a run.

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
    check_positive(n_samples=n_samples)
    if isinstance(features, str) and features not in ("values", "codes"):
        raise ValueError(f"features must be 'values', 'codes' or a function, got {features!r}.")
    rng = np.random.default_rng(random_state)
    X = as_array(estimator, X)
    condition = np.asarray(y) if estimator.conditional and y is not None else None
    q = estimator.posterior(X, condition=condition)
    codes = q.mean
    evaluated = _GenerativeMetrics(estimator, X, condition, random_state)
    out: Numbers = {"rows": len(X)}
    if estimator.prior is not None:
        out |= evaluated.bounds(n_samples) | evaluated.aggregate(rng)
        out["components in use"] = count_in_use(estimator, q)
        out |= evaluated.annealed(rng, n_samples) if annealed else {}
    else:
        out["log-likelihood at the code (nats)"] = estimator.score(X, condition=condition)
        out |= _sparsity(estimator, codes)
    reconstruction = estimator.reconstruct(X, condition=condition)
    missing = np.isnan(X) if X.dtype.kind == "f" else np.zeros(0, bool)
    known = np.where(missing, reconstruction.reshape(X.shape), X) if missing.any() else X
    out |= _reconstruction(estimator, known, reconstruction)  # missing values count as correct
    if factors is not None:
        out |= disentanglement_table(codes, factors, random_state=random_state)
    if features is not None and estimator.prior is not None:
        out |= evaluated.samples(features, rng)
    return out


@dataclass
class _GenerativeMetrics:
    """The metrics of a data set that involve the prior."""

    estimator: LatentEstimator
    X: Array
    condition: Array | None
    seed: int

    def subsample(self, rng: np.random.Generator, most: int) -> tuple[Array, Array | None]:
        """Return random rows (data are often sorted) and their condition."""
        n = len(self.X)
        rows = np.sort(rng.choice(n, most, replace=False)) if n > most else np.arange(n)
        return self.X[rows], None if self.condition is None else self.condition[rows]

    def bounds(self, n_samples: int) -> Numbers:
        """Return the ELBO, its two terms, and the importance-weighted log-likelihood."""
        rate, distortion = self.estimator.rate_distortion(self.X, condition=self.condition)
        found = importance_weighted(
            self.estimator, self.X, n_samples, random_state=self.seed, condition=self.condition
        )
        each, mean = found.log_likelihood, float(np.mean(found.log_likelihood))
        out = {
            "ELBO (nats)": -float(np.mean(rate + distortion)),
            "rate (nats)": float(np.mean(rate)),
            "distortion (nats)": float(np.mean(distortion)),
            f"log-likelihood, {n_samples} importance samples (nats)": mean,
        }
        if n_samples > 1:
            out["standard error, from the samples"] = _error_of_mean(found.standard_error)
        if len(each) > 1:
            out["standard error, from the rows"] = float(each.std(ddof=1) / len(each) ** 0.5)
        out["effective sample size, median"] = float(np.median(found.effective_sample_size))
        out["effective sample size, least"] = float(np.min(found.effective_sample_size))
        out["bits per dimension"] = self._bits(mean)
        return out

    def _bits(self, log_likelihood: float) -> float:
        # Bytes are divided by 255, which changes a density but not a probability.
        likelihood = self.estimator.model_.likelihood
        scaled = self.X.dtype == np.uint8 and likelihood.bytes_are_units
        levels = 255 if scaled and not likelihood.discrete else None
        return float(bits_per_dimension(-log_likelihood, self.estimator.n_features_in_, levels))

    def aggregate(self, rng: np.random.Generator) -> Numbers:
        """Return the KL of the aggregate posterior, and the mutual information of row and code."""
        X, condition = self.subsample(rng, PAIRED_ROWS)
        found = aggregate_posterior_kl(
            self.estimator, X, condition=condition, random_state=self.seed
        )
        return {
            "aggregate posterior KL to the prior (nats)": found.kl,
            "mutual information of row and code (nats)": found.mutual_information,
            "upper limit of that information, log of the rows": float(np.log(len(X))),
        }

    def annealed(self, rng: np.random.Generator, n_samples: int) -> Numbers:
        """Return the annealed and the importance-weighted estimate for the same rows."""
        X, condition = self.subsample(rng, AIS_ROWS)
        given: dict[str, Any] = {"condition": condition, "random_state": self.seed}
        found = annealed_importance(self.estimator, X, **given)
        weighted = importance_weighted(self.estimator, X, n_samples, **given)
        return {
            f"annealed log-likelihood, {len(X)} rows (nats)": float(np.mean(found.log_likelihood)),
            "annealed: standard error, from the chains": _error_of_mean(found.standard_error),
            "annealed: effective chains, median": float(np.median(found.effective_sample_size)),
            "annealed: acceptance rate": float(np.mean(found.acceptance_rate)),
            "annealed: importance weighting of the same rows (nats)": float(
                np.mean(weighted.log_likelihood)
            ),
        }

    def samples(self, features: Features, rng: np.random.Generator) -> Numbers:
        """Compare samples from the prior with as many rows."""
        X, condition = self.subsample(rng, PAIRED_ROWS)
        drawn = self.estimator.sample(len(X), random_state=self.seed, y=condition)
        drawn = as_array(self.estimator, drawn)
        if callable(features):
            pair, name = (features(X), features(drawn)), "features"
        elif features == "codes":
            pair, name = (self.estimator.transform(X), self.estimator.transform(drawn)), "codes"
        else:
            values, shape = _values(self.estimator, X), (len(X), -1)
            pair, name = (values.reshape(shape), drawn.reshape(shape)), "values"
        return {f"samples, in {name}: {k}": v for k, v in sample_quality(*pair).items()}


def _error_of_mean(errors: Array) -> float:
    return float(np.linalg.norm(errors)) / len(errors)


def _values(estimator: LatentEstimator, X: Array) -> Array:
    """Return rows as float64 in the shape of reconstructions, bytes as the model reads them."""
    values = as_float64(estimator.model_.likelihood.convert_bytes(X))
    return values.reshape(len(X), *estimator.feature_shape_)


def _sparsity(estimator: LatentEstimator, codes: Array) -> Numbers:
    """Return sparsity metrics of point-mass codes."""
    threshold = active_threshold(estimator)
    live = live_share(codes, threshold)
    return {
        f"codes: active units per example (L0, above {threshold:g})": l0(codes, threshold),
        "codes: live units (share)": live,
        "codes: dead units (share)": 1.0 - live,
        "codes: median feature density": float(np.median(feature_density(codes, threshold))),
    }


def _errors(x: Array, r: Array, units: Array | None) -> Numbers:
    """Return distances, of tables with each column in its own unit, around its mean."""
    label = ""
    if units is not None:
        mean, label = x.mean(axis=0), SCALED
        x, r = (x - mean) / units, (r - mean) / units
    out = {
        f"mean squared error{label}": squared_error(x, r),
        f"squared error per example{label}": squared_error(x, r, per="example"),
        "explained variance": explained_variance(x, r),
    }
    # If rows are much longer than their differences, all have the same direction.
    if reconstruction_cosine(x, np.broadcast_to(x.mean(axis=0), x.shape)) < SAME_DIRECTION:
        out["cosine of reconstruction"] = reconstruction_cosine(x, r)
    return out


def _reconstruction(estimator: LatentEstimator, X: Array, reconstruction: Array) -> Numbers:
    """Return distances for numbers, accuracy for categories, and metrics of images and masks."""
    x, r = _values(estimator, X), as_float64(reconstruction)
    ordered = np.asarray(estimator.model_.likelihood.ordered)
    out: Numbers = {}
    units = column_units(estimator, x)
    if not ordered.all():
        same = x == r if not ordered.any() else (x == r)[:, ~ordered]
        out["categories reconstructed (share)"] = float(np.mean(same))
        if not ordered.any():
            return out
        x, r = x[:, ordered], r[:, ordered]
    out |= _errors(x, r, units if units is None or ordered.all() else units[ordered])
    x, r = (estimator.scaler_.to_model_layout(each) for each in (x, r))
    if x.min() < 0 or x.max() > 1:
        return out
    if x.ndim in (3, 4) and min(x.shape[-2:]) >= 3 and estimator.backbone != "conv1d":
        r = r.clip(0, 1)
        out["PSNR (dB)"] = psnr(x, r)
        with contextlib.suppress(ImportError):  # torchmetrics is optional
            out["SSIM"] = ssim(x, r)
    if np.isin(x, (0, 1)).all():
        out |= {"Dice, mean over rows": dice(x, r), "F1, all rows together": f1(x, r)}
    return out
