"""Time one epoch of isthmus against a plain resident loop: same model, batch and steps.

    python benchmarks/training.py [--data-home DIR] [--rounds 5] [--out FILE.json]

Contenders take turns within one process, A B A B; medians over rounds after one warm-up. The
model is the 784-400-20 VAE at batch 128 in float32. The plain loop is what a careful person
writes by hand: the data a float tensor in memory, shuffled by index, fused Adam; once as it is
and once with denormal numbers flushed. The loss is printed beside the time, so that speed
cannot hide worse training. Without --data-home, data of the same shape are made.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus import VAE
from isthmus.build import build_model, build_objective
from isthmus.data import load
from isthmus.training import Rows, Trainer
from isthmus.training.devices import flush_denormals

BATCH = 128


class Plain(nn.Module):
    """The tutorial's model."""

    def __init__(self) -> None:
        super().__init__()
        self.inward = nn.Linear(784, 400)
        self.mean, self.log_variance = nn.Linear(400, 20), nn.Linear(400, 20)
        self.outward, self.logits = nn.Linear(20, 400), nn.Linear(400, 784)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, mean and log-variance."""
        h = F.relu(self.inward(x))
        mean, log_variance = self.mean(h), self.log_variance(h)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return self.logits(F.relu(self.outward(z))), mean, log_variance


def plain_epoch(x: Tensor, *, flush: bool) -> Callable[[], float]:
    """Return a function that trains one epoch by the plain loop and returns its mean loss."""
    torch.manual_seed(0)
    model = Plain()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def epoch() -> float:
        total = torch.zeros(())
        with flush_denormals() if flush else contextlib.nullcontext():
            for index in torch.randperm(len(x)).split(BATCH):
                batch = x[index]
                logits, mean, log_variance = model(batch)
                error = F.binary_cross_entropy_with_logits(logits, batch, reduction="sum")
                kl = -0.5 * (1 + log_variance - mean.pow(2) - log_variance.exp()).sum()
                optimizer.zero_grad()
                ((error + kl) / len(batch)).backward()
                optimizer.step()
                total += (error + kl).detach()
        return float(total / len(x))

    return epoch


def isthmus_epoch(pictures: np.ndarray) -> Callable[[], float]:
    """Return the same for isthmus: bytes on the device, through its trainer."""
    settings = VAE(n_components=20, hidden=(400,), batch_size=BATCH, learning_rate=1e-3)
    torch.manual_seed(0)
    model = build_model(settings, (28, 28), "bernoulli")
    trainer = Trainer(model, build_objective(settings), settings, torch.Generator().manual_seed(0))
    rows = Rows(torch.from_numpy(pictures))

    def epoch() -> float:
        with flush_denormals():
            return trainer.epoch(rows)["loss"]

    return epoch


def race(contenders: dict[str, Callable[[], float]], rounds: int) -> dict[str, dict]:
    """Let contenders take turns; return seconds and losses of each."""
    out = {name: {"seconds": [], "loss": []} for name in contenders}
    for _ in range(rounds + 1):
        for name, epoch in contenders.items():
            start = time.perf_counter()
            out[name]["loss"].append(epoch())
            out[name]["seconds"].append(time.perf_counter() - start)
    for figures in out.values():
        figures["median"] = statistics.median(figures["seconds"][1:])
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    if arguments.data_home:
        pictures = np.array(load("fashion-mnist", data_home=arguments.data_home).X)
    else:
        rng = np.random.default_rng(0)
        pictures = rng.integers(0, 256, (60_000, 28, 28), dtype=np.uint8)
    x = torch.from_numpy(pictures).reshape(-1, 784).float() / 255
    results = race(
        {
            "isthmus": isthmus_epoch(pictures),
            "plain loop": plain_epoch(x, flush=False),
            "plain loop, denormals flushed": plain_epoch(x, flush=True),
        },
        arguments.rounds,
    )
    base = results["isthmus"]["median"]
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, batch {BATCH}")
    for name, r in results.items():
        first, last = r["seconds"][1], r["seconds"][-1]
        print(
            f"{name:32} {r['median']:6.2f} s an epoch  (first {first:.2f}, last {last:.2f})  "
            f"isthmus is {base / r['median']:.2f}x of it  final loss {r['loss'][-1]:.2f}"
        )
    if arguments.out:
        with open(arguments.out, "w") as file:
            json.dump({"threads": torch.get_num_threads(), "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
