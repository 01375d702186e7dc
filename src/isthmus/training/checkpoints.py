"""Checkpoints: what is on the disk when the power fails, and the way back from there."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from isthmus.persistence.atomic import write_atomic
from isthmus.persistence.integrity import parse_json, read_bytes, read_tensors
from isthmus.persistence.run_folder import CHECKPOINTS, find_checkpoints, remove_checkpoints
from isthmus.training.batches import Source
from isthmus.training.callbacks import Callback
from isthmus.training.snapshot import Snapshot, take_snapshot
from isthmus.training.trainer_view import TrainerView

__all__ = ["Checkpoint", "find_checkpoints", "in_order", "read_checkpoint", "remove_checkpoints"]

SUM = 32  # bytes of SHA-256 behind the tensors
SHARE = 50  # a checkpoint is written at most after so many times what one takes: below 2%
FORMAT, FACTS = 2, "facts"


class Checkpoint(Callback):
    """Write a checkpoint every so many seconds, at the end of epochs, and when asked to stop.

    Two files take turns, so that the last whole one stays while the next is written; each carries
    a checksum. Where writing takes long, checkpoints are so much rarer that they cost below 2% of
    the run. One that cannot be written is said, and training goes on.

    Parameters
    ----------
    folder : path-like
        Of the run; made where it is not there.
    every : float
        Seconds between two checkpoints within an epoch.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_digits
    >>> import isthmus
    >>> X = load_digits().images / 16
    >>> settings = {"n_components": 2, "epochs": 3, "random_state": 0}
    >>> whole = isthmus.VAE(**settings).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first = isthmus.VAE(**settings | {"epochs": 1}).fit(X, callbacks=[Checkpoint(folder)])
    ...     again = isthmus.VAE(**settings).fit(X, resume_from=folder)
    >>> bool((again.transform(X) == whole.transform(X)).all())
    True
    """

    everywhere = True  # to write is the main process' work, to say what the others'

    def __init__(self, folder: Any, every: float = 30.0) -> None:
        if every < 0:
            raise ValueError(f"every must be at least 0 seconds, got {every!r}.")
        self.folder, self.every = Path(folder), every
        self.callbacks: Sequence[Callback] = ()  # whose states belong to a checkpoint
        self.goes_on = False  # whether those in the folder are of the same run
        self.cost = 0.0

    def on_start(self, trainer: TrainerView, rows: Source) -> None:
        """Find the folder; begin to count."""
        self.last = time.perf_counter()
        if not trainer.process_group.is_main:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self.turn = _oldest(self.folder) if self.goes_on else 0

    def on_step(self, trainer: TrainerView, n_rows: int) -> None:
        """Write, now and then."""
        if trainer.process_group.syncs_at(trainer.step) and trainer.process_group.broadcast_object(
            self._is_due(self.every)
        ):
            self.write(trainer)

    def on_epoch(self, trainer: TrainerView, record: dict[str, Any]) -> None:
        """Write, unless that would cost too much."""
        if trainer.process_group.broadcast_object(self._is_due()):
            self.write(trainer)

    def on_stop(self, trainer: TrainerView) -> None:
        """Write: nothing of what was done is to be lost."""
        self.write(trainer)

    def _is_due(self, every: float = 0.0) -> bool:
        return time.perf_counter() - self.last >= max(every, SHARE * self.cost)

    def write(self, trainer: TrainerView) -> None:
        """Write a checkpoint now; of several processes each must call it."""
        start = time.perf_counter()
        if not trainer.process_group.is_main:
            take_snapshot(trainer)
            return
        try:
            snapshot = take_snapshot(trainer, self.callbacks)
            if not all(w.isfinite().all() for w in trainer.model.parameters()):
                self.last = start
                return  # it diverged, as the end of the epoch will tell; the last good one stays
            content = _to_bytes(snapshot)
            write_atomic(self.folder / CHECKPOINTS[self.turn], content)
            self.turn = 1 - self.turn
            if not self.goes_on:  # those of a run before, which this one replaces
                (self.folder / CHECKPOINTS[self.turn]).unlink(missing_ok=True)
            self.goes_on = True
        except (OSError, RuntimeError, TypeError, ValueError, MemoryError) as error:
            reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
            warnings.warn(
                f"could not write a checkpoint to {self.folder} ({reason}); "
                "training goes on, and the last one stays.",
                RuntimeWarning,
                stacklevel=2,
            )
        self.last = time.perf_counter()
        self.cost = self.last - start


def in_order(callbacks: Sequence[Callback], resume_from: Any = None) -> list[Callback]:
    """Return callbacks, checkpoints last and told of the others, whose work they are to hold."""
    others = [c for c in callbacks if not isinstance(c, Checkpoint)]
    last = [c for c in callbacks if isinstance(c, Checkpoint)]
    for checkpoint in last:
        checkpoint.callbacks = others
        checkpoint.goes_on = resume_from is not None and checkpoint.folder == Path(resume_from)
    return others + last


def read_checkpoint(folder: Any) -> Snapshot:
    """Return the newest whole checkpoint of a folder.

    Raises
    ------
    FileNotFoundError
        Where there is none.
    ValueError
        Where none is whole, or another version of isthmus wrote it.
    """
    found, errors = [], []
    for path in find_checkpoints(folder):
        try:
            found.append(_from_bytes(read_bytes(path), path))
        except ValueError as error:
            errors.append(error)
    if found:
        return max(found, key=lambda s: s.facts["step"])
    if errors:
        raise errors[0]
    raise FileNotFoundError(
        f"there is no checkpoint in {folder}: expected {CHECKPOINTS[0]} or {CHECKPOINTS[1]}, "
        "which an interrupted run leaves."
    )


def _oldest(folder: Path) -> int:
    """Return the number of the file to write over: one that is missing, damaged or older."""
    steps = []
    for name in CHECKPOINTS:
        try:
            path = folder / name
            steps.append(_from_bytes(read_bytes(path), path).facts["step"])
        except (OSError, ValueError):
            steps.append(-1)
    return steps.index(min(steps))


def _to_bytes(snapshot: Snapshot) -> bytes:
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in snapshot.tensors.items():
        own = tensor.detach().cpu().contiguous()
        tensors[name] = own.clone() if own.data_ptr() in seen else own  # layers may share weights
        seen.add(own.data_ptr())
    facts = json.dumps({"format": FORMAT, **snapshot.facts}).encode()
    tensors[FACTS] = torch.frombuffer(bytearray(facts), dtype=torch.uint8)
    content = save_tensors(tensors)
    return content + hashlib.sha256(content).digest()


def _from_bytes(content: bytes, path: Path) -> Snapshot:
    content, digest = content[:-SUM], content[-SUM:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError(f"{path} is damaged: its bytes are not those that were written.")
    tensors: dict[str, Tensor] = read_tensors(content, path, load_tensors)
    facts = parse_json(tensors.pop(FACTS).numpy().tobytes(), path)
    if facts["format"] > FORMAT:
        raise ValueError(f"{path} was written by a newer isthmus: update isthmus.")
    if facts["format"] < FORMAT:
        raise ValueError(
            f"{path} was written by an older isthmus, with whose runs this one cannot go on: begin "
            "a new one."
        )
    return Snapshot(tensors, facts)
