"""Features of 1000 units + logistic regression on MNIST: test error of each autoencoder's code.

Published (k-sparse autoencoders, Makhzani, Frey, 2013): raw pixels 7.20 %, denoising 1.95 %,
k-sparse (k = 25) 1.35 %. One encoding layer and one decoding layer; the regression is trained on
all 60,000 codes, its penalty chosen on 10,000 held-out training rows.
"""

from __future__ import annotations

from common import AS_PUBLISHED, Data, Job
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from isthmus import (
    Autoencoder,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
)
from isthmus.data import load

ERROR = "test error in percent"
PUBLISHED = {"denoising": 1.95, "k-sparse": 1.35}
SETTINGS = AS_PUBLISHED | {
    "n_components": 1000,
    "hidden": (),
    "learning_rate": 1e-3,
    "epochs": 100,
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
HOURS = {"contractive": 1.5}


def data(home):
    return Data(load("mnist", data_home=home).X)


def error(train, labels, test, answers):
    """Return the test error in percent."""
    scaler = StandardScaler(with_std=False).fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    held = slice(0, 10_000)
    best = max(
        (1e-3, 1e-2, 1e-1),
        key=lambda C: fit(train[10_000:], labels[10_000:], C).score(train[held], labels[held]),
    )
    return 100 * (1 - fit(train, labels, best).score(test, answers))


def fit(X, y, C):
    return LogisticRegression(C=C, max_iter=100, tol=1e-3).fit(X, y)


def measure(model, home):
    mnist = load("mnist", data_home=home)
    codes = (model.transform(x) for x in (mnist.X, mnist.X_test))
    return {ERROR: error(next(codes), mnist.y, next(codes), mnist.y_test)}


JOBS = [
    Job(
        "features",
        name,
        HOURS.get(name, 0.6),
        lambda cls=cls, settings=settings: cls(**SETTINGS, **settings),
        data,
        measure,
        {ERROR: PUBLISHED[name]} if name in PUBLISHED else {},
    )
    for name, (cls, settings) in MODELS.items()
]
