import numpy as np
import pandas as pd
import polars as pl
import pytest

from isthmus.data.series import dominant_period, parse_times, read_series, read_several

N = 60
TIMES = pd.date_range("2024-01-01", periods=N, freq="10min")
FRAME = pd.DataFrame({"a": np.arange(N) * 1.0, "b": -np.arange(N) * 1.0}, index=TIMES)
TEXT = FRAME.rename_axis("at").reset_index().assign(at=lambda d: d["at"].astype(str))


@pytest.mark.parametrize(
    "frame",
    [
        FRAME,
        FRAME.tz_localize("Europe/Berlin").tz_convert("US/Eastern"),
        FRAME.rename_axis("at").reset_index(),
        pl.from_pandas(FRAME.rename_axis("at").reset_index()),
        pl.from_pandas(FRAME.tz_localize("US/Eastern").rename_axis("at").reset_index()),
    ],
)
def test_times_are_found_in_the_index_or_the_only_column_of_dates(frame):
    series = read_series(frame)
    np.testing.assert_array_equal(series.values, FRAME.to_numpy())
    assert series.channels == ("a", "b")
    assert series.step == 600 * 10**9
    assert (np.diff(series.times) == np.timedelta64(10, "m")).all()


@pytest.mark.parametrize("frame", [TEXT, pl.from_pandas(TEXT)])
def test_times_as_text_are_read_from_a_named_column_only(frame):
    np.testing.assert_array_equal(read_series(frame, time="at").times, TIMES.to_numpy())
    with pytest.raises(ValueError, match=r"'at' of the series holds no numbers.*time='at'"):
        read_series(frame)


def test_unsorted_rows_are_sorted_and_results_keep_their_order():
    shuffled = FRAME.sample(frac=1, random_state=0)
    with pytest.warns(UserWarning, match="not sorted"):
        series = read_series(shuffled)
    np.testing.assert_array_equal(series.values, FRAME.to_numpy())
    np.testing.assert_array_equal(series.values[series.rows], shuffled.to_numpy())


def test_missing_steps_are_missing_values():
    with pytest.warns(UserWarning, match=r"10 of 60 steps .* longest gap has 10 steps"):
        series = read_series(FRAME.drop(TIMES[20:30]))
    assert series.values.shape == (N, 2)
    assert np.isnan(series.values[20:30]).all()
    np.testing.assert_array_equal(series.times, TIMES.to_numpy())


def test_rows_with_the_same_time_are_averaged():
    twice = pd.concat([FRAME, FRAME.iloc[[-1]] + 2])
    with pytest.warns(UserWarning, match="1 row of the series has the time of another"):
        series = read_series(twice)
    assert series.values[-1].tolist() == [N, -N + 2]
    assert series.rows[-2:].tolist() == [N - 1] * 2


def test_end_of_summer_time_is_no_repeat_if_the_zone_is_known():
    hours = pd.date_range("2024-10-26", periods=72, freq="h", tz="Europe/Berlin")
    frame = pd.DataFrame({"a": np.arange(72.0)}, index=hours)
    series = read_series(frame)
    assert series.values.shape == (72, 1)
    assert series.zone == "Europe/Berlin"
    assert series.label([24])[0] == hours[24]
    with pytest.warns(UserWarning, match="with a time zone, or in UTC"):
        read_series(frame.tz_localize(None))


def test_jitter_is_tolerated_and_irregular_times_are_interpolated():
    rng = np.random.default_rng(0)
    jittered = FRAME.set_axis(TIMES + pd.to_timedelta(rng.uniform(-60, 60, N), unit="s"))
    np.testing.assert_array_equal(read_series(jittered).values, FRAME.to_numpy())
    minutes = np.sort(rng.uniform(0, 600, N))
    uneven = pd.DataFrame({"a": minutes}, index=TIMES[0] + pd.to_timedelta(minutes, unit="min"))
    with pytest.warns(UserWarning, match="irregular"):
        series = read_series(uneven)
    elapsed = (series.times - TIMES[0].to_datetime64()) / np.timedelta64(1, "m")
    known = ~np.isnan(series.values[:, 0])
    assert known.any()
    assert not known.all()
    np.testing.assert_allclose(series.values[known, 0], elapsed[known].clip(0, minutes[-1]))


