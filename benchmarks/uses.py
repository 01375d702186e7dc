"""Every use against its rivals, in one table.

    python benchmarks/uses.py --data-home DIR [--only search repair ...] [--seeds 0 1 2]
        [--keep FILE.json] [--table FILE.md]

Runs the benchmarks of `benchmarks/tasks/` one after another, a seed at a time; each (task, seed)
is kept in the file when it is done, and one that is there is not run again, so that a run that was
stopped goes on. The table gives the mean over the seeds of each method, of isthmus the one setting
that the task names, and whether the aim is met. Rivals that need a library which is not installed
(pyod, scikit-image, noisereduce) are left out. All of it takes hours on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from tasks import anomalies, denoising, generation, repair, search

KEPT = Path(__file__).parent / "results" / "uses.json"
Record = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A benchmark: how to run it with one seed, and how to read its figures.

    Parameters
    ----------
    run : callable
        (data_home, seed) to records with data, method, figure and seconds.
    figure : str
        What the figure is.
    ours : tuple of str
        The methods of isthmus, the first the one that is held to the aim.
    aim : str
    greater : bool
        Whether a greater figure is better.
    within : float
        How far below the best rival is still enough.
    least : dict of str to float
        Figures to reach, by data, where there is no rival to beat.
    """

    run: Callable[[str, int], list[Record]]
    figure: str
    ours: tuple[str, ...]
    aim: str
    greater: bool = True
    within: float = 0.0
    least: tuple[tuple[str, float], ...] = ()

    def met(self, data: str, ours: float, best: float | None) -> bool:
        """Return whether the aim is met on a set of data."""
        asked = dict(self.least).get(data)
        if asked is not None:
            return ours >= asked
        if best is None:
            return True
        return ours + self.within >= best if self.greater else ours <= best + self.within


TASKS: dict[str, Task] = {
    "anomalies": Task(
        lambda home, seed: anomalies.rows(home, [seed]),
        "mean AUROC over the classes",
        ("isthmus",),
        "Fashion-MNIST .935; tables within .01 of the best",
        within=0.01,
        least=(("fashion-mnist", 0.935),),
    ),
    "repair": Task(
        lambda home, seed: repair.records(home, seed),
        "RMSE over the gaps",
        ("isthmus",),
        "the lowest",
        greater=False,
    ),
    "denoising": Task(
        lambda home, seed: denoising.rows(home, (seed,)),
        "decibels: PSNR of images, gain in SNR of speech",
        ("isthmus",),
        "the highest",
    ),
    "search": Task(
        lambda home, seed: search.rows(home, [seed]),
        "precision at 10",
        ("DenoisingAutoencoder 20", "Autoencoder 20", "VAE 20"),
        "above raw pixels and PCA",
    ),
    "generation": Task(
        lambda home, seed: generation.rows(home, [seed]),
        "share assigned to the requested class",
        (
            "ConditionalVAE, normal prior",
            "ConditionalVAE, normal prior, mixtures",
            "ConditionalVAE, mixture prior",
            "ConditionalVAE, flow prior",
            "Autoencoder, mixtures",
        ),
        "95%",
        least=(("mnist", 0.95),),
    ),
}


def run(name: str, data_home: str, seed: int) -> list[Record]:
    """Run one task with one seed; return its records."""
    found = TASKS[name].run(data_home, seed)
    keys = ("data", "method", "figure", "seconds")
    return [{"task": name, "seed": seed, **{k: row[k] for k in keys}} for row in found]


def table(records: list[Record]) -> list[str]:
    """Return the lines of one table in Markdown: a line for each task and its data."""
    lines = [
        "| application | data | measure | isthmus | alternatives, best first | target | reached |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, task in TASKS.items():
        mine = [r for r in records if r["task"] == name]
        for data in dict.fromkeys(r["data"] for r in mine):
            lines.append(_line(name, task, data, [r for r in mine if r["data"] == data]))
    return lines


def _line(name: str, task: Task, data: str, records: list[Record]) -> str:
    means = {
        method: float(np.mean([r["figure"] for r in records if r["method"] == method]))
        for method in dict.fromkeys(r["method"] for r in records)
    }
    ours = next((means[m] for m in task.ours if m in means), None)
    rivals = sorted(
        ((m, v) for m, v in means.items() if not _is_ours(m, task)),
        key=lambda pair: -pair[1] if task.greater else pair[1],
    )
    best = rivals[0][1] if rivals else None
    seeds = len({r["seed"] for r in records})
    met = ours is not None and task.met(data, ours, best)
    said = ", ".join(f"{m} {v:.3f}" for m, v in rivals) or "–"
    mark = "yes" if met else "no"
    figure = "–" if ours is None else f"**{ours:.3f}**"
    of_seeds = f"{data} ({seeds} seed{'s' * (seeds > 1)})"
    return f"| {name} | {of_seeds} | {task.figure} | {figure} | {said} | {task.aim} | {mark} |"


def _is_ours(method: str, task: Task) -> bool:
    return method in task.ours or method.startswith("isthmus")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", required=True)
    parser.add_argument("--only", nargs="+", default=[*TASKS], choices=[*TASKS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--keep", type=Path, default=KEPT)
    parser.add_argument("--table", type=Path, help="where the table goes, beside the screen")
    arguments = parser.parse_args()
    records = json.loads(arguments.keep.read_text()) if arguments.keep.is_file() else []
    for seed in arguments.seeds:
        for name in arguments.only:
            if any((r["task"], r["seed"]) == (name, seed) for r in records):
                continue
            records += run(name, arguments.data_home, seed)
            arguments.keep.write_text(json.dumps(records, indent=1) + "\n")
    lines = table(records)
    print("\n".join(lines))
    if arguments.table:
        arguments.table.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
