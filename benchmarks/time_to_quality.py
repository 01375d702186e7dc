"""Time to quality: seconds of training until held-out rows are described well enough.

    python benchmarks/time_to_quality.py [--data-home DIR] [--only TASK ...]
        [--contenders NAME ...] [--part quality|pace] [--rounds 5] [--again] [--out FILE.json]

Tasks: the VAE 784-400-20 on MNIST and Fashion-MNIST, to what the loop of PyTorch's examples reaches
in 10 and 30 epochs; the outliers of six tables, to the AUROC that pyod reaches by its defaults;
the autoencoder 784-1000-500-250-30 on MNIST, to the published squared error of 3.00. isthmus trains
with its defaults. Targets are medians over the seeds of the contender that sets them. Quality is
measured at the end of each epoch on the same held-out rows, by the same code, with the same noise,
while the clock stands still.

Training a table takes seconds, so it is repeated in full, with a seed for each round; contenders
take turns. Training on pictures takes minutes: how many epochs the target takes is measured once
(three times for the loop that sets it), and does not depend on the machine; the seconds of an epoch
are measured apart, contenders in turns, medians of --rounds. The product of both is the time. The
tutorial loop takes the same steps as the plain loop, whose epochs count for it.

Runs are kept in --out as they end; those that are there are not repeated without --again, so that a
run that was stopped goes on. "--part pace" needs a quiet machine; "--part quality" does not, and
may run at the same time in another process, into the same file. pythae and pyod are optional:
pip install pythae==0.1.2 pyod numba.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import torch
from quality.clock import Clock, Enough, Point
from quality.record import (
    OURS,
    PACE,
    QUALITY,
    Planned,
    Record,
    Row,
    judge,
    summary,
    value_of,
)
from quality.tasks import TASKS, Task
from speed.race import CannotRace

RESULTS = Path(__file__).parent / "results" / "time-to-quality.json"


def main() -> None:
    a = _parser().parse_args()
    warnings.filterwarnings("ignore", module="pydantic|pythae|pyod")
    if a.threads:
        torch.set_num_threads(a.threads)
    record = Record(a.out)
    for name in a.only:
        try:
            data = TASKS[name].load(a.data_home)
        except (FileNotFoundError, CannotRace) as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        runs = [run for run in plan(TASKS[name], a.rounds) if _chosen(run, a)]
        if a.again:
            record.drop(name, runs)
        measure(name, TASKS[name], data, runs, record)
    record.describe(describe(record))
    print("\n".join(table(record.content["summary"]) + record.content["verdicts"]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-home", help="folder that contains mnist/ and fashion-mnist/")
    parser.add_argument("--only", nargs="+", default=[*TASKS], choices=TASKS, metavar="TASK")
    parser.add_argument("--contenders", nargs="+", metavar="NAME", help="by default all")
    parser.add_argument("--part", choices=(QUALITY, PACE), help="measure only this of pictures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--again", action="store_true", help="repeat what is in the file")
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


def _chosen(run: Planned, a: argparse.Namespace) -> bool:
    return a.part in (None, run.kind) and (not a.contenders or run.contender in a.contenders)


def plan(task: Task, rounds: int) -> Iterator[Planned]:
    """Yield the runs of a task in their order, contenders in turns."""
    if task.paced:
        for name, entry in task.entries.items():
            if entry.curve is None:
                yield from (Planned(name, QUALITY, seed) for seed in range(entry.seeds))
    for seed in range(rounds):
        for name in task.entries:
            yield Planned(name, PACE if task.paced else QUALITY, seed)


def measure(name: str, task: Task, data: Any, runs: list[Planned], record: Record) -> None:
    """Do the runs that are not in the record."""
    cannot: set[str] = set()
    for run in runs:
        if run.contender in cannot or run.seed in record.points(name, run.contender, run.kind):
            continue
        load = round(os.getloadavg()[0], 2)
        try:
            points = run_once(name, task, data, run, record)
        except CannotRace as error:
            print(f"{name}: {run.contender}: {error}", file=sys.stderr)
            cannot.add(run.contender)
            continue
        last = points[-1]
        print(
            f"{name}: {run.contender}, {run.kind} {run.seed}: {last.epoch} epochs, "
            f"{last.wall:.2f} s, processor {last.processor:.2f} s, quality {last.quality:.4f}",
            flush=True,
        )
        record.add(points, task=name, **run._asdict(), threads=torch.get_num_threads(), load=load)


def run_once(name: str, task: Task, data: Any, run: Planned, record: Record) -> list[Point]:
    """Train a contender once; return its points."""
    entry = task.entries[run.contender]
    clock = Clock(epochs=1, measures=False)
    if run.kind == QUALITY:
        goals = [value_of(target, name, record) for target in task.targets]
        sets_target = run.contender in {target.of for target in task.targets}
        ends = entry.epochs is not None and not sets_target and None not in goals

        def enough(quality: float) -> bool:
            return ends and all(task.reached(quality, goal) for goal in goals if goal is not None)

        clock = Clock(epochs=entry.epochs, enough=enough)
    with contextlib.suppress(Enough):
        entry.train(data, run.seed, clock)
    return clock.points


def describe(record: Record) -> dict[str, Any]:
    """Return the summary of a record, with what its reader needs to know."""
    rows = {name: summary(name, task, record) for name, task in TASKS.items()}
    verdicts = [
        f"{task.title}: {judge(aim, rows[name])}"
        for name, task in TASKS.items()
        for aim in task.aims
        if rows[name]
    ]
    return {
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "versions": {name: _version(name) for name in ("isthmus", "torch", "pythae", "pyod")},
        "tasks": {
            name: {
                "title": task.title,
                "measure": task.measure,
                "settings": {who: entry.settings for who, entry in task.entries.items()},
            }
            for name, task in TASKS.items()
        },
        "summary": [row for found in rows.values() for row in found],
        "verdicts": verdicts,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def table(rows: list[Row]) -> list[str]:
    """Return lines to read, one for each target and contender."""
    lines = []
    for row in rows:
        ours = next((r for r in rows if r["contender"] == OURS and _same_goal(r, row)), row)
        lines.append(
            f"{row['task']:14} {row['target']:20} {row['value']:9.4f}  {row['contender']:16}"
            f" {' ' if row['reached'] else '>'}{row['epochs']:5g} epochs"
            f" {row['processor']:9.3f} s of processor {row['wall']:9.3f} s"
            f" {row['processor'] / ours['processor']:7.2f} of {OURS}"
            f"  (at the end {row['quality at the end']:.4f})"
        )
    return lines


def _same_goal(a: Row, b: Row) -> bool:
    return (a["task"], a["target"]) == (b["task"], b["target"])


if __name__ == "__main__":
    main()
