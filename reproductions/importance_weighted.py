"""Importance-weighted bounds on MNIST, k = 1, 5, 50: published 86.76, 85.54, 84.78 nats.

Settings of "Importance weighted autoencoders" (Burda, Grosse, Salakhutdinov, 2016), one stochastic
layer: 200-200 tanh, 50 components, batch 20, Adam, pixels binarised in every step. Eight stages of
1, 3, 9, ... 2187 epochs, 3280 together, at rates from 1e-3 to 1e-4. Test pixels are binarised once;
5000 importance samples.
"""

from __future__ import annotations

import numpy as np
from common import AS_PUBLISHED, Data, Job, binarized

from isthmus import VAE
from isthmus.data import load
from isthmus.evaluation.likelihood import importance_weighted

NLL = "negative log-likelihood"
PUBLISHED = {1: 86.76, 5: 85.54, 50: 84.78}
HOURS = {1: 3, 5: 6, 50: 40}
STAGES = tuple({"epochs": 3**i, "learning_rate": 1e-3 * 10 ** (-i / 7)} for i in range(8))
SETTINGS = AS_PUBLISHED | {
    "n_components": 50,
    "hidden": (200, 200),
    "nonlinearity": "tanh",
    "batch_size": 20,
    "binarize": True,
    "validation_fraction": 0.0,
    "random_state": 0,
    "progress": "lines",
}


def data(home):
    return Data(load("mnist", data_home=home).X)


def measure(model, home):
    test = binarized(load("mnist", data_home=home).X_test, seed=0)
    return {NLL: -float(np.mean(importance_weighted(model, test, 5000).log_likelihood))}


def estimator(k):
    return VAE(bound="elbo" if k == 1 else "iwae", n_samples=k, **SETTINGS)


JOBS = [
    Job(
        "importance-weighted",
        f"k-{k}",
        HOURS[k],
        lambda k=k: estimator(k),
        data,
        measure,
        {NLL: published},
        STAGES,
    )
    for k, published in PUBLISHED.items()
]
