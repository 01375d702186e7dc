"""β-VAE and β-TCVAE on rendered sprites: the disentanglement table over seeds.

The sprites are rendered like dSprites but are not that file, so the numbers are not directly
comparable with published ones. 30,000 random images at half size, 32 x 32, dense networks of
400-400, 10 components; the table uses 5,000 others. Published models trained for some 300,000
steps with 64 to 256 images of full size.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from common import AS_PUBLISHED, Data, Job

from isthmus import BetaVAE
from isthmus.data import sprites
from isthmus.evaluation import disentanglement_table

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
    "epochs": 250,
    "progress": "lines",
}


@cache
def halved(n, random_state):
    """Return sprites of 32 x 32 pixels, each the mean of four, and their factors."""
    pictures, factors = sprites.sample(n, random_state=random_state)
    small = pictures.reshape(n, 32, 2, 32, 2).mean((2, 4))
    return small.round().astype(np.uint8), factors


def data(home):
    return Data(halved(30_000, random_state=0)[0])


def measure(model, home):
    test, factors = halved(5_000, random_state=1)
    figures = disentanglement_table(model.transform(test), factors, random_state=0)
    return figures | {"ELBO": model.score(test[:1000])}


JOBS = [
    Job(
        "disentanglement",
        f"{name}, seed {seed}",
        0.6,
        lambda seed=seed, settings=settings: BetaVAE(random_state=seed, **settings, **SETTINGS),
        data,
        measure,
    )
    for seed in range(5)
    for name, settings in MODELS.items()
]
