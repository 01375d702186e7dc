import warnings

import numpy as np
import pytest

from isthmus.data.image_grid import rescale, value_range


@pytest.mark.parametrize("shape", [(4, 3), (2, 8, 8), (2, 3, 8, 8)])
def test_all_nan_examples_have_a_range(shape):
    empty = np.full(shape, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = value_range(empty)
    assert np.isfinite(low).all()
    assert (high > low).all()
    assert np.isnan(rescale(empty, (low, high))).all()


def test_a_nan_column_changes_no_other():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = value_range(np.array([[np.nan, -2.0, 7.0], [np.nan, 5.0, 7.0], [np.nan] * 3]))
    assert (low.tolist(), high.tolist()) == ([0, -2, 7], [1, 5, 8])