@pytest.mark.parametrize("freq", ["ME", "MS", "QS", "YS", "B"])
def test_calendar_steps_are_regular(freq):
    index = pd.date_range("2020-01-31", periods=40, freq=freq)
    series = read_series(pd.DataFrame({"a": np.arange(40.0)}, index=index))
    assert len(series.values) == 40
    assert series.step is None


@pytest.mark.parametrize(
    ("texts", "dates"),
    [
        (["2024-10-27T02:30+02:00"], ["2024-10-27T00:30"]),
        (["2024-10-27 02:30+01:00", "2024-10-27"], ["2024-10-27T01:30", "2024-10-27"]),
        (["01.02.2024", "03.02.2024 14:00"], ["2024-02-01", "2024-02-03T14:00"]),
        (["1/12/2024 1:05 PM", "1/13/2024 12:05 AM"], ["2024-01-12T13:05", "2024-01-13T00:05"]),
        (["12/01/2024", "13/01/2024"], ["2024-01-12", "2024-01-13"]),
    ],
)  # fmt: skip
def test_texts_are_parsed_as_times(texts, dates):
    np.testing.assert_array_equal(parse_times(texts), np.array(dates, "datetime64[ns]"))


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (np.zeros((2, 3, 4)), {}, r"shape \(time,\) or \(time, channels\), got \(2, 3, 4\)"),
        (np.r_[1.0, np.inf], {}, "row 1, channel 0 is infinite"),
        (np.zeros((0, 2)), {}, "is empty"),
        (np.array(["a", "b"]), {}, "expected numbers, got <U1"),
        (FRAME, {"time": "A"}, "no column 'A'.*Did you mean 'a'"),
        (FRAME, {"channels": ["a", "c"]}, "no channel 'c'; expected a, c, found a, b"),
        (FRAME, {"step": 3600 * 10**9}, "steps of 0:10:00, but .* steps of 1:00:00"),
        (FRAME.set_axis(["a", "a"], axis=1), {}, "two columns named 'a'"),
        (FRAME.assign(c="x"), {}, "column 'c' .* holds no numbers, but 'x'"),
        (FRAME.set_axis([pd.NaT, *TIMES[1:]]), {}, "the time in row 0 is missing"),
        (FRAME.set_axis([pd.Timestamp(0), *TIMES[1:]]), {}, "the longest gap follows 1970-01-01"),
        (TEXT.assign(at="01/02/2024", c=1), {"time": "at"}, "day or the month first"),
        (TEXT.assign(at="noon"), {"time": "at"}, "'noon' in row 0 is not a time"),
        (FRAME.assign(p=TIMES, q=TIMES).reset_index(drop=True), {}, "several columns of dates"),
        ([FRAME, FRAME[["a"]]], {}, "series 0 has a, b and series 1 has a"),
    ],
)  # fmt: skip
def test_input_that_is_no_series_is_refused(data, options, message):
    with pytest.raises(ValueError, match=message):
        read_several(data, **options)


def test_channels_are_matched_by_name_and_others_left_out():
    with pytest.warns(UserWarning, match="not seen during fit: c; ignored"):
        series = read_series(FRAME.assign(c=1.0), channels=["b", "a"])
    np.testing.assert_array_equal(series.values, FRAME[["b", "a"]].to_numpy())


def test_period_is_the_first_of_equally_good_ones_despite_noise_gaps_and_trend():
    t = np.arange(1000)
    x = np.sin(2 * np.pi * t / 24) + 0.3 * np.random.default_rng(0).normal(size=1000) + t / 100
    x[300:340] = np.nan
    assert dominant_period(np.c_[x, np.ones(1000)], 4, 200) == 24
    assert dominant_period(np.random.default_rng(0).normal(size=(1000, 2)), 4, 200) is None
    assert dominant_period(np.full((1000, 1), np.nan), 4, 200) is None
