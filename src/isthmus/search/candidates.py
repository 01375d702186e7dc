"""Candidates of a sweep: made from a grid, prepared and grouped."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid

from isthmus._messages import did_you_mean
from isthmus.estimators import LatentEstimator
from isthmus.estimators.defaults import check_likelihood
from isthmus.estimators.run_fingerprint import AnyRows
from isthmus.estimators.sample_weight import WeightedRows
from isthmus.models.params import check_fields
from isthmus.registry import backbone_of, build_objective, check_combination, code_activation
from isthmus.training import Outcome, Rows, pick_device
from isthmus.training.dictionary import NEVER_CLOSED
from isthmus.training.disk_rows import DiskRows

__all__ = ["Candidate", "CandidateRun", "Grid", "group_candidates", "make_candidates", "prepare"]

#: Settings in which the models of one stack may differ.
STACKABLE = (
    "beta",
    "beta_epochs",
    "beta_schedule",
    "condition_dropout",
    "corruption_level",
    "learning_rate",
    "patience",
    "penalty_weight",
    "progress",
    "random_state",
    "warm_start",
    "weight_decay",
)
#: Settings that determine the training rows; candidates that agree in them share the rows.
READING = ("likelihood", "scaling", "missing", "binarize", "device")
#: Rows of one stack, if its models hold out different rows, which each must then have.
MAX_STACKED_BYTES = 2**29
#: Activations of sparse codes without state between batches.
STATELESS = ("auto", "identity", "relu", "sigmoid", "topk")


@dataclass(eq=False)
class Candidate:
    """One point of the grid, with its progress."""

    number: int
    params: dict[str, Any]
    estimator: LatentEstimator
    generator: torch.Generator = field(init=False)
    train: AnyRows = field(init=False)
    valid: Rows | DiskRows | None = field(init=False)
    outcome: Outcome = field(default_factory=Outcome)
    best_loss: float = math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    n_stacked: int = 1  # number of models in its stack
    live: bool = True

    def offer(self, record: dict[str, Any], held: bool) -> bool:
        """Add an epoch's record; return whether its weights are the best so far."""
        self.outcome.history.append(record)
        loss, epoch = record["valid_loss" if held else "loss"], record["epoch"]
        better = loss < self.best_loss
        if better:
            self.best_loss, self.best_epoch = loss, epoch
        return better

    def end(self, why: str) -> None:
        """Mark training as finished."""
        self.outcome.stopped, self.live = why, False

    def wants_best(self, held: bool) -> bool:
        """Whether to keep the best weights rather than the last ones."""
        return held or self.outcome.stopped in ("diverged", "interrupted")

    def describe(self, held: bool) -> None:
        """Set the estimator's attributes from the training history."""
        history = self.outcome.history
        self.outcome.best_epoch = self.best_epoch if self.wants_best(held) else len(history)
        new = self.estimator
        new.history_, new.best_epoch_ = history, self.outcome.best_epoch
        new.n_iter_, new.stopped_ = len(history), self.outcome.stopped


class CandidateRun:
    """Base class: candidates that are trained in one program."""

    candidates: list[Candidate]

    def advance(self, share: float) -> None:
        """Train live candidates up to a fraction of their epochs, or until they stop."""
        raise NotImplementedError

    def publish(self, candidate: Candidate) -> None:
        """Store the weights that would be kept now in the candidate's estimator."""
        raise NotImplementedError

    def drop(self, candidate: Candidate, why: str) -> None:
        """End the training of a candidate."""
        raise NotImplementedError


Grid = Mapping[str, Iterable[Any]] | Sequence[Mapping[str, Iterable[Any]]]


def make_candidates(estimator: LatentEstimator, grid: Grid) -> list[Candidate]:
    """Return the candidates of a grid, with all settings checked.

    Raises
    ------
    ValueError
        If the grid is empty, a setting is unknown, a value is out of bounds, or settings exclude
        each other.
    """
    if not isinstance(estimator, LatentEstimator):
        raise ValueError(f"estimator must be one of isthmus's models, got {estimator!r}.")
    candidates = []
    for number, params in enumerate(_points(estimator, grid)):
        each = clone(estimator).set_params(**params)
        check_fields(each)
        check_likelihood(each.likelihood)
        check_combination(each)
        pick_device(each.device)
        candidates.append(Candidate(number, params, each))
    return candidates


def _points(estimator: LatentEstimator, grid: Grid) -> list[dict[str, Any]]:
    """Return the points of a grid, with names and lists checked."""
    known = estimator.get_params(deep=False)
    grids = [grid] if isinstance(grid, Mapping) else grid
    if not isinstance(grids, Sequence) or not all(isinstance(g, Mapping) for g in grids):
        raise ValueError(f"grid must be a dict of lists, or a list of such dicts, got {grid!r}.")
    if not grids or not all(grids):
        raise ValueError("the grid is empty: name a setting and its values, as {'beta': [1, 4]}.")
    for name, values in ((n, v) for g in grids for n, v in g.items()):
        if name not in known:
            near = did_you_mean(name, known) or f" It has: {', '.join(sorted(known))}."
            raise ValueError(f"{type(estimator).__name__} has no setting {name!r}.{near}")
        if isinstance(values, str) or not isinstance(values, Iterable) or not list(values):
            raise ValueError(f"grid[{name!r}] must be a list of values, got {values!r}.")
    try:
        return list(ParameterGrid([dict(g) for g in grids]))
    except TypeError as error:
        raise ValueError(f"grid: {error}") from None


