"""Peaks of memory: one contender in a process of its own, since one cannot tell them apart.

The figure is the greatest resident set while an epoch runs: Python, torch and the data, which all
contenders share, and what each holds and makes. That of the floor is about what they share. What
was held for a moment before, while data were read or a model was fitted, is forgotten where the
system can do so (Linux).
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

from speed.race import Figures
from speed.workloads import Given, contender

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def forget_peak() -> None:
    """Let the peak begin anew, on Linux."""
    if FORGET.exists():
        FORGET.write_text("5")


def peak_megabytes() -> float:
    """Return the greatest resident set of this process since `forget_peak`."""
    if STATUS.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
        if found:
            return int(found[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def alone(workload: str, name: str, given: Given) -> Figures:
    """Run one epoch of one contender; return its peak."""
    ready = contender(workload, name, given)
    forget_peak()
    ready.epoch()
    return {"peak": peak_megabytes()}


def peak_of(workload: str, name: str, given: Given) -> float:
    """Return the peak of one contender, in a process of its own; NaN if that process fails."""
    arguments = [sys.executable, str(Path(__file__).parent), "--alone", workload, name]
    if given.data_home:
        arguments += ["--data-home", given.data_home]
    if given.steps:
        arguments += ["--steps", str(given.steps)]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)["peak"] if done.returncode == 0 else float("nan")
