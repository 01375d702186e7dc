"""Write docs/speed.md from the saved results: python docs/make_speed.py."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
RIVALS = ("isthmus, compile=True", "plain loop", "torch.compile", "tutorial loop", "pythae", "pyod")

HEAD = """# Speed

This page shows how long training takes to reach a stated quality, and compares the speed of isthmus
with hand-written PyTorch, with other libraries, and with the bare matrix products of the same work.
`python docs/make_speed.py` writes it from the results of the benchmarks.

"""

QUALITY = """## Time to quality

Processor seconds from the first batch until held-out rows are described as well as the target asks,
with the epochs that this takes in brackets. Other columns are multiples of isthmus's time: above 1
is slower. A contender that does not end at the target has a lower bound, marked with ">", and the
quality at its end. isthmus trains with its defaults. `python benchmarks/time_to_quality.py
--data-home DIR` measures it: {threads} thread{s}, torch {torch}, {rivals}.

- Pictures: the negative ELBO, in nats, of the VAE of PyTorch's examples (784-400-20, batch 128,
  Adam with a rate of 0.001) after 10 and 30 epochs, on the test rows (seeds: {seeds});
  and the squared error of 3.00 that Hinton and Salakhutdinov published in 2006 for codes of 30
  numbers. The time is the number of epochs to the target times the median time of an epoch, which
  is measured apart, the programs in turns.
- Tables: the AUROC of outliers that pyod's `AutoEncoder` and `VAE` reach with their defaults.
  Medians of whole runs, the programs in turns (seeds: {rounds}).

"""

STEPS = """## Programs compared by their steps

The rest of this page comes from `python benchmarks/speed --data-home DIR`: {threads} threads, torch
{torch}, medians of {rounds} rounds, with the programs alternating in one process. Columns show
times as multiples of isthmus's time: above 1 is slower than isthmus. *Floor* is the matrix products
(or convolutions) alone, forward and backward.

These results were measured with a version that recorded a step after 200 repetitions and replayed
it. isthmus has since given this up except for `compile=True`, so that other models now train
about as fast as the plain loop.

- **plain loop**: careful hand-written PyTorch, with the data in a tensor in memory and fused
  Adam.
- **torch.compile**: the model and loss of that loop, compiled.
- **tutorial loop**: a data set of PIL images, a `DataLoader`, `.item()` in each step.
- **pythae** 0.1.2: its trainer on an array, without progress bar and checkpoints. **pyod**: its
  deep autoencoders, on tables.

All train the same networks from the same weights for the same number of steps (pyod trains its
own networks of the same size). The final losses agree within a percent; see the JSON.

## Training

Seconds for a fixed number of optimiser steps.

"""

AFTER = """
## Targets

Each line shows a target for isthmus with default settings, and whether it was reached.

"""

MEANING = """
Two of these targets are out of reach for any program here: even the matrix products alone would
be only {tutorial:.1f} times as fast as the tutorial loop, and {pythae:.1f} times as fast as
pythae's trainer (784-400-20, batch 100).

`compile=True` (`isthmus fit --compile`) compiles the training step to machine code. The first
epoch waits for a C++ compiler, for a few seconds to half a minute, less if the same step was
compiled before. It pays off for small models that train for minutes. It is never the default: its
numbers differ in the last bits, so a run would depend on whether a compiler is installed.

