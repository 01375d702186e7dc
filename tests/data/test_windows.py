import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.data.windows import Windows


def unchanged(windows):
    return windows


@settings(deadline=None, max_examples=60)
@given(
    size=st.integers(1, 40),
    length=st.integers(1, 150),
    overlap=st.sampled_from([0.0, 0.1, 0.5, 0.75, 0.9]),
    rows=st.integers(1, 3),
)
def test_identity_function_returns_the_input(size, length, overlap, rows):
    X = np.random.default_rng(0).normal(size=(rows, 2, length))
    out = Windows((size,), overlap).apply(unchanged, X)
    assert out.shape == X.shape
    np.testing.assert_allclose(out, X, atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 17, 23), (2, 3, 5, 40), (1, 4, 4)])
def test_identity_function_returns_images_of_any_size(shape):
    X = np.random.default_rng(0).normal(size=shape)
    np.testing.assert_allclose(Windows((8, 6), 0.5).apply(unchanged, X), X, atol=1e-12)


def test_result_does_not_depend_on_the_block_size(monkeypatch):
    X = np.random.default_rng(0).normal(size=(3, 100))
    windows = Windows((8,), 0.75)
    whole = windows.apply(np.tanh, X)
    monkeypatch.setattr("isthmus.data.windows.BLOCK", 40)
    np.testing.assert_allclose(windows.apply(np.tanh, X), whole, atol=1e-14)


def test_elementwise_function_is_applied_to_each_value():
    X = np.random.default_rng(0).normal(size=(2, 31, 29))
    np.testing.assert_allclose(Windows((8, 8)).apply(np.square, X), X**2, atol=1e-12)


def test_last_window_ends_with_the_array():
    X = np.arange(46.0).reshape(2, 23)
    windows = Windows((8,), 0.5)
    starts = [0, 4, 8, 12, 15]
    assert windows.starts(23).tolist() == starts
    expected = np.stack([row[s : s + 8] for row in X for s in starts])
    np.testing.assert_array_equal(windows.cut(X), expected)


def test_overlapping_windows_are_averaged_by_weight():
    values = iter([np.zeros((1, 4)), np.ones((1, 4))])
    windows = Windows((4,), 0.5)
    out = windows.apply(lambda w: np.concatenate([next(values), next(values)]), np.zeros((1, 6)))
    w = np.sin(np.pi * (np.arange(4) + 0.5) / 4) ** 2
    np.testing.assert_allclose(out[0], [0, 0, w[0] / (w[0] + w[2]), w[1] / (w[1] + w[3]), 1, 1])


@pytest.mark.parametrize("bad", [{"size": ()}, {"size": (0,)}, {"size": (4,), "overlap": 1.0}])
def test_invalid_windows_raise(bad):
    with pytest.raises(ValueError, match=r"must be positive|overlap"):
        Windows(**bad)


@pytest.mark.parametrize("stride", [1, 3, 7])
@pytest.mark.parametrize("length", [7, 9, 40])
def test_windows_without_taper_are_averaged(stride, length):
    windows = Windows((7,), stride=stride, taper=False)
    X = np.random.default_rng(0).normal(size=(1, 2, length))
    total, count = np.zeros(length), np.zeros(length)
    for start in windows.starts(length):
        total[start : start + 7] += X[0, :, start : start + 7].max()
        count[start : start + 7] += 1
    out = windows.apply(lambda w: np.broadcast_to(w.max((1, 2))[:, None, None], (len(w), 1, 7)), X)
    np.testing.assert_allclose(out, (total / count)[None, None])


def test_stride_is_from_one_to_a_window():
    for stride in (0, 8):
        with pytest.raises(ValueError, match=f"stride must be from 1 .* got {stride}"):
            Windows((7,), stride=stride)
