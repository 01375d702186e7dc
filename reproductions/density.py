"""Dense VAEs with a standard normal or a VampPrior, on Fashion-MNIST and MNIST.

Protocol of the density-estimation table of "Exemplar VAE: linking generative models, nearest
neighbor retrieval, and data augmentation" (Norouzi, Fleet, Norouzi, 2020): 50,000 / 10,000 /
10,000 rows; training pixels binarised anew in every batch, validation and test pixels once
(seed 777, validation first); two gated dense layers of 300 each way, 40 components; Adam on
gradients divided by their norm, step 5e-4, batch 100, KL warm-up of 100 epochs, patience 50, at
most 2000 epochs; 5000 importance samples.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from common import AS_PUBLISHED, Data, Job

from isthmus import VAE
from isthmus.data import load
from isthmus.evaluation.likelihood import importance_weighted

NLL = "negative log-likelihood"
PUBLISHED = {
    ("fashion-mnist", "standard"): 228.70,
    ("fashion-mnist", "vamp"): 227.35,
    ("mnist", "standard"): 84.45,
    ("mnist", "vamp"): 82.43,
}
SETTINGS = AS_PUBLISHED | {
    "n_components": 40,
    "hidden": (300, 300),
    "backbone": "gated",
    "prior_modes": 500,
    "binarize": True,
    "normalize_gradients": True,
    "learning_rate": 5e-4,
    "batch_size": 100,
    "beta_schedule": "linear",
    "beta_epochs": 100,
    "patience": 50,
    "epochs": 2000,
    "random_state": 0,
    "progress": "lines",
}


def held_out(name, home):
    """Return validation and test rows, binarised once."""
    draw, found = np.random.RandomState(777), load(name, data_home=home)
    once = lambda x: 255 * draw.binomial(1, np.asarray(x) / 255.0).astype(np.uint8)  # noqa: E731
    return once(found.X[50_000:]), once(found.X_test)


def data(name, home):
    return Data(np.array(load(name, data_home=home).X[:50_000]), held_out(name, home)[0])


def measure(name, model, home):
    test = held_out(name, home)[1]
    found = importance_weighted(model, test, 5000)
    return {NLL: -float(np.mean(found.log_likelihood)), "negative ELBO": -model.score(test)}


JOBS = [
    Job(
        "density",
        f"{name}-{prior}",
        hours,
        lambda prior=prior: VAE(prior=prior, **SETTINGS),
        partial(data, name),
        partial(measure, name),
        {NLL: published},
    )
    for ((name, prior), published), hours in zip(PUBLISHED.items(), (5, 9, 5, 9), strict=True)
]
