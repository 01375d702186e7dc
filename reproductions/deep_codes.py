"""Codes of 30 numbers on MNIST; published squared errors: deep autoencoder 3.00, PCA 13.87.

After "Reducing the dimensionality of data with neural networks" (Hinton, Salakhutdinov, 2006):
784-1000-500-250-30, pixels in [0, 1], cross-entropy, test rows. They pretrained layer by layer and
then used conjugate gradients; here one optimizer trains all layers at once. "adam" has a constant
rate, "recipe" a warm-up and cosine decay.
"""

from __future__ import annotations

import numpy as np
from common import AS_PUBLISHED, Data, Job
from sklearn.decomposition import PCA

from isthmus import Autoencoder
from isthmus.data import load

SETTINGS = {
    "n_components": 30,
    "hidden": (1000, 500, 250),
    "batch_size": 128,
    "validation_fraction": 0.0,
    "random_state": 0,
    "progress": "lines",
}
CASES = {
    "adam": AS_PUBLISHED | {"learning_rate": 1e-3, "epochs": 200},
    "recipe": {"learning_rate": 3e-3, "lr_schedule": "cosine", "epochs": 200},
}


def data(home):
    return Data(load("mnist", data_home=home).X)


def measure(model, home):
    found = load("mnist", data_home=home)
    train, test = (x.reshape(len(x), -1) / 255 for x in (found.X, found.X_test))
    pca = PCA(30, random_state=0).fit(train)
    ours = model.reconstruct(found.X_test).reshape(test.shape)
    by_pca = pca.inverse_transform(pca.transform(test))
    return {
        "squared error": np.sum((test - ours) ** 2, 1).mean(),
        "squared error of PCA": np.sum((test - by_pca) ** 2, 1).mean(),
    }


JOBS = [
    Job(
        "deep-codes",
        name,
        1,
        lambda settings=settings: Autoencoder(**SETTINGS, **settings),
        data,
        measure,
        {"squared error": 3.00, "squared error of PCA": 13.87},
    )
    for name, settings in CASES.items()
]
