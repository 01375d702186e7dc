"""Shared code of the reproductions: command line, data, result file."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import isthmus

RESULTS = Path(__file__).parent / "results"
#: Published results are those of the last weights, trained from the first step at the full rate.
AS_PUBLISHED: dict[str, Any] = {"warmup": 0, "ema": 0.0}


def command(describe: str, run: Callable[[argparse.Namespace], dict[str, Any]], name: str) -> None:
    """Parse --data-home and --epochs, run, and save result, settings and time as JSON."""
    parser = argparse.ArgumentParser(description=describe.splitlines()[0])
    parser.add_argument("--data-home", help="folder that contains mnist/ and fashion-mnist/")
    parser.add_argument("--epochs", type=int, help="number of epochs, instead of the default")
    arguments = parser.parse_args()
    start = time.perf_counter()
    result = run(arguments)
    result |= {
        "seconds": round(time.perf_counter() - start, 1),
        "threads": torch.get_num_threads(),
        "isthmus": isthmus.__version__,
        "torch": torch.__version__,
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(result, indent=2, default=plain) + "\n"
    (RESULTS / f"{name}.json").write_text(text)
    print(text)


def plain(value: Any) -> Any:
    """Convert NumPy numbers to Python numbers."""
    return value.tolist()


def binarized(pictures: np.ndarray, seed: int) -> np.ndarray:
    """Return bytes 0 or 255, drawn once with the grey values as probabilities."""
    draw = np.random.default_rng(seed).random(pictures.shape) < pictures / 255
    return 255 * draw.astype(np.uint8)
