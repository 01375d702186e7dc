"""Snapshots: everything that training needs to resume bit for bit."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from isthmus._messages import one_line
from isthmus.objectives.objective import Terms
from isthmus.training.batches import Source
from isthmus.training.callbacks import Callback, TrainerView
from isthmus.training.state import Position, is_generator_state, layers_state
from isthmus.training.trainer import Trainer

__all__ = ["CheckpointError", "Snapshot", "check_snapshot", "restore_snapshot", "take_snapshot"]


#: State that each optimizer keeps of a weight, after its first step.
MOMENTS = {
    "adamw": ("step", "exp_avg", "exp_avg_sq"),
    "nadam": ("step", "mu_product", "exp_avg", "exp_avg_sq"),
    "sgd": ("momentum_buffer",),
}


class CheckpointError(ValueError):
    """A checkpoint is invalid, or belongs to another run; an older one may be usable."""


class Snapshot(NamedTuple):
    """State of training between two steps.

    Parameters
    ----------
    tensors : dict of str to Tensor
        Weights and buffers (``model.``), the best so far (``best.``), averages (``average.``),
        moments (``optimizer.``),
        random states (``random.``), sums of the epoch, and states of callbacks (``callback.``).
    facts : dict
        Plain JSON: position in the epoch, history, and `Trainer.about`.
    source : str
        The file that it was read from.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]
    source: str = "the checkpoint"


def take_snapshot(trainer: TrainerView, callbacks: Sequence[Callback] = ()) -> Snapshot:
    """Return the state of a trainer and its callbacks, without copying tensors.

    Every process must call this; the main process' snapshot is complete.
    """
    at, best, process_group = trainer.position, trainer.best, trainer.process_group
    trainer.average.hide()
    process_group.gather_weights(trainer.model)
    tensors = {f"model.{name}": t for name, t in _own(trainer).items()}
    tensors |= {f"best.{name}": t for name, t in best.state.items()}
    for number, mean in enumerate(trainer.average.other):
        tensors[f"average.{number}"] = process_group.full_tensor(mean)
    for number, parameter in enumerate(trainer.weights):
        for name, value in trainer.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{number}.{name}"] = process_group.full_tensor(value)
    tensors["random.generator"] = trainer.generator.get_state()
    tensors["random.layers"] = layers_state(trainer.generator.device)
    if at.batch:
        assert at.sums is not None
        assert at.began is not None
        tensors |= {"sums": process_group.sum(at.sums), "random.began": at.began}
    states: dict[str, Any] = {}
    for name, callback in _named(callbacks):
        state = callback.state()
        arrays = {k: v for k, v in state.items() if isinstance(v, Tensor)}
        tensors |= {f"callback.{name}.{k}": v for k, v in arrays.items()}
        states[name] = {k: v for k, v in state.items() if k not in arrays}
    return Snapshot(
        tensors,
        {
            "epoch": at.epoch,
            "batch": at.batch,
            "rows": at.rows,
            "readers": process_group.gather_objects(
                trainer.rows.state() if trainer.rows and at.batch else None
            ),
            "seconds": time.perf_counter() - trainer.started if at.batch else 0.0,
            "step": trainer.step,
            "most_rows": trainer.max_rows,
            "best_epoch": best.epoch,
            "best_loss": best.loss if math.isfinite(best.loss) else None,
            "history": trainer.outcome.history,
            "callbacks": states,
            "about": trainer.about,
        },
    )


def check_snapshot(
    snapshot: Snapshot, trainer: Trainer, rows: Source, callbacks: Sequence[Callback] = ()
) -> None:
    """Raise a CheckpointError at the first entry that `restore_snapshot` could not restore.

    The file is untrusted: the optimizer's kernels and random generators do not check what they are
    given. `isthmus.persistence.schema.check_checkpoint` has checked the facts by themselves.
    """
    facts, given = snapshot.facts, dict(snapshot.tensors)
    with _naming(snapshot):
        size = rows.n_batches(trainer.settings.batch_size)
        if size is not None and facts["batch"] > size:
            raise ValueError(f"batch: expected at most {size}, got {facts['batch']}")
        weights, saved = {id(p) for p in trainer.model.parameters()}, trainer.model.state_dict()
        for name, own in _own(trainer).items():
            tensor = _check_tensor(given, f"model.{name}", own, is_finite=id(own) in weights)
            # Buffers that models are saved without are constants, or flags of training.
            is_constant = name not in saved and own.dtype != torch.bool
            if is_constant and not torch.equal(tensor, own.cpu()):
                raise ValueError(f"model.{name}: expected the values that the model begins with")
        parameters = dict(trainer.model.named_parameters(remove_duplicate=False))
        for name, own in trainer.best.state.items():
            _check_tensor(given, f"best.{name}", own, is_finite=name in parameters)
        for number, mean in enumerate(trainer.average.other):
            _check_tensor(given, f"average.{number}", mean)
        kinds = MOMENTS[trainer.settings.optimizer]
        for number, weight in enumerate(trainer.weights):
            _check_moments(given, f"optimizer.{number}", weight, kinds)
        device = trainer.generator.device
        states = {"random.generator": trainer.generator.get_state()}
        states["random.layers"] = layers_state(device)
        if facts["batch"]:
            states["random.began"] = states["random.generator"]
            _check_tensor(given, "sums", torch.empty(len(Terms._fields)), is_finite=False)
        for name, own in states.items():
            if not is_generator_state(_check_tensor(given, name, own), device):
                raise ValueError(f"{name}: expected the state of a random generator")
        if unknown := [name for name in given if not name.startswith("callback.")]:
            raise ValueError(f"{one_line(unknown[0])}: expected no such tensor")
    for callback, state in _states(snapshot, callbacks):
        with _naming(snapshot, f"the state of {type(callback).__name__} is invalid: "):
            callback.check_state(trainer, state)


