"""Write docs/speed.md from the saved results: python docs/make_speed.py."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
RIVALS = ("isthmus, compile=True", "plain loop", "torch.compile", "tutorial loop", "pythae", "pyod")

HEAD = """# Speed

This page compares the speed of isthmus with hand-written PyTorch, with other libraries, and with
the bare matrix products of the same work. `python docs/make_speed.py` writes it from the results
of `python benchmarks/speed --data-home DIR`: {threads} threads, torch {torch}, medians of
{rounds} rounds, with the programs alternating in one process. Columns show times as multiples of
isthmus's time: above 1 is slower than isthmus. *Floor* is the matrix products (or convolutions)
alone, forward and backward.

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
    text = HEAD.format(**speed["machine"], rounds=speed["rounds"])
    text += "\n".join(_training(races)) + "\n"
    text += "\n## Inference and start-up\n\n" + "\n".join(_others(races)) + "\n"
    text += AFTER + "\n".join(_verdicts(races)) + "\n"
    dense = races["dense-100"]["results"]
    floor = dense["floor"]["median"]
    text += MEANING.format(
        tutorial=dense["tutorial loop"]["median"] / floor, pythae=dense["pythae"]["median"] / floor
    )
    text += "".join(_section(name) for name in ("memory", "growth"))
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


def _section(name: str) -> str:
    path = RESULTS / f"speed-{name}.json"
    return SECTIONS[name](json.loads(path.read_text())) if path.exists() else ""


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


SECTIONS = {"memory": _memory, "growth": _growth}

if __name__ == "__main__":
    main()
