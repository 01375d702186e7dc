"""The scikit-learn face that every model shares."""

from __future__ import annotations

import copy
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_array, check_is_fitted
from torch import Tensor

from isthmus.build import build_model, build_objective, split_names
from isthmus.data.columns import Columns, is_frame
from isthmus.distributions import draw, isolated_rng
from isthmus.estimators.border import (
    Scaler,
    as_float32,
    chunk_rows,
    filled,
    float_type,
    in_chunks,
    read,
    row_noise,
)
from isthmus.estimators.choices import (
    as_data,
    fresh_seed,
    real_columns,
    resolve_likelihood,
    resolve_scaling,
)
from isthmus.estimators.context import Context, check_labels
from isthmus.estimators.identity import about_run, check_same_run, seed_of
from isthmus.fields import check_fields, describe
from isthmus.mixed import make_likelihood
from isthmus.model import LatentVariableModel
from isthmus.priors import VampPrior
from isthmus.rows import Parts
from isthmus.sparse_training import is_dictionary, start_sparse, training_callbacks
from isthmus.training import Callback, Checkpoint, Rows, Trainer, pick_device, to_unit
from isthmus.training.callbacks import progress_callbacks
from isthmus.training.checkpoints import in_order, read_checkpoint
from isthmus.training.devices import enough_threads
from isthmus.training.loop import warn_diverged
from isthmus.training.snapshot import put_back

__all__ = ["LatentEstimator", "Posterior", "RateDistortion"]

Array = NDArray[Any]
DICTIONARY_ROWS = 8192  # by which one begins
TERMINATED = 143  # what a program says that ended by SIGTERM
SCORE_SAMPLES = 10  # draws of z behind the ELBO of a row
IN_CACHE = 2**20  # numbers that a processor's cache holds several times


class Posterior(NamedTuple):
    """Mean and standard deviation of q(z|x), each (n, n_components)."""

    mean: Array
    std: Array


class RateDistortion(NamedTuple):
    """KL(q(z|x) || p(z)) and -E_q[log p(x|z)] of each row, in nats, each (n,)."""

    rate: Array
    distortion: Array


class LatentEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, Parts):
    """An autoencoder as scikit-learn knows estimators.

    Subclasses join a row of choices (`isthmus.rows`) with this face and override nothing.

    Attributes
    ----------
    model_ : LatentVariableModel
        The trained model.
    likelihood_ : str
        The likelihood in use, where "auto" decided.
    feature_shape_ : tuple of int
        Shape of one example.
    n_features_in_ : int
        Numbers in one example.
    columns_ : Columns or None
        How the columns of a data frame were taken; None for arrays.
    history_ : list of dict
        One record an epoch; nats an example.
    scaling_ : str
        The scaling in use, where "auto" decided.
    best_epoch_ : int
        The epoch whose weights the model has.
    n_iter_ : int
        Epochs trained.
    seed_ : int
        The seed of training: `random_state`, or the one drawn where there was none.
    fitted_params_ : dict
        The settings with which the model was made; `save` writes these.
    """

    model_: LatentVariableModel
    scaler_: Scaler
    context_: Context | None
    columns_: Columns | None
    feature_shape_: tuple[int, ...]
    likelihood_: str
    scaling_: str
    fitted_params_: dict[str, Any]
    history_: list[dict[str, Any]]
    best_epoch_: int
    n_iter_: int
    seed_: int | None
    stopped_: str

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        parameters = textwrap.indent(describe(cls), "    ").strip()
        cls.__doc__ = (cls.__doc__ or "").replace("{parameters}", parameters)

    # ---------------------------------------------------------------- training

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        callbacks: Sequence[Callback] = (),
        resume_from: str | Path | None = None,
    ) -> Self:
        """Train on X from new weights, or from a checkpoint.

        Parameters
        ----------
        X : array-like (n, features), or array (n, height, width), (n, channels, height, width) \
or (n, channels, time)
            Real numbers, or bytes that stand for [0, 1]; with NaN where ``missing="ignore"``.
        y : array-like (n,) or (n, columns), optional
            Labels, for conditional models; others ignore it.
        callbacks : sequence of Callback
            What may watch training; `isthmus.training.Checkpoint` keeps it safe.
        resume_from : path-like, optional
            A folder with checkpoints of a run on the same X, by the same settings (but for
            `epochs`, `patience`, `progress`): training goes on from there, to the same weights
            as if it had never been broken off, and writes its checkpoints there.

        Returns
        -------
        self
            Unchanged where an error is raised.

        Raises
        ------
        ValueError
            A setting out of bounds, data that cannot be learned from, or a checkpoint of another
            run.
        FileNotFoundError
            Where there is no checkpoint to go on from.
        KeyboardInterrupt, SystemExit
            After Ctrl-C, or SIGTERM (143); the best weights so far are kept.
        """
        with torch.inference_mode(False), torch.enable_grad():  # whatever is on around
            return self._fit(X, y, callbacks, resume_from)

    def _fit(
        self, X: Any, y: Any, callbacks: Sequence[Callback], resume_from: str | Path | None
    ) -> Self:
        new = copy.copy(self)
        snapshot = None if resume_from is None else read_checkpoint(resume_from)
        rows, generator = new._prepare(X, y, None if snapshot is None else seed_of(snapshot))
        if resume_from is not None and not any(isinstance(c, Checkpoint) for c in callbacks):
            callbacks = [*callbacks, Checkpoint(resume_from)]
        about: dict[str, Any] = {}
        if any(isinstance(c, Checkpoint) for c in callbacks):
            about = about_run(new, rows)
        if snapshot is not None:
            check_same_run(snapshot, about, new)
        rows, valid = rows.to(generator.device).split(new.validation_fraction, generator)
        trainer = new._trainer(rows, generator)
        trainer.about = about
        watchers = [*training_callbacks(new, new.model_), *progress_callbacks(new.progress)]
        watchers = in_order([*watchers, *callbacks], resume_from)
        outcome = trainer.fit(rows, valid, watchers, snapshot and partial(put_back, snapshot))
        new.history_, new.best_epoch_ = outcome.history, outcome.best_epoch
        new.n_iter_, new.stopped_ = len(outcome.history), outcome.stopped
        self.__dict__ = new.__dict__
        if outcome.asked == "interrupted":
            raise KeyboardInterrupt(
                f"interrupted in epoch {self.n_iter_ + 1}; the best weights so far (epoch "
                f"{self.best_epoch_}) are kept."
            )
        if outcome.asked == "terminated":
            raise SystemExit(TERMINATED)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Pass once over X, from the weights there are.

        The first call fixes shape, scaling, likelihood and labels; no row is held out.

        Parameters
        ----------
        X, y
            As in `fit`.

        Returns
        -------
        self
        """
        with torch.inference_mode(False), torch.enable_grad():
            return self._partial_fit(X, y)

    def _partial_fit(self, X: Any, y: Any) -> Self:
        new = copy.copy(self)
        if hasattr(self, "model_"):
            check_fields(self)
            rows, generator = new._rows(X, y), new._generator(new.n_iter_)
        else:
            rows, generator = new._prepare(X, y)
            new.history_, new.n_iter_, new.stopped_ = [], 0, "partial"
        new.model_ = copy.deepcopy(new.model_)  # whatever happens, the old one is whole
        trainer = new._trainer(rows, generator)
        trainer.load_state(self.__dict__.get("_training_state"))
        # One call sees too few steps to say which units are dead.
        keepers = training_callbacks(new, new.model_, revive=False)
        record = trainer.one_epoch(rows.to(generator.device), keepers, number=new.n_iter_ + 1)
        if trainer.diverged(record):
            warn_diverged(record, new.n_iter_, stacklevel=4)
            return self
        new._training_state = trainer.state()
        new.n_iter_ = new.best_epoch_ = record["epoch"]
        new.history_ = [*new.history_, record]
        self.__dict__ = new.__dict__
        return self

    def _prepare(self, X: Any, y: Any, seed: int | None = None) -> tuple[Rows, torch.Generator]:
        """Learn all but the weights: shape, likelihood, scaling, labels; make the model."""
        check_fields(self)
        build_objective(self)  # an impossible choice is said before any work
        self.__dict__.pop("_training_state", None)
        self.fitted_params_ = self.get_params(deep=False)
        generator = self._generator(seed=seed)
        self.seed_ = generator.initial_seed()
        X = read(self, X, reset=True, missing=self.missing == "ignore")
        observed = filled(X)
        self.likelihood_ = resolve_likelihood(self.likelihood, observed, self.columns_)
        if self.binarize and self.likelihood_ != "bernoulli":
            raise ValueError(
                "binarize draws values of [0, 1] as 0 or 1: it needs likelihood 'bernoulli', not "
                f"{self.likelihood_!r}. Use binarize=False."
            )
        X = as_data(self.likelihood_, X)
        make_likelihood(split_names(self.likelihood_), self.feature_shape_).check(observed)
        self.scaling_ = resolve_scaling(self.scaling, self.likelihood_, X)
        self.scaler_ = Scaler.fit(X, self.scaling_).only(real_columns(self.likelihood_))
        self.context_ = self._learn_context(y, len(X))
        self.make_model(generator)
        rows = self._as_rows(X, y)
        self._start_parts(rows, generator)
        return rows, generator

    def _start_parts(self, rows: Rows, generator: torch.Generator) -> None:
        """Let parts that begin as data begin so: pseudo-inputs of a prior, a dictionary."""

        def some(n: int) -> Tensor:
            order = torch.randperm(len(rows), generator=generator, device=generator.device)
            return rows[order[:n].cpu()][0].nan_to_num(0.0).to(generator.device)

        if isinstance(self.model_.prior, VampPrior):
            self.model_.prior.start_from(some(self.prior_modes))
        if is_dictionary(self, self.model_):
            start_sparse(self.model_, some(DICTIONARY_ROWS))

    def make_model(self, generator: torch.Generator) -> None:
        """Make `model_` with new weights, for the shape and parts that were learned."""
        with isolated_rng(generator):
            model = build_model(
                self,
                self.feature_shape_,
                self.likelihood_,
                self.context_.width if self.context_ else 0,
                self.scaler_.log_unit,
            )
        self.model_ = model.to(
            generator.device, torch.float32
        ).eval()  # whatever torch's default is

    def _trainer(self, rows: Rows, generator: torch.Generator) -> Trainer:
        objective = build_objective(self, len(rows), rows.n_batches(self.batch_size))
        return Trainer(self.model_, objective, self, generator)

    def _rows(self, X: Any, y: Any) -> Rows:
        X = self._read(X)
        self.model_.likelihood.check(filled(X))
        return self._as_rows(X, y)

    def _as_rows(self, X: Array, y: Any) -> Rows:
        c = None
        if self.context_ is not None:
            c = self.context_.encode(check_labels(y, len(X)), len(X))
        x = torch.from_numpy(np.require(self.scaler_.to_model(X), requirements=["C", "W"]))
        return Rows(x, None if c is None else torch.from_numpy(c))

    def _generator(self, epochs_before: int = 0, seed: int | None = None) -> torch.Generator:
        """Return the source of randomness of a run, of a known seed where one goes on."""
        if seed is None and self.random_state is None:
            seed = fresh_seed()
        elif seed is None:
            seed = int(self.random_state) + epochs_before  # type: ignore[arg-type]
        return torch.Generator(pick_device(self.device)).manual_seed(seed)

    def _learn_context(self, y: Any, n: int) -> Context | None:
        if not self.conditional:
            return None
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None: it "
                "learns from labels. Use VAE where there are none."
            )
        context = Context.fit(y, n)
        if context.classes is not None:
            self.classes_ = context.classes
        return context

    # --------------------------------------------------------------------- use

    def transform(self, X: Any, *, condition: Any = None) -> Array:
        """Return the code of each row: the mean of q(z|x).

        Parameters
        ----------
        X : as in `fit`
        condition : label or array-like (n,), optional
            For conditional models; rows of unknown label need none.

        Returns
        -------
        ndarray (n, n_components)
        """
        return self.posterior(X, condition=condition).mean

    def posterior(self, X: Any, *, condition: Any = None) -> Posterior:
        """Return mean and standard deviation of q(z|x), each (n, n_components)."""
        X, c = self._enter(X, condition)

        def encode(x: Tensor, c: Tensor | None) -> tuple[Tensor, ...]:
            q = self.model_.encode(x, c)
            return q.mean, q.stddev

        mean, std = self._run(encode, X, c)
        return Posterior(mean.astype(float_type(X)), std.astype(float_type(X)))

    def inverse_transform(self, Z: Any, *, condition: Any = None) -> Any:
        """Return the mean of p(x|z) for each code, in the shape and units of the data.

        Parameters
        ----------
        Z : array-like (n, n_components)
        condition : label or array-like (n,), optional

        Returns
        -------
        ndarray (n, *feature_shape_), or a data frame
            A frame of the same columns and types where the model was fitted on one.
        """
        return self.as_fitted(self.decode(Z, condition=condition))

    def decode(
        self, Z: Any, *, condition: Any = None, noise: bool = False, random_state: int | None = None
    ) -> Array:
        """Return what `inverse_transform` does, always as an array of numbers.

        Parameters
        ----------
        Z : array-like (n, n_components)
        condition : label or array-like (n,), optional
        noise : bool
            Draw x from p(x|z) instead of taking its mean.
        random_state : int, optional
            Seed of the draw.

        Returns
        -------
        ndarray (n, *feature_shape_)
        """
        Z, c = self._enter_codes(Z, condition)
        return self._decoded(Z, c, self._seeded(random_state) if noise else None)

    def _decoded(self, Z: Array, c: Array | None, generator: torch.Generator | None) -> Array:
        """Return what codes stand for: the mean of p(x|z), or draws given a generator."""
        model = self.model_

        def decode(z: Tensor, c: Tensor | None) -> tuple[Tensor, ...]:
            if generator is None:
                return (model.reconstruct(z, c),)
            return (draw(model.decode(z, c), generator),)

        (X,) = self._run(decode, Z, c, codes=True)
        return self.scaler_.from_model(X).astype(Z.dtype)

    def _seeded(self, random_state: int | None) -> torch.Generator:
        seed = fresh_seed() if random_state is None else int(random_state)
        return torch.Generator(self._device).manual_seed(seed)

    def reconstruct(self, X: Any, *, condition: Any = None) -> Any:
        """Return the mean of p(x|z) at the code of each row, in the shape and units of X.

        Of a data frame a frame of the same columns and types comes back, of an array an array.
        """
        given = X
        X, c = self._enter(X, condition)

        def reconstruct(x: Tensor, c: Tensor | None) -> tuple[Tensor, ...]:
            return (self.model_.reconstruct(self.model_.encode(x, c).mean, c),)

        (out,) = self._run(reconstruct, X, c)
        out = self.scaler_.from_model(out).astype(float_type(X))
        return self.as_fitted(out, given) if is_frame(given) else out

    def rate_distortion(self, X: Any, *, condition: Any = None) -> RateDistortion:
        """Return the two halves of the bound for each row, in nats, each (n,).

        By ten draws of z that depend on the row's content alone: the numbers repeat, and
        each row's sampling error is its own. Densities are those of X in its own units, and of
        the observed values where some are missing.

        References
        ----------
        Fixing a broken ELBO (Alemi, Poole, Fischer, Dillon, Saurous, Murphy, 2018).
        """
        X, c = self._enter(X, condition)
        self.model_.likelihood.check(filled(X))
        model = self.model_
        samples = SCORE_SAMPLES if model.prior is not None else 1

        def terms(x: Tensor, c: Tensor | None) -> tuple[Tensor, ...]:
            noise = row_noise(x.cpu().numpy(), samples, self.n_components_)
            q = model.encode(x, c)
            z = q.rsample((samples,), noise=torch.from_numpy(noise).to(x.device))  # type: ignore
            some = z.split(max(1, IN_CACHE // x.numel()))
            distortion = -torch.cat([model.log_likelihood(model.decode(z, c), x) for z in some])
            kl = model.kl(q, z, c)
            return (kl if kl.ndim == 1 else kl.mean(0)), distortion.mean(0)

        rate, distortion = self._run(terms, X, c)
        return RateDistortion(rate.astype(np.float64), distortion.astype(np.float64))

    def score_samples(self, X: Any, *, condition: Any = None) -> Array:
        """Return nats an example, higher is likelier: ``-(rate + distortion)``.

        With a prior it is the ELBO; without one, the log-likelihood of the row at its code.

        Returns
        -------
        ndarray of float64, (n,)
        """
        rate, distortion = self.rate_distortion(X, condition=condition)
        return -(rate + distortion)

    def score(self, X: Any, y: Any = None, *, condition: Any = None) -> float:
        """Return the mean of `score_samples`, in nats an example; y is ignored."""
        return float(np.mean(self.score_samples(X, condition=condition)))

    def sample(
        self,
        n_samples: int = 1,
        random_state: int | None = None,
        *,
        y: Any = None,
        noise: bool | None = None,
    ) -> Any:
        """Generate new examples: p(x|z), or its mean, for z drawn from the prior.

        Parameters
        ----------
        n_samples : int
        random_state : int, optional
            Seed; without one every call differs.
        y : label or array-like (n_samples,), optional
            What to generate, for conditional models.
        noise : bool, optional
            Draw x from p(x|z) instead of taking its mean; by default of tables alone, whose
            rows would all be near the middle otherwise.

        Returns
        -------
        ndarray (n_samples, *feature_shape_), or a data frame
            A frame of the same columns and types where the model was fitted on one.

        Raises
        ------
        ValueError
            Where the model has no prior to sample from.
        """
        check_is_fitted(self)
        self._check_can_sample(n_samples)
        noise = self.columns_ is not None if noise is None else noise
        generator = self._seeded(random_state)
        c = self._encode_context(y, n_samples)
        context = None if c is None else torch.from_numpy(c).to(self._device)
        p = self.model_.prior_given(context)
        one_for_all = len(p.batch_shape + p.event_shape) == 1
        Z = draw(p, generator, (n_samples,) if one_for_all else ()).cpu().numpy()
        return self.as_fitted(self._decoded(Z, c, generator if noise else None))

    def as_fitted(self, X: Array, like: Any = None) -> Any:
        """Return rows of numbers as `fit` was given its rows: a data frame, or the array as it is.

        Parameters
        ----------
        X : ndarray (n, *feature_shape_)
        like : data frame, optional
            Whose index the frame is to have.
        """
        return X if self.columns_ is None else self.columns_.to_frame(X, like)

    def tensors(self, X: Any, condition: Any = None) -> tuple[Tensor, Tensor | None]:
        """Return rows and their context as `model_` takes them, on its device.

        For own computations with `model_`; bytes stay bytes until `isthmus.training.to_unit`.
        """
        X, c = self._enter(X, condition)
        self.model_.likelihood.check(filled(X))
        x = torch.from_numpy(np.require(self.scaler_.to_model(X), requirements=["C", "W"]))
        context = None if c is None else torch.from_numpy(c).to(self._device)
        return x.to(self._device), context

    def save(self, path: str | Path) -> None:
        """Write the fitted model to a folder: config.json and model.safetensors.

        `isthmus.load` reads it back. JSON and plain tensors only; loading runs no code.
        """
        from isthmus.io import save

        save(self, path)

    # ------------------------------------------------------------------ inside

    @property
    def n_components_(self) -> int:
        """Numbers in the code of the fitted model, whatever `n_components` was set to since."""
        return int(self.model_.posterior.shape[0])

    @property
    def _n_features_out(self) -> int:
        if not hasattr(self, "model_"):  # scikit-learn takes this name for a sign of fitting
            raise AttributeError("_n_features_out")
        return self.n_components_

    @property
    def _device(self) -> torch.device:
        return next(self.model_.parameters()).device

    def _enter(self, X: Any, condition: Any) -> tuple[Array, Array | None]:
        """Read rows and their context for a fitted model."""
        check_is_fitted(self)
        X = self._read(X)
        return X, self._encode_context(condition, len(X))

    def _read(self, X: Any) -> Array:
        """Read rows for a fitted model."""
        X = read(self, X, reset=False, missing=self.model_.missing)
        return as_data(self.likelihood_, X)

    def _enter_codes(self, Z: Any, condition: Any) -> tuple[Array, Array | None]:
        check_is_fitted(self)
        Z = check_array(Z, dtype=[np.float64, np.float32], input_name="Z")
        if Z.shape[1] != self.n_components_:
            raise ValueError(
                f"Z has {Z.shape[1]} columns, but the codes of this {type(self).__name__} have "
                f"{self.n_components_}."
            )
        return Z, self._encode_context(condition, len(Z))

    def _encode_context(self, condition: Any, n: int) -> Array | None:
        if self.context_ is not None:
            return self.context_.encode(condition, n)
        if condition is not None:
            raise ValueError(
                f"{type(self).__name__} was not trained with labels; ConditionalVAE is."
            )
        return None

    def _run(
        self, f: Callable[..., tuple[Tensor, ...]], X: Array, c: Array | None, codes: bool = False
    ) -> tuple[Array, ...]:
        """Apply f to chunks of rows (or codes) and their context, on the model's device."""
        prepare = as_float32 if codes else self.scaler_.to_model
        device, rows = self._device, chunk_rows(self.n_features_in_)

        def on_device(x: Tensor, c: Tensor | None) -> tuple[Tensor, ...]:
            return f(to_unit(x.to(device)), None if c is None else c.to(device))

        with enough_threads(self.model_, rows // 3):  # a step is three times a pass
            return in_chunks(on_device, rows, X, c, prepare)

    def _check_can_sample(self, n_samples: int) -> None:
        if self.model_.prior is None:
            raise ValueError(
                f"{type(self).__name__} has no prior to sample from: its codes follow no known "
                "distribution. Fit a VAE to generate, or decode codes by inverse_transform."
            )
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, got {n_samples!r}.")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.conditional
        tags.input_tags.allow_nan = self.missing == "ignore"
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
