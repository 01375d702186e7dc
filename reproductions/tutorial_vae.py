"""The tutorial model on MNIST: 784-400-20, batch 128, Adam 1e-3, 10 epochs; published 105.6 nats.

Test loss per image (cross-entropy on grey values + KL), one sample of z; two independent logs of
the PyTorch examples' VAE show 105.56 and 105.59, and 106.3 in training.
"""

from __future__ import annotations

from common import AS_PUBLISHED, Data, Job

from isthmus import VAE
from isthmus.data import load

SETTINGS = AS_PUBLISHED | {
    "n_components": 20,
    "hidden": (400,),
    "batch_size": 128,
    "learning_rate": 1e-3,
    "validation_fraction": 0.0,
    "epochs": 10,
    "progress": "lines",
}


def mnist(home):
    return Data(load("mnist", data_home=home).X)


def measure(model, home):
    test = load("mnist", data_home=home).X_test
    return {"test nats": -model.score(test), "training nats": model.history_[-1]["loss"]}


JOBS = [
    Job(
        "tutorial-vae",
        f"seed-{seed}",
        0.01,
        lambda seed=seed: VAE(**SETTINGS, random_state=seed),
        mnist,
        measure,
        {"test nats": 105.6, "training nats": 106.3},
    )
    for seed in range(3)
]
