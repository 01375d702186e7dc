"""Filling in what is missing: tables with gaps, pictures with holes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Generator, Tensor

from isthmus.applications.with_condition import with_condition
from isthmus.data.columns import is_frame
from isthmus.distributions.base import draw, per_example
from isthmus.distributions.families import Family
from isthmus.estimators import VAE
from isthmus.estimators.base import CACHE_NUMBERS, LatentEstimator
from isthmus.estimators.defaults import fresh_seed
from isthmus.estimators.validation import fill_missing, validate_input
from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.training import Callback, TrainerView, to_unit

__all__ = ["Imputation", "LatentImputer"]

Array = NDArray[Any]
METHODS = ("auto", "decode", "optimize", "predict", "sample")
PASSES = 20  # through encoder and decoder, of "decode"
STEPS, STEP_SIZE = 300, 0.05  # of "optimize"
FILLS, EACH, FROM_PRIOR = 24, 32, 256  # proposals of "sample": from each fill, and from the prior
SETTLE = 5  # steps of Metropolis within Gibbs after them


class Imputation(NamedTuple):
    """Rows with nothing missing, and the standard deviation of what was filled in; 0 elsewhere."""

    values: Any
    std: Array


class LatentImputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Fill missing values by what a model of isthmus expects there, given what was observed.

    Observed values come back untouched, bit for bit.

    Parameters
    ----------
    estimator : LatentEstimator or FrozenEstimator of one, optional
        Cloned and fitted, with its ``missing="ignore"``; a frozen one is used as it is. By
        default a `VAE`. The lowest errors come from a `DenoisingAutoencoder` of corruption
        "masking", which learns to tell hidden values from the others.
    method : {"auto", "decode", "optimize", "predict", "sample"}
        "decode": encode and decode again and again, the observed values put back each time.
        "optimize": the code that says the observed values best, by gradient.
        "sample": draws from p(missing | observed), by importance resampling of what many fills of
        the gaps propose and then steps of Metropolis within Gibbs, for models with a
        prior.
        "predict": one pass, with the gaps hidden as a denoising autoencoder of corruption
        "masking" saw them hidden in training.
        "auto" is "predict" for such an autoencoder, and with a `train_mask`; else "sample" where
        there is a prior, or "optimize".
    n_draws : int
        Draws of "sample" behind the mean and the standard deviation.
    n_models : int
        Copies of the estimator to fit, each from its own seed: the estimator's, and those after
        it. Answers are averaged over them, and where they disagree the deviation is larger.
    train_mask : array-like of bool, optional
        True where values of one example will be missing. While training the encoder never sees
        these, in place of a corruption of the estimator's own.
    random_state : int, optional
        Seed of the draws.

    Attributes
    ----------
    estimator_ : LatentEstimator
        The fitted model; with several the first.
    estimators_ : list of LatentEstimator
        All of them.

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
    >>> holed = X.copy()
    >>> holed[::3, 2] = np.nan
    >>> imputer = LatentImputer(VAE(n_components=4, epochs=20, random_state=0), random_state=0)
    >>> full = imputer.fit_transform(holed)
    >>> bool(np.isfinite(full).all() and (full[1] == X[1]).all())
    True
    """

    estimator_: LatentEstimator
    estimators_: list[LatentEstimator]

    def __init__(
        self,
        estimator: Any = None,
        *,
        method: str = "auto",
        n_draws: int = 100,
        n_models: int = 1,
        train_mask: Any = None,
        random_state: int | None = None,
    ) -> None:
        self.estimator, self.method = estimator, method
        self.n_draws, self.n_models = n_draws, n_models
        self.train_mask, self.random_state = train_mask, random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the model to what was observed.

        Parameters
        ----------
        X : array-like (n, *features)
            With NaN where values are missing.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For settings out of bounds, or a mask of another shape than one example.
        """
        self._check()
        if isinstance(self.estimator, FrozenEstimator):
            check_is_fitted(self.estimator.estimator)
            models = [self.estimator.estimator]
        else:
            models = [self._copy(i) for i in range(self.n_models)]
            watchers = [] if self.train_mask is None else [_Hide(self.train_mask)]
            for each in models:
                each.fit(X, callbacks=watchers)
        model = models[0]
        self.estimator_, self.estimators_ = model, models
        self.n_features_in_ = model.n_features_in_
        if hasattr(model, "feature_names_in_"):
            self.feature_names_in_ = model.feature_names_in_
        return self

    def transform(self, X: Any) -> Any:
        """Return X with its NaN filled in; see `impute`."""
        return self.impute(X).values

    def impute(self, X: Any, mask: Any = None) -> Imputation:
        """Return X filled in, and how uncertain that is.

        Parameters
        ----------
        X : array-like (n, *features), or a data frame
            A frame comes back as one of the same columns and types.
        mask : array-like of bool, optional
            True where a value is to be taken for missing, beside NaN: of X's shape, or that of
            one example.

        Returns
        -------
        Imputation
            In the units of X. The standard deviation counts the spread of x given its code, where
            the likelihood has one, and that of the codes for "sample" and of several models.

        Raises
        ------
        ValueError
            For a mask of another shape.
        """
        check_is_fitted(self, "estimator_")
        self._check()
        values, std, _ = self._run(X, mask, keep=False)
        return Imputation(self._as_given(X, values, mask), std)

    def sample_imputations(self, X: Any, mask: Any = None) -> Any:
        """Return `n_draws` completions of X from p(missing | observed), (n_draws, *X.shape).

        Of a data frame a list of frames.

        Raises
        ------
        ValueError
            For a model without a prior.
        """
        check_is_fitted(self, "estimator_")
        if self._method() != "sample":
            raise ValueError(
                f"method={self.method!r} of a {type(self.estimator_).__name__} gives one "
                "completion; draws need a model with a prior and method='sample'."
            )
        return self._as_given(X, self._run(X, mask, keep=True)[2], mask)

    # ------------------------------------------------------------------ inside

    def _as_given(self, X: Any, values: Array, mask: Any) -> Any:
        """Return values as a frame where X was one; of draws, (n_draws, *X.shape), a list."""
        columns = self.estimator_.columns_
        if columns is None or not is_frame(X):
            return values
        gaps = missing_mask(columns.to_numbers(X), mask)
        if values.ndim == gaps.ndim:
            return columns.fill(X, values, gaps)
        return [columns.fill(X, each, gaps) for each in values]

    def _run(self, X: Any, mask: Any, keep: bool) -> tuple[Array, Array, Array]:
        model = self.estimator_
        X = validate_input(model, X, reset=False, missing=True)
        gaps = missing_mask(X, mask)
        grey_bytes = X.dtype == np.uint8 and model.model_.likelihood.bytes_are_units
        whole = 255 if grey_bytes else 1  # bytes are [0, 1]
        known = np.where(gaps, np.nan, X / whole) if gaps.any() else X
        seed = fresh_seed() if self.random_state is None else int(self.random_state)
        generator = Generator(model.device_).manual_seed(seed)
        rows = np.flatnonzero(gaps.reshape(len(X), -1).any(1))
        out, std = X.copy(), np.zeros(X.shape)
        every = np.repeat(out[None], self.n_draws, 0) if keep else out[None][:0]
        for few in np.split(rows, range(0, len(rows), model.inference_batch_size())[1:]):
            if not len(few):
                continue
            made = self._fill(known[few], gaps[few], generator)
            value, spread = made.summary(model.model_.likelihood)
            where = gaps[few]
            out[few] = np.where(where, _as(X, whole * _in_units(model, value)), out[few])
            std[few] = np.where(where, whole * spread * model.scaler_.scale, 0.0)
            if keep:
                each = _as(X, whole * _in_units(model, made.drawn))
                every[:, few] = np.where(where, each, every[:, few])
        return out, std, every

    def _copy(self, i: int) -> LatentEstimator:
        """Return the i-th model to fit."""
        model = VAE(random_state=0) if self.estimator is None else clone(self.estimator)
        seed = model.random_state
        return model.set_params(missing="ignore", random_state=None if seed is None else seed + i)

    def _fill(self, X: Array, gaps: Array, generator: Generator) -> _Made:
        method, n = self._method(), len(self.estimators_)
        made = []
        for i, model in enumerate(self.estimators_):
            hole = _Hole.of(model, X, gaps)
            if method == "sample":
                made.append(hole.sample(self.n_draws // n + (i < self.n_draws % n), generator))
            else:
                made.append(getattr(hole, method)())
        return made[0] if n == 1 else _Made.of(made)

    def _method(self) -> str:
        has_prior = self.estimator_.model_.prior is not None
        if self.method == "auto":
            if self.train_mask is not None or self.estimator_.corruption == "masking":
                return "predict"
            return "sample" if has_prior else "optimize"
        if self.method == "sample" and not has_prior:
            raise ValueError(
                f"method='sample' needs a model with a prior, such as VAE; "
                f"{type(self.estimator_).__name__} has none: use 'decode' or 'optimize'."
            )
        return self.method

    def _check(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {self.method!r}.")
        if self.n_draws < 1:
            raise ValueError(f"n_draws must be at least 1, got {self.n_draws!r}.")
        if not 1 <= self.n_models <= self.n_draws:
            raise ValueError(
                f"n_models must be between 1 and n_draws={self.n_draws}, got {self.n_models!r}."
            )
        if isinstance(self.estimator, FrozenEstimator) and (
            self.n_models > 1 or self.train_mask is not None
        ):
            raise ValueError(
                "a frozen estimator is one model that is trained already: leave out n_models and "
                "train_mask, or give the estimator without FrozenEstimator."
            )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def missing_mask(X: Array, mask: Any) -> Array:
    """Return where X has NaN, or a mask is True; a ValueError for a mask of another shape."""
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


def _as(X: Array, values: Array) -> Array:
    """Return values in the type of X."""
    return (values if X.dtype.kind == "f" else values.round()).astype(X.dtype)


def _in_units(model: LatentEstimator, values: Array) -> Array:
    return model.scaler_.inverse_transform(values.astype(np.float64))


class _Hide(Callback):
    """Hide the same features of every row from the encoder, as if they were missing."""

    def __init__(self, mask: Any) -> None:
        self.mask = np.asarray(mask)

    def on_start(self, trainer: TrainerView, rows: Any) -> None:
        """Put this in the place of the objective's own corruption, before the first step."""
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