"""


def main() -> None:
    speed = json.loads((RESULTS / "speed.json").read_text())
    races = speed["workloads"]
    text = HEAD + _section("quality", "time-to-quality")
    text += STEPS.format(**speed["machine"], rounds=speed["rounds"])
    text += "\n".join(_training(races)) + "\n"
    text += "\n## Inference and start-up\n\n" + "\n".join(_others(races)) + "\n"
    text += AFTER + "\n".join(_verdicts(races)) + "\n"
    dense = races["dense-100"]["results"]
    floor = dense["floor"]["median"]
    text += MEANING.format(
        tutorial=dense["tutorial loop"]["median"] / floor, pythae=dense["pythae"]["median"] / floor
    )
    text += "".join(_section(name, f"speed-{name}") for name in ("memory", "growth"))
    (ROOT / "docs" / "speed.md").write_text(text.rstrip() + "\n")


def _training(races: dict[str, Any]) -> list[str]:
    lines = [
        f"| workload | isthmus, s | {' | '.join(RIVALS)} | floor |",
        f"| --- | ---: | {'---: | ' * len(RIVALS)}---: |",
    ]
    for race in races.values():
        results = race["results"]
        if "tutorial loop" in results:
            ours = results["isthmus"]["median"]
            cells = [_ratio(results, name, ours) for name in (*RIVALS, "floor")]
            lines.append(f"| {race['title']} | {ours:.3g} | {' | '.join(cells)} |")
    return lines


def _others(races: dict[str, Any]) -> list[str]:
    lines = ["| task | isthmus, s | others, relative |", "| --- | ---: | --- |"]
    for race in races.values():
        results = race["results"]
        if "tutorial loop" not in results:
            ours = results["isthmus"]["median"]
            beside = [f"{n} {_ratio(results, n, ours)}" for n in results if n != "isthmus"]
            lines.append(f"| {race['title']} | {ours:.3g} | {', '.join(beside)} |")
    return lines


def _ratio(results: dict[str, Any], name: str, ours: float) -> str:
    median = results.get(name, {}).get("median")
    return "–" if median is None else f"{median / ours:.2f}"


def _verdicts(races: dict[str, Any]) -> list[str]:
    lines = ["| workload | measured, target | |", "| --- | --- | --- |"]
    for race in races.values():
        for verdict in race["verdicts"]:
            measured, _, outcome = verdict.rpartition(": ")
            lines.append(f"| {race['title']} | {measured} | {outcome.lower()} |")
    return lines


def _section(name: str, file: str) -> str:
    path = RESULTS / f"{file}.json"
    return SECTIONS[name](json.loads(path.read_text())) if path.exists() else ""


def _quality(kept: dict[str, Any]) -> str:
    runs, versions = kept["runs"], kept["versions"]
    threads = max(run["threads"] for run in runs)
    tasks = dict.fromkeys(row["task"] for row in kept["summary"])
    text = QUALITY.format(
        threads=threads,
        s="s" * (threads > 1),
        torch=versions["torch"],
        rivals=" and ".join(f"{name} {versions[name]}" for name in ("pythae", "pyod")),
        seeds=_seeds(runs, tasks, paced=True),
        rounds=_seeds(runs, tasks, paced=False),
    )
    groups: dict[tuple[str, ...], list[str]] = {}  # tasks with the same contenders: one table
    for task in tasks:
        groups.setdefault(tuple(kept["tasks"][task]["settings"]), []).append(task)
    tables = [_quality_table(kept, names, group) for names, group in groups.items()]
    verdicts = ["| aim | |", "| --- | --- |"]
    for verdict in kept["verdicts"]:
        measured, _, outcome = verdict.rpartition(": ")
        verdicts.append(f"| {measured} | {outcome.lower()} |")
    return text + "\n\n".join("\n".join(lines) for lines in [*tables, verdicts]) + "\n\n"


def _seeds(runs: list[dict[str, Any]], tasks: Iterable[str], *, paced: bool) -> int:
    """Return how many seeds were trained at most, of tasks whose epochs are timed apart or not."""
    timed_apart = {run["task"] for run in runs if run["kind"] == "pace"}
    chosen = [
        r["seed"]
        for r in runs
        if r["kind"] == "quality" and r["task"] in tasks and (r["task"] in timed_apart) == paced
    ]
    return max(chosen, default=-1) + 1


def _quality_table(kept: dict[str, Any], names: tuple[str, ...], tasks: list[str]) -> list[str]:
    ours, *rivals = names
    lines = [
        f"| task | target | {ours}, s | {' | '.join(rivals)} |",
        f"| --- | --- | {'---: | ' * len(names)}".rstrip(),
    ]
    for task in tasks:
        about = kept["tasks"][task]
        rows = [row for row in kept["summary"] if row["task"] == task]
        for target in dict.fromkeys(row["target"] for row in rows):
            found = {row["contender"]: row for row in rows if row["target"] == target}
            value = _short(next(iter(found.values()))["value"])
            cells = " | ".join(_time_cell(found.get(name), found.get(ours)) for name in names)
            lines.append(f"| {about['title']} | {about['measure']} {value} ({target}) | {cells} |")
    return lines


def _time_cell(row: dict[str, Any] | None, ours: dict[str, Any] | None) -> str:
    """Return the time of a contender to a target: isthmus's in seconds, others' relative to it."""
    if row is None:
        return "–"
    seconds = row["processor"]
    relative = ours is not None and row is not ours and ours["reached"]
    time = f"{seconds / ours['processor']:.2f}" if relative else f"{seconds:.3g}"  # type: ignore[index]
    time += "" if relative or row is ours else " s"
    if row["reached"]:
        return f"{time} ({row['epochs']:g})"
    return f"> {time} ({row['epochs']:g}; {_short(row['quality at the end'])})"


def _short(value: float) -> str:
    return f"{value:.2f}" if value >= 1.5 else f"{value:.3f}"


def _memory(kept: dict[str, Any]) -> str:
    names = ("isthmus", *RIVALS, "floor")
    lines = [
        "## Memory",
        "",
        "Peak resident memory in megabytes, each program alone in a process. All include Python, "
        "torch and the data.",
        "",
        f"| workload | {' | '.join(names)} |",
        f"| --- | {'---: | ' * len(names)}".rstrip(),
    ]
    for race in kept["workloads"].values():
        peaks = [race["results"].get(n, {}).get("peak_megabytes") for n in names]
        if any(peaks):
            cells = ["–" if p is None else f"{p:.0f}" for p in peaks]
            lines.append(f"| {race['title']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\n"


def _growth(kept: dict[str, Any]) -> str:
    lines = [
        "## Growth",
        "",
        "`python benchmarks/speed --growth` measures the power p of time ~ work^p between the ends "
        "of a curve; 1 means proportional. Work is the number of operations in the products of a "
        "step, or the number of rows in a memory-mapped file.",
        "",
        "| varied | from | to | power |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, points in kept["growth"].items():
        lines.append(_curve(name, points))
    return "\n".join(lines) + "\n"


def _curve(name: str, points: list[dict[str, Any]]) -> str:
    first, last = points[0], points[-1]
    power = math.log(last["seconds"] / first["seconds"]) / math.log(last["work"] / first["work"])
    return f"| {name} | {first['size']:,} | {last['size']:,} | {power:.2f} |"


SECTIONS = {"quality": _quality, "memory": _memory, "growth": _growth}

if __name__ == "__main__":
    main()
