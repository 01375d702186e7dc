"""How every model learns: from arrays, files or loaders, at once or by and by, in any processes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from torch import Tensor

from isthmus.data.columns import Columns
from isthmus.data.disk_array import DiskArray, as_disk_array
from isthmus.data.loader_adapter import LoaderAdapter
from isthmus.distributions.base import isolated_rng
from isthmus.distributions.mixed import make_likelihood
from isthmus.distributions.priors import VampPrior
from isthmus.estimators.batched_inference import as_tensor
from isthmus.estimators.condition import ConditionEncoder, check_labels
from isthmus.estimators.defaults import (
    fresh_seed,
    resolve_likelihood,
    resolve_scaling,
)
from isthmus.estimators.run_fingerprint import (
    AnyRows,
    check_same_in_all_processes,
    check_same_run,
    describe_run,
    seed_of,
)
from isthmus.estimators.scaling import Scaler
from isthmus.estimators.validation import check_finite, fill_missing, validate_input
from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.models.params import check_fields
from isthmus.models.specs import Spec
from isthmus.registry import build_model, build_objective, check_combination
from isthmus.training import Callback, Checkpoint, Rows, Trainer, pick_device
from isthmus.training.callbacks import progress_callbacks
from isthmus.training.checkpoints import in_order, read_checkpoint
from isthmus.training.dictionary import is_dictionary, start_sparse, training_callbacks
from isthmus.training.disk_rows import DiskRows
from isthmus.training.distributed import ProcessGroup, join_process_group
from isthmus.training.loader_rows import LoaderRows
from isthmus.training.snapshot import restore_snapshot
from isthmus.training.trainer import ENOUGH_STEPS, warn_diverged

__all__ = ["SIGTERM_EXIT_CODE", "FittingMixin"]

Array = NDArray[Any]
DICTIONARY_ROWS = 8192  # by which one begins
SIGTERM_EXIT_CODE = 143  # what a program says that ended by SIGTERM


class FittingMixin(BaseEstimator, Spec):
    """The half of an estimator that makes its model; `LatentEstimator` adds what it is used for."""

    model_: LatentVariableModel
    scaler_: Scaler
    condition_encoder_: ConditionEncoder | None
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
            Arrays on the disk (memory maps, zarr, h5py) of more than half a gigabyte are read while
            training, never as a whole.
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
        ConnectionError
            Of several processes, where another has ended, for a reason that it says itself.
        KeyboardInterrupt, SystemExit
            After Ctrl-C, or SIGTERM (143); the best weights so far are kept.
        """
        process_group = self._process_group()
        # Inference mode and what else forbids gradients may be on around.
        with torch.inference_mode(False), torch.enable_grad(), process_group.translate_errors():
            return self._fit(X, y, callbacks, resume_from, process_group)

    def _fit(
        self,
        X: Any,
        y: Any,
        callbacks: Sequence[Callback],
        resume_from: str | Path | None,
        process_group: ProcessGroup,
    ) -> Self:
        new, snapshot = copy.copy(self), None
        resume_from = process_group.broadcast_object(resume_from)
        if resume_from is not None:  # the others may not see the folder
            snapshot = process_group.broadcast_object(
                read_checkpoint(resume_from) if process_group.is_main else None
            )
        rows, generator = new.prepare(X, y, None if snapshot is None else seed_of(snapshot))
        if resume_from is not None and not any(isinstance(c, Checkpoint) for c in callbacks):
            callbacks = [*callbacks, Checkpoint(resume_from)]
        about: dict[str, Any] = {}
        if process_group.size > 1 or any(isinstance(c, Checkpoint) for c in callbacks):
            about = describe_run(new, rows)
            check_same_in_all_processes(about, process_group)
        if snapshot is not None:
            check_same_run(snapshot, about, new)
        rows = rows.to(generator.device)
        rows, valid = rows.shared_by(process_group.size).split(new.validation_fraction, generator)
        trainer = new._trainer(rows, generator, process_group)
        trainer.about = about
        watchers = [*training_callbacks(new, new.model_), *progress_callbacks(new.progress)]
        watchers = in_order([*watchers, *callbacks], resume_from)
        outcome = trainer.fit(
            rows, valid, watchers, snapshot and partial(restore_snapshot, snapshot)
        )
        new.history_, new.best_epoch_ = outcome.history, outcome.best_epoch
        new.n_iter_, new.stopped_ = len(outcome.history), outcome.stopped
        self.__dict__ = new.__dict__
        if outcome.stop_signal == "interrupted":
            raise KeyboardInterrupt(
                f"interrupted in epoch {self.n_iter_ + 1}; the best weights so far (epoch "
                f"{self.best_epoch_}) are kept."
            )
        if outcome.stop_signal == "terminated":
            raise SystemExit(SIGTERM_EXIT_CODE)
        return self

    def fit_loader(
        self,
        loader: Any,
        *,
        valid: Any = None,
        sharded: bool = False,
        callbacks: Sequence[Callback] = (),
        resume_from: str | Path | None = None,
    ) -> Self:
        """Train on batches that a loader makes, pass after pass, of data of any size.

        Shape, likelihood, scaling and labels are learned of the first rows, so these should be
        like the others; all are checked as they come. Batches are taken in their order and of
        their size, so shuffling is the loader's; a `set_epoch` that it has is called.

        Parameters
        ----------
        loader : iterable, or callable that returns one
            Of X, or (X, y): a `torch.utils.data.DataLoader`, a streamed data set of `datasets`
            in batches, a list, or a function that makes a generator.
        valid : X, or (X, y), optional
            Held-out rows; without them none are held out.
        sharded : bool
            Of several processes, whether the loader gives each its own rows; else each batch is
            divided among them.
        callbacks, resume_from
            As in `fit`; the loader must give the same batches again.

        Returns
        -------
        self
            Unchanged where an error is raised.

        Raises
        ------
        ValueError
            As in `fit`, and where the loader can be read once only.

        Examples
        --------
        >>> import isthmus
        >>> import numpy as np
        >>> from sklearn.datasets import load_digits
        >>> X = load_digits().images / 16
        >>> model = isthmus.VAE(n_components=2, epochs=2, random_state=0)
        >>> model.fit_loader(np.array_split(X, 14)).transform(X).shape
        (1797, 2)
        """
        stream = LoaderAdapter(loader, valid, getattr(loader, "sharded", sharded))
        return self.fit(stream, callbacks=callbacks, resume_from=resume_from)

    def begin(self, X: Any, y: Any = None) -> Self:
        """Learn all but the weights, and make `model_`: for a training loop of your own.

        `tensors` then gives rows as `model_` takes them, and `isthmus.registry.build_objective` the
        loss.

        Parameters
        ----------
        X, y
            As in `fit`.

        Returns
        -------
        self
            With a model that has learned nothing yet.

        Examples
        --------
        >>> import isthmus
        >>> from sklearn.datasets import load_digits
        >>> X = load_digits().images / 16
        >>> isthmus.VAE(n_components=2).begin(X).transform(X).shape
        (1797, 2)
        """
        check_fields(self)
        new = copy.copy(self)
        new._begin(X, y)
        self.__dict__ = new.__dict__
        return self

    def _begin(self, X: Any, y: Any) -> tuple[AnyRows, torch.Generator]:
        rows, generator = self.prepare(X, y)
        self.history_, self.n_iter_, self.best_epoch_, self.stopped_ = [], 0, 0, "partial"
        return rows, generator

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
        process_group = self._process_group()
        with torch.inference_mode(False), torch.enable_grad(), process_group.translate_errors():
            return self._partial_fit(X, y, process_group)

    def _partial_fit(self, X: Any, y: Any, process_group: ProcessGroup) -> Self:
        new = copy.copy(self)
        if hasattr(self, "model_"):
            stored, generator = as_disk_array(X), new._generator(new.n_iter_)
            rows: AnyRows = new._rows(X, y) if stored is None else new._stored_rows(stored, y)
        else:
            rows, generator = new._begin(X, y)
        new.model_ = copy.deepcopy(new.model_)  # whatever happens, the old one is whole
        if process_group.size > 1:
            check_same_in_all_processes(describe_run(new, rows), process_group)
        trainer = new._trainer(rows, generator, process_group)
        trainer.load_state(self.__dict__.get("_training_state"))
        # One call sees too few steps to say which units are dead.
        keepers = training_callbacks(new, new.model_, revive=False)
        rows = rows.to(generator.device).shared_by(trainer.process_group.size)
        record = trainer.one_epoch(rows, keepers, number=new.n_iter_ + 1)
        if trainer.diverged(record):
            warn_diverged(record, new.n_iter_, stacklevel=4)
            return self
        new._training_state = trainer.state()
        new.n_iter_ = new.best_epoch_ = record["epoch"]
        new.history_ = [*new.history_, record]
        self.__dict__ = new.__dict__
        return self

    def prepare(
        self, X: Any, y: Any = None, seed: int | None = None
    ) -> tuple[AnyRows, torch.Generator]:
        """Set every fitted attribute but the training history, with untrained weights.

        Parameters
        ----------
        X, y
            As in `fit`.
        seed : int, optional
            Replaces `random_state`, to resume a run whose seed was drawn at random.

        Returns
        -------
        rows : Rows, DiskRows or LoaderRows
            The training data as `isthmus.training.Trainer` reads them.
        generator : torch.Generator
            Source of all randomness of the training, on its device.
        """
        check_combination(self)
        self.__dict__.pop("_training_state", None)
        self.fitted_params_ = self.get_params(deep=False)
        generator = self._generator(seed=seed)
        self.seed_ = generator.initial_seed()
        stored = as_disk_array(X)
        stream = X if isinstance(X, LoaderAdapter) else None
        if stream is not None:  # of which each process may have rows of its own
            process_group = self._process_group()
            X, y = process_group.broadcast_object(
                stream.preview() if process_group.is_main else None
            )
        elif stored is not None:
            X = stored.preview()
        X = validate_input(self, X, reset=True, missing=self.missing == "ignore")
        observed = fill_missing(X)
        self.likelihood_ = resolve_likelihood(self.likelihood, observed, self.columns_)
        likelihood = make_likelihood(self.likelihood_, self.feature_shape_)
        if self.binarize and likelihood.binary is not True:
            raise ValueError(
                "binarize draws values of [0, 1] as 0 or 1: it needs likelihood 'bernoulli', not "
                f"{self.likelihood_!r}. Use binarize=False."
            )
        X = likelihood.convert_bytes(X)
        likelihood.check(observed)
        self.scaling_ = resolve_scaling(self.scaling, likelihood, X)
        self.scaler_ = Scaler.fit(X, self.scaling_).only(likelihood.scalable)
        self.condition_encoder_ = self._fit_condition_encoder(
            y, len(X) if stored is None else stored.n_total
        )
        self.make_model(generator)
        rows: AnyRows
        if stored is not None:
            rows = self._stored_rows(stored, y)
        else:
            rows = shown = self._as_rows(X, y)
        if stream is not None:
            rows = LoaderRows(stream, self._rows, shown, torch.device("cpu"))
        self._start_parts(rows, generator)
        return rows, generator

    def _start_parts(self, rows: AnyRows, generator: torch.Generator) -> None:
        """Let parts that begin as data begin so: pseudo-inputs of a prior, a dictionary."""

        def some(n: int) -> Tensor:
            return rows.sample(n, generator).nan_to_num(0.0).to(generator.device)

        if isinstance(self.model_.prior, VampPrior):
            self.model_.prior.start_from(some(self.prior_modes))
        if is_dictionary(self, self.model_):
            start_sparse(self.model_, some(DICTIONARY_ROWS))

    def reset_weights(self, rows: Rows) -> torch.Generator:
        """Build a new `model_` from the current settings, for data that were prepared before.

        Returns the generator that `prepare` would have returned.
        """
        self.fitted_params_ = self.get_params(deep=False)
        generator = self._generator()
        self.seed_ = generator.initial_seed()
        self.make_model(generator)
        self._start_parts(rows, generator)
        return generator

    def make_model(self, generator: torch.Generator) -> None:
        """Make `model_` with new weights, for the shape and parts that were learned."""
        with isolated_rng(generator):
            model = build_model(
                self,
                self.feature_shape_,
                self.likelihood_,
                self.condition_encoder_.width if self.condition_encoder_ else 0,
                self.scaler_.log_unit,
            )
        self.model_ = model.to(
            generator.device, torch.float32
        ).eval()  # whatever torch's default is

    def _process_group(self) -> ProcessGroup:
        check_fields(self)
        return join_process_group(self.strategy, pick_device(self.device))

    def _trainer(
        self, rows: AnyRows, generator: torch.Generator, process_group: ProcessGroup | None = None
    ) -> Trainer:
        # Of a stream both are known only when it has been read.
        n_batches = rows.n_batches(self.batch_size) or ENOUGH_STEPS
        objective = build_objective(self, rows.n_rows or n_batches * self.batch_size, n_batches)
        return Trainer(self.model_, objective, self, generator, process_group)

    def _rows(self, X: Any, y: Any) -> Rows:
        X = self._read(X)
        self.model_.likelihood.check(fill_missing(X))
        return self._as_rows(X, y)

    def _stored_rows(self, stored: DiskArray, y: Any) -> DiskRows:
        """Return rows that are checked and scaled as they are read."""
        labels = None if self.condition_encoder_ is None else check_labels(y, stored.n_total)
        names = getattr(self, "feature_names_in_", None)

        def prepare(X: Array, numbers: Array) -> tuple[Tensor, Tensor | None]:
            check_finite(X, names, self.model_.missing, numbers)
            rows = self._rows(X, None if labels is None else labels[numbers])
            return rows.x, rows.c

        return DiskRows(stored, prepare, torch.device("cpu"))

    def _as_rows(self, X: Array, y: Any) -> Rows:
        c = None
        if self.condition_encoder_ is not None:
            c = self.condition_encoder_.encode(check_labels(y, len(X)), len(X))
        return Rows(
            as_tensor(self.scaler_.transform(X)), None if c is None else torch.from_numpy(c)
        )

    def _generator(self, epochs_before: int = 0, seed: int | None = None) -> torch.Generator:
        """Return the source of randomness of a run, of a known seed where one goes on."""
        if seed is None and self.random_state is None:
            seed = self._process_group().broadcast_object(fresh_seed())
        elif seed is None:
            seed = int(self.random_state) + epochs_before  # type: ignore[arg-type]
        return torch.Generator(pick_device(self.device)).manual_seed(seed)

    def _fit_condition_encoder(self, y: Any, n: int) -> ConditionEncoder | None:
        if not self.conditional:
            return None
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None: it "
                "learns from labels. Use VAE where there are none."
            )
        context = ConditionEncoder.fit(y, n)
        if context.classes is not None:
            self.classes_ = context.classes
        return context

    def _read(self, X: Any) -> Array:
        """Read rows for a fitted model."""
        X = validate_input(self, X, reset=False, missing=self.model_.missing)
        return self.model_.likelihood.convert_bytes(X)
