"""β-VAE and β-TCVAE on rendered sprites: the disentanglement table over seeds.

    python reproductions/disentanglement.py [--epochs 40]

The sprites are rendered like dSprites but are not that file, so the numbers are not directly
comparable with published ones. 30,000 random images at half size, 32 x 32, dense networks of
400-400, 10 components; the table uses 5,000 others. Published models trained for some 300,000
steps with 64 to 256 images of full size, these for 9,400 steps with 128.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from common import AS_PUBLISHED, command, plain

from isthmus import BetaVAE
from isthmus.data import sprites
from isthmus.evaluation import disentanglement_table

RUNS = Path(__file__).parent / "runs" / "disentanglement.json"
SEEDS = (0, 1, 2)
MODELS = {
    "VAE (beta 1)": {"beta": 1.0},
    "beta-VAE (beta 4)": {"beta": 4.0},
    "beta-TCVAE (beta 6)": {"beta": 6.0, "decomposed": True},
}
SETTINGS = AS_PUBLISHED | {
    "n_components": 10,
    "hidden": (400, 400),
    "batch_size": 128,
    "learning_rate": 5e-4,
    "validation_fraction": 0.0,
    "progress": "lines",
}


def halved(n, random_state):
    """Return sprites of 32 x 32 pixels, each the mean of four, and their factors."""
    pictures, factors = sprites.sample(n, random_state=random_state)
    small = pictures.reshape(n, 32, 2, 32, 2).mean((2, 4))
    return small.round().astype(np.uint8), factors


def keep(done):
    """Save the finished runs, so that an interrupted command can continue."""
    RUNS.parent.mkdir(exist_ok=True)
    RUNS.write_text(json.dumps(done, indent=1, default=plain) + "\n")


def run(arguments):
    epochs = arguments.epochs or 40
    train, _ = halved(30_000, random_state=0)
    test, factors = halved(5_000, random_state=1)
    table, done = {}, json.loads(RUNS.read_text()) if RUNS.is_file() else {}
    for name, settings in MODELS.items():
        runs = []
        for seed in SEEDS:
            key = json.dumps([name, seed, epochs, settings])
            if key not in done:
                model = BetaVAE(epochs=epochs, random_state=seed, **settings, **SETTINGS).fit(train)
                figures = disentanglement_table(model.transform(test), factors, random_state=0)
                done[key] = figures | {"ELBO": model.score(test[:1000])}
                keep(done)
            runs.append(done[key])
            print(name, seed, runs[-1], flush=True)
        table[name] = {
            key: {"mean": np.mean([r[key] for r in runs]), "std": np.std([r[key] for r in runs])}
            for key in runs[0]
        }
    return {"table": table, "seeds": SEEDS, "epochs": epochs, "settings": SETTINGS}


if __name__ == "__main__":
    command(__doc__, run, "disentanglement")
