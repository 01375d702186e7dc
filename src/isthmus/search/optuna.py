"""Hyperparameter search with Optuna: pruning of trials, and suggestions for settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus._messages import did_you_mean, one_line
from isthmus._optional import import_optional
from isthmus.models.params import Param, params_of
from isthmus.training import Callback, TrainerView

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

__all__ = ["OptunaPruning", "suggest"]

Record = dict[str, Any]
MEASURE = "isthmus measure"  # attribute of a trial
WIDE = 10  # ratio of the ends from which a range is searched on a log scale


class OptunaPruning(Callback):
    """Report each epoch's loss to an Optuna trial, and end training if the study prunes it.

    `optuna.TrialPruned` propagates through `fit`, which leaves the estimator unchanged.

    Parameters
    ----------
    trial : optuna.trial.Trial
        With several processes, a `TorchDistributedTrial` (optuna-integration) of the same trial in
        each process; all are pruned together.
    monitor : str or callable
        Name of a number in the record of an epoch, in nats per example, or a function of the
        record; lower is better. Losses with different `beta` or penalties are not comparable, but
        the negative ELBO of the validation rows is:
        ``lambda record: record["valid_reconstruction"] + record["valid_kl"]``. If the study
        maximises, the value is reported with the opposite sign.

    Raises
    ------
    ImportError
        If optuna is not installed: ``pip install 'isthmus[tune]'``.
    ValueError
        If there is no trial, or, during training, no such number in a record; or if an earlier
        trial of the study reported the logarithm of a density and this one that of a probability
        (as "gaussian" and "bernoulli" do): such losses cannot be compared. A function as
        `monitor` is not checked.

    References
    ----------
    Optuna: a next-generation hyperparameter optimization framework (Akiba, Sano, Yanase, Ohta,
    Koyama, 2019).

    Examples
    --------
    >>> import isthmus, optuna  # doctest: +SKIP
    >>> def elbo(trial):
    ...     model = isthmus.VAE(**suggest(trial, isthmus.VAE, n_components=(2, 32)))
    ...     return model.fit(X, callbacks=[OptunaPruning(trial)]).score(X_held)
    >>> optuna.create_study(direction="maximize").optimize(elbo, 20)  # doctest: +SKIP
    """

    everywhere = True

    def __init__(
        self, trial: BaseTrial, monitor: str | Callable[[Record], float] = "valid_loss"
    ) -> None:
        self.pruned = import_optional("optuna", extra="tune", what="OptunaPruning").TrialPruned
        if trial is None:
            raise ValueError(
                "OptunaPruning needs a trial: in processes other than the main one, pass "
                "optuna_integration's TorchDistributedTrial(None)."
            )
        self.trial, self.monitor = trial, monitor
        inside = getattr(trial, "_delegate", None)  # of a TorchDistributedTrial
        study = getattr(inside or trial, "study", None)  # a FixedTrial has none
        nats = isinstance(monitor, str) and monitor.endswith(("loss", "reconstruction"))
        self.study = study if nats and not inside else None
        self.sign = -1 if study is not None and study.direction.name == "MAXIMIZE" else 1

    def on_start(self, trainer: TrainerView, rows: Any) -> None:
        """Refuse a likelihood whose losses cannot be compared with those of earlier trials."""
        if self.study is None:
            return
        likelihood = trainer.model.likelihood
        measure = likelihood.measure()
        for earlier in self.study.get_trials(deepcopy=False):
            if (other := earlier.user_attrs.get(MEASURE, measure)) != measure:
                raise ValueError(
                    f"the loss of likelihood {one_line(likelihood.name)!r} is the logarithm of a "
                    f"{measure}, that of trial {earlier.number} of a {other}: they cannot be "
                    "compared. Use one study per likelihood, or monitor another "
                    "number by a function."
                )
        self.trial.set_user_attr(MEASURE, measure)

    def on_epoch(self, trainer: TrainerView, record: Record) -> None:
        """Report the loss, and raise `optuna.TrialPruned` if the study prunes the trial."""
        self.trial.report(self.sign * self._value(record), record["epoch"])
        if trainer.process_group.broadcast_object(self.trial.should_prune()):
            raise self.pruned(f"pruned after epoch {record['epoch']}.")

    def _value(self, record: Record) -> float:
        if callable(self.monitor):
            return self.monitor(record)
        if self.monitor not in record:
            hint = did_you_mean(self.monitor, record)
            if self.monitor.startswith("valid_") and "valid_loss" not in record:
                hint = " Set validation_fraction above 0."
            raise ValueError(f"a record has no {self.monitor!r}, but {', '.join(record)}.{hint}")
        return record[self.monitor]


def suggest(trial: BaseTrial, estimator: type, **space: Sequence[Any]) -> dict[str, Any]:
    """Let a trial choose settings of an estimator.

    Parameters
    ----------
    trial : optuna.trial.Trial
        A `FixedTrial` of a study's `best_params` gives the settings of its best trial.
    estimator : type
        Class of the estimator.
    **space : tuple (low, high), or list
        For each setting an inclusive range of numbers, searched on a log scale if high is at least
        10 low, or a list of values, which are sequences for settings such as `hidden`.

    Returns
    -------
    dict
        Arguments for the estimator's constructor.

    Raises
    ------
    ValueError
        If a setting is unknown or a value is out of bounds.

    Examples
    --------
    >>> import isthmus
    >>> class First:
    ...     def suggest_int(self, name, low, high, log):
    ...         return low
    ...     def suggest_categorical(self, name, values):
    ...         return values[0]
    >>> suggest(First(), isthmus.VAE, n_components=(2, 32), hidden=[(64,), (128, 64)])
    {'n_components': 2, 'hidden': (64,)}
    """
    known = params_of(estimator)
    for name, values in space.items():
        _check(estimator, name, values, known)
    return {name: _chosen(trial, known[name], values) for name, values in space.items()}


def _check(estimator: type, name: str, values: Any, known: Mapping[str, Param]) -> None:
    who = estimator.__name__
    if name not in known:
        raise ValueError(f"{who} has no setting {name!r}.{did_you_mean(name, known)}")
    numeric = known[name].scalar in (int, float) and not known[name].is_tuple
    if not isinstance(values, list) and not (numeric and _is_range(values)):
        ranges = "a range (low, high) or " if numeric else ""
        raise ValueError(f"{name}: expected {ranges}a list of values, got {values!r}.")
    for value in values:
        if not known[name].accepts(value):
            raise ValueError(f"{who}: {name} must be {known[name].expected}, got {value!r}.")


def _is_range(values: Any) -> bool:
    if not isinstance(values, tuple) or len(values) != 2:
        return False
    return all(isinstance(v, Real) for v in values) and -inf < values[0] <= values[1] < inf


def _chosen(trial: Any, p: Param, values: Any) -> Any:
    if isinstance(values, tuple):
        low, high = map(_plain, values)
        choose = trial.suggest_int if p.scalar is int else trial.suggest_float
        return choose(p.name, low, high, log=low > 0 and high >= WIDE * low)
    if p.is_tuple:  # as text, because storages accept no sequences
        text = trial.suggest_categorical(p.name, [" ".join(map(str, v)) for v in values])
        return tuple(map(int, text.split()))
    return trial.suggest_categorical(p.name, [_plain(v) for v in values])


def _plain(value: Any) -> Any:
    """Convert NumPy numbers to Python numbers; storages accept no others."""
    return value.item() if isinstance(value, np.generic) else value
