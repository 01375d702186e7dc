"""Numbers of a summary mean the same whatever the units of the columns."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from isthmus import VAE, Autoencoder
from isthmus.evaluation import evaluate_model, held_out_summary
from isthmus.evaluation.reconstruction import column_units

RNG = np.random.default_rng(0)
FAST = {"n_components": 2, "hidden": (8,), "epochs": 3, "random_state": 0}
TABLE = pd.DataFrame(RNG.normal(size=(80, 4)) @ RNG.normal(size=(4, 4)), columns=[*"abcd"])
UNITS = np.array([1.0, 2.0**17, 2.0**-9, 1.0])  # exact, so that the models are the same
ERROR = "squared error per example, scaled columns"


def described(frame, cls=VAE, **settings):
    """Return the summary and the metrics of a model of a data frame or an array."""
    model = cls(**FAST, **settings).fit(frame)
    X = np.asarray(frame) if model.columns_ is None else model.columns_.to_numbers(frame)
    return held_out_summary(model, X[:60], X[60:]), evaluate_model(model, X, n_samples=2)


@pytest.mark.parametrize("as_input", [lambda frame: frame, np.asarray])
def test_errors_of_a_table_do_not_depend_on_its_units(as_input):
    one, other = described(as_input(TABLE)), described(as_input(TABLE * UNITS))
    for before, after in zip(one, other, strict=True):
        units = ("scaled columns", "explained variance", "cosine")
        names = [name for name in before if any(word in name for word in units)]
        assert [after[name] for name in names] == pytest.approx([before[name] for name in names])
        assert 0 < before[ERROR] < 2 * 4  # of four columns of variance 1
        assert "squared error per example" not in before
    assert "squared error of PCA, same size, scaled columns" in one[0]
    assert "mean squared error, scaled columns" in one[1]


def test_a_table_is_compared_with_pca_of_scaled_columns():
    wide = TABLE.assign(b=TABLE.b * 1e6)
    summary, _ = described(wide)
    pca = summary["squared error of PCA, same size, scaled columns"]
    assert 0.01 < pca < 4  # PCA of raw values keeps the wide column alone


def test_errors_of_mixed_tables_are_those_of_scaled_columns():
    kind = pd.Series(RNG.integers(3, size=80)).map({0: "x", 1: "y", 2: "z"})
    one, other = (described(frame.assign(kind=kind)) for frame in (TABLE, TABLE * UNITS))
    assert not any("squared error" in name for name in one[0])
    assert other[1][ERROR] == pytest.approx(one[1][ERROR])
    assert "mean squared error" not in one[1]
    assert -1 <= one[1]["cosine of reconstruction"] < 0.99


def test_columns_that_are_not_scaled_count_in_their_spread():
    counts = RNG.poisson([2, 200], (80, 2)).astype(float)
    model = VAE(**FAST, likelihood="poisson").fit(pd.DataFrame(counts, columns=["rare", "common"]))
    np.testing.assert_allclose(column_units(model, counts), counts.std(axis=0))
    assert column_units(VAE(**FAST).fit(counts.reshape(40, 2, 2)), counts) is None  # one unit


@pytest.mark.parametrize("cls", [VAE, Autoencoder])
def test_cosines_close_to_1_for_any_reconstruction_are_left_out(cls):
    images = load_digits().images[:80] / 16
    name = "cosine of reconstruction"
    assert 0 < described(images, cls)[1][name] < 0.99
    numbers = described(images + 100, cls, likelihood="gaussian")[1]
    assert name not in numbers
    assert numbers["explained variance"] < 1
    measurements = TABLE + 1000  # as a pressure in hPa
    numbers = described(measurements, cls)[1]
    assert numbers["cosine of reconstruction"] < 0.99
