"""β-VAE and β-TCVAE on rendered sprites: the disentanglement table over seeds.

    python reproductions/disentanglement.py [--epochs 30]

The sprites are a rendering after dSprites, not that file: figures are not to be set beside
published ones digit for digit. 60,000 random pictures, dense networks of 1200-1200, 10 components
(the network of β-VAE's paper for dSprites is of this kind); the table on 5,000 others.
"""

from __future__ import annotations

import numpy as np
from common import command

from isthmus import BetaVAE
from isthmus.data import sprites
from isthmus.metrics import disentanglement_table

SEEDS = (0, 1, 2)
MODELS = {
    "VAE (beta 1)": {"beta": 1.0},
    "beta-VAE (beta 4)": {"beta": 4.0},
    "beta-TCVAE (beta 6)": {"beta": 6.0, "decomposed": True},
}
SETTINGS = {
    "n_components": 10,
    "hidden": (1200, 1200),
    "batch_size": 512,
    "learning_rate": 5e-4,
    "validation_fraction": 0.0,
    "progress": "lines",
}


def run(arguments):
    epochs = arguments.epochs or 30
    train, _ = sprites.sample(60_000, random_state=0)
    test, factors = sprites.sample(5_000, random_state=1)
    table = {}
    for name, settings in MODELS.items():
        runs = []
        for seed in SEEDS:
            model = BetaVAE(epochs=epochs, random_state=seed, **settings, **SETTINGS).fit(train)
            figures = disentanglement_table(model.transform(test), factors, random_state=0)
            runs.append(figures | {"ELBO": model.score(test[:1000])})
            print(name, seed, runs[-1], flush=True)
        table[name] = {
            key: {"mean": np.mean([r[key] for r in runs]), "std": np.std([r[key] for r in runs])}
            for key in runs[0]
        }
    return {"table": table, "seeds": SEEDS, "epochs": epochs, "settings": SETTINGS}


if __name__ == "__main__":
    command(__doc__, run, "disentanglement")
