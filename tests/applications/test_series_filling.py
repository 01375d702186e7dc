import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.interpolate import CubicSpline

from isthmus.applications import SeriesImputer

N = 1500
T = np.arange(N)
RNG = np.random.default_rng(0)
PHASE = 2 * np.pi * T[:, None] / 40 + RNG.normal(0, 0.02, (N, 1)).cumsum(0)
X = np.sin(PHASE + np.arange(2)) + 0.4 * np.sin(2 * PHASE) + RNG.normal(0, 0.1, (N, 2))


def with_gaps(length):
    gappy = X.copy()
    for start in range(150, N - 200, 200):
        gappy[start : start + length, start // 200 % 2 :] = np.nan
    return gappy


@pytest.mark.parametrize("length", [5, 20, 100])
def test_error_is_below_that_of_interpolation_and_intervals_cover(length):
    gappy = with_gaps(length)
    hidden = np.isnan(gappy)
    values, std = SeriesImputer().fit(gappy).impute(gappy)
    np.testing.assert_array_equal(values[~hidden], X[~hidden])
    assert not std[~hidden].any()
    error = np.abs(values - X)[hidden]
    for column in range(2):
        known = np.flatnonzero(~hidden[:, column])
        gap = hidden[:, column]
        ours = np.sqrt(np.mean((values - X)[gap, column] ** 2))
        for guess in (
            np.interp(T[gap], known, X[known, column]),
            CubicSpline(known, X[known, column])(T[gap]),
        ):
            assert ours < np.sqrt(np.mean((guess - X[gap, column]) ** 2))
    assert (error <= 1.645 * std[hidden]).mean() == pytest.approx(0.9, abs=0.07)


@pytest.mark.parametrize("build", [pd.DataFrame, pl.DataFrame])
def test_frames_come_back_as_frames(build):
    gappy = with_gaps(10)
    frame = build({"a": gappy[:, 0], "b": gappy[:, 1], "c": T % 3})
    filled = SeriesImputer(window=40).fit(frame).transform(frame)
    assert type(filled) is type(frame)
    assert [*filled.columns] == ["a", "b", "c"]
    assert str(filled["c"].dtype) == str(frame["c"].dtype)
    assert not np.isnan(filled.to_numpy()).any()
    np.testing.assert_array_equal(filled["a"].to_numpy()[:150], X[:150, 0])


def test_rows_keep_their_order_and_one_channel_its_shape():
    frame = pd.DataFrame(
        {"a": with_gaps(10)[:, 0]}, pd.date_range("2024-01-01", periods=N, freq="h")
    )
    shuffled = frame.sample(frac=1, random_state=0)
    imputer = SeriesImputer(window=40).fit(frame)
    with pytest.warns(UserWarning, match="not sorted"):
        filled = imputer.transform(shuffled)
    pd.testing.assert_frame_equal(filled.sort_index(), imputer.transform(frame), check_freq=False)
    one = SeriesImputer(window=40).fit(X[:, 0]).impute(with_gaps(10)[:, 1])
    assert one.values.shape == one.std.shape == (N,)


def test_gap_longer_than_two_windows_stays_missing_inside():
    gappy = X.copy()
    gappy[500:600] = np.nan
    imputer = SeriesImputer(window=40).fit(X)
    with pytest.warns(UserWarning, match="farther than a window"):
        filled = imputer.transform(gappy)
    assert np.isnan(filled[545:555]).all()
    assert not np.isnan(np.r_[filled[:520], filled[580:]]).any()


def test_several_series_are_filled_and_wrong_input_is_refused():
    imputer = SeriesImputer(window=40).fit([X[:700], X[700:]])
    assert [f.shape for f in imputer.transform([with_gaps(5)[:300], X[:50]])] == [(300, 2), (50, 2)]
    for data, message in (
        (X[:30], "30 steps, fewer than a window of 40"),
        (X[:, :1], "1 channels, but the imputer was fitted on 2"),
    ):
        with pytest.raises(ValueError, match=message):
            imputer.transform(data)
    with pytest.raises(ValueError, match="whole number of at least 2, got 1"):
        SeriesImputer(window=1).fit(X)
    with pytest.raises(ValueError, match="5,000 numbers, more than 4,096"):
        SeriesImputer(window=2500).fit(np.r_[X, X])
