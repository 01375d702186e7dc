"""Codes of 30 numbers on MNIST; published squared errors: deep autoencoder 3.00, PCA 13.87.

    python reproductions/deep_codes.py --data-home DIR [--epochs 30]

After "Reducing the dimensionality of data with neural networks" (Hinton, Salakhutdinov, 2006):
784-1000-500-250-30. They pretrained layer by layer and then used conjugate gradients; here Adam
trains all layers at once. Pixels in [0, 1], cross-entropy, test rows.
"""

from __future__ import annotations

import numpy as np
from common import AS_PUBLISHED, command
from sklearn.decomposition import PCA

from isthmus import Autoencoder
from isthmus.data import load

SETTINGS = AS_PUBLISHED | {
    "n_components": 30,
    "hidden": (1000, 500, 250),
    "batch_size": 128,
    "learning_rate": 1e-3,
    "validation_fraction": 0.0,
    "random_state": 0,
    "progress": "lines",
}


def run(arguments):
    mnist = load("mnist", data_home=arguments.data_home)
    train, test = (x.reshape(len(x), -1) / 255 for x in (mnist.X, mnist.X_test))
    pca = PCA(30, random_state=0).fit(train)
    by_pca = np.sum((test - pca.inverse_transform(pca.transform(test))) ** 2, 1).mean()
    epochs = arguments.epochs or 30
    model = Autoencoder(epochs=epochs, **SETTINGS).fit(mnist.X)
    ours = np.sum((test - model.reconstruct(mnist.X_test).reshape(test.shape)) ** 2, 1).mean()
    return {
        "published": {"autoencoder": 3.00, "pca": 13.87},
        "autoencoder": ours,
        "pca": by_pca,
        "epochs": epochs,
        "settings": SETTINGS,
    }


if __name__ == "__main__":
    command(__doc__, run, "deep-codes")
