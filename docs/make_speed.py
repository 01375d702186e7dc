"""Write docs/speed.md from the kept results: python docs/make_speed.py."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
RIVALS = ("isthmus, compile=True", "plain loop", "torch.compile", "tutorial loop", "pythae", "pyod")

HEAD = """# How fast it is

Written by `python docs/make_speed.py` from what `python benchmarks/speed --data-home DIR` kept:
{threads} threads, torch {torch}, medians of {rounds} rounds, the contenders taking turns in one
process. Columns are times, as multiples of isthmus's own: above 1 is slower than isthmus. *Floor*
is the matrix products (or convolutions) of the same work alone, forward and backward.

- **plain loop**: what a careful person writes: the data a tensor in memory, fused Adam.
- **torch.compile**: that loop's model and loss, compiled.
- **tutorial loop**: a data set of PIL pictures, a `DataLoader`, `.item()` at each step.
- **pythae** 0.1.2: its trainer on an array, without progress bar and checkpoints. **pyod**: its
  deep autoencoders, on tables.

All train the same networks from the same weights for the same steps (pyod its own, of the same
size); the losses at the end agree to a percent, see the JSON.

## Training

Seconds of a fixed number of optimiser steps.

"""

AFTER = """
## Against what was aimed at

Each line: isthmus as it is by default, what was asked, and how it ended.

"""

MEANING = """
Two of these aims no program can reach here: even the products alone would be only {tutorial:.1f}
times as fast as the tutorial loop, and {pythae:.1f} times as fast as pythae's trainer (784-400-20,
batch 100).

`compile=True` (`isthmus fit --compile`) makes machine code of the recorded step: the first epoch
waits for a C++ compiler, some seconds to half a minute, less when the same step was compiled
before. It pays for small models that train for minutes. It is never on by itself: its numbers
differ in the last bits, and a run would then depend on whether a compiler was at hand.

"""


def main() -> None:
    speed = json.loads((RESULTS / "speed.json").read_text())
    races = speed["workloads"]
    text = HEAD.format(**speed["machine"], rounds=speed["rounds"])
    text += "\n".join(_training(races)) + "\n"
    text += "\n## Questions to a fitted model, and starting\n\n" + "\n".join(_others(races)) + "\n"
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
    lines = ["| what | isthmus, s | beside it |", "| --- | ---: | --- |"]
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
    lines = ["| workload | asked and measured | |", "| --- | --- | --- |"]
    for race in races.values():
        for verdict in race["verdicts"]:
            said, _, ended = verdict.rpartition(": ")
            lines.append(f"| {race['title']} | {said} | {ended.lower()} |")
    return lines


def _section(name: str) -> str:
    path = RESULTS / f"speed-{name}.json"
    return SECTIONS[name](json.loads(path.read_text())) if path.exists() else ""


def _memory(kept: dict[str, Any]) -> str:
    names = ("isthmus", *RIVALS, "floor")
    lines = [
        "## Memory",
        "",
        "Peak of the resident set in megabytes, each contender alone in a process: Python, torch "
        "and the data, which all share, and what each holds.",
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
        "By `python benchmarks/speed --growth`: the power p of time ~ work^p between the ends of "
        "a curve; 1 is in proportion. Work is the operations of a step's products, or rows of a "
        "file that is mapped into memory.",
        "",
        "| what | from | to | power |",
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
