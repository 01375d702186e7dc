"""Reconstruction metrics. Bytes count as values in [0, 1], as in the estimators.

All functions raise a ValueError if shapes do not match or values are not finite or out of range.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isthmus._messages import check_choice
from isthmus._optional import import_optional
from isthmus.data.layout import to_channels_first

__all__ = [
    "SCALED",
    "bits_per_dimension",
    "column_units",
    "dice",
    "f1",
    "f1_from_counts",
    "psnr",
    "squared_error",
    "ssim",
]

Array = NDArray[Any]
SCALED = ", scaled columns"  # of numbers in units of `column_units`
WINDOW, SIGMA = 11, 1.5  # of the Gaussian window, in pixels
PIXELS = 2**16  # per batch: each takes part in 121 windows


def column_units(estimator: Any, X: Array) -> Array | None:
    """Return the unit in which the errors of each column of a table are comparable.

    It is the standard deviation by which the estimator scales the column, or, of a column that it
    does not scale, that of X (n, columns). None for images, signals and other arrays, whose values
    have one unit.
    """
    one_unit = estimator.columns_ is None and estimator.scaling_ != "standard"
    if one_unit or len(estimator.feature_shape_) > 1:
        return None
    scale = np.broadcast_to(estimator.scaler_.scale, X.shape[1:])
    units = np.where(scale == 1, np.ma.masked_invalid(X).std(0).filled(np.nan), scale)
    return np.where(units > 0, units, 1.0)


def squared_error(X: ArrayLike, reconstruction: ArrayLike, per: str = "feature") -> float:
    """Return the mean squared error over examples.

    Parameters
    ----------
    X, reconstruction : array-like (n, *features)
    per : {"feature", "example"}, default="feature"
        Average over the features of an example, or sum them.

    Returns
    -------
    float
        In squared units of the data.

    Examples
    --------
    >>> squared_error([[0.0, 0.0], [0.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]])
    1.0
    >>> squared_error([[0.0, 0.0], [0.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]], per="example")
    2.0
    """
    check_choice("per", per, ("feature", "example"))
    errors = _errors(*paired(X, reconstruction))
    return float(errors.mean() if per == "feature" else errors.sum(axis=1).mean())


def psnr(X: ArrayLike, reconstruction: ArrayLike, peak: float = 1.0) -> float:
    """Return the mean peak signal-to-noise ratio of images, in decibels.

    10 log₁₀(peak² / mean squared error) for each image; infinite if any image is perfect.

    Parameters
    ----------
    X, reconstruction : array-like (n, *features)
    peak : float, default=1.0
        The largest possible pixel value.

    Examples
    --------
    >>> round(psnr(np.zeros((1, 8, 8)), np.full((1, 8, 8), 0.1)), 6)
    20.0
    """
    if not peak > 0:
        raise ValueError(f"expected a positive peak, got {peak}.")
    errors = _errors(*paired(X, reconstruction)).mean(axis=1)
    with np.errstate(divide="ignore"):
        return float(np.mean(20 * np.log10(peak) - 10 * np.log10(errors)))


def ssim(X: ArrayLike, reconstruction: ArrayLike) -> float:
    """Return the mean structural similarity (SSIM) of images.

    The window is Gaussian, 11 pixels wide with σ = 1.5. For smaller images the window shrinks to
    the largest odd width that fits, and σ with it; such scores are comparable only among images
    of that size.
    Source: Image quality assessment: from error visibility to structural similarity (Wang,
    Bovik, Sheikh, Simoncelli, 2004), by torchmetrics.

    Parameters
    ----------
    X, reconstruction : array-like (n, height, width) or (n, channels, height, width)
        Pixels in [0, 1], at least 3 × 3. The channels may also be last.

    Returns
    -------
    float
        At most 1, for identical images.

    Raises
    ------
    ImportError
        If torchmetrics is not installed (extra `metrics`).

    Examples
    --------
    >>> round(ssim(np.eye(8)[None], np.eye(8)[None]), 6)
    1.0
    """
    x, r = _as_images(X, reconstruction)
    window = min(WINDOW, (min(x.shape[2:]) - 1) // 2 * 2 + 1)
    sigma = SIGMA * window / WINDOW  # torchmetrics derives the window width from it
    some = max(1, PIXELS // (x.size // len(x)))
    blocks = (slice(i, i + some) for i in range(0, len(x), some))
    return sum(_similarity(x[block], r[block], sigma) for block in blocks) / len(x)


def f1_from_counts(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike) -> Array:
    """Return 2 tp / (2 tp + fp + fn), and 1 if there are no positives on either side.

    Source: Measures of the amount of ecologic association between species (Dice, 1945).

    Parameters
    ----------
    tp, fp, fn : array-like of int, of one shape
        True positives, false positives, false negatives.

    Examples
    --------
    >>> f1_from_counts([2, 0, 0], [1, 0, 3], [1, 0, 0])
    array([0.66666667, 1.        , 0.        ])
    """
    tp, fp, fn = (np.asarray(count, dtype=np.float64) for count in (tp, fp, fn))
    if min(np.min(tp), np.min(fp), np.min(fn)) < 0:
        raise ValueError("counts must be zero or more.")
    twice, total = 2 * tp, 2 * tp + fp + fn
    return np.where(total > 0, twice / np.where(total > 0, total, 1.0), 1.0)


def dice(X: ArrayLike, reconstruction: ArrayLike, threshold: float = 0.5) -> float:
    """Return the mean Dice coefficient over examples.

    Parameters
    ----------
    X, reconstruction : array-like (n, *features)
        Masks as bool or float, or bytes of 0 and 255.
    threshold : float
        A feature is positive if it exceeds it.

    Returns
    -------
    float
        From 0 to 1; an example without positives on either side counts as 1.

    Examples
    --------
    >>> dice([[1, 1, 0], [0, 0, 0]], [[0.9, 0.2, 0.1], [0.0, 0.1, 0.0]])
    0.833...
    """
    counts = _counts(X, reconstruction, threshold)
    return float(f1_from_counts(*(count.sum(axis=1) for count in counts)).mean())


def f1(X: ArrayLike, reconstruction: ArrayLike, threshold: float = 0.5) -> float:
    """Return the F1 score with the counts of all examples pooled; parameters as for `dice`.

    Examples
    --------
    >>> f1([[1, 1, 0], [0, 0, 0]], [[0.9, 0.2, 0.1], [0.0, 0.1, 0.0]])
    0.666...
    """
    counts = _counts(X, reconstruction, threshold)
    return float(f1_from_counts(*(count.sum() for count in counts)))


def bits_per_dimension(nats: ArrayLike, n_features: int, levels: float | None = None) -> Array:
    """Return bits per dimension from the negative log-likelihood in nats per example.

    nats / (n_features ln 2), plus log₂(levels) if `levels` is given. Omit `levels` if the
    likelihood is a probability of integers. Give it if it is a density of integers divided by
    `levels`: 256 for (x + u) / 256 with u uniform on [0, 1) (the usual dequantisation, which gives
    an upper bound for a discrete model), and 255 for x / 255, as the estimators scale bytes.
    Source: A note on the evaluation of generative models (Theis, van den Oord, Bethge, 2016).

    Parameters
    ----------
    nats : float or array-like (n,)
    n_features : int
        Features of one example, including channels.
    levels : float, optional

    Examples
    --------
    >>> float(bits_per_dimension(0.0, 784, levels=256))
    8.0
    """
    if n_features < 1 or (levels is not None and not levels > 0):
        raise ValueError(
            f"expected n_features and levels above zero, got {n_features} and {levels}."
        )
    shift = 0.0 if levels is None else np.log2(levels)
    return np.asarray(nats, dtype=np.float64) / (n_features * np.log(2)) + shift


def paired(X: ArrayLike, reconstruction: ArrayLike) -> tuple[Array, Array]:
    """Return both as float64, bytes in [0, 1], after checking shapes and finiteness."""
    x, r = (
        values.astype(np.float64) / (255 if values.dtype == np.uint8 else 1)
        for values in map(np.asarray, (X, reconstruction))
    )
    if x.shape != r.shape or x.ndim < 2 or x.size == 0:
        raise ValueError(
            "expected X and reconstruction with the same shape (n, *features), got "
            f"{x.shape} and {r.shape}."
        )
    if not (np.isfinite(x).all() and np.isfinite(r).all()):
        raise ValueError("X or the reconstruction contains NaN or infinity; drop those rows first.")
    return x, r


def _errors(x: Array, r: Array) -> Array:
    return ((x - r) ** 2).reshape(len(x), -1)


def _counts(X: ArrayLike, reconstruction: ArrayLike, threshold: float) -> tuple[Array, ...]:
    for values in map(np.asarray, (X, reconstruction)):
        if values.dtype == np.uint8 and values.size and values.max() == 1:
            raise ValueError(
                "expected byte masks of 0 and 255, got 0 and 1; pass masks as bool or float."
            )
    x, r = paired(X, reconstruction)
    a, b = (values.reshape(len(values), -1) > threshold for values in (x, r))
    return a & b, ~a & b, a & ~b


def _as_images(X: ArrayLike, reconstruction: ArrayLike) -> tuple[Array, Array]:
    """Return images (n, channels, height, width) of at least 3 × 3 pixels."""
    x, r = map(to_channels_first, paired(X, reconstruction))
    if x.ndim not in (3, 4) or min(x.shape[-2:]) < 3:
        raise ValueError(
            "expected images (n, h, w) or (n, c, h, w) of at least 3 × 3 pixels, got "
            f"{x.shape}; reshape rows into images first."
        )
    if min(x.min(), r.min()) < 0 or max(x.max(), r.max()) > 1:
        raise ValueError("expected pixels in [0, 1]; scale or clip the images first.")
    shape = (len(x), -1, *x.shape[-2:])
    return x.reshape(shape), r.reshape(shape)


def _similarity(x: Array, r: Array, sigma: float) -> float:
    """Return the SSIM summed over images."""
    import torch

    image = import_optional("torchmetrics.functional.image", extra="metrics", what="SSIM")
    total = image.structural_similarity_index_measure(
        torch.from_numpy(r), torch.from_numpy(x), sigma=sigma, data_range=1.0, reduction="sum"
    )
    assert isinstance(total, torch.Tensor)  # not a pair, since nothing else is requested
    return float(total)
