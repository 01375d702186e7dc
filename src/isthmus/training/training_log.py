"""Training log: a file from which other processes follow a run."""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from isthmus._messages import one_line
from isthmus.data.limits import check_memory
from isthmus.persistence.atomic import remove, without_links, write_atomic
from isthmus.persistence.integrity import parse_json, read_bytes
from isthmus.persistence.schema import check_history, check_training_log
from isthmus.training.batches import Source
from isthmus.training.callbacks import Callback, TrainerView
from isthmus.training.state import Outcome

__all__ = ["TRAINING_LOG", "TrainingLog", "read_training_log", "remove_training_log"]

TRAINING_LOG = "training.jsonl"
FORMAT = 1
Record = dict[str, Any]


class TrainingLog(Callback):
    """Write the record of each epoch to a file, one JSON object per line.

    The first line describes the run. A run that resumes from a checkpoint starts the file anew,
    with its earlier records. After a failed write nothing more is written, and training
    continues.

    Parameters
    ----------
    folder : path-like
        Folder of the run; created if missing.
    facts : mapping
        Description of the run, plain JSON: `estimator`, `params`, and `data` with name and
        shape. The log adds `format`, `epochs` (the maximum) and `started` (seconds since 1970).
    """

    def __init__(self, folder: Any, facts: Mapping[str, Any]) -> None:
        self.path, self.facts = Path(folder) / TRAINING_LOG, dict(facts)
        self.history: list[Record] = []  # the trainer's list, which grows
        self.written = 0  # number of records
        self.stream: BinaryIO | None = None  # None if the file cannot be written

    def on_start(self, trainer: TrainerView, rows: Source) -> None:
        """Write the first line, atomically."""
        self.history, self.written = trainer.outcome.history, 0
        more = {"epochs": trainer.n_epochs(rows), "started": time.time()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path, _line({"format": FORMAT, **self.facts, **more}))
            self.stream = open(self.path, "ab", opener=without_links)  # noqa: SIM115
        except (OSError, TypeError, ValueError):
            self.stream = None

    def load_state(self, state: dict[str, Any]) -> None:
        """Write the earlier records of a resumed run."""
        self._catch_up()

    def on_epoch(self, trainer: TrainerView, record: Record) -> None:
        """Write the epoch's record."""
        self._catch_up()

    def on_end(self, trainer: TrainerView, outcome: Outcome) -> None:
        """Close the file."""
        self._close()

    def _catch_up(self) -> None:
        """Write new records and flush."""
        if self.stream is None:
            return
        new, self.written = self.history[self.written :], len(self.history)
        try:
            self.stream.write(b"".join(map(_line, new)))
            self.stream.flush()
        except (OSError, TypeError, ValueError):
            self._close()

    def _close(self) -> None:
        if self.stream is not None:
            with contextlib.suppress(OSError):  # the disk is still full
                self.stream.close()
        self.stream = None


def read_training_log(folder: Any) -> tuple[Record, list[Record]] | None:
    """Return the description of a run and the records of its epochs so far.

    Returns None if the folder has no log: the run has not started, or is finished. An incomplete
    last line is ignored.

    Raises
    ------
    ValueError
        If the file is not a training log, is too large, or a newer isthmus wrote it.
    """
    path = Path(folder) / TRAINING_LOG
    try:
        check_memory(path, path.stat().st_size, 0)
        content = read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):  # it may be removed at any time
        return None
    lines = io.BytesIO(content[: content.rfind(b"\n") + 1])
    first = lines.readline()
    if not first:
        return None
    try:
        facts = parse_json(first, "the first line")
        number = facts.get("format") if isinstance(facts, dict) else None
        if isinstance(number, int) and number > FORMAT:
            raise ValueError("it was written by a newer isthmus; update isthmus.")
        facts = check_training_log(facts)
        return facts, check_history(parse_json(line, "a line") for line in lines)
    except ValueError as error:
        raise ValueError(f"{path} is not a training log: {one_line(error)}") from None


def remove_training_log(folder: Any) -> None:
    """Remove the log of a saved run, if there is one and it can be removed."""
    with contextlib.suppress(OSError):
        remove(Path(folder) / TRAINING_LOG)


def _line(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value) + "\n").encode()
