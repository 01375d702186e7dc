"""Process many files: print what becomes of each, and report those that fail."""

from __future__ import annotations

import argparse
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from isthmus._messages import say
from isthmus.applications.unscored_rows import unscored_note
from isthmus.bulk.files import FileResult, FileTask, process_files
from isthmus.bulk.worker_rank import WorkerRank
from isthmus.cli._parser import FAILED
from isthmus.cli._run_data import table_options
from isthmus.data.feature_columns import FeatureColumns, MediaOptions
from isthmus.persistence.run_folder import read_config

__all__ = ["features_for", "process_and_report"]

MAX_LINES = 3  # about files that failed for the same reason


def features_for(model: Any, arguments: argparse.Namespace) -> FeatureColumns:
    """Return how files become the examples of a model, by its run and the flags given."""
    keep = dict.fromkeys([*filter(None, [arguments.id_column, arguments.label]), *arguments.keep])
    options = table_options(arguments)
    features = FeatureColumns.for_model(model, arguments.column, [*keep], options)
    record = read_config(Path(arguments.run)).get("data") or {}
    media = MediaOptions(model.model_shape_, record.get("rate"), arguments.resize)
    return replace(features, media=media)


def process_and_report(
    task: FileTask, rank: WorkerRank, targets: dict[Path, Path], force: bool
) -> int:
    """Process this rank's files; return the exit code."""
    prefix = f"rank {rank.number} of {rank.world_size}: " if rank.world_size > 1 else ""
    mine = rank.assign([*targets])
    for folder in {target.parent for target in targets.values()}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"cannot create {folder}: {error}; name another folder.") from None
    start, done = time.perf_counter(), []
    for each in process_files(targets, mine, task, force):
        done.append(each)
        if each.rows is not None:
            say(f"{prefix}{each.source} -> {each.target}: {each.rows:,} rows")
        if each.n_unscored:
            note = unscored_note(each.first_unscored, each.n_unscored)
            say(f"note: {prefix}{each.source}: {note}", error=True)
    say(prefix + _summary(done, time.perf_counter() - start))
    failed = [each for each in done if each.error]
    rank.wait_for_others(bool(failed))
    for line in _failures(failed):
        say(f"isthmus: {prefix}failed: {line}", error=True)
    return FAILED if failed else 0


def _failures(failed: list[FileResult]) -> list[str]:
    """Return one line per failed file, or one for many that failed for the same reason.

    Reasons are the same if they differ only in numbers; the first one is printed.
    """
    by_reason: dict[str, list[FileResult]] = {}
    for each in failed:
        by_reason.setdefault(re.sub(r"[-+.\d]+", "0", _reason(each)), []).append(each)
    lines = []
    for files in by_reason.values():
        first, n_more = files[:MAX_LINES], len(files) - MAX_LINES
        if n_more > 0:
            names = ", ".join(str(each.source) for each in first)
            lines.append(f"{names} and {n_more:,} more: {_reason(files[0])}")
        else:
            lines += [each.error for each in files]
    return lines


def _reason(done: FileResult) -> str:
    return done.error.removeprefix(f"{done.source}: ")


def _summary(done: list[FileResult], seconds: float) -> str:
    if not done:
        return "no file is left for this process: there are fewer files than processes"
    rows = sum(each.rows or 0 for each in done)
    now = sum(each.rows is not None for each in done)
    failed = sum(bool(each.error) for each in done)
    parts = [f"{now} done, {rows:,} rows, {rows / seconds:,.0f} rows/s"] * bool(now)
    parts += [f"{len(done) - now - failed} finished before"] * (now + failed < len(done))
    parts += [f"{failed} failed"] * bool(failed)
    return f"of {len(done)} file{'s' * (len(done) > 1)} " + "; ".join(parts)
