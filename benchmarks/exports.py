"""How large exported networks are, and how fast each runtime computes them.

    OMP_NUM_THREADS=1 python benchmarks/exports.py [--out FILE.json] [--rounds 200]

Sizes of all files; of each model's encoder the time of one row, and rows a second in batches of
256, by PyTorch as it is, by the program of torch.export and by onnxruntime. They take turns;
medians of the rounds after a warm-up. One thread; processor time, which other programs disturb
less.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from isthmus import VAE, export
from isthmus.estimators import LatentEstimator
from isthmus.export import networks

BATCH = 256
Step = Callable[[], object]


def fitted() -> dict[str, LatentEstimator]:
    """Return the three models, after one pass over numbers of the right shape."""
    rng = np.random.default_rng(0)
    small = {"epochs": 1, "random_state": 0, "device": "cpu"}
    table = rng.normal(size=(512, 30)) * 10 + 5
    return {
        "dense, 784-400-20": VAE(hidden=(400,), n_components=20, **small).fit(
            rng.random((512, 28, 28), np.float32)
        ),
        "convolutional, 64x64": VAE(backbone="conv", n_components=20, **small).fit(
            rng.random((256, 64, 64), np.float32)
        ),
        "table, 30-64-8": VAE(hidden=(64,), n_components=8, **small).fit(table),
    }


def rows(model: LatentEstimator, n: int) -> np.ndarray:
    x = np.random.default_rng(1).random((n, *model.feature_shape_))
    return x.astype(export.x_dtype(model))


def session(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def sizes(model: LatentEstimator) -> dict[str, int]:
    """Return the bytes of each file."""
    found = {}
    for part in export.PARTS:
        found[f"{part}.onnx"] = len(getattr(export, part)(model))
        file = BytesIO()
        torch.export.save(export.program(model, part), file)
        found[f"{part}.pt2"] = len(file.getvalue())
    return found


def runtimes(model: LatentEstimator) -> dict[str, Callable[[np.ndarray], Step]]:
    """Return, by runtime, what makes a step of given rows."""
    eager, program = networks.Encode(model).eval(), export.program(model, "encoder").module()
    by_onnx = session(export.encoder(model))
    return {
        "PyTorch": lambda x: _by_torch(eager, x),
        "torch.export": lambda x: _by_torch(program, x),
        "onnxruntime": lambda x: lambda: by_onnx.run(None, {"x": x}),
    }


def _by_torch(module: Callable, x: np.ndarray) -> Step:
    tensor = torch.from_numpy(x)
    return lambda: module(tensor)


def in_turns(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Return the median of each step's seconds, without the first tenth of the rounds."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + rounds // 10):
        for name, step in steps.items():
            start = time.process_time()
            step()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(taken[rounds // 10 :]) for name, taken in times.items()}


def measure(name: str, model: LatentEstimator, rounds: int) -> dict:
    """Return sizes and times of a model."""
    found: dict = {"bytes": sizes(model), "microseconds, one row": {}, "rows a second": {}}
    makers = runtimes(model)
    with torch.inference_mode():
        alone, many = (
            in_turns({k: make(rows(model, n)) for k, make in makers.items()}, rounds)
            for n in (1, BATCH)
        )
    for runtime in makers:
        found["microseconds, one row"][runtime] = alone[runtime] * 1e6
        found["rows a second"][runtime] = BATCH / many[runtime]
    return found


def table(models: dict[str, dict]) -> str:
    """Return the figures as two tables of Markdown."""
    size = ["| KB | " + " | ".join(f"`{part}`" for part in export.PARTS) + " |"]
    size += ["| --- |" + " ---: |" * len(export.PARTS)]
    speed = [
        "| one row, µs; rows a second in batches of 256 | PyTorch | torch.export | onnxruntime |"
    ]
    speed += ["| --- |" + " ---: |" * 3]
    for name, found in models.items():
        for end in ("onnx", "pt2"):
            kilobytes = (f"{found['bytes'][f'{part}.{end}'] / 1e3:,.0f}" for part in export.PARTS)
            size.append(f"| {name}, .{end} | " + " | ".join(kilobytes) + " |")
        one, many = found["microseconds, one row"], found["rows a second"]
        cells = (f"{one[runtime]:,.0f}; {many[runtime]:,.0f}" for runtime in one)
        speed.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*size, "", *speed])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out")
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    setting = {
        "threads": 1,
        "load before": os.getloadavg()[0],
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
    print(setting)
    models = {k: measure(k, model, arguments.rounds) for k, model in fitted().items()}
    print(table(models))
    if arguments.out:
        Path(arguments.out).write_text(json.dumps({**setting, "models": models}, indent=1) + "\n")


if __name__ == "__main__":
    main()