@dataclass
class _Made:
    """What was made of a few rows: means E[x|z], variances of x|z, and draws, by draw."""

    means: Array
    variances: Array
    drawn: Array

    @classmethod
    def of(cls, parts: list[_Made]) -> _Made:
        """Join what several models made."""
        means, drawn = (np.concatenate([getattr(p, k) for p in parts]) for k in ("means", "drawn"))
        variances = np.concatenate([np.broadcast_to(p.variances, p.means.shape) for p in parts])
        return cls(means, variances, drawn)

    def summary(self, likelihood: Family) -> tuple[Array, Array]:
        """Return value and standard deviation of every feature, by the law of total variance."""
        value = self.means.mean(0)
        variance = self.means.var(0) + self.variances.mean(0)
        if not np.all(likelihood.ordered):
            value = np.where(likelihood.ordered, value, _most_frequent(self.drawn))
        if np.ndim(likelihood.binary):  # a table: grey pixels need no rounding
            value = np.where(likelihood.binary, value.round(), value)
        return value, np.sqrt(variance)


def _most_frequent(drawn: Array) -> Array:
    numbers = np.arange(int(drawn.max()) + 1).reshape(-1, *[1] * drawn.ndim)
    return (drawn == numbers).sum(1).argmax(0)


@dataclass
class _Hole:
    """A few rows as the model sees them, x with something in the gaps."""

    model: LatentVariableModel
    x: Tensor
    gaps: Tensor
    grey: bool

    @classmethod
    def of(cls, estimator: LatentEstimator, X: Array, gaps: Array) -> _Hole:
        """Read rows; where a model was not trained with gaps, they begin as other rows' values."""
        whole = fill_missing(X) if X.dtype.kind == "f" else X
        x, _ = estimator.tensors(whole)
        x, holes = to_unit(x), torch.from_numpy(gaps).to(x.device)
        model = with_condition(estimator).model_
        start = x.masked_fill(holes, torch.nan if model.missing else 0.0)
        return cls(model, start, holes, model.likelihood.binary is True)

    def put(self, values: Tensor) -> Tensor:
        """Return x with values in its gaps."""
        return torch.where(self.gaps, values, self.x)

    def pass_once(self) -> None:
        """Put into the gaps what the model makes of the rows as they are."""
        self.x = self.put(self.model.reconstruct(self.model.encode(self.x).mean))

    @torch.no_grad()
    def predict(self) -> _Made:
        """Encode with the gaps hidden, as in the training of a denoising autoencoder; decode."""
        return self._made([self.model.encode(self.x).mean])

    @torch.no_grad()
    def decode(self) -> _Made:
        """Encode and decode again and again."""
        for _ in range(1 + PASSES):
            self.pass_once()
        return self._made([self.model.encode(self.x).mean])

    def optimize(self) -> _Made:
        """Find the code of the greatest p(observed | z) p(z), from several starts on the way."""
        with torch.no_grad():
            self.pass_once()
            z = self.model.encode(self.x).mean
        z = z.clone().requires_grad_()
        adam = torch.optim.Adam([z], lr=STEP_SIZE)
        with torch.enable_grad():
            for _ in range(STEPS):
                loss = -self._log_joint(z, ~self.gaps).sum()
                (z.grad,) = torch.autograd.grad(loss, z)
                adam.step()
        with torch.no_grad():
            return self._made([z.detach()])

    @torch.no_grad()
    def sample(self, n: int, generator: Generator) -> _Made:
        """Draw n codes from p(z | observed), and the gaps of each.

        Importance sampling finds where they lie, by proposals that are exact whatever fills the
        gaps; a few steps of Metropolis within Gibbs from there part draws that are alike.
        """
        z = self._resampled(n, generator)  # (n, rows, n_components)
        for _ in range(SETTLE):
            x = self._drawn(z, generator)
            q = self.model.encode(x.flatten(0, 1))
            proposed = q.rsample(generator=generator).reshape(z.shape)  # type: ignore[call-arg]
            odds = self._log_weight(proposed, x, q) - self._log_weight(z, x, q)
            chance = torch.rand(odds.shape, generator=generator, device=odds.device)
            z = torch.where((chance.log() < odds)[..., None], proposed, z)
        made = self._made(list(z))
        # Grey values stand for expectations: drawn as 0 or 1 they would be no such picture.
        x = self.put(torch.from_numpy(made.means)) if self.grey else self._drawn(z, generator)
        return _Made(made.means, made.variances, x.cpu().numpy())

    def _resampled(self, n: int, generator: Generator) -> Tensor:
        """Return n codes a row by importance, from what other fills of the gaps propose."""
        proposals = self._proposals(generator)
        drawn = [q.rsample((EACH,), generator=generator) for q in proposals]
        z = torch.cat([*drawn, self._from_prior(len(self.x), generator)])  # (many, rows, d)
        each = torch.stack([per_example(q.log_prob(z), z.ndim - 1) for q in proposals])
        log_prior = self.model.log_prior(z)
        mixture = torch.logaddexp(
            each.logsumexp(0) + math.log(EACH / len(z)),
            log_prior + math.log(FROM_PRIOR / len(z)),
        )
        log_p = [
            self.model.log_likelihood(self.model.decode(some), self.x, ~self.gaps)
            for some in z.split(max(1, CACHE_NUMBERS // self.x.numel()))
        ]
        weights = (torch.cat(log_p) + log_prior - mixture).softmax(0)
        chosen = torch.multinomial(weights.T, n, replacement=True, generator=generator).T
        return z.gather(0, chosen[..., None].expand(*chosen.shape, z.shape[-1]))

    def _proposals(self, generator: Generator) -> list[Any]:
        """Return q(z | x) for one fill of the gaps after another."""
        self.pass_once()
        proposals = []
        for _ in range(FILLS):
            q = self.model.encode(self.x)
            proposals.append(q)
            z = q.rsample(generator=generator)  # type: ignore[call-arg]
            self.x = self.put(self.model.reconstruct(z))
        return proposals

    def _from_prior(self, n_rows: int, generator: Generator) -> Tensor:
        p = self.model.prior_given()
        z = draw(p, generator, (FROM_PRIOR * n_rows,))
        return z.reshape(FROM_PRIOR, n_rows, -1)

    def _drawn(self, z: Tensor, generator: Generator) -> Tensor:
        """Return rows whose gaps are drawn from p(x | z), (*batch of z, *features)."""
        return self.put(draw(self.model.decode(z), generator).to(self.x.dtype))

    def _log_weight(self, z: Tensor, x: Tensor, q: Any) -> Tensor:
        """Return log p(x, z) - log q(z), (*batch of z,)."""
        log_p = self.model.log_likelihood(self.model.decode(z), x) + self.model.log_prior(z)
        return log_p - per_example(q.log_prob(z.flatten(0, 1)), 1).reshape(log_p.shape)

    def _log_joint(self, z: Tensor, observed: Tensor | None) -> Tensor:
        log_p = self.model.log_likelihood(self.model.decode(z), self.x, observed)
        return log_p if self.model.prior is None else log_p + self.model.log_prior(z)

    def _made(self, codes: list[Tensor]) -> _Made:
        parts: list[tuple[Array, Array]] = []
        for z in codes:
            p = self.model.decode(z)
            parts.append((self.model.likelihood.center(p).cpu().numpy(), _variance(p, self.grey)))
        means, variances = (np.stack(each) for each in zip(*parts, strict=True))
        return _Made(means, variances, means)


def _variance(p: Any, grey: bool) -> Array:
    """Return the variance of x given z; of grey values it is not known, and left out."""
    if grey:
        return np.zeros(())
    try:
        return p.variance.cpu().numpy()
    except NotImplementedError:  # of a mixed table
        return np.zeros(())
