"""The number of components by default: below the number of features."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_wine

import isthmus
from isthmus.models.specs import DenoisingAutoencoder
from isthmus.registry import backbone_of

FAST = {"hidden": (4,), "epochs": 1, "random_state": 0, "progress": "none"}
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("X", "n"),
    [
        (load_wine().data, 6),
        (RNG.normal(size=(20, 1)), 1),
        (RNG.normal(size=(20, 2)), 1),
        (RNG.normal(size=(20, 3)), 1),
        (RNG.normal(size=(20, 200)), 20),
        (RNG.normal(size=(20, 1, 24)), 12),
        (RNG.normal(size=(20, 8, 8)), 20),
        (pd.DataFrame({"a": RNG.normal(size=20), "b": list("xy") * 10, "c": [0, 1] * 10}), 1),
    ],
)
def test_the_code_is_half_as_long_as_the_row_and_at_most_20_numbers(X, n, tmp_path):
    model = isthmus.VAE(**FAST).fit(X)
    assert model.n_components is None
    assert model.n_components_ == n == model.transform(X).shape[1]
    model.save(tmp_path)
    assert isthmus.load(tmp_path).n_components_ == n


def test_a_longer_code_may_be_chosen_and_sweeps_and_loaders_have_the_same_default():
    X = RNG.normal(size=(30, 5))
    assert isthmus.Autoencoder(n_components=9, **FAST).fit(X).n_components_ == 9
    sweep = isthmus.Sweep(isthmus.VAE(**FAST), {"n_components": [None, 3]}, random_state=0).fit(X)
    assert [e.n_components_ for e in sweep.estimators_] == [2, 3]
    assert isthmus.VAE(**FAST).fit_loader([X[:15], X[15:]]).n_components_ == 2


def test_the_default_of_before_does_not_choose_another_backbone():
    window = (1, 4096)
    assert backbone_of(DenoisingAutoencoder(n_components=20), window) == "spectral"
    assert backbone_of(DenoisingAutoencoder(n_components=19), window) == "mlp"
