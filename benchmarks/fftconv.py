"""Where convolution by FFT overtakes direct convolution.

    python benchmarks/fftconv.py [--out FILE.json] [--rounds 7]

One layer of 16 to 16 channels, batch 8: signals of 16,000 values (at stride 1 and at stride 2,
where FFT computes all values and drops every second) and pictures of 128 x 128, for growing
kernels. Forward alone, and forward with backward. Both layers take turns; medians of the rounds
after a warm-up, and the least, which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from isthmus.nn.fft_conv import FFTConv1d, FFTConv2d

KERNELS = {"1-d": (3, 9, 17, 25, 33, 65, 129, 257, 513, 1025), "2-d": (3, 5, 9, 11, 15, 31, 63)}
CASES: dict[str, tuple[type, type, tuple[int, ...], int]] = {
    "1-d": (nn.Conv1d, FFTConv1d, (8, 16, 16_000), 1),
    "1-d, stride 2": (nn.Conv1d, FFTConv1d, (8, 16, 16_000), 2),
    "2-d": (nn.Conv2d, FFTConv2d, (8, 16, 128, 128), 1),
}
ENOUGH = 60.0  # seconds for one kernel length; then a slow pair gets fewer rounds


def seconds(step: Callable[[], object]) -> float:
    """Return the time of one step."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def forward(layer: Callable[[Tensor], Tensor], x: Tensor) -> None:
    with torch.no_grad():
        layer(x)


def both(layer: Callable[[Tensor], Tensor], x: Tensor) -> None:
    layer(x).sum().backward()


def in_turns(steps: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each step, round by round, without the first."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            times[name].append(seconds(step))
        if sum(map(sum, times.values())) > ENOUGH:
            break
    return {name: taken[1:] or taken for name, taken in times.items()}


def compare(case: str, kernel: int, rounds: int) -> list[dict]:
    """Return a row for forward alone and one for forward with backward."""
    direct, fft, shape, stride = CASES[case]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    by_fft = fft(16, 16, kernel)
    layers = {
        "direct": direct(16, 16, kernel, stride),
        "fft": by_fft if stride == 1 else lambda x: by_fft(x)[..., ::stride],
    }
    rows = []
    for passes, step in (("forward", forward), ("forward and backward", both)):
        steps = {name: lambda a=layer, do=step: do(a, x) for name, layer in layers.items()}
        times = in_turns(steps, rounds)
        rows.append({"case": case, "kernel": kernel, "passes": passes, **summary(times)})
    return rows


def summary(times: dict[str, list[float]]) -> dict[str, float]:
    """Return medians, least values, the ratio of the medians and the number of rounds."""
    middle = {name: statistics.median(taken) for name, taken in times.items()}
    least = {f"{name} least": min(taken) for name, taken in times.items()}
    ratio = middle["direct"] / middle["fft"]
    return {**middle, **least, "ratio": ratio, "rounds": len(times["fft"])}


def crossover(rows: list[dict]) -> int | None:
    """Return the shortest kernel from which FFT is the faster one, and stays it."""
    found = None
    for row in reversed(rows):
        if row["ratio"] < 1:
            break
        found = row["kernel"]
    return found


def show(row: dict) -> None:
    print(
        f"{row['case']:13}  kernel {row['kernel']:5}  {row['passes']:20}  "
        f"direct {row['direct']:8.4f} s  fft {row['fft']:8.4f} s  ratio {row['ratio']:7.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    rows: list[dict] = []
    for case in CASES:
        for kernel in KERNELS[case[:3]]:
            rows += compare(case, kernel, arguments.rounds)
            show(rows[-2])
            show(rows[-1])
    found = {
        f"{case}, {passes}": crossover(
            [r for r in rows if (r["case"], r["passes"]) == (case, passes)]
        )
        for case in CASES
        for passes in ("forward", "forward and backward")
    }
    for name, kernel in found.items():
        print(f"{name}: FFT is faster from kernel {kernel} on")
    if arguments.out:
        with open(arguments.out, "w") as file:
            setting = {"threads": torch.get_num_threads(), "torch": torch.__version__}
            json.dump({**setting, "crossover": found, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