@contextmanager
def _naming(snapshot: Snapshot, what: str = "") -> Iterator[None]:
    """Turn an error about an entry of a snapshot into one that names the file."""
    try:
        yield
    except Exception as error:  # a callback may be of the user's own
        reason = str(error) if isinstance(error, ValueError) else repr(error)
        raise CheckpointError(
            f"{snapshot.source}: {what}{one_line(reason).rstrip('.')}."
        ) from error


def _check_tensor(
    given: dict[str, Tensor], name: str, own: Tensor, is_finite: bool = True
) -> Tensor:
    """Remove a tensor from those that are left to check, and return it."""
    tensor, expected = given.pop(name, None), f"{own.dtype} of shape {tuple(own.shape)}"
    if tensor is None:
        raise ValueError(f"{one_line(name)} is missing")
    if tensor.dtype != own.dtype or tensor.shape != own.shape:
        found = f"{tensor.dtype} of shape {one_line(tuple(tensor.shape))}"
        raise ValueError(f"{one_line(name)}: expected {expected}, got {found}")
    if is_finite and tensor.is_floating_point() and not tensor.isfinite().all():
        raise ValueError(f"{one_line(name)}: expected finite numbers")
    return tensor


def _check_moments(
    given: dict[str, Tensor], name: str, weight: Tensor, kinds: Sequence[str]
) -> None:
    """Check the optimizer's state of a weight; there is none before its first step."""
    if not any(f"{name}.{kind}" in given for kind in kinds):
        return
    number = torch.empty(())
    for kind in kinds:
        own = number if kind in ("step", "mu_product") else weight
        # Squares may overflow.
        value = _check_tensor(given, f"{name}.{kind}", own, is_finite=kind != "exp_avg_sq")
        if kind == "step" and not value >= 1:
            raise ValueError(f"{name}.step: expected at least one step")
        if kind == "exp_avg_sq" and not (value >= 0).all():
            raise ValueError(f"{name}.exp_avg_sq: expected squares of at least 0")


def _states(
    snapshot: Snapshot, callbacks: Sequence[Callback]
) -> Iterator[tuple[Callback, dict[str, Any]]]:
    """Yield the callbacks that have a state in a snapshot, with their states."""
    for name, callback in _named(callbacks):
        if name in snapshot.facts["callbacks"]:
            arrays = _below(snapshot.tensors, f"callback.{name}")
            yield callback, arrays | snapshot.facts["callbacks"][name]


@torch.no_grad()
def restore_snapshot(
    snapshot: Snapshot, trainer: Trainer, callbacks: Sequence[Callback] = ()
) -> None:
    """Restore the state of a trainer and callbacks that have just started.

    `check_snapshot` must have accepted the snapshot.
    """
    tensors, facts, _ = snapshot
    process_group = trainer.process_group
    _fill(_own(trainer), _below(tensors, "model"))
    process_group.broadcast_weights(trainer.model)
    _fill(trainer.best.state, _below(tensors, "best"))
    trainer.best.epoch = facts["best_epoch"]
    trainer.best.loss = math.inf if facts["best_loss"] is None else facts["best_loss"]
    for number, mean in enumerate(trainer.average.other):
        mean.copy_(process_group.shard_like(tensors[f"average.{number}"], mean))
    _put_moments(trainer, _below(tensors, "optimizer"))
    trainer.step, trainer.max_rows = facts["step"], facts["most_rows"]
    trainer.outcome.history[:] = facts["history"]
    trainer.outcome.best_epoch = len(facts["history"])
    readers = facts["readers"]
    sums = None
    if facts["batch"]:  # summed over processes: the main one continues, the others start at 0
        sums = tensors["sums"].to(trainer.weights[0].device) * float(process_group.is_main)
    numbers = {name: facts[name] for name in ("epoch", "batch", "rows", "seconds")}
    trainer.position = Position(**numbers, sums=sums, began=tensors.get("random.began"))
    # With a different number of processes, batches are counted instead.
    reader = readers[process_group.rank] if len(readers) == process_group.size else None
    if trainer.rows and reader is not None:
        trainer.rows.go_on(reader)
    for callback, state in _states(snapshot, callbacks):
        with _naming(snapshot, f"the state of {type(callback).__name__} is invalid: "):
            callback.load_state(state)
    trainer.continue_from(tensors["random.generator"], tensors["random.layers"])


def _named(callbacks: Sequence[Callback]) -> Iterator[tuple[str, Callback]]:
    """Yield callbacks with the names of their classes, numbered within each class."""
    seen: Counter[str] = Counter()
    for callback in callbacks:
        name = type(callback).__name__
        seen[name] += 1
        yield f"{name}-{seen[name]}", callback


def _own(trainer: TrainerView) -> dict[str, Tensor]:
    model = trainer.model
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _below(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the tensors whose names start with `name.`, by the rest of their names."""
    start = name + "."
    return {k.removeprefix(start): t for k, t in tensors.items() if k.startswith(start)}


def _fill(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    for name, tensor in own.items():
        tensor.copy_(given[name])


def _put_moments(trainer: TrainerView, given: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in given.items():
        number, _, kind = name.partition(".")
        weight = trainer.weights[int(number)]
        state.setdefault(int(number), {})[kind] = trainer.process_group.shard_like(tensor, weight)
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": state, "param_groups": groups})
