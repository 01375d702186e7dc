"""Where convolution by FFT overtakes direct convolution.

    python benchmarks/fftconv.py [--out FILE.json]

Forward and backward of one layer, 16 to 16 channels, batch 8: signals of 16,000 values and pictures
of 128 x 128, for growing kernels. Both layers take turns; medians of seven rounds after a warm-up.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch
from torch import nn

from isthmus.fftconv import FFTConv1d, FFTConv2d

CASES = {
    "1-d": (nn.Conv1d, FFTConv1d, (8, 16, 16_000), (3, 9, 17, 33, 65, 129, 257, 513, 1025)),
    "2-d": (nn.Conv2d, FFTConv2d, (8, 16, 128, 128), (3, 5, 9, 15, 21, 31, 47, 63)),
}


def seconds(layer: nn.Module, x: torch.Tensor) -> float:
    """Return the time of one forward and backward pass."""
    start = time.perf_counter()
    layer(x).sum().backward()
    return time.perf_counter() - start


def compare(direct, fft, shape, kernel, rounds) -> dict[str, float]:
    """Return the median seconds of both, taking turns."""
    x = torch.randn(shape, requires_grad=True)
    layers = {"direct": direct(16, 16, kernel), "fft": fft(16, 16, kernel)}
    times: dict[str, list[float]] = {name: [] for name in layers}
    for _ in range(rounds + 1):
        for name, layer in layers.items():
            times[name].append(seconds(layer, x))
    return {name: statistics.median(t[1:]) for name, t in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, seconds a step")
    results = []
    for axes, (direct, fft, shape, kernels) in CASES.items():
        for kernel in kernels:
            t = compare(direct, fft, shape, kernel, arguments.rounds)
            results.append({"axes": axes, "kernel": kernel, **t})
            print(
                f"{axes}  kernel {kernel:5}  direct {t['direct']:8.4f}  fft {t['fft']:8.4f}  "
                f"fft is {t['direct'] / t['fft']:6.2f} times as fast",
                flush=True,
            )
    if arguments.out:
        with open(arguments.out, "w") as file:
            json.dump({"threads": torch.get_num_threads(), "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
