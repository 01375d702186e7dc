"""Preparation of a fit: validate the data, resolve "auto" settings and build the model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.base import BaseEstimator
from torch import Tensor

from isthmus._messages import one_line
from isthmus.data.columns import Columns
from isthmus.data.disk_array import DiskArray, as_disk_array
from isthmus.data.layout import find_channels
from isthmus.data.loader_adapter import LoaderAdapter
from isthmus.distributions.base import isolated_rng
from isthmus.distributions.families import Family
from isthmus.distributions.mixed import make_likelihood
from isthmus.distributions.priors import VampPrior
from isthmus.estimators.batched_inference import as_tensor
from isthmus.estimators.condition import ConditionEncoder, check_labels
from isthmus.estimators.defaults import fresh_seed, resolve_likelihood, resolve_scaling
from isthmus.estimators.run_fingerprint import AnyRows
from isthmus.estimators.sample_weight import check_sample_weight, repeat_rows, weight_rows
from isthmus.estimators.scaling import Scaler
from isthmus.estimators.validation import (
    RowError,
    UnknownCategoriesMixin,
    check_finite,
    fill_missing,
    validate_input,
)
from isthmus.estimators.warm_start import check_same_model
from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.models.params import check_fields
from isthmus.models.specs import Spec
from isthmus.registry import build_model, check_combination
from isthmus.training import Rows, pick_device, to_unit
from isthmus.training.batches import number_groups
from isthmus.training.devices import is_out_of_memory
from isthmus.training.dictionary import is_dictionary, start_sparse
from isthmus.training.disk_rows import DiskRows, split_stored
from isthmus.training.distributed import ProcessGroup, join_process_group
from isthmus.training.linear_start import can_start_linear, start_linear
from isthmus.training.loader_rows import LoaderRows

__all__ = ["PreparationMixin", "Prepared", "as_weights"]

Array = NDArray[Any]
SHOWN_ROWS = 8192  # drawn to initialise a dictionary or linear networks
SPLIT_SEED = 0x5EED  # added to the seed of a run, to draw its validation rows
MARGINAL_NUMBERS = 2**24  # read to start a decoder at the marginal distribution


class Prepared(NamedTuple):
    """Rows for the `Trainer`, and the generator of all randomness of training, on its device."""

    train: AnyRows
    valid: Rows | DiskRows | None
    generator: torch.Generator


class PreparationMixin(UnknownCategoriesMixin, BaseEstimator, Spec):
    """Turns settings and data into an untrained model and the rows to train it on."""

    model_: LatentVariableModel
    scaler_: Scaler
    condition_encoder_: ConditionEncoder | None
    columns_: Columns | None
    feature_shape_: tuple[int, ...]
    likelihood_: str
    likelihood_reason_: str
    empty_features_: tuple[int, ...]
    scaling_: str
    fitted_params_: dict[str, Any]
    history_: list[dict[str, Any]]
    best_epoch_: int
    n_iter_: int
    seed_: int | None
    stopped_: str

    def prepare(
        self,
        X: Any,
        y: Any = None,
        seed: int | None = None,
        weights: Array | None = None,
        numbers: Array | None = None,
        check_model: Callable[[Any], None] | None = None,
        groups: Any = None,
        hold_out: bool = False,
    ) -> Prepared:
        """Set every fitted attribute, with untrained weights and an empty history.

        All rows are checked, but scaling and the like are learned from the training rows only.

        Takes X, y and `groups` as `fit` does; a seed replaces `random_state`, to resume a run whose
        seed was drawn at random. `weights` and `numbers` are those of `WeightedRows`. `check_model`
        may refuse the estimator before memory is allocated for its model. `hold_out` says whether
        to hold out validation rows.
        """
        check_combination(self)
        self.__dict__.pop("_training_state", None)
        self.history_, self.n_iter_, self.best_epoch_, self.stopped_ = [], 0, 0, "partial"
        generator = self._start(seed)
        stored = as_disk_array(X)
        stream = X if isinstance(X, LoaderAdapter) else None
        if stream is not None:
            X, y, raw, weights = self._preview(stream)
        elif stored is not None:
            X, shown_rows = stored.preview_rows()
            numbers = shown_rows if numbers is None else numbers[shown_rows]
        missing = self.missing == "ignore"
        X = validate_input(self, X, reset=True, missing=missing, numbers=numbers)
        n_rows = len(X) if stored is None else stored.n_total
        held_out = (None, False) if stream is not None else (groups, hold_out)
        trained = self._training_rows(n_rows if stored is None else stored, *held_out)
        trained_weights = None if weights is None else weights[trained]
        own_rows, own_weights = trained, trained_weights  # those among the rows of X
        if stored is not None:
            own_rows = np.flatnonzero(np.isin(shown_rows, trained))
            own_weights = None if weights is None else weights[shown_rows[own_rows]]
        channels = find_channels(self.feature_shape_, self.channels)
        self.apply_handle_unknown()
        self.empty_features_ = _empty_features(X[own_rows]) if missing else ()
        likelihood = self._choose_likelihood(X, own_rows, own_weights)
        X = likelihood.clean(X)
        likelihood.check(fill_missing(X) if missing else X)
        self.scaling_ = resolve_scaling(self.scaling, likelihood, X)
        learned: Any = X[own_rows]
        counted = own_weights
        if stored is not None and stored.is_sparse:
            # A preview may miss features of a sparse matrix, whose rows are cheap to read again.
            learned, counted = DiskArray.of(stored.array[trained]), trained_weights
        scaler = Scaler.fit(learned, self.scaling_, counted, channels)
        self.scaler_ = scaler.only(likelihood.scalable)
        names = getattr(self, "feature_names_in_", None)
        with config_context(assume_finite=False):  # the scaled values were never checked
            check_finite(X, names, missing, numbers, limits=self.scaler_.limits)
        self.condition_encoder_ = self._fit_condition_encoder(y, n_rows, trained, trained_weights)
        if check_model is not None:
            check_model(self)
        self.make_model(generator)
        rows: AnyRows
        if stored is not None:
            rows = self._stored_rows(stored, y, weights)
        else:
            rows = shown = self._as_rows(X, y).weighted(as_weights(weights))
        if stream is not None:
            rows = self._stream_rows(stream, shown, raw)
        train, valid = self._split(rows, groups, hold_out)
        x = shown.x[own_rows] if stored is None else as_tensor(self.scaler_.transform(X[own_rows]))
        self._start_at_marginal(x, generator, as_weights(own_weights))
        self._initialise_from_rows(train, generator)
        return Prepared(train, valid, generator)

    def _choose_likelihood(self, X: Array, rows: Any, weights: Array | None) -> Family:
        """Set `likelihood_` and its reason by these rows of X; refuse data that do not fit it."""
        observed = fill_missing(X) if self.missing == "ignore" else X
        self.likelihood_, self.likelihood_reason_ = resolve_likelihood(
            self.likelihood,
            observed,
            self.columns_,
            rows=rows,
            weights=weights,
            binarize=self.binarize,
            one_scale=self.prior is None,
        )
        likelihood = make_likelihood(self.likelihood_, self.feature_shape_)
        if self.binarize and likelihood.binary is not True:
            raise ValueError(
                "binarize=True draws 0 or 1 from values in [0, 1] and needs "
                f"likelihood='bernoulli', not {self.likelihood_!r}: set it, or use binarize=False."
            )
        if X.dtype == np.uint8 and likelihood.bytes_are_units and X.max() == 1:
            raise ValueError(
                "X holds only the bytes 0 and 1, but bytes are grey values from 0 to 255, so that "
                "1 would be almost black. Pass X.astype(bool) for data of 0 and 1."
            )
        return likelihood

    def _split(
        self, rows: AnyRows, groups: Any, hold_out: bool
    ) -> tuple[AnyRows, Rows | DiskRows | None]:
        """Return training rows, and the validation rows that the seed of the run chooses."""
        train, valid = self._draw(rows, groups, hold_out)
        if isinstance(valid, Rows) and isinstance(train, Rows | DiskRows):
            valid = self._limited(valid, train)
        return train, valid

    def _draw(self, rows: AnyRows, groups: Any, hold_out: bool) -> tuple[AnyRows, Rows | None]:
        rows = rows if groups is None else rows.grouped_by(groups)
        if not hold_out:
            return rows, None
        return rows.split(self.validation_fraction, self._splitter(), self.validation_split)

    def _limited(self, valid: Rows, train: Rows | DiskRows) -> Rows:
        """Return validation rows with values far outside the range of the training rows moved.

        Values of a standardised column lie at most the width of its range outside. Otherwise one
        value in a column that is nearly constant would decide when training stops.
        """
        if self.scaling_ != "standard":
            return valid
        seen = (train if isinstance(train, Rows) else train.preview).x
        low = seen.nan_to_num(np.inf).amin(0)
        high = seen.nan_to_num(-np.inf).amax(0)
        width = high - low
        inside = torch.minimum(torch.maximum(valid.x, low - width), high + width)
        scaled = torch.as_tensor(self.model_.likelihood.scalable).to(inside.device)
        return replace(valid, x=torch.where(scaled, inside, valid.x))

    def _splitter(self) -> torch.Generator:
        """Return the generator that draws validation rows; others need not know its state."""
        return torch.Generator().manual_seed((int(self.seed_ or 0) + SPLIT_SEED) % 2**64)

    def _training_rows(self, rows: int | DiskArray, groups: Any, hold_out: bool) -> Any:
        """Return the sorted numbers of the rows that `_split` keeps for training."""
        if isinstance(rows, int):
            kept, held = self._draw(Rows(torch.arange(rows)), groups, hold_out)
            return slice(None) if held is None else np.sort(kept.x.numpy())  # type: ignore[union-attr]
        if not hold_out:
            return rows.indices()
        groups = None if groups is None else number_groups(groups, rows.n_total)
        options = self.validation_fraction, self._splitter(), self.validation_split
        return split_stored(rows, groups, *options)[0].indices()

    def prepare_again(
        self,
        X: Any,
        y: Any = None,
        seed: int | None = None,
        weights: Array | None = None,
        numbers: Array | None = None,
        groups: Any = None,
        hold_out: bool = False,
    ) -> Prepared:
        """Do what `prepare` does, but keep a copy of the weights, and what was learned with them.

        The same rows are held out of the same X.
        """
        check_combination(self)
        try:
            rows = self.more_rows(X, y, weights, numbers)
        except RowError:
            raise
        except ValueError as error:
            why = "warm_start=True continues the fitted model"
            raise ValueError(f"{why}: {one_line(error)}") from error
        generator = self._start(self.seed_ if self.random_state is None and seed is None else seed)
        self.model_ = copy.deepcopy(self.model_).to(generator.device)
        return Prepared(*self._split(rows, groups, hold_out), generator)

    def more_rows(
        self, X: Any, y: Any, weights: Array | None = None, numbers: Array | None = None
    ) -> AnyRows:
        """Return rows on which to train a fitted model on; takes what `prepare` takes."""
        check_same_model(self)
        if isinstance(X, LoaderAdapter):
            shown, y, raw, weights = self._preview(X)
            return self._stream_rows(X, self._rows(shown, y).weighted(as_weights(weights)), raw)
        if (stored := as_disk_array(X)) is not None:
            return self._stored_rows(stored, y, weights)
        return self._rows(X, y, numbers).weighted(as_weights(weights))

    def _preview(self, stream: LoaderAdapter) -> tuple[Any, Any, Any, Array | None]:
        """Return X and y of the first rows, and their sample weights as given and as checked.

        Each process may have its own rows, but all must agree on these.
        """
        process_group = self._process_group()
        preview = stream.preview() if process_group.is_main else None
        X, y, raw, _ = process_group.broadcast_object(preview)
        return X, y, raw, None if raw is None else check_sample_weight(raw, len(X))

    def _stream_rows(self, stream: LoaderAdapter, shown: Rows, raw: Any) -> LoaderRows:
        """Return the rows of a loader, given the first ones and their sample weights."""
        unit = None if raw is None else float(np.mean(raw, dtype=np.float64))
        prepare = partial(self._batch_rows, unit=unit)
        return LoaderRows(stream, prepare, shown, torch.device("cpu"))

    def _start_at_marginal(
        self, x: Tensor, generator: torch.Generator, weights: Tensor | None = None
    ) -> None:
        """Start the decoder at the distribution of all rows; takes evenly spaced ones."""
        most = max(2, MARGINAL_NUMBERS // x[0].numel())
        if weights is None:
            x = x[:: -(-len(x) // most)]
        else:
            x = x[torch.from_numpy(repeat_rows(weights.cpu().numpy(), most)).to(x.device)]
        self.model_.start_from(to_unit(x).to(generator.device))

    def _initialise_from_rows(self, rows: AnyRows, generator: torch.Generator) -> None:
        """Initialise what starts from training rows: VampPriors, dictionaries, linear networks."""

        def draw_rows(n: int) -> Tensor:
            return rows.sample(n, generator).nan_to_num(0.0).to(generator.device)

        if isinstance(self.model_.prior, VampPrior):
            self.model_.prior.start_from(draw_rows(self.prior_modes))
        if is_dictionary(self, self.model_):
            start_sparse(self.model_, draw_rows(SHOWN_ROWS))
        elif can_start_linear(self.model_):
            start_linear(self.model_, draw_rows(SHOWN_ROWS))

    def reset_weights(self, rows: Rows, seed: int | None = None) -> torch.Generator:
        """Do what `prepare` does after a change of settings, for training rows of the same seed."""
        generator = self._start(seed)
        self.make_model(generator)
        self._start_at_marginal(rows.x, generator, rows.weights)
        self._initialise_from_rows(rows, generator)
        return generator

    def _start(self, seed: int | None = None) -> torch.Generator:
        """Record the settings and the seed of the training; return its generator."""
        self.fitted_params_ = self.get_params(deep=False)
        generator = self._generator(seed=seed)
        self.seed_ = generator.initial_seed()
        return generator

    def make_model(self, generator: torch.Generator) -> None:
        """Build `model_` with new weights, for the shape and likelihood that were learned."""
        width = self.condition_encoder_.width if self.condition_encoder_ else 0
        unit = self.scaler_.log_unit
        try:
            with isolated_rng(generator):
                model = build_model(self, self.model_shape_, self.likelihood_, width, unit)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise MemoryError(
                "memory is too small for the model: choose smaller settings of its size, such as "
                "hidden and n_components."
            ) from error
        # torch's default type may be another.
        self.model_ = model.to(generator.device, torch.float32).eval()

    @property
    def channels_(self) -> str:
        """Which axis of an example holds the channels, "first" or "last"."""
        return self.scaler_.channels

    @property
    def model_shape_(self) -> tuple[int, ...]:
        """Shape of one example as `model_` takes it: `feature_shape_` with channels first."""
        return self.scaler_.model_shape(self.feature_shape_)

    def _process_group(self) -> ProcessGroup:
        check_fields(self)
        return join_process_group(self.strategy, pick_device(self.device))

    def _rows(self, X: Any, y: Any, numbers: Array | None = None) -> Rows:
        """Check, encode and scale training rows for a model that was prepared before."""
        X = self._read(X, numbers)
        self.model_.likelihood.check(fill_missing(X) if self.model_.missing else X)
        return self._as_rows(X, y)

    def _batch_rows(self, X: Any, y: Any, weights: Any, unit: float | None) -> Rows:
        """Prepare a batch of a loader, whose sample weights count in units of their mean."""
        rows = self._rows(X, y)
        if weights is None or unit is None:
            return rows
        check_sample_weight(weights, len(rows))
        return replace(rows, weights=as_weights(weights / unit).float())  # type: ignore[union-attr]

    def _stored_rows(self, stored: DiskArray, y: Any, weights: Array | None = None) -> DiskRows:
        """Return rows that are checked and scaled when they are read."""
        labels = None if self.condition_encoder_ is None else check_labels(y, stored.n_total)

        def prepare(X: Array, numbers: Array) -> tuple[Tensor, Tensor | None]:
            rows = self._rows(X, None if labels is None else labels[numbers], numbers)
            return rows.x, rows.c

        return DiskRows(stored, prepare, torch.device("cpu")).weighted(as_weights(weights))

    def _validation_rows(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> Rows | DiskRows | None:
        """Check, encode and scale validation rows, if there are any."""
        if X is None:
            if y is not None:
                raise ValueError("y_val has the labels of X_val, which is missing: pass both.")
            if sample_weight is not None:
                raise ValueError("sample_weight_val is for X_val, which is missing: pass both.")
            return None
        if groups is not None:
            raise ValueError(
                "groups say which rows to hold out of X, but X_val is given: leave out one of them."
            )
        try:
            X, y, _, weights, numbers = weight_rows(X, y, None, sample_weight)
            if (stored := as_disk_array(X)) is not None:
                return self._stored_rows(stored, y, weights)
            return self._rows(X, y, numbers).weighted(as_weights(weights))
        except ValueError as error:
            raise ValueError(f"X_val, y_val or sample_weight_val: {error}") from error

    def _as_rows(self, X: Array, y: Any) -> Rows:
        c = None
        if self.condition_encoder_ is not None:
            c = self.condition_encoder_.encode(check_labels(y, len(X)), len(X))
        return Rows(
            as_tensor(self.scaler_.transform(X)), None if c is None else torch.from_numpy(c)
        )

    def _generator(self, epochs_before: int = 0, seed: int | None = None) -> torch.Generator:
        """Return the generator of a run, from a known seed if the run is resumed."""
        if seed is None and self.random_state is None:
            seed = self._process_group().broadcast_object(fresh_seed())
        elif seed is None:
            seed = (int(self.random_state) + epochs_before) % 2**64  # type: ignore[arg-type]
        return torch.Generator(pick_device(self.device)).manual_seed(seed)

    def _fit_condition_encoder(
        self, y: Any, n: int, rows: Any, weights: Array | None
    ) -> ConditionEncoder | None:
        if not self.conditional:
            return None
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None: pass "
                "labels, or use VAE."
            )
        encoder = ConditionEncoder.fit(y, n, rows, weights)
        if encoder.classes is not None:
            self.classes_ = encoder.classes
        return encoder

    def _read(self, X: Any, numbers: Array | None = None) -> Array:
        """Validate X against the shape and columns that were learned."""
        X = validate_input(self, X, reset=False, missing=self.model_.missing, numbers=numbers)
        return self.model_.likelihood.clean(X)


def as_weights(weights: Array | None) -> Tensor | None:
    """Return sample weights as a tensor, if there are any."""
    return None if weights is None else torch.from_numpy(weights)


def _empty_features(X: Array) -> tuple[int, ...]:
    """Return the features that have no value in any row."""
    if X.dtype.kind != "f":
        return ()
    return tuple(np.flatnonzero(np.isnan(X).all(0)).tolist())
