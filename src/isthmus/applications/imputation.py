"""Imputation of tables and inpainting of images: fill missing values with a model."""

from __future__ import annotations

import warnings
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import OneToOneFeatureMixin, TransformerMixin, clone
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Generator

from isthmus.applications.gap_filling import Completions, GapFiller
from isthmus.applications.meta_estimator import (
    MetaEstimator,
    check_choice,
    fitted_model,
    is_fitted,
    weight_options,
)
from isthmus.data.frames import is_frame
from isthmus.data.input_types import has_masked_bytes, read_input, split_mask
from isthmus.estimators import VAE
from isthmus.estimators.base import LatentEstimator
from isthmus.estimators.defaults import seed_of
from isthmus.estimators.validation import (
    ANY_FINITE,
    RowError,
    check_finite,
    check_results,
    in_layout,
    validate_input,
)
from isthmus.training import Callback, TrainerView
from isthmus.training.devices import own_torch_defaults

__all__ = ["Imputation", "LatentImputer", "missing_mask"]

Array = NDArray[Any]
METHODS = ("auto", "decode", "optimize", "predict", "sample")


class Imputation(NamedTuple):
    """Completed rows and the standard deviation of each filled value (0 if observed).

    Categories, and yes or no in tables, have no standard deviation: for these, `std` is the
    probability that the filled value is wrong.
    """

    values: Any
    std: Array


