"""Fitting: in full, incrementally or from a loader; in one process or several."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch

from isthmus.data.loader_adapter import LoaderAdapter
from isthmus.estimators.preparation import PreparationMixin
from isthmus.estimators.restoring import check_sizes
from isthmus.estimators.run_fingerprint import (
    AnyRows,
    check_same_in_all_processes,
    check_same_rows,
    check_same_settings,
    describe_run,
)
from isthmus.estimators.sample_weight import weight_rows
from isthmus.estimators.warm_start import StartAsBest
from isthmus.models.params import check_fields
from isthmus.registry import build_objective
from isthmus.training import Callback, Checkpoint, Trainer
from isthmus.training.callbacks import Callbacks, as_callbacks
from isthmus.training.checkpoints import in_order, shared_checkpoints
from isthmus.training.devices import own_torch_defaults
from isthmus.training.dictionary import training_callbacks
from isthmus.training.distributed import ProcessGroup
from isthmus.training.progress import log_epoch, progress_callbacks
from isthmus.training.schedules import TARGET_STEPS
from isthmus.training.snapshot import (
    CheckpointError,
    Snapshot,
    check_snapshot,
    restore_snapshot,
)
from isthmus.training.state import Outcome
from isthmus.training.trainer import warn_diverged

__all__ = ["SIGTERM_EXIT_CODE", "FittingMixin"]

SIGTERM_EXIT_CODE = 143


class FittingMixin(PreparationMixin):
    """Trains the model; `LatentEstimator` adds the methods that use it."""

    @contextmanager
    def _training(self) -> Iterator[ProcessGroup]:
        """Join the other processes, and enable gradients, which the caller may have disabled."""
        process_group = self._process_group()
        with own_torch_defaults(), torch.enable_grad(), process_group.translate_errors():
            yield process_group

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        groups: Any = None,
        callbacks: Callbacks = (),
        resume_from: str | Path | None = None,
    ) -> Self:
        """Train on X, from new weights, from a checkpoint or, if `warm_start`, from the last fit.

        Parameters
        ----------
        X : array-like (n, features), or array (n, height, width), (n, channels, height, width) \
