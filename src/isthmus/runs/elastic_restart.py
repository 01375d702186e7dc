"""Continue a run after torchrun restarted its processes because one of them died."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from isthmus.persistence.run_folder import CONFIG, find_checkpoints, read_config
from isthmus.runs.folders import RUNS
from isthmus.runs.options import RunOptions
from isthmus.runs.settings import is_logged
from isthmus.training.distributed import ProcessGroup
from isthmus.training.training_log import read_run_facts

__all__ = ["after_restart", "launcher"]


def launcher() -> dict[str, str]:
    """Return an entry for the training log that identifies the torchrun of this process."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return {}
    # The process id of torchrun: its run id is the same for all launches by default.
    return {"launcher": f"{os.environ['TORCHELASTIC_RUN_ID']}-{os.getppid()}"}


def after_restart(options: RunOptions, process_group: ProcessGroup) -> RunOptions | None:
    """Return the options with which to continue after a restart; None if the run is complete.

    torchrun restarts all processes with the same command line when one of them dies. The run
    is the one in `options.out`, or the one whose training log names the same torchrun.
    """
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) == 0:
        return options
    found = None
    if process_group.is_main and (folder := _interrupted_folder(options.out)) is not None:
        log, is_saved = read_run_facts(folder), (folder / CONFIG).is_file()
        done = is_saved and log is not None and is_logged(log, read_config(folder))
        found = folder, done or bool(find_checkpoints(folder)), is_saved and log is None
    found = process_group.broadcast_object(found)
    if found is None:
        return options
    folder, resume, complete = found
    if complete and not (resume or options.force):
        return None
    return replace(options, out=folder, resume=resume)


def _interrupted_folder(out: Path | None) -> Path | None:
    if out is not None:
        return out
    folders = RUNS.iterdir() if RUNS.is_dir() else ()
    return next((f for f in folders if f.is_dir() and _is_ours(f)), None)


def _is_ours(folder: Path) -> bool:
    try:
        log = read_run_facts(folder)
    except (ValueError, OSError):
        return False
    return log is not None and log.get("launcher") == launcher()["launcher"]