@dataclass(eq=False, repr=False)
class LatentImputer(OneToOneFeatureMixin, TransformerMixin, MetaEstimator):
    """Impute missing values with their expectation under a model, given the observed values.

    NaN, and the mask of a masked array, mark missing values. Observed values do not change. A
    feature without any value in training stays missing, with a warning.

    Parameters
    ----------
    estimator : LatentEstimator, optional
        A fitted estimator is used as it is, even if it was trained on complete rows only: its
        encoder then sees gaps as the means of the features, or what fills them so far. Of an
        unfitted one `fit` trains a clone with ``missing="ignore"``. The default is a `VAE`. A
        `DenoisingAutoencoder` with corruption "masking", which is trained to predict hidden
        values, has the lowest errors.
    method : {"auto", "decode", "optimize", "predict", "sample"}
        "decode": encode and decode repeatedly, keeping the observed values.
        "optimize": find the most probable code given the observed values by gradient ascent.
        "sample": draw from p(missing | observed) by importance resampling followed by Metropolis
        within Gibbs; requires a prior.
        "predict": one pass with the gaps hidden, as in training with corruption "masking".
        "auto": "predict" for such an autoencoder or with a `train_mask`; otherwise "sample" if
        the model has a prior, else "optimize".
    n_draws : int
        Number of draws from which "sample" computes mean and standard deviation.
    n_models : int
        Number of copies of the estimator to fit, with consecutive seeds. Their predictions are
        averaged, and their disagreement adds to the standard deviation.
    train_mask : array-like of bool, optional
        Marks the values of one example that will be missing. The encoder never sees them in
        training; replaces the corruption of the estimator.
    random_state : int, optional
        Seed of the draws.

    Attributes
    ----------
    estimators_, estimator_ : list of LatentEstimator, LatentEstimator
        The fitted models, and the first of them.

    References
    ----------
    Extracting and composing robust features with denoising autoencoders (Vincent, Larochelle,
    Bengio, Manzagol, 2008).
    MIDA: multiple imputation using denoising autoencoders (Gondara, Wang, 2018).
    Leveraging the exact likelihood of deep latent variable models (Mattei, Frellsen, 2018).
    MIWAE: deep generative modelling and imputation of incomplete data sets (Mattei, Frellsen,
    2019).

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> X = load_wine().data
    >>> incomplete = X.copy()
    >>> incomplete[::3, 2] = np.nan
    >>> imputer = LatentImputer(VAE(n_components=4, epochs=5, random_state=0), random_state=0)
    >>> complete = imputer.fit_transform(incomplete)
    >>> bool(np.isfinite(complete).all() and (complete[1] == X[1]).all())
    True
    """

    estimator: Any = None
    _: KW_ONLY
    method: str = "auto"
    n_draws: int = 100
    n_models: int = 1
    train_mask: Any = None
    random_state: int | None = None

    def _fit(self, X: Any, y: Any, weights: Any) -> None:
        self._check_parameters()
        model = fitted_model(self.estimator)
        if model is not None:
            validate_input(model, X, reset=False, missing=True)
            self.estimators_ = [model]
        else:
            self.estimators_ = [self._clone(i) for i in range(self.n_models)]
            callbacks = [] if self.train_mask is None else [_HideFeatures(self.train_mask)]
            for each in self.estimators_:
                each.fit(X, callbacks=callbacks, **weight_options(weights))
        self.estimator_ = self.estimators_[0]
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.estimator_, name):
                setattr(self, name, getattr(self.estimator_, name))

    def transform(self, X: Any) -> Any:
        """Return X with its missing values filled; see `impute`."""
        return self.impute(X).values

    def impute(self, X: Any, mask: Any = None) -> Imputation:
        """Fill the missing values of X and estimate their uncertainty.

        Parameters
        ----------
        X : array-like (n, *features), or a data frame
            A data frame is returned with the same columns and types.
        mask : array-like of bool, optional
            Marks values to treat as missing, in addition to NaN; of the shape of X or of one
            example.

        Returns
        -------
        Imputation
            In the units of X. The standard deviation includes the spread of x given its code, of
            the codes ("sample") and between models. For categories, and yes or no in tables, it
            is the probability that the filled value is wrong.
        """
        check_is_fitted(self)
        self._check_parameters()
        X = read_input(X)
        values, std, _ = self._impute(X, mask, keep_draws=False)
        std = in_layout(std, getattr(X, "shape", ())[1:])
        return Imputation(self._as_input_type(X, values, mask), std)

    def sample_imputations(self, X: Any, mask: Any = None) -> Any:
        """Draw `n_draws` completions of X from p(missing | observed); requires method "sample".

        Returns
        -------
        ndarray (n_draws, *X.shape), or list of data frames
        """
        check_is_fitted(self)
        if self._resolve_method() != "sample":
            raise ValueError(
                f"method={self.method!r} with {type(self.estimator_).__name__} gives one "
                "completion; draws need a model with a prior and method='sample'."
            )
        X = read_input(X)
        return self._as_input_type(X, self._impute(X, mask, keep_draws=True)[2], mask)

    def _as_input_type(self, X: Any, values: Array, mask: Any) -> Any:
        """Return values as a data frame if X is one, else in the layout of X.

        Draws (n_draws, *X.shape) become a list of data frames.
        """
        columns = self.estimator_.columns_
        if columns is None or not is_frame(X):
            return in_layout(values, getattr(X, "shape", ())[1:])
        gaps = missing_mask(columns.to_numbers(X), mask) & ~_empty(self.estimator_)
        if values.ndim == gaps.ndim:
            return columns.fill(X, values, gaps)
        return [columns.fill(X, each, gaps) for each in values]

    @own_torch_defaults()
    def _impute(self, X: Any, mask: Any, keep_draws: bool) -> tuple[Array, Array, Array]:
        model = self.estimator_
        X, hidden = split_mask(X) if has_masked_bytes(X) else (X, None)
        X = validate_input(model, X, reset=False, missing=True, limits=ANY_FINITE)
        gaps = missing_mask(X, None if mask is None else in_layout(np.asarray(mask), X.shape[1:]))
        if hidden is not None:
            gaps |= in_layout(hidden, X.shape[1:]).reshape(X.shape)
        names, limits = getattr(model, "feature_names_in_", None), model.scaler_.limits
        check_finite(X if mask is None else np.where(gaps, np.nan, X), names, True, limits=limits)
        is_grey_bytes = X.dtype == np.uint8 and model.model_.likelihood.bytes_are_units
        unit = 255 if is_grey_bytes else 1
        known = np.where(gaps, np.nan, X / unit) if gaps.any() else X
        generator = Generator(model.device_).manual_seed(seed_of(self.random_state))
        out, std = X.copy(), np.zeros(X.shape)
        if model.empty_features_ and (hidden := gaps & _empty(model)).any():
            gaps = gaps & ~_empty(model)
            std[hidden] = np.nan
            if X.dtype.kind == "f":
                out[hidden] = np.nan
            _warn_empty(model)
        incomplete = np.flatnonzero(gaps.reshape(len(X), -1).any(1))
        draws = np.repeat(out[None], self.n_draws, 0) if keep_draws else out[None][:0]
        size = model.inference_batch_size()
        for i in range(0, len(incomplete), size):
            rows = incomplete[i : i + size]
            where = gaps[rows]
            try:
                completions = self._complete(known[rows], where, generator)
                value, spread = completions.summary(model.model_.likelihood)
                check_results((value, completions.draws.swapaxes(0, 1)))
            except RowError as error:
                raise error.renumbered(rows) from None
            filled = _cast(X, unit * model.scaler_.inverse_transform(value.astype(np.float64)))
            spread = model.scaler_.to_data_layout(spread * model.scaler_.scale)
            out[rows] = np.where(where, filled, out[rows])
            std[rows] = np.where(where, unit * spread, std[rows])
            if keep_draws:
                filled = model.scaler_.inverse_transform(completions.draws.astype(np.float64))
                filled = _cast(X, unit * filled)
                draws[:, rows] = np.where(where, filled, draws[:, rows])
        return out, std, draws

    def _clone(self, i: int) -> LatentEstimator:
        """Return the i-th model to fit."""
        model = VAE(random_state=0) if self.estimator is None else clone(self.estimator)
        seed = model.random_state
        return model.set_params(missing="ignore", random_state=None if seed is None else seed + i)

    def _complete(self, X: Array, gaps: Array, generator: Generator) -> Completions:
        method, n = self._resolve_method(), len(self.estimators_)
        parts = []
        for i, model in enumerate(self.estimators_):
            filler = GapFiller.create(model, X, gaps)
            if method == "sample":
                n_draws = self.n_draws // n + (i < self.n_draws % n)
                parts.append(filler.sample(n_draws, generator))
            else:
                parts.append(getattr(filler, method)())
        if n == 1:
            return parts[0]
        first = self.estimator_.scaler_
        return Completions.concatenate(
            [
                part.in_units_of(model.scaler_, first)
                for part, model in zip(parts, self.estimators_, strict=True)
            ]
        )

    def _resolve_method(self) -> str:
        has_prior = self.estimator_.model_.prior is not None
        if self.method == "auto":
            if self.train_mask is not None or self.estimator_.corruption == "masking":
                return "predict"
            return "sample" if has_prior else "optimize"
        if self.method == "sample" and not has_prior:
            raise ValueError(
                "method='sample' needs a model with a prior, such as VAE, but got "
                f"{type(self.estimator_).__name__}: use 'decode' or 'optimize'."
            )
        return self.method

    def _check_parameters(self) -> None:
        check_choice("method", self.method, METHODS)
        if self.n_draws < 1:
            raise ValueError(f"n_draws must be at least 1, got {self.n_draws!r}.")
        if not 1 <= self.n_models <= self.n_draws:
            raise ValueError(
                f"n_models must be between 1 and n_draws={self.n_draws}, got {self.n_models!r}."
            )
        if (self.n_models > 1 or self.train_mask is not None) and is_fitted(self.estimator):
            raise ValueError(
                "a fitted estimator is not trained again: leave out n_models and train_mask, or "
                "pass an unfitted one, such as sklearn.base.clone(estimator)."
            )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def missing_mask(X: Array, mask: Any) -> Array:
    """Return where X is NaN or the mask, of the shape of X or of one example, is True."""
    gaps = np.isnan(X) if X.dtype.kind == "f" else np.zeros(X.shape, bool)
    if mask is None:
        return gaps
    mask = np.asarray(mask)
    if mask.shape not in (X.shape, X.shape[1:]) or mask.dtype != bool:
        raise ValueError(
            f"mask must hold True and False in the shape {X.shape} of X, or {X.shape[1:]} for "
            f"all rows; got {mask.dtype} of shape {mask.shape}."
        )
    return gaps | mask


