"""Training records of runs, finished or in progress."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from isthmus._messages import as_text
from isthmus.estimators import ESTIMATORS
from isthmus.persistence.locks import is_locked
from isthmus.persistence.run_folder import CONFIG, read_config, read_history
from isthmus.training.training_log import TRAINING_LOG, read_training_log

__all__ = ["run_record", "run_records"]

MAX_EPOCHS = 2000  # longer histories are thinned
TIMEOUT = 60  # seconds without progress after which an unlocked run counts as interrupted


def run_record(folder: Path) -> dict[str, Any]:
    """Return the history, settings and metrics of a run, finished or in training.

    It is the `Run` of manifest.ts.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder holds no run, or a corrupt one.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; name one written by `isthmus fit`.")
    training = _in_training(folder)
    follow = training or not (folder / CONFIG).is_file()
    if follow and (log := read_training_log(folder)) is not None:
        facts, records = log
        progress = {"epochs": facts.get("epochs"), "training": training}
        return _record(folder, facts, records) | progress
    config = read_config(folder)
    fitted = config["fitted"]
    record = _record(folder, config, read_history(folder, config))
    return record | {
        "held_out": config.get("held_out") or {},
        "best_epoch": fitted["best_epoch"],
        "settings": config["params"] | {"likelihood": fitted["likelihood"][:200]},
    }


def run_records(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the record of each run, as `run_record`.

    Their names are the shortest unique path suffixes: "vae", or "a/vae" and "b/vae".
    """
    parts = [tuple(map(as_text, folder.resolve().parts)) for folder in folders]
    ends = (["/".join(p[-n:]) for p in parts] for n in count(1))
    names = next(names for names in ends if len(set(names)) == len(set(parts)))
    return [run_record(f) | {"name": name} for f, name in zip(folders, names, strict=True)]


def _record(folder: Path, facts: dict[str, Any], history: list[dict[str, Any]]) -> dict[str, Any]:
    kind = ESTIMATORS.get(str(facts.get("estimator")))
    return {
        "name": as_text(folder.resolve().name),
        "model": kind.__name__ if kind else str(facts.get("estimator")),
        "data": str((facts.get("data") or {}).get("name") or ""),
        "history": _thinned(history),
        "settings": facts.get("params") or {},
        "held_out": {},
        "best_epoch": None,
        "epochs": None,
        "training": False,
    }


def _thinned(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return at most about MAX_EPOCHS records, including the last and the best."""
    step = -(-len(history) // MAX_EPOCHS)
    if step <= 1:
        return history
    losses = [r.get("valid_loss", r.get("loss", 0.0)) for r in history]
    best = min(range(len(history)), key=losses.__getitem__)
    kept = {*range(0, len(history), step), best, len(history) - 1}
    return [history[i] for i in sorted(kept)]


def _in_training(folder: Path) -> bool:
    """Whether a process has locked the folder, or wrote to its log recently and saved no model."""
    try:
        written = (folder / TRAINING_LOG).stat().st_mtime
        saved = (folder / CONFIG).stat().st_mtime if (folder / CONFIG).is_file() else 0.0
    except OSError:  # the run has just finished
        return False
    return is_locked(folder) or (saved < written and time.time() - written < TIMEOUT)