or (n, channels, time)
            Real numbers, or bytes that stand for [0, 1]; NaN only if ``missing="ignore"``. Arrays
            on disk (memory maps, zarr, h5py) of more than half a gigabyte are read in parts during
            training; rows of large scipy.sparse matrices become dense in parts.
        y : array-like (n,) or (n, columns), optional
            Labels, for conditional models; other models ignore them.
        sample_weight : array-like (n,), optional
            How often each row counts, in the loss, the validation loss and the means and standard
            deviations of the scaling. Rows of weight 0 are left out; all weights may be multiplied
            by one number. A row of weight 2 has the gradient of two rows, but batches,
            `validation_fraction` and random numbers go by rows: the model is that of repeated rows
            if it draws nothing (an `Autoencoder` with ``validation_fraction=0``) and `batch_size`
            is at least the number of rows, else only the expected gradient is.
        X_val, y_val, sample_weight_val : array-like, optional
            Rows on which to monitor training, their labels for conditional models, and how often
            each counts in the validation loss. By default a fraction `validation_fraction` of X is
            held out, as `validation_split` says, with its sample weights.
        groups : array-like (n,), optional
            Rows of one group, such as windows of one recording, are all trained on, or all held
            out for validation.
        callbacks : sequence of Callback or callable
            A function of (trainer, record) is called after each epoch.
            Observers of the training, such as `isthmus.training.Checkpoint`.
        resume_from : path-like, optional
            A folder with checkpoints of an interrupted run on the same X with the same settings
            (except `epochs`, `patience` and `progress`). Training resumes there, writes its
            checkpoints there, and ends with the same weights as an uninterrupted run.

        Returns
        -------
        self
            Unchanged if an error is raised.

        Raises
        ------
        ValueError
            If a setting or the data are invalid, or the checkpoint belongs to another run.
        FileNotFoundError
            If there is no checkpoint to resume from.
        ConnectionError
            If another process of a distributed run has ended.
        KeyboardInterrupt, SystemExit
            After Ctrl-C, or SIGTERM (exit code 143); the best weights so far are kept.

        See Also
        --------
        fit_loader : Train on batches from a loader.
        partial_fit : Train for one pass over X.

        Notes
        -----
        With ``warm_start=True``, a fitted model is trained on for up to `epochs` more epochs, from
        its weights and the state of its optimizer. Shape, scaling, likelihood and labels stay as
        they are, and settings of the networks must; those of training and of the objective may
        change. Validation rows of the same X and `random_state` are the same again, and the
        weights of before stay if no epoch has a lower validation loss. `history_`, `n_iter_` and
        `best_epoch_` count the epochs of all fits.

        Examples
        --------
        >>> import isthmus
        >>> from sklearn.datasets import load_digits
        >>> X = load_digits().images / 16
        >>> model = isthmus.VAE(n_components=2, epochs=2, warm_start=True).fit(X)
        >>> model.fit(X).n_iter_
        4
        """
        with self._training() as process_group:
            resume_from = process_group.broadcast_object(resume_from)
            watchers = as_callbacks(callbacks)
            if resume_from is not None and not any(isinstance(c, Checkpoint) for c in watchers):
                watchers.append(Checkpoint(resume_from))
            data = *weight_rows(X, y, groups, sample_weight), X_val, y_val, sample_weight_val
            begin = partial(self._begin, data, watchers, resume_from, process_group)
            new, trainer, run = (
                begin(None)
                if resume_from is None
                else _from_newest(begin, shared_checkpoints(resume_from, process_group))
            )
            new._add(outcome := run())
            is_trained = outcome.best_epoch and outcome.stopped != "diverged"
            if new.warm_start and is_trained and not process_group.sharded:
                if outcome.best_epoch < len(outcome.history):
                    trainer.average.restart()
                new._training_state = trainer.state()
        self.__dict__ = new.__dict__
        if outcome.stop_signal == "interrupted":
            raise KeyboardInterrupt(
                f"interrupted in epoch {self.n_iter_ + 1}; the best weights so far (epoch "
                f"{self.best_epoch_}) are kept."
            )
        if outcome.stop_signal == "terminated":
            raise SystemExit(SIGTERM_EXIT_CODE)
        return self

    def _begin(
        self,
        data: tuple[Any, ...],
        callbacks: Sequence[Callback],
        resume_from: Any,
        process_group: ProcessGroup,
        snapshot: Snapshot | None,
    ) -> tuple[Self, Trainer, Callable[[], Outcome]]:
        """Return an estimator that is prepared for a run, its trainer, and the function to run.

        A CheckpointError is raised if the run cannot continue from the snapshot.
        """
        new, seed, check_model = copy.copy(self), None, None
        if snapshot is not None:
            check_same_settings(snapshot, new)
            seed, check_model = snapshot.facts["about"]["seed"], partial(_check_model, snapshot)
        X, y, groups, weights, numbers, X_val, y_val, weights_val = data
        is_warm = self.warm_start and hasattr(self, "model_")
        prepare = new.prepare_again if is_warm else partial(new.prepare, check_model=check_model)
        rows, valid, generator = prepare(
            X, y, seed, weights, numbers, groups=groups, hold_out=X_val is None
        )
        given = new._validation_rows(X_val, y_val, weights_val, groups)
        valid = valid if given is None else given
        about: dict[str, Any] = {}
        if process_group.size > 1 or any(isinstance(c, Checkpoint) for c in callbacks):
            about = describe_run(new, rows, valid)
            check_same_in_all_processes(about, process_group)
        if snapshot is not None:
            check_same_rows(snapshot, about)
            new._forget_epochs_after(snapshot.facts["about"].get("epochs_before") or 0)
        rows = rows.to(generator.device).shared_by(process_group.size)
        valid = None if valid is None else valid.to(generator.device)
        trainer = new._trainer(rows, generator, process_group)
        trainer.about = about
        watchers = [*training_callbacks(new, new.model_), *progress_callbacks(new.progress)]
        if is_warm:
            if snapshot is None:
                trainer.load_state(self.__dict__.get("_training_state"))
            generator.manual_seed((generator.initial_seed() + new.n_iter_) % 2**64)  # new noise
            watchers += [] if valid is None else [StartAsBest(valid)]
        watchers = in_order([*watchers, *callbacks], resume_from)
        if snapshot is None:
            return new, trainer, partial(trainer.fit, rows, valid, watchers)
        check_snapshot(snapshot, trainer, rows, watchers)
        resume = partial(restore_snapshot, snapshot)
        return new, trainer, partial(trainer.fit, rows, valid, watchers, resume)

    def _forget_epochs_after(self, epoch: int) -> None:
        """Remove the epochs that a checkpoint has, too, from the history."""
        self.history_ = self.history_[:epoch]
        self.n_iter_ = len(self.history_)
        self.best_epoch_ = min(self.best_epoch_, self.n_iter_)

    def _add(self, outcome: Outcome) -> None:
        """Add the epochs of a run to the history; it may have kept the weights it began with."""
        before = self.n_iter_
        new = [record | {"epoch": before + record["epoch"]} for record in outcome.history]
        self.history_ = [*self.history_, *new]
        self.n_iter_, self.stopped_ = before + len(new), outcome.stopped
        if outcome.best_epoch:
            self.best_epoch_ = before + outcome.best_epoch

    def fit_loader(
        self,
        loader: Any,
        *,
        valid: Any = None,
        sharded: bool = False,
        callbacks: Callbacks = (),
        resume_from: str | Path | None = None,
    ) -> Self:
        """Train on the batches of a loader, for data of any size.

        Shape, likelihood, scaling and labels are learned from the first rows, which should be
        representative; all rows are checked as they arrive. The loader determines the order and the
        size of the batches; its `set_epoch` is called if it has one.

        Parameters
        ----------
        loader : iterable, or callable that returns one
            Yields X, (X, y) or (X, y, sample_weight), where y may be None: a
            `torch.utils.data.DataLoader`, a streamed data set of `datasets` in batches, a list, or
            a generator function. Sample weights count as in `fit`, relative to the mean weight of
            the first rows.
        valid : X, (X, y) or (X, y, sample_weight), optional
            Validation rows; by default there are none.
        sharded : bool
            Whether the loader gives each process of a distributed run its own rows. Otherwise each
            batch is divided among the processes.
        callbacks, resume_from
            As in `fit`; to resume, the loader must yield the same batches again.

        Raises
        ------
        ValueError
            As in `fit`, and if the loader can be read only once.

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

    @own_torch_defaults()
    def begin(self, X: Any, y: Any = None) -> Self:
        """Build `model_` with untrained weights, for use in a custom training loop.

        Takes X and y as `fit` does, and returns self with all fitted attributes. `tensors` returns
        rows as inputs of `model_`, and `isthmus.registry.build_objective` the loss.

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
        new.prepare(X, y)
        self.__dict__ = new.__dict__
        return self

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Train for one pass over X, starting from the current weights.

        Takes X, y and sample_weight as `fit` does, and trains on all rows. The first call
        determines shape, scaling, likelihood and labels.
        """
        with self._training() as process_group:
            new = copy.copy(self)
            X, y, _, weights, numbers = weight_rows(X, y, None, sample_weight)
            if hasattr(self, "model_"):
                generator = new._generator(new.n_iter_)
                rows = new.more_rows(X, y, weights, numbers)
                # An error must leave self unchanged, and the device may be another.
                new.model_ = copy.deepcopy(new.model_).to(generator.device)
            else:
                rows, _, generator = new.prepare(X, y, None, weights, numbers)
            if process_group.size > 1:
                check_same_in_all_processes(describe_run(new, rows), process_group)
            trainer = new._trainer(rows, generator, process_group)
            trainer.load_state(self.__dict__.get("_training_state"))
            # One call has too few steps to find dead units.
            callbacks = training_callbacks(new, new.model_, revive=False)
            rows = rows.to(generator.device).shared_by(trainer.process_group.size)
            record = trainer.one_epoch(rows, callbacks, number=new.n_iter_ + 1)
            if trainer.diverged(record):
                warn_diverged(record, new.n_iter_, stacklevel=3)
                return self
            new._training_state = trainer.state()
            if process_group.is_main:
                log_epoch(record)
        new.n_iter_ = new.best_epoch_ = record["epoch"]
        new.history_ = [*new.history_, record]
        self.__dict__ = new.__dict__
        return self

    def _trainer(
        self, rows: AnyRows, generator: torch.Generator, process_group: ProcessGroup | None = None
    ) -> Trainer:
        # Unknown for a loader until it has been read once.
        n_batches = rows.n_batches(self.batch_size) or TARGET_STEPS
        objective = build_objective(self, rows.n_rows or n_batches * self.batch_size, n_batches)
        return Trainer(self.model_, objective, self, generator, process_group)


def _from_newest(begin: Callable[[Snapshot], Any], snapshots: Iterator[Snapshot]) -> Any:
    """Begin from the newest checkpoint that is valid; raise the first error if none is."""
    first: CheckpointError | None = None
    for snapshot in snapshots:
        try:
            begun = begin(snapshot)
        except CheckpointError as error:
            first = first or error
            continue
        if first is not None:
            warnings.warn(
                f"{first} The checkpoint before it is used.", RuntimeWarning, stacklevel=4
            )
        return begun
    assert first is not None
    raise first


def _check_model(snapshot: Snapshot, estimator: Any) -> None:
    """Raise a CheckpointError if a model has other sizes than the weights in a snapshot."""
    start = "model."
    weights = {k.removeprefix(start): t for k, t in snapshot.tensors.items() if k.startswith(start)}
    try:
        check_sizes(estimator, weights, "the estimator", snapshot.source)
    except ValueError as error:
        raise CheckpointError(str(error)) from None