def _empty(model: LatentEstimator) -> Array:
    """Return where an example has features without any value in training."""
    empty = np.zeros(model.n_features_in_, bool)
    empty[list(model.empty_features_)] = True
    return empty.reshape(model.feature_shape_)


def _warn_empty(model: LatentEstimator) -> None:
    names = getattr(model, "feature_names_in_", None)
    empty = [*model.empty_features_]
    listed = [str(j) if names is None else repr(str(names[j])) for j in empty[:5]]
    one = len(empty) == 1
    warnings.warn(
        f"feature{'' if one else 's'} {', '.join(listed)}{', …' if len(empty) > 5 else ''} had no "
        f"values in training: missing values there stay missing. Drop {'it' if one else 'them'}, "
        "or train on rows that have values.",
        UserWarning,
        stacklevel=5,
    )


def _cast(X: Array, values: Array) -> Array:
    """Return values in the type of X."""
    return (values if X.dtype.kind == "f" else values.round()).astype(X.dtype)


class _HideFeatures(Callback):
    """Hide the same features of every row from the encoder, as if they were missing."""

    def __init__(self, mask: Any) -> None:
        self.mask = np.asarray(mask)

    def on_start(self, trainer: TrainerView, rows: Any) -> None:
        shape = tuple(rows.x.shape[1:])
        if self.mask.shape != shape or self.mask.dtype != bool:
            raise ValueError(
                f"train_mask must hold True and False in the shape {shape} of one example; got "
                f"{self.mask.dtype} of shape {self.mask.shape}."
            )
        hidden = torch.from_numpy(self.mask).to(rows.x.device)
        trainer.objective = replace(
            trainer.objective, corruption=lambda x, _: x.masked_fill(hidden, torch.nan)
        )
