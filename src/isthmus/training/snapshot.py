"""Snapshots: everything that training needs to resume bit for bit."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from isthmus.training.callbacks import Callback, TrainerView
from isthmus.training.state import Position, layers_state
from isthmus.training.trainer import Trainer

__all__ = ["Snapshot", "restore_snapshot", "take_snapshot"]


class Snapshot(NamedTuple):
    """State of training between two steps.

    Parameters
    ----------
    tensors : dict of str to Tensor
        Weights and buffers (``model.``), the best so far (``best.``), moments (``optimizer.``),
        random states (``random.``), sums of the epoch, and states of callbacks (``callback.``).
    facts : dict
        Plain JSON: position in the epoch, history, and `Trainer.about`.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def take_snapshot(trainer: TrainerView, callbacks: Sequence[Callback] = ()) -> Snapshot:
    """Return the state of a trainer and its callbacks, without copying tensors.

    Every process must call this; the main process' snapshot is complete.
    """
    at, best, process_group = trainer.position, trainer.best, trainer.process_group
    process_group.gather_weights(trainer.model)
    tensors = {f"model.{name}": t for name, t in _own(trainer).items()}
    tensors |= {f"best.{name}": t for name, t in best.state.items()}
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


@torch.no_grad()
def restore_snapshot(
    snapshot: Snapshot, trainer: Trainer, callbacks: Sequence[Callback] = ()
) -> None:
    """Restore the state of a trainer and callbacks that have just started.

    Raises
    ------
    ValueError
        If the snapshot is of a different model.
    """
    tensors, facts = snapshot
    _fill(_own(trainer), _below(tensors, "model"))
    trainer.process_group.broadcast_weights(trainer.model)
    _fill(trainer.best.state, _below(tensors, "best"))
    trainer.best.epoch = facts["best_epoch"]
    trainer.best.loss = math.inf if facts["best_loss"] is None else facts["best_loss"]
    _put_moments(trainer, _below(tensors, "optimizer"))
    trainer.step, trainer.max_rows = facts["step"], facts["most_rows"]
    trainer.outcome.history[:] = facts["history"]
    trainer.outcome.best_epoch = len(facts["history"])
    readers, process_group = facts["readers"], trainer.process_group
    sums = None
    if facts["batch"]:  # summed over processes: the main one continues, the others start at 0
        sums = tensors["sums"].to(trainer.weights[0].device) * float(process_group.is_main)
    numbers = {name: facts[name] for name in ("epoch", "batch", "rows", "seconds")}
    trainer.position = Position(**numbers, sums=sums, began=tensors.get("random.began"))
    # With a different number of processes, batches are counted instead.
    reader = readers[process_group.rank] if len(readers) == process_group.size else None
    if trainer.rows and reader is not None:
        trainer.rows.go_on(reader)
    for name, callback in _named(callbacks):
        if name in facts["callbacks"]:
            callback.load_state(_below(tensors, f"callback.{name}") | facts["callbacks"][name])
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
    shapes = {name: tuple(t.shape) for name, t in own.items()}
    if shapes != {name: tuple(t.shape) for name, t in given.items()}:
        raise ValueError(
            "the checkpoint belongs to a different model: names or shapes of tensors differ."
        )
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
