"""Whether the cost grows no faster than the work.

Work is the operations of the products of a training step, and rows where rows grow. A curve is met
where the time grows with an exponent of the work of at most 1.05 between its ends. Rows come from
a file that is mapped into memory, eight float32 a row, each point in a process of its own, so that
its peak of memory is its own; timed is a `fit` of one epoch, reading and scaling included, and a
`transform`.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from speed.contenders import Job, floor, isthmus, uses_of
from speed.memory import forget_peak, peak_megabytes
from speed.race import race
from speed.workloads import made, vae

from isthmus import VAE

EXPONENT = 1.05
COLUMNS, BATCH, STEPS = 8, 1024, 20
SPECS = (10_000, 100_000, 1_000_000, 10_000_000)
WIDTHS, LATENTS = (128, 256, 512, 1024, 2048, 4096), (8, 32, 128, 512)
Point = dict[str, Any]


def curves(rounds: int, most_rows: int) -> dict[str, list[Point]]:
    """Return the points of each curve: size, work, seconds, and more."""
    return {
        "width of the hidden layer": [_step(w, {"hidden": (w,)}, rounds) for w in WIDTHS],
        "numbers in the code": [_step(k, {"n_components": k}, rounds) for k in LATENTS],
        **_rows([n for n in SPECS if n <= most_rows]),
    }


def exponent(points: list[Point]) -> float:
    """Return d log(seconds) / d log(work) between the ends of a curve."""
    first, last = points[0], points[-1]
    if last["work"] <= first["work"]:
        return math.nan
    return math.log(last["seconds"] / first["seconds"]) / math.log(last["work"] / first["work"])


def show(name: str, points: list[Point]) -> str:
    """Return a curve as lines of text."""
    lines = [f"\n{name}"]
    for p in points:
        more = "".join(f"  {k} {v:.4g}" for k, v in p.items() if k not in ("size", "seconds"))
        lines.append(f"  {p['size']:>10,}  {p['seconds']:9.4f} s{more}")
    steep = exponent(points)
    verdict = "met" if steep <= EXPONENT else "MISSED"
    lines.append(f"  time grows as work ** {steep:.2f}, at most {EXPONENT}: {verdict}")
    return "\n".join(lines)


def _step(size: int, settings: dict[str, Any], rounds: int) -> Point:
    """Time steps of a VAE that is 784-400-20 but for one setting."""
    job = Job(vae(128, **settings), "bernoulli", made((28, 28), 128 * STEPS))
    results = race({"isthmus": lambda: isthmus(job), "floor": lambda: floor(job)}, rounds)
    seconds = results["isthmus"]["median"] / STEPS
    work = sum(use.operations(backward=True) for use in uses_of(job))
    floored = results["isthmus"]["median"] / results["floor"]["median"]
    return {"size": size, "work": work, "seconds": seconds, "of the floor": floored}


def _rows(sizes: list[int]) -> dict[str, list[Point]]:
    measured = [_in_a_process(n) for n in sizes]
    return {
        f"rows, {what}": [
            {"size": n, "work": n, "seconds": m[what], "peak MB": m["peak"], "file MB": m["file"]}
            for n, m in zip(sizes, measured, strict=True)
        ]
        for what in ("fit", "transform")
    }


def _in_a_process(n: int) -> dict[str, float]:
    script = str(Path(__file__).parent)
    asked = subprocess.run(
        [sys.executable, script, "--rows-alone", str(n)], check=True, stdout=subprocess.PIPE
    )
    return json.loads(asked.stdout)


def rows_alone(n: int) -> dict[str, float]:
    """Fit and transform n rows of a file; return seconds, and megabytes of peak and file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        _write(path, n)
        X = np.load(path, mmap_mode="r")
        settings = {"n_components": 2, "hidden": (32,), "batch_size": BATCH, "epochs": 1}
        model = VAE(**settings, validation_fraction=0.0, random_state=0)
        model.fit(X[: 2 * BATCH])  # warms up
        forget_peak()
        seconds = {"fit": _timed(lambda: model.fit(X))}
        model.transform(X)  # the first pass also finds the memory for the answer
        seconds["transform"] = _timed(lambda: model.transform(X))
        return {**seconds, "peak": peak_megabytes(), "file": path.stat().st_size / 1e6}


def _timed(f: Callable[[], object]) -> float:
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def _write(path: Path, n: int) -> None:
    """Write rows piece by piece, so that the file is never in memory as a whole."""
    rng = np.random.default_rng(0)
    X = np.lib.format.open_memmap(path, "w+", np.float32, (n, COLUMNS))
    for start in range(0, n, 100_000):
        X[start : start + 100_000] = rng.normal(size=(min(100_000, n - start), COLUMNS))
    X.flush()
