"""Write the measurements in docs/scale.md from the saved results: python docs/make_scale.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "scale.md"
MARK = "<!-- from here on written by docs/make_scale.py -->\n"
N_ROWS, WIDTH, CODE = 10**9, 784, 10
CASE, PART, HIDDEN = "batch 2048, hidden 400", 2048, 400

TEXT = """

## Measurements

`python docs/make_scale.py` writes this section from the results of `{command}` (one thread per
process, on two cores; rows of 784 numbers, a dense VAE with a code of 10, batches of 256 unless
stated otherwise).

**Memory stays flat.** One epoch over a file, in a process limited to {limit:.0f} MB
(RLIMIT_DATA); the last file is ten times as large. Before training the process uses {before:.0f}
MB, most of it for torch.

| file, GB | peak resident memory, MB | private to the process, MB | rows per second |
| ---: | ---: | ---: | ---: |
{memory}

**Reading keeps up.** Rows per second for a 784-64-10 VAE, which is small so that reading matters;
medians of rounds that alternate with the same rows in memory:

| source | rows per second | relative to memory |
| --- | ---: | ---: |
{speed}

**Two processes**, one core each, compared with one:

| step | one, rows per second | two, rows per second | speed-up |
| --- | ---: | ---: | ---: |
{processes}

For small models and batches, two processes are slower than one; see the first line. When this was
measured, a single process also replayed recorded steps, which isthmus has since given up.

## A billion rows

A 784-{hidden}-{code} VAE has P = {p:,} weights: 6 P = {flops:.1f} million operations per row and
pass, {total:.1f}·10^15 per epoch of 10^9 rows. As bytes, the rows take {disk:,.0f} GB on disk.

Let r be the rows per second of one device, b = {part} the rows of its part of a batch, and s the
time that W devices need to sum gradients of 4 P bytes: s = 2 (W - 1) / W · s₂ for a ring, where
s₂ is the time for two devices. A step takes b / r + s, and an epoch has 10^9 / (W b) steps.
Measured here, for a device that is one core: r = {rate:,.0f}, and from the rate of two processes
s₂ = {sync:.1f} ms (loopback; gradients of {gradient:.1f} MB).

| devices | batch | ms per step | steps per epoch | hours | computing | MB read per second |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{sizing}

For other devices, insert their r (`examples_per_second` in `history.jsonl` of a short run with
this batch) and their s₂ (about 4 P bytes divided by the bandwidth between them). The time per
epoch falls in proportion to W while b / r is well above s: increase the part of a batch until the
rate stops growing, then try bfloat16. You do not need a full epoch of 10^9 rows to begin:
`epochs=None` aims at 6,000 steps and at least 20 epochs, so pass `--epochs 1` and look at the
validation loss. GPUs and more than two processes were not measured.
"""


def main() -> None:
    found = json.loads((ROOT / "benchmarks" / "results" / "scale.json").read_text())
    page = PAGE.read_text().partition(MARK)[0].rstrip() + "\n\n"
    PAGE.write_text(page + MARK + TEXT.format(**_numbers(found)))


def _numbers(found: dict[str, Any]) -> dict[str, Any]:
    memory, speed, both = found["memory"], found["speed"], found["processes"][CASE]
    p = sum(a * b + b for a, b in ((WIDTH, HIDDEN), (HIDDEN, 2 * CODE), (CODE, HIDDEN)))
    p += HIDDEN * WIDTH + WIDTH
    sync = max(0.0, PART / both["two"] - PART / 2 / both["one"])
    return {
        "command": found["command"],
        "limit": memory[-1]["limit"],
        "before": memory[-1]["resident_before"],
        "memory": _lines(
            f"{m['gigabytes']:.1f} | {m['resident_peak']:,.0f} | {m['data']:,.0f} | "
            f"{m['rows_per_second']:,.0f}"
            for m in memory
        ),
        "speed": _lines(
            f"{name} | {rate:,.0f} | {speed['of_memory'][name]:.2f}"
            for name, rate in speed["rows_per_second"].items()
        ),
        "processes": _lines(
            f"{name} | {r['one']:,.0f} | {r['two']:,.0f} | {r['two'] / r['one']:.2f}"
            for name, r in found["processes"].items()
        ),
        "hidden": HIDDEN,
        "code": CODE,
        "p": p,
        "flops": 6 * p / 1e6,
        "total": 6 * p * N_ROWS / 1e15,
        "disk": N_ROWS * WIDTH / 1e9,
        "part": PART,
        "rate": both["one"],
        "sync": sync * 1e3,
        "gradient": 4 * p / 1e6,
        "sizing": _lines(_sizing(w, both["one"], sync) for w in (1, 8, 64)),
    }


def _sizing(devices: int, rate: float, sync: float) -> str:
    computing = PART / rate
    step = computing + 2 * (devices - 1) / devices * sync
    steps = N_ROWS / (devices * PART)
    reading = devices * PART / step * WIDTH / 1e6
    return (
        f"{devices} | {devices * PART:,} | {step * 1e3:.1f} | {steps:,.0f} | "
        f"{steps * step / 3600:.1f} | {computing / step:.0%} | {reading:,.0f}"
    )


def _lines(cells: Any) -> str:
    return "\n".join(f"| {each} |" for each in cells)


if __name__ == "__main__":
    main()