def prepare(
    candidates: Sequence[Candidate],
    given: WeightedRows,
    check: Callable[[LatentEstimator], None],
    seeds: Sequence[int] | None = None,
) -> None:
    """Initialize every candidate's weights, generator, training rows and validation rows.

    Candidates that read the same data in the same way and hold out the same rows share them, if
    they are in memory. `check` is called for one candidate of each way. `seeds` replace those of
    the candidates.
    """
    leaders: dict[Any, Candidate] = {}
    for c in candidates:
        e, seed = c.estimator, None if seeds is None else seeds[c.number]
        how = tuple(getattr(e, name) for name in READING)
        own = e.random_state if seed is None else seed
        drawn = e.validation_fraction > 0 and e.validation_split == "random"
        key = *how, e.validation_fraction, e.validation_split
        key += (c.number if own is None else f"seed {own}",) if drawn else ()
        leader = leaders.get(key)
        if leader is not None and isinstance(leader.train, Rows):
            c.estimator = copy.copy(leader.estimator).set_params(**e.get_params(deep=False))
            c.generator = c.estimator.reset_weights(leader.train, seed)
            c.train, c.valid = leader.train, leader.valid
            continue
        train, valid, c.generator = e.prepare(
            given.X,
            given.y,
            seed,
            given.weights,
            given.numbers,
            groups=given.groups,
            hold_out=True,
        )
        device = c.generator.device
        c.train, c.valid = train.to(device), None if valid is None else valid.to(device)
        if not any(known[: len(how)] == how for known in leaders):
            check(e)
        leaders[key] = c


def group_candidates(candidates: Sequence[Candidate], most: int) -> list[list[Candidate]]:
    """Return groups of candidates that can be stacked, in the order of the grid."""
    latest: dict[Any, list[Candidate]] = {}
    groups: list[list[Candidate]] = []
    for c in candidates:
        kind = _kind(c)
        group = latest.get(kind, ())
        if len(group) in (0, most) or _bytes_of([*group, c]) > MAX_STACKED_BYTES:
            latest[kind] = []
            groups.append(latest[kind])
        latest[kind].append(c)
    return groups


def _bytes_of(group: Sequence[Candidate]) -> int:
    """Return the bytes of the rows of a group that hold out different rows, 0 if all share one."""
    trains = {id(c.train): c.train for c in group}.values()
    return sum(t.x.nbytes for t in trains if isinstance(t, Rows)) if len(trains) > 1 else 0


def _kind(c: Candidate) -> Any:
    """Return a key that is equal for candidates that can be stacked."""
    e = c.estimator
    if not can_stack(e):
        return c.number
    varied = {*STACKABLE}
    if e.decomposed:
        varied.discard("beta")
    if e.capacity is not None:
        varied.discard("beta_epochs")
    fixed = {k: repr(v) for k, v in e.get_params(deep=False).items() if k not in varied}
    penalties = tuple(type(p) for p in build_objective(e).penalties)
    return e.likelihood_, c.train.n_rows, penalties, tuple(fixed.items())


def _is_watched(spec: Any) -> bool:
    """Whether the trainer revives dead units, or keeps the columns of a dictionary."""
    is_dictionary = spec.dictionary and not spec.hidden
    closes = code_activation(spec) not in NEVER_CLOSED
    return closes and (is_dictionary or spec.revive_every is not None)


def can_stack(e: LatentEstimator) -> bool:
    """Whether models with these settings can be stacked.

    This needs dense networks without dropout, and parts that keep no state between batches, do
    not differentiate within the loss and do not use the trainer.

    Examples
    --------
    >>> from isthmus import VAE
    >>> can_stack(VAE()), can_stack(VAE(dropout=0.1)), can_stack(VAE(backbone="conv"))
    (True, False, False)
    """
    spec: Any = e
    backbone = backbone_of(spec, getattr(e, "model_shape_", ()), getattr(e, "likelihood_", ""))
    stateless = spec.posterior_family != "sparse" or (
        spec.activation in STATELESS and not _is_watched(spec)
    )
    return all(
        (
            backbone in ("mlp", "gated"),
            spec.dropout == 0 and not spec.normalize_gradients and spec.clip_norm is None,
            spec.optimizer == "adamw",
            "flow" not in (spec.prior, spec.posterior_family) and spec.bound != "dreg",
            spec.penalty != "contractive" and not callable(spec.corruption),
            stateless,
        )
    )
