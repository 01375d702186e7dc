"""A run by several processes: who speaks, and what goes on after one of them died."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from isthmus.persistence.run_folder import CONFIG, find_checkpoints
from isthmus.training.distributed import ProcessGroup
from isthmus.training.training_log import read_training_log

__all__ = ["go_on_where_it_broke", "launcher"]

RUNS = Path("runs")  # where runs are that nobody gave a folder


def launcher() -> dict[str, str]:
    """Return what tells the program that started these processes, for the journal of the run."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return {}
    # The number of the program itself: its name for the run is the same for all by default.
    return {"launcher": f"{os.environ['TORCHELASTIC_RUN_ID']}-{os.getppid()}"}


def go_on_where_it_broke(arguments: argparse.Namespace, process_group: ProcessGroup) -> bool:
    """After torchrun started all anew, let the arguments say --resume; whether there is work left.

    torchrun starts all processes again when one of them dies, by the same command line. The
    run is the one in --out, or that whose journal names the same torchrun.
    """
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) == 0:
        return True
    folder = process_group.broadcast_object(
        _begun(arguments.out) if process_group.is_main else None
    )
    if folder is None:
        return True
    arguments.out = str(folder)
    arguments.resume = process_group.broadcast_object(
        bool(find_checkpoints(folder)) if process_group.is_main else None
    )
    whole = (folder / CONFIG).is_file() and read_training_log(folder) is None
    return arguments.resume or arguments.force or not process_group.broadcast_object(whole)


def _begun(out: str | None) -> Path | None:
    """Return the folder of the run that was broken off."""
    if out is not None:
        return Path(out)
    folders = RUNS.iterdir() if RUNS.is_dir() else ()
    return next((f for f in folders if f.is_dir() and _is_ours(f)), None)


def _is_ours(folder: Path) -> bool:
    try:
        journal = read_training_log(folder)
    except (ValueError, OSError):
        return False
    return journal is not None and journal[0].get("launcher") == launcher()["launcher"]
