"""Runs that were measured, kept in one file, and what follows from them."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import astuple
from pathlib import Path
from typing import Any, NamedTuple

from quality.clock import Point
from quality.tasks import Aim, Target, Task

OURS = "isthmus"
QUALITY, PACE = "quality", "pace"  # what a run measures
Row = dict[str, Any]


class Planned(NamedTuple):
    """A run to do: who trains, what is measured, and the seed or the number of the round."""

    contender: str
    kind: str
    seed: int


class Record:
    """Runs in a JSON file, which is written after each.

    The file is read again before it is changed, so that several processes may measure at once.

    Parameters
    ----------
    path : Path, optional
        None keeps them in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.content: dict[str, Any] = {"runs": []}
        self._read()

    def _read(self) -> None:
        if self.path is not None and self.path.exists():
            self.content = json.loads(self.path.read_text())

    def points(self, task: str, contender: str, kind: str) -> dict[int, list[Point]]:
        """Return the runs of a contender, by seed."""
        self._read()
        wanted = (task, contender, kind)
        return {
            run["seed"]: [Point(*point) for point in run["points"]]
            for run in self.content["runs"]
            if (run["task"], run["contender"], run["kind"]) == wanted
        }

    def add(self, points: list[Point], **run: Any) -> None:
        """Keep a run."""
        self._read()
        rows = [[_rounded(v) for v in astuple(point)] for point in points]
        self.content["runs"].append({**run, "points": rows})
        self._save()

    def describe(self, about: dict[str, Any]) -> None:
        """Keep what follows from the runs, and what their reader needs to know."""
        self.content |= about
        self._save()

    def drop(self, task: str, runs: list[Planned]) -> None:
        """Forget runs, to repeat them."""
        self._read()
        self.content["runs"] = [
            r
            for r in self.content["runs"]
            if r["task"] != task or Planned(r["contender"], r["kind"], r["seed"]) not in runs
        ]
        self._save()

    def _save(self) -> None:
        if self.path is not None:
            part = self.path.with_suffix(".part")
            part.write_text(_one_run_a_line(self.content))
            part.replace(self.path)


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.6g}") if value % 1 else int(value)


def _one_run_a_line(content: dict[str, Any]) -> str:
    """Return JSON in which runs, and rows of the summary, are a line each."""
    parts = []
    for key, value in content.items():
        if isinstance(value, list):
            lines = ",\n".join("  " + json.dumps(item) for item in value)
            parts.append(f" {json.dumps(key)}: [\n{lines}\n ]")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def value_of(target: Target, name: str, record: Record) -> float | None:
    """Return the quality to reach, None while its runs are missing."""
    if not isinstance(target.of, str):
        return target.of
    curves = record.points(name, target.of, QUALITY).values()
    last = target.epochs
    found = [c[-1 if last is None else last].quality for c in curves if len(c) > (last or 0)]
    return statistics.median(found) if found else None


def summary(name: str, task: Task, record: Record) -> list[Row]:
    """Return a row for each target and contender: epochs and seconds to the target.

    If the task times epochs apart, the seconds are the median number of epochs times the median
    seconds of an epoch; otherwise the median over runs. Where the target is not reached, they are
    those of the longest run, a lower bound.
    """
    rows = []
    for target in task.targets:
        value = value_of(target, name, record)
        if value is None:
            continue
        for contender, entry in task.entries.items():
            curves = record.points(name, entry.curve or contender, QUALITY)
            paces = record.points(name, contender, PACE)
            if not curves or (task.paced and not paces):
                continue
            found = to_target(task, value, [*curves.values()], [*paces.values()])
            head = {"task": name, "target": target.title, "value": value, "contender": contender}
            rows.append({**head, "runs": len(curves), **found})
    return rows


def to_target(
    task: Task, value: float, curves: list[list[Point]], paces: list[list[Point]]
) -> dict[str, Any]:
    """Return epochs, wall and processor seconds to a quality, and the quality at the end.

    A run that passes the target but ends below it does not count: nobody would have stopped it.
    """
    hits = [
        next(p for p in c[1:] if task.reached(p.quality, value))
        if task.reached(c[-1].quality, value)
        else None
        for c in curves
    ]
    reached = 2 * sum(hit is not None for hit in hits) > len(hits)
    # A run that does not get there counts as longer than any.
    late = Point(math.inf, math.inf, math.inf, math.nan)  # type: ignore[arg-type]
    ends = [hit or late for hit in hits] if reached else [c[-1] for c in curves]
    epochs = statistics.median(p.epoch for p in ends)
    if task.paced:
        wall, processor = (
            epochs * statistics.median(getattr(p[-1], unit) / p[-1].epoch for p in paces)
            for unit in ("wall", "processor")
        )
    else:
        wall, processor = (
            statistics.median(getattr(p, unit) for p in ends) for unit in ("wall", "processor")
        )
    return {
        "reached": reached,
        "epochs": epochs,
        "wall": wall,
        "processor": processor,
        "quality at the end": statistics.median(c[-1].quality for c in curves),
        "epochs at the end": statistics.median(c[-1].epoch for c in curves),
    }


def judge(aim: Aim, rows: list[Row]) -> str:
    """Return one line: what was measured, what is asked, met or missed."""
    found = {r["contender"]: r for r in rows if r["target"] == aim.target}
    if OURS not in found or aim.against not in found:
        return f"{aim.against} / {OURS}, to {aim.target}: not measured"
    ours, other = found[OURS], found[aim.against]
    head = f"{aim.against} / {OURS}, to {aim.target}"
    if not ours["reached"]:
        return f"{head}: not reached by {OURS}, at least {aim.factor:g}: MISSED"
    ratio = other["processor"] / ours["processor"]
    more = "" if other["reached"] else "more than "
    verdict = "met" if ratio >= aim.factor else "MISSED"
    return f"{head}: {more}{ratio:.2f}, at least {aim.factor:g}: {verdict}"
