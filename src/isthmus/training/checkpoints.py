"""Checkpoints: files from which an interrupted run resumes bit for bit."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from isthmus._messages import one_line
from isthmus.persistence.atomic import remove, write_atomic
from isthmus.persistence.integrity import parse_json, read_bytes, read_tensors
from isthmus.persistence.run_folder import CHECKPOINTS, find_checkpoints, remove_checkpoints
from isthmus.persistence.schema import check_checkpoint
from isthmus.training.batches import Source
from isthmus.training.callbacks import Callback, TrainerView
from isthmus.training.distributed import ProcessGroup
from isthmus.training.snapshot import Snapshot, take_snapshot

__all__ = [
    "Checkpoint",
    "find_checkpoints",
    "in_order",
    "read_checkpoint",
    "read_checkpoints",
    "remove_checkpoints",
    "shared_checkpoints",
]

DIGEST_BYTES = 32  # of SHA-256, after the tensors
MIN_INTERVAL = 50  # in units of the time that writing takes: below 2% of the run
FORMAT, FACTS = 3, "facts"
MAX_FACTS = 2**26  # bytes: 150,000 epochs


class Checkpoint(Callback):
    """Write a checkpoint at regular intervals, after epochs, and when a stop is requested.

    Two files alternate, so that the last complete one remains while the next is written; each has
    a checksum. Slow writes make checkpoints rarer, so that they cost less than 2% of the run. If
    a checkpoint cannot be written, a warning is issued and training continues.

    Parameters
    ----------
    folder : path-like
        Folder of the run; created if missing.
    every : float
        Seconds between two checkpoints within an epoch.

    See Also
    --------
    Callback

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_digits
    >>> import isthmus
    >>> X = load_digits().images / 16
    >>> settings = {"n_components": 2, "epochs": 3, "warmup": 5, "random_state": 0}
    >>> whole = isthmus.VAE(**settings).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first = isthmus.VAE(**settings | {"epochs": 1}).fit(X, callbacks=[Checkpoint(folder)])
    ...     again = isthmus.VAE(**settings).fit(X, resume_from=folder)
    >>> bool((again.transform(X) == whole.transform(X)).all())
    True
    """

    everywhere = True  # the main process writes, the others contribute their part

    def __init__(self, folder: Any, every: float = 30.0) -> None:
        if every < 0:
            raise ValueError(f"every must be at least 0 seconds, got {every!r}.")
        self.folder, self.every = Path(folder), every
        self.callbacks: Sequence[Callback] = ()  # their states are saved as well
        self.resumes = False  # whether the files in the folder belong to this run
        self.cost = 0.0

    def on_start(self, trainer: TrainerView, rows: Source) -> None:
        """Create the folder."""
        self.last = time.perf_counter()
        if not trainer.process_group.is_main:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self.next_file = _oldest(self.folder) if self.resumes else 0

    def on_step(self, trainer: TrainerView, n_rows: int) -> None:
        """Write if the interval has passed."""
        if trainer.process_group.syncs_at(trainer.step) and trainer.process_group.broadcast_object(
            self._is_due(self.every)
        ):
            self.write(trainer)

    def on_epoch(self, trainer: TrainerView, record: dict[str, Any]) -> None:
        """Write, unless the last write was too recent."""
        if trainer.process_group.broadcast_object(self._is_due()):
            self.write(trainer)

    def on_stop(self, trainer: TrainerView) -> None:
        """Write, so that no step is lost."""
        self.write(trainer)

    def _is_due(self, every: float = 0.0) -> bool:
        return time.perf_counter() - self.last >= max(every, MIN_INTERVAL * self.cost)

    def write(self, trainer: TrainerView) -> None:
        """Write a checkpoint now; every process must call this."""
        start = time.perf_counter()
        if not trainer.process_group.is_main:
            take_snapshot(trainer)
            return
        try:
            snapshot = take_snapshot(trainer, self.callbacks)
            if not all(w.isfinite().all() for w in trainer.model.parameters()):
                self.last = start
                return  # training has diverged; the last good checkpoint remains
            content = _to_bytes(snapshot)
            write_atomic(self.folder / CHECKPOINTS[self.next_file], content)
            self.next_file = 1 - self.next_file
            if not self.resumes:  # files of an earlier run
                remove(self.folder / CHECKPOINTS[self.next_file])
            self.resumes = True
        except (OSError, RuntimeError, TypeError, ValueError, MemoryError) as error:
            reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
            warnings.warn(
                f"could not write a checkpoint to {self.folder} ({reason}); "
                "training continues, and the last checkpoint remains.",
                RuntimeWarning,
                stacklevel=2,
            )
        self.last = time.perf_counter()
        self.cost = self.last - start


def in_order(callbacks: Sequence[Callback], resume_from: Any = None) -> list[Callback]:
    """Return the callbacks with checkpoints last, which save the state of the others."""
    others = [c for c in callbacks if not isinstance(c, Checkpoint)]
    last = [c for c in callbacks if isinstance(c, Checkpoint)]
    for checkpoint in last:
        checkpoint.callbacks = others
        checkpoint.resumes = resume_from is not None and checkpoint.folder == Path(resume_from)
    return others + last


def read_checkpoint(folder: Any) -> Snapshot:
    """Return the newest intact checkpoint of a folder; errors as for `read_checkpoints`."""
    return read_checkpoints(folder)[0]


def read_checkpoints(folder: Any) -> list[Snapshot]:
    """Return the intact checkpoints of a folder, the newest first.

    The files are untrusted: `isthmus.training.snapshot.check_snapshot` compares them with the run.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If none is intact, or a different version of isthmus wrote it.
    """
    found, errors = [], []
    for path in find_checkpoints(folder):
        try:
            found.append(_from_bytes(read_bytes(path), path))
        except ValueError as error:
            errors.append(error)
    if found:
        return sorted(found, key=lambda s: -s.facts["step"])
    if errors:
        raise errors[0]
    raise FileNotFoundError(
        f"no checkpoint in {folder}: expected {CHECKPOINTS[0]} or {CHECKPOINTS[1]}, which an "
        "interrupted run leaves."
    )


def shared_checkpoints(folder: Any, process_group: ProcessGroup) -> Iterator[Snapshot]:
    """Yield what `read_checkpoints` returns in all processes; only the main one reads the files."""
    found = read_checkpoints(folder) if process_group.is_main else []
    for number in range(process_group.broadcast_object(len(found))):
        yield process_group.broadcast_object(found[number] if found else None)


def _oldest(folder: Path) -> int:
    """Return the index of the file to overwrite: one that is missing, damaged or older."""
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
    if len(facts) > MAX_FACTS:
        raise ValueError(f"its history and states take more than {MAX_FACTS:,} bytes")
    tensors[FACTS] = torch.frombuffer(bytearray(facts), dtype=torch.uint8)
    content = save_tensors(tensors)
    return content + hashlib.sha256(content).digest()


def _from_bytes(content: bytes, path: Path) -> Snapshot:
    content, digest = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError(f"{path} is corrupt: its checksum does not match.")
    tensors: dict[str, Tensor] = read_tensors(content, path, load_tensors)
    saved = tensors.pop(FACTS, None)
    if saved is None or saved.dtype != torch.uint8 or saved.numel() > MAX_FACTS:
        raise ValueError(f"{path} is not a checkpoint: expected {FACTS!r}, bytes of JSON.")
    facts = parse_json(saved.numpy().tobytes(), path)
    version = facts.get("format") if isinstance(facts, dict) else None
    if type(version) is not int:
        raise ValueError(f"{path} is not a checkpoint: expected the number of its format.")
    if version > FORMAT:
        raise ValueError(f"{path} was written by a newer isthmus: update isthmus.")
    if version < FORMAT:
        raise ValueError(
            f"{path} was written by an older isthmus and cannot be resumed: start a new run."
        )
    try:
        return Snapshot(tensors, check_checkpoint(facts), str(path))
    except ValueError as error:
        raise ValueError(f"{path} is invalid: {one_line(error)}.") from None
