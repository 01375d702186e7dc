"""Train overcomplete sparse codes on real activations; show how sparse, how faithful, how alive.

    python benchmarks/sparse_codes.py --data-home DIR [--data fashion-mnist] [--steps 4000]
        [--only topk jumprelu] [--no-revival] [--out FILE.json]

The activations are codes of 64 numbers that an autoencoder (784-400-64) makes of pictures, and
the sparse codes have 32 times as many units: 2048. Figures are of held-out activations, except
the dead share: units that are active on no row of all, trained on or not. Without --data-home,
the activations are the 64 pixels of scikit-learn's digits.
"""

from __future__ import annotations

import argparse
import json
import time
from types import SimpleNamespace

import numpy as np
import torch
from sklearn.datasets import load_digits

from isthmus import Autoencoder
from isthmus.backbones import Shapes, mlp
from isthmus.data import load
from isthmus.likelihoods import GaussianFamily
from isthmus.metrics import sparsity
from isthmus.model import LatentVariableModel
from isthmus.objective import Objective
from isthmus.penalties import L1, KLSparsity
from isthmus.rows import Training
from isthmus.sparse import SPARSE_POINTS, GatePenalty, GateReconstruction, WarmUp
from isthmus.sparse_training import Revive, UnitColumns, start_sparse
from isthmus.training import Rows, Trainer

TIMES, BATCH = 32, 256
PARTS = SimpleNamespace(n_active=16, bandwidth=0.1)


def activations(name: str, data_home: str | None) -> torch.Tensor:
    """Return real activations (n, 64), each feature of mean 0 and variance 1."""
    if data_home is None:
        X = load_digits().data
    else:
        pictures = load(name, data_home=data_home).X
        X = Autoencoder(n_components=64, epochs=4, random_state=0).fit_transform(pictures)
    X = X[np.random.default_rng(0).permutation(len(X))]
    return torch.from_numpy((X - X.mean(0)) / np.maximum(X.std(0), 1e-6)).float()


def penalties(warm_up: int) -> dict[str, tuple]:
    """Return the penalties of each activation."""
    return {
        "relu": (WarmUp(L1(2.0), warm_up),),
        "sigmoid": (WarmUp(KLSparsity(1.0, target=16 / 2048), warm_up),),
        "topk": (),
        "batchtopk": (),
        "jumprelu": (WarmUp(GatePenalty(0.5), warm_up),),
        "gated": (WarmUp(GatePenalty(2.0), warm_up), GateReconstruction()),
    }


def train(x: torch.Tensor, activation: str, steps: int, revive: Revive | None):
    """Return the trained model of one activation."""
    d = x.shape[1]
    posterior = SPARSE_POINTS[activation]((TIMES * d,), PARTS)
    torch.manual_seed(0)
    networks = mlp(Shapes((d,), TIMES * d), hidden=())
    model = LatentVariableModel(*networks, posterior, GaussianFamily((d,)))
    start_sparse(model, x)
    rows = Rows(x)
    settings = Training(
        epochs=max(1, round(steps / rows.n_batches(BATCH))), batch_size=BATCH, learning_rate=1e-3
    )
    objective = Objective(beta=0.0, penalties=penalties(steps // 10)[activation])
    trainer = Trainer(model, objective, settings, torch.Generator().manual_seed(0))
    trainer.fit(rows, callbacks=[UnitColumns(), *([revive] if revive else [])])
    return model


@torch.no_grad()
def figures(model: LatentVariableModel, x: torch.Tensor, held: torch.Tensor) -> dict[str, float]:
    """Return the figures of a trained model."""
    threshold = 0.1 if model.posterior.activation == "sigmoid" else 0.0
    z = model.encode(held).mean
    alive = torch.zeros(z.shape[1], dtype=torch.bool)
    for rows in (*x.split(4096), held):
        alive |= (model.encode(rows).mean > threshold).any(0)
    return {
        "L0": sparsity.l0(z.numpy(), threshold),
        "explained variance": sparsity.explained_variance(
            held.numpy(), model.reconstruct(z).numpy()
        ),
        "dead share": 1 - float(alive.float().mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--only", nargs="+", default=list(penalties(1)))
    parser.add_argument("--no-revival", action="store_true")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    x = activations(arguments.data, arguments.data_home)
    held, x = x[: len(x) // 10], x[len(x) // 10 :]
    print(f"{len(x)} rows of {x.shape[1]} numbers, {TIMES * x.shape[1]} units", flush=True)
    results = {}
    for name in arguments.only:
        revive = None if arguments.no_revival else Revive()
        start = time.perf_counter()
        model = train(x, name, arguments.steps, revive)
        seconds = time.perf_counter() - start
        revived = revive.revived if revive else []
        results[name] = figures(model, x, held) | {"seconds": seconds, "revived": revived}
        figures_text = "  ".join(f"{k} {v:.3f}" for k, v in results[name].items() if k != "revived")
        print(f"{name:10} {figures_text}  revived {revived}", flush=True)
    if arguments.out:
        with open(arguments.out, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
