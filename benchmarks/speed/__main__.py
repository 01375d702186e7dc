"""Time isthmus against everything that does the same work: one command, one table.

    python benchmarks/speed [--data-home DIR] [--only NAME ...] [--rounds 5] [--memory]
        [--growth] [--out FILE.json]

Contenders of a workload take turns within one process, A B A B; medians over the rounds after one
that warms up. All train the same model (the same number of parameters, or the race is off) from
data in memory, at the same batch size in float32, for the same number of optimiser steps. The
warm-up's extra time is printed beside the median: of torch.compile it is the time to compile. The
mean loss of the last round stands there too, nats per example, so that speed cannot hide worse
training. An epoch is a fixed number of steps, not all of the data. Of the likelihood by 5,000 draws
40 rows are measured; 10,000 take 250 times as long.

Without --data-home, pictures of the shape of Fashion-MNIST are made. pythae, pyod and numba are
optional: pip install pythae==0.1.2 pyod numba. With --memory each contender also runs alone in a
process, for its peak of memory; with --growth alone the growth curves are measured. With --device
cuda the models are trained there (pyod's, and the questions to a fitted model, stay).
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import math
import os
import platform
import sys
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from speed import growth, memory
from speed.race import OURS, Figures, race, same_size
from speed.workloads import WORKLOADS, Given

PROCESSES = ("import", "help")  # workloads that are processes themselves


def main() -> None:
    a = _parser().parse_args()
    given = Given(a.data_home, a.steps, a.device)
    warnings.filterwarnings("ignore", module="pydantic|pythae|pyod")
    if a.alone or a.rows_alone:
        with contextlib.redirect_stdout(sys.stderr):
            found = memory.alone(*a.alone, given) if a.alone else growth.rows_alone(a.rows_alone)
        print(json.dumps(found))
        return
    record = {"machine": _machine(), "rounds": a.rounds}
    print(", ".join(f"{k} {v}" for k, v in record["machine"].items()), flush=True)
    if a.growth:
        record["growth"] = growth.curves(a.rounds, a.most_rows)
        print("\n".join(growth.show(name, points) for name, points in record["growth"].items()))
        _keep(a.out, record)
        return
    record["workloads"] = {}
    for name in a.only or WORKLOADS:
        record["workloads"][name] = _run(name, given, a.rounds, a.memory)
        _keep(a.out, record)
    _print_verdicts(record["workloads"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data-home")
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="of an epoch, in place of each workload's own")
    parser.add_argument("--device", default="cpu", help="where models are trained, as 'cuda'")
    parser.add_argument("--memory", action="store_true", help="measure peaks of memory too")
    parser.add_argument("--growth", action="store_true", help="measure growth curves instead")
    parser.add_argument("--most-rows", type=int, default=10_000_000, help="of the growth curve")
    parser.add_argument("--out", help="JSON, written after each workload")
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--rows-alone", type=int, help=argparse.SUPPRESS)
    return parser


def _machine() -> dict[str, Any]:
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "load before": round(os.getloadavg()[0], 2),
    }


def _run(name: str, given: Given, rounds: int, with_memory: bool) -> Figures:
    """Race one workload, print it, and return what is kept of it."""
    workload = WORKLOADS[name]
    results = race(workload.makers(given), rounds)
    gc.collect()
    parameters = same_size(results)
    if with_memory and name not in PROCESSES:
        for each, figures in results.items():
            if "median" in figures:
                peak = memory.peak_of(name, each, given)
                figures["peak_megabytes"] = peak if math.isfinite(peak) else None
    title = f"\n{name}: {workload.title}"
    print(title + (f", {parameters:,} parameters" if parameters else ""))
    for each, figures in results.items():
        print(_line(each, figures, results[OURS]["median"]))
    verdicts = [aim.judge(results) for aim in workload.aims]
    for verdict in verdicts:
        print(f"  -> {verdict}")
    sys.stdout.flush()
    return {"title": workload.title, "results": results, "verdicts": verdicts}


def _line(name: str, figures: Figures, ours: float) -> str:
    """Return one contender's row of the table."""
    if "median" not in figures:
        return f"  {name:20} {figures['why']}"
    seconds, last = figures["seconds"][1:], figures["figures"][-1]
    out = f"  {name:20} {figures['median']:9.4f} s  {figures['median'] / ours:6.2f} of {OURS}"
    out += (
        f"  ({min(seconds):.4f} to {max(seconds):.4f}; at first {figures['extra_at_first']:+.2f})"
    )
    out += "" if last is None else f"  {last:.4g}"
    if "peak_megabytes" in figures:
        peak = figures["peak_megabytes"]
        out += "  peak not measured: its process failed" if peak is None else f"  {peak:.0f} MB"
    return out


def _print_verdicts(workloads: dict[str, Figures]) -> None:
    print("\nAims")
    for name, workload in workloads.items():
        for verdict in workload["verdicts"]:
            print(f"  {name:12} {verdict}")


def _keep(path: str | None, record: Figures) -> None:
    if path:
        Path(path).write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
