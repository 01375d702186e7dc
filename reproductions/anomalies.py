"""One class of Fashion-MNIST or MNIST is normal: area under the ROC curve, mean of ten classes.

After "RaPP: novelty detection with reconstruction along projection pathway" (Kim, Shim, Lim, Jeon,
Choi, Kim, Yoon, 2020), unimodal normality: trained on the training rows of one class; of the test
rows, half are of that class and half of the nine others. "error" scores by reconstruction error,
"NAP" by normalized aggregation along the pathway. The published means are those of Fashion-MNIST,
where the best other method reaches .935.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from common import Data, Job
from sklearn.metrics import roc_auc_score

from isthmus import VAE, Autoencoder
from isthmus.applications import AnomalyDetector
from isthmus.data import load

SETTINGS = {
    "n_components": 20,
    "hidden": (400, 200, 100, 50),
    "epochs": 100,
    "random_state": 0,
    "progress": "lines",
}
MODELS = {"autoencoder": Autoencoder, "VAE": VAE}
PUBLISHED = {
    ("fashion-mnist", "autoencoder"): {"AUROC of error": 0.924, "AUROC of NAP": 0.933},
    ("fashion-mnist", "VAE"): {"AUROC of error": 0.905, "AUROC of NAP": 0.934},
}


def data(name, normal, home):
    found = load(name, data_home=home)
    return Data(np.array(found.X)[found.y == normal])


def measure(name, normal, model, home):
    found = load(name, data_home=home)
    test, is_normal = np.array(found.X_test), found.y_test == normal
    others = np.random.default_rng(0).permutation(np.flatnonzero(~is_normal))[: is_normal.sum()]
    rows = np.concatenate([test[is_normal], test[others]])
    novel = np.arange(len(rows)) >= is_normal.sum()
    scores = {
        score: AnomalyDetector(model, score_method=method)
        .fit(data(name, normal, home).X)
        .anomaly_score(rows)
        for score, method in (("error", "reconstruction"), ("NAP", "nap"))
    }
    return {f"AUROC of {score}": roc_auc_score(novel, found) for score, found in scores.items()}


JOBS = [
    Job(
        "anomalies",
        f"{name}, {kind}, class {normal}",
        0.1,
        lambda cls=cls: cls(**SETTINGS),
        partial(data, name, normal),
        partial(measure, name, normal),
        PUBLISHED.get((name, kind), {}),
    )
    for name in ("fashion-mnist", "mnist")
    for kind, cls in MODELS.items()
    for normal in range(10)
]
