"""Denoise rows, images and audio with an autoencoder trained on clean examples."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import OneToOneFeatureMixin, TransformerMixin, clone
from sklearn.utils import Tags
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from isthmus.applications.corruptions import InDataUnits, make_corruption
from isthmus.applications.meta_estimator import (
    MetaEstimator,
    fitted_model,
    is_fitted,
    unwrap,
    weight_options,
)
from isthmus.data.frames import is_frame
from isthmus.data.input_types import read_input
from isthmus.data.layout import channels_first, channels_last, find_channels
from isthmus.data.sparse_rows import SparseRows
from isthmus.data.wav import resample
from isthmus.data.windows import Windows
from isthmus.estimators import DenoisingAutoencoder, LatentEstimator
from isthmus.estimators.batched_inference import float_type
from isthmus.estimators.sample_weight import weight_rows
from isthmus.estimators.validation import check_finite, in_fitted_order, with_missing_bytes
from isthmus.objectives.corruptions import Corruption
from isthmus.training import Callback, TrainerView

__all__ = ["Denoiser", "denoise_audio"]

Array = NDArray[Any]


class _ReplaceCorruption(Callback):
    """Replace the corruption of the objective."""

    def __init__(self, corruption: Corruption) -> None:
        self.corruption = corruption

    def on_start(self, trainer: TrainerView, rows: Any) -> None:
        scaler = trainer.settings.scaler_  # type: ignore[attr-defined]  # settings is the estimator
        corruption = InDataUnits(self.corruption, scaler)
        trainer.objective = replace(trainer.objective, corruption=corruption)


@dataclass(eq=False, repr=False)
class Denoiser(OneToOneFeatureMixin, TransformerMixin, MetaEstimator):
    """Denoise rows, images or signals with an autoencoder trained on clean ones.

    `fit` takes clean examples, floats or bytes that represent [0, 1], and trains an autoencoder to
    reconstruct them from corrupted ones; `transform` returns the reconstructions of noisy
    examples. The closer the corruption is to the actual noise, the better the result.

    Parameters
    ----------
    estimator : LatentEstimator, default=None
        A fitted estimator is used as it is and needs no `fit`; of an unfitted one `fit` trains a
        clone. None means ``DenoisingAutoencoder()``, whose networks are made for audio if X is
        windows (n, 1, time).
    corruption : str, callable, sequence of these, or None, default=None
        "gaussian", "masking", "salt-and-pepper", or a callable that maps (x, generator) to the
        corrupted x. With several, one is drawn for each row in each step. None keeps the
        corruption of the estimator.
    level : float or sequence of float, default=None
        Level of each named corruption: the standard deviation in units of the data (bytes count
        as [0, 1]), or the fraction of corrupted features. None means 0.3.
    patch_size : int or tuple of int, default=None
        Process overlapping patches of this size along the last axes; an int applies to the last
        axis. `transform` then accepts images or signals of any size.
    overlap : float, default=0.5
        Fraction by which neighbouring patches overlap. More overlap is smoother and slower.
    n_patches : int, default=20000
        Number of random patches to train on.
    random_state : int, default=None
        Seed for drawing patches. Training uses the seed of the estimator.

    Attributes
    ----------
    estimator_ : LatentEstimator
        The trained autoencoder.
    feature_shape_ : tuple of int
        Shape of one example.

    See Also
    --------
    denoise_audio : Denoise a recording of any length.

    References
    ----------
    Extracting and composing robust features with denoising autoencoders (Vincent, Larochelle,
    Bengio, Manzagol, 2008).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import DenoisingAutoencoder
    >>> X = (load_digits().images / 16).astype(np.float32)
    >>> noisy = X + np.random.default_rng(0).normal(0, 0.3, X.shape).astype(np.float32)
    >>> model = DenoisingAutoencoder(n_components=32, epochs=10, random_state=0)
    >>> denoiser = Denoiser(model, corruption="gaussian", level=0.3).fit(X)
    >>> cleaned = denoiser.transform(noisy)
    >>> cleaned.shape, bool(((cleaned - X) ** 2).mean() < 0.5 * ((noisy - X) ** 2).mean())
    ((1797, 8, 8), True)
    """

    estimator: Any = None
    _: KW_ONLY
    corruption: Any = None
    level: Any = None
    patch_size: int | tuple[int, ...] | None = None
    overlap: float = 0.5
    n_patches: int = 20_000
    random_state: int | None = None

    def _fit(self, X: Any, y: Any, weights: Any) -> None:
        corruption, windows = make_corruption(self.corruption, self.level), self._windows()
        X = self._read(X, reset=True)
        wanted = getattr(unwrap(self.estimator), "channels", "auto")
        last = windows is not None and find_channels(X.shape[1:], wanted) == "last"
        X = channels_first(X) if last else X  # patches are cut along the last axes
        if (fitted := fitted_model(self.estimator)) is not None:
            self.estimator_ = _checked(fitted)
            self._check_fitted(X.shape[1:], windows)
            return
        model = DenoisingAutoencoder() if self.estimator is None else clone(self.estimator)
        self.estimator_ = _checked(model)
        if windows is not None:
            rows = weight_rows(X, None, None, weights)
            X, y, weights = self._patches(rows.repeated(rows.X), windows), None, None
            model.set_params(channels="first")
        n_components = getattr(model.backbone, "n_components", None)
        if n_components is not None:  # the backbone prescribes it
            model.set_params(n_components=n_components(X.shape[1:]))
        callbacks = [] if corruption is None else [_ReplaceCorruption(corruption)]
        model.fit(X, y, callbacks=callbacks, **weight_options(weights))

    def transform(self, X: Any) -> Array:
        """Denoise examples; the result has the shape of X and its float type, or uint8 for bytes.

        With `patch_size`, the patched axes of X (n, *features) may have any length.
        """
        check_is_fitted(self)
        windows = self._windows()
        if windows is None:
            X = self._read(X, reset=False)
            cleaned = self._model.reconstruct(X).reshape(X.shape)
        else:
            X, last = self._read_any_size(X, windows)
            cleaned = windows.apply(self._model.reconstruct, X)
            X, cleaned = (channels_last(each) if last else each for each in (X, cleaned))
        if X.dtype == np.uint8:
            return np.rint(np.clip(cleaned, 0, 1) * 255).astype(np.uint8)
        return cleaned.astype(float_type(X) if X.dtype.kind == "f" else np.float64, copy=False)

    def _read(self, X: Any, *, reset: bool, size_matters: bool = True) -> Array:
        """Return X as an array, whose values the estimator checks later."""
        X = read_input(X)
        X = np.asarray(X) if isinstance(X, SparseRows) else X
        settings = unwrap(self.estimator) if reset else self._model
        X = with_missing_bytes(X, settings, reset=reset or not is_fitted(settings))
        frame = is_frame(X)
        if getattr(X, "ndim", 2) > 2:
            X = np.asarray(X)
            if reset:
                self.n_features_in_ = math.prod(X.shape[1:])
        elif size_matters:
            X = X if reset else in_fitted_order(X, getattr(self, "feature_names_in_", ()))
            X = validate_data(self, X, reset=reset, dtype="numeric", ensure_all_finite=False)
        else:
            X = check_array(X, dtype="numeric", ensure_all_finite=False)
        X = X.astype(np.float64) if frame and X.dtype.kind != "f" else X  # not pixels
        if reset:
            self.feature_shape_ = X.shape[1:]
        return X

    @property
    def _model(self) -> LatentEstimator:
        return self.estimator_ if hasattr(self, "estimator_") else _checked(unwrap(self.estimator))

    def _windows(self) -> Windows | None:
        if self.patch_size is None:
            return None
        size = np.atleast_1d(np.asarray(self.patch_size))
        if size.ndim != 1 or size.dtype.kind not in "iu":
            raise ValueError(
                f"patch_size must be an integer or a tuple of integers, got {self.patch_size!r}."
            )
        return Windows(tuple(size.tolist()), self.overlap)

    def _patches(self, X: Array, windows: Windows) -> Array:
        """Draw random patches from random rows."""
        k = len(windows.size)
        if not isinstance(self.n_patches, int) or self.n_patches < 2:
            raise ValueError(f"n_patches must be at least 2, got {self.n_patches!r}.")
        if X.ndim <= k or any(s > x for s, x in zip(windows.size, X.shape[-k:], strict=True)):
            raise ValueError(
                f"patch_size {windows.size} does not fit into examples of shape {X.shape[1:]}."
            )
        generator = np.random.default_rng(self.random_state)
        rows = generator.integers(len(X), size=self.n_patches)
        high = [x - s + 1 for s, x in zip(windows.size, X.shape[-k:], strict=True)]
        corners = generator.integers(high, size=(self.n_patches, k))
        places = zip(rows, corners, corners + windows.size, strict=True)
        return np.stack([X[(row, ..., *map(slice, start, end))] for row, start, end in places])

    def _check_fitted(self, shape: tuple[int, ...], windows: Windows | None) -> None:
        if self.corruption is not None:
            raise ValueError(
                "corruption has no effect because a fitted estimator is not trained again: leave "
                "it out, or pass an unfitted one, such as sklearn.base.clone(estimator)."
            )
        known = self._model.model_shape_ if windows else self._model.feature_shape_
        k = 0 if windows is None else len(windows.size)
        self._check_patch_size(windows)
        if shape[: len(shape) - k] != known[: len(known) - k]:
            raise ValueError(
                f"one example of X has shape {shape}, but the estimator was fitted on examples of "
                f"shape {known}."
            )

    def _check_patch_size(self, windows: Windows | None) -> None:
        known = self._model.model_shape_
        if windows is not None and windows.size != known[len(known) - len(windows.size) :]:
            raise ValueError(
                f"patch_size is {windows.size}, but the estimator was fitted on examples of shape "
                f"{known}."
            )

    def _read_any_size(self, X: Any, windows: Windows) -> tuple[Array, bool]:
        """Return X with channels first, and whether they were last."""
        X = self._read(X, reset=False, size_matters=False)
        known, k = self._model.model_shape_, len(windows.size)
        self._check_patch_size(windows)
        if X.dtype.kind not in "biuf" or X.size == 0:
            raise ValueError(f"X must be numeric and not empty, got {X.dtype} of shape {X.shape}.")
        last = len(known) == 3 == X.ndim - 1 and X.shape[1] != known[0] == X.shape[-1]
        X = channels_first(X) if last else X
        if X.ndim != len(known) + 1 or X.shape[1:-k] != known[:-k]:
            wanted = ", ".join(["n", *map(str, known[:-k]), *["any"] * k])
            raise ValueError(f"expected X of shape ({wanted}), got {X.shape}.")
        low, high = self._model.scaler_.limits
        check_finite(X, limits=(np.max(low), np.min(high)))
        return (X if X.dtype == np.uint8 or X.dtype.kind == "f" else X.astype(np.float64)), last

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_") or is_fitted(unwrap(self.estimator))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _checked(estimator: Any) -> LatentEstimator:
    if not isinstance(estimator, LatentEstimator):
        raise ValueError(
            f"estimator must be an isthmus autoencoder, got {type(estimator).__name__}."
        )
    return estimator


def denoise_audio(
    model: LatentEstimator,
    samples: Array,
    rate: int,
    model_rate: int | None = None,
    *,
    overlap: float = 0.5,
) -> Array:
    """Denoise a recording of any length with a model of windows.

    Parameters
    ----------
    model : LatentEstimator
        Fitted on windows (n, time) or (n, channels, time).
    samples : ndarray (channels, time)
        A single-channel model processes each channel separately.
    rate : int
        Sample rate of the recording in hertz.
    model_rate : int, optional
        Sample rate of the training windows. If it differs, the recording is resampled to it and
        the result back.
    overlap : float, default=0.5
        Fraction by which neighbouring windows overlap.

    Returns
    -------
    ndarray of float64, (channels, time)

    Raises
    ------
    ValueError
        If the model was not fitted on windows with one channel or as many as the recording.

    Examples
    --------
    >>> from isthmus import Autoencoder
    >>> t = np.linspace(0, 100, 4000)
    >>> model = Autoencoder(n_components=4, epochs=2).fit(np.sin(t).reshape(-1, 1, 40))
    >>> denoise_audio(model, np.sin(t)[None, :3210], rate=8000).shape
    (1, 3210)
    """
    shape = model.model_shape_
    channels = shape[0] if len(shape) == 2 else 1
    if len(shape) > 2 or channels not in (1, len(samples)):
        raise ValueError(
            f"the model was fitted on examples of shape {shape}, but audio of {len(samples)} "
            f"channel(s) needs windows of shape (time,), (1, time) or ({len(samples)}, time)."
        )
    denoiser = Denoiser(model, patch_size=shape[-1:], overlap=overlap)
    rows = samples.reshape(-1, *([channels] * (len(shape) == 2)), samples.shape[-1])
    resampled = resample(rows, rate, model_rate or rate)
    cleaned = resample(denoiser.transform(resampled), model_rate or rate, rate)
    length = samples.shape[-1]  # resampling may round up
    return np.asarray(cleaned[..., :length], dtype=np.float64).reshape(samples.shape)
