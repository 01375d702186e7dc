"""A gap beside a value that is far from all others: a finite result, or an error in one line."""

import numpy as np
import pandas as pd
import pytest

import isthmus
from isthmus.applications import LatentImputer

SMALL = {"n_components": 2, "hidden": (4,), "epochs": 1, "random_state": 0}
RNG = np.random.default_rng(0)
GOOD = RNG.normal(size=(40, 3))
GOOD[::5, 0] = np.nan


def table(value, place):
    """Return rows with gaps, an extreme value and a category."""
    X = GOOD.copy()
    X[place] = value
    return pd.DataFrame(X, columns=list("abc")).assign(kind=["x", "y", None, "z"] * 10)


def check(call):
    try:
        result = call()
    except ValueError as error:
        message = str(error)
    else:
        numbers = result.select_dtypes("number") if isinstance(result, pd.DataFrame) else result
        assert np.isfinite(numbers).all(axis=None)
        return
    assert "float32" in message
    assert "\n" not in message


@pytest.mark.parametrize("value", [1e20, 1e14, -1e10, 1e38])
@pytest.mark.parametrize("place", [(5, 1), (6, 0)], ids=["beside", "in the column"])
class TestExtremeValues:
    def test_imputer_of_mixed_tables(self, value, place):
        """Numbers of any size do not count as categories, of which there would be 1e14."""
        imputer = LatentImputer(isthmus.VAE(**SMALL), n_draws=4, random_state=0)
        rows = table(value, place)
        check(lambda: imputer.fit(table(0, place)).transform(rows))
        check(lambda: imputer.fit(rows).transform(rows))

    @pytest.mark.parametrize("method", ["sample", "decode", "optimize", "predict"])
    def test_imputer_of_numbers(self, value, place, method):
        rows = table(value, place)[["a", "b", "c"]].to_numpy()
        imputer = LatentImputer(isthmus.VAE(**SMALL), method=method, n_draws=4, random_state=0)
        check(lambda: imputer.fit(GOOD).transform(rows))
        check(lambda: imputer.fit(rows).transform(rows))

    @pytest.mark.parametrize("name", ["Autoencoder", "SparseAutoencoder", "VAE"])
    def test_models_that_ignore_missing_values(self, value, place, name):
        rows = table(value, place)[["a", "b", "c"]].to_numpy()
        model = getattr(isthmus, name)(missing="ignore", **SMALL).fit(GOOD)
        for method in (model.transform, model.reconstruct, model.score_samples):
            check(lambda method=method: method(rows))
        check(lambda: model.fit(rows).reconstruct(rows))


def test_values_of_categories_are_the_most_frequent_draws():
    imputer = LatentImputer(isthmus.VAE(**SMALL), n_draws=9, random_state=0)
    rows = table(1e6, (5, 1))
    filled = imputer.fit(rows).transform(rows)
    assert set(filled["kind"]) == {"x", "y", "z"}
