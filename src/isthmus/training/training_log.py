"""Training log: a file from which other processes follow a run."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from isthmus._messages import one_line
from isthmus.data.limits import check_memory, is_regular_file
from isthmus.persistence.atomic import remove, without_links, write_atomic
from isthmus.persistence.integrity import MAX_JSON, check_lines, parse_json, read_bytes
from isthmus.persistence.schema import MAX_EPOCHS, check_history, check_training_log
from isthmus.persistence.schema import TRAINING_LOG as ENTRIES
from isthmus.training.batches import Source
from isthmus.training.callbacks import Callback, TrainerView
from isthmus.training.state import Outcome

__all__ = [
    "TRAINING_LOG",
    "TrainingLog",
    "has_training_log",
    "read_run_facts",
    "read_training_log",
    "remove_training_log",
]

TRAINING_LOG = "training.jsonl"
FORMAT = 2  # 1 had no checksums
MARK, DIGITS = b', "sha256": "', 16  # before the checksum at the end of a line; its length
Record = dict[str, Any]


class TrainingLog(Callback):
    """Write the record of each epoch to a file, one JSON object per line.

    The first line describes the run. Each line ends with the start of the SHA-256 of all values up
    to it. A run that resumes from a checkpoint starts the file anew, with its earlier records.
    After a failed write nothing more is written, and training continues.

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
        self.digest = hashlib.sha256()  # of the lines so far, without their checksums
        self.stream: BinaryIO | None = None  # None if the file cannot be written

    def on_start(self, trainer: TrainerView, rows: Source) -> None:
        """Write the first line, atomically."""
        self.history, self.written = trainer.outcome.history, 0
        more = {"epochs": trainer.n_epochs(rows), "started": time.time()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.digest = hashlib.sha256()
            write_atomic(self.path, _line({"format": FORMAT, **self.facts, **more}, self.digest))
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
            self.stream.write(b"".join(_line(record, self.digest) for record in new))
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
        If the file is not a training log, is damaged or too large, or a newer isthmus wrote it.
    """
    path = Path(folder) / TRAINING_LOG
    try:
        check_memory(path, path.stat().st_size, 0)
        content = read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):  # it may be removed at any time
        return None
    with _naming(path):
        check_lines(content, MAX_EPOCHS + 1)
        values = _values(io.BytesIO(content))
        facts = _facts(values)
        return None if facts is None else (facts, check_history(values))


def read_run_facts(folder: Any) -> Record | None:
    """Return the description of a run, from the first line of its log alone.

    Otherwise as `read_training_log`.
    """
    with _naming(Path(folder) / TRAINING_LOG):
        return _facts(_values([_first_line(folder)]))


def has_training_log(folder: Any) -> bool:
    """Whether a folder has the training log of a run, intact or not.

    A file of the user's may have its name.
    """
    first = _first_line(folder)
    return 2 * sum(f'"{name}": '.encode() in first for name in ENTRIES) > len(ENTRIES)


def _first_line(folder: Any) -> bytes:
    """Return the first line of a log, empty if there is none."""
    path = Path(folder) / TRAINING_LOG
    with contextlib.suppress(FileNotFoundError):  # it may be removed at any time
        if is_regular_file(path):
            with path.open("rb") as stream:
                return stream.readline(MAX_JSON)
    return b""


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path} is not a valid training log: {one_line(error)}") from None


def _facts(values: Iterator[Any]) -> Record | None:
    """Return the checked first value of a log, None if there is none."""
    for facts in values:
        number = facts.get("format") if isinstance(facts, dict) else None
        if isinstance(number, int) and number > FORMAT:
            raise ValueError("it was written by a newer isthmus; update isthmus.")
        return check_training_log(facts)
    return None


def _values(lines: Iterable[bytes]) -> Iterator[Any]:
    """Yield the values of complete lines; a ValueError at the first one that is damaged.

    In format 1 no line has a checksum.
    """
    digest, has_sums = hashlib.sha256(), True
    for number, line in enumerate(lines, start=1):
        body, mark, end = line.rstrip(b"\0").rpartition(MARK)  # a power failure may leave zeros
        is_whole = bool(mark) and len(end) >= len(_end(digest))
        if not line.endswith(b"\n") and not is_whole:  # its writer was killed
            return
        if number == 1:
            has_sums = bool(mark) or f'"format": {FORMAT},'.encode() in line
        if has_sums:
            line = body + b"}"
            digest.update(line)
            if end != _end(digest):
                raise ValueError(
                    f"line {number} does not match its checksum. `isthmus fit --resume` writes it "
                    "anew."
                )
        yield parse_json(line, f"line {number}")


def remove_training_log(folder: Any) -> None:
    """Remove the log of a saved run, if there is one and it can be removed."""
    with contextlib.suppress(OSError):
        remove(Path(folder) / TRAINING_LOG)


def _line(value: Mapping[str, Any], digest: Any) -> bytes:
    """Return a line with its checksum; `digest` is that of the lines before, and is updated."""
    body = json.dumps(value).encode()
    digest.update(body)
    return body.removesuffix(b"}") + MARK + _end(digest)


def _end(digest: Any) -> bytes:
    """Return the end of a line, after MARK."""
    return digest.hexdigest()[:DIGITS].encode() + b'"}\n'
