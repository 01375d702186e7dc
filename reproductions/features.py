"""Features of 1000 units + logistic regression on MNIST: test error of each autoencoder's code.

    python reproductions/features.py --data-home DIR [--epochs 20]

Published (k-sparse autoencoders, Makhzani, Frey, 2013): raw pixels 7.20 %, denoising 1.95 %,
k-sparse (k = 25) 1.35 %. One encoding layer and one decoding layer; the regression is trained on
all 60,000 codes, its penalty chosen on 10,000 held-out training rows.
"""

from __future__ import annotations

import numpy as np
from common import AS_PUBLISHED, command
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from isthmus import (
    Autoencoder,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
)
from isthmus.data import load

COMMON = AS_PUBLISHED | {
    "n_components": 1000,
    "hidden": (),
    "learning_rate": 1e-3,
    "random_state": 0,
    "progress": "lines",
}
MODELS = {
    "plain": (Autoencoder, {"activation": "relu"}),
    "denoising": (
        DenoisingAutoencoder,
        {"activation": "relu", "corruption": "masking", "corruption_level": 0.25},
    ),
    "contractive": (ContractiveAutoencoder, {"penalty_weight": 0.1, "activation": "sigmoid"}),
    "sparse": (SparseAutoencoder, {"penalty": "l1", "penalty_weight": 0.05}),
    "k-sparse": (SparseAutoencoder, {"activation": "topk", "n_active": 25, "penalty_weight": 0.0}),
}


def error(train, labels, test, answers):
    """Return the test error in percent."""
    scaler = StandardScaler(with_std=False).fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    held = slice(0, 10_000)
    best = max(
        (1e-3, 1e-1),
        key=lambda C: fit(train[10_000:], labels[10_000:], C).score(train[held], labels[held]),
    )
    return 100 * (1 - fit(train, labels, best).score(test, answers))


def fit(X, y, C):
    return LogisticRegression(C=C, max_iter=100, tol=1e-3).fit(X, y)


def run(arguments):
    mnist = load("mnist", data_home=arguments.data_home)
    epochs = arguments.epochs or 20
    flat = [x.reshape(len(x), -1).astype(np.float32) / 255 for x in (mnist.X, mnist.X_test)]
    errors = {"raw pixels": error(flat[0], mnist.y, flat[1], mnist.y_test)}
    print(errors, flush=True)
    for name, (cls, settings) in MODELS.items():
        model = cls(epochs=epochs, **COMMON, **settings).fit(mnist.X)
        codes = [model.transform(x) for x in (mnist.X, mnist.X_test)]
        errors[name] = error(codes[0], mnist.y, codes[1], mnist.y_test)
        print(name, errors[name], flush=True)
    return {
        "published": {"raw pixels": 7.20, "denoising": 1.95, "k-sparse": 1.35},
        "test_error_percent": errors,
        "epochs": epochs,
        "settings": {name: COMMON | s for name, (_, s) in MODELS.items()},
    }


if __name__ == "__main__":
    command(__doc__, run, "features")
