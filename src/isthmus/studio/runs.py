"""The training of a run as the studio shows it: finished, or going on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from isthmus.estimators import ESTIMATORS
from isthmus.persistence.locks import is_locked
from isthmus.persistence.run_folder import CONFIG, read_config, read_history
from isthmus.training.training_log import TRAINING_LOG, read_training_log

__all__ = ["run_record", "run_records"]

MOST_EPOCHS = 2000  # records of a longer run are thinned out for the page
SILENCE = 60  # seconds after which a run that nothing holds is taken for broken off


def run_record(folder: Path) -> dict[str, Any]:
    """Return a run's history, settings and numbers, for `Run` of the studio's manifest.

    Parameters
    ----------
    folder : Path
        Of a finished run, or of one that is being trained.

    Raises
    ------
    FileNotFoundError, ValueError
        Where there is no run, or a damaged one; the line says what was expected.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; name one that `isthmus fit` wrote.")
    journal = read_training_log(folder)
    training = journal is not None and _goes_on(folder)
    if journal is not None and (training or not (folder / CONFIG).is_file()):
        facts, records = journal
        return _record(folder, facts, records) | {
            "epochs": facts.get("epochs"),
            "training": training,
        }
    config = read_config(folder)
    fitted = config["fitted"]
    record = _record(folder, config, read_history(folder, config))
    return record | {
        "held_out": config.get("held_out") or {},
        "best_epoch": fitted["best_epoch"],
        "settings": config["params"] | {"likelihood": fitted["likelihood"][:200]},
    }


def run_records(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the records of runs, whose names tell them apart.

    Raises
    ------
    FileNotFoundError, ValueError
        As for `run_record`.
    """
    names = _names(folders)
    return [run_record(f) | {"name": name} for f, name in zip(folders, names, strict=True)]


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the ends of paths, as short as they may be: of a/vae and b/vae the whole."""
    parts = [folder.resolve().parts for folder in folders]
    ends = (["/".join(p[-n:]) for p in parts] for n in count(1))
    return next(names for names in ends if len(set(names)) == len(set(parts)))


def _record(folder: Path, facts: dict[str, Any], history: list[dict[str, Any]]) -> dict[str, Any]:
    kind = ESTIMATORS.get(str(facts.get("estimator")))
    return {
        "name": folder.resolve().name,
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
    """Return every so many records, and always the last and the best."""
    step = -(-len(history) // MOST_EPOCHS)
    if step <= 1:
        return history
    losses = [r.get("valid_loss", r.get("loss", 0.0)) for r in history]
    best = min(range(len(history)), key=losses.__getitem__)
    kept = {*range(0, len(history), step), best, len(history) - 1}
    return [history[i] for i in sorted(kept)]


def _goes_on(folder: Path) -> bool:
    """Whether a process holds the folder, or wrote to its journal just now and saved no model."""
    try:
        written = (folder / TRAINING_LOG).stat().st_mtime
        saved = (folder / CONFIG).stat().st_mtime if (folder / CONFIG).is_file() else 0.0
    except OSError:  # the run was done in between
        return False
    return is_locked(folder) or (saved < written and time.time() - written < SILENCE)
