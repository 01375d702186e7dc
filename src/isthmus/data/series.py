"""Read time series: arrays, or data frames with times, as values at regular steps.

A `UserWarning` reports every change that makes the steps regular.
"""

from __future__ import annotations

import datetime
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus._messages import did_you_mean, one_line
from isthmus._optional import import_optional
from isthmus.data.frames import is_frame, library_of, raw_columns
from isthmus.data.input_types import read_input

__all__ = [
    "Series",
    "as_times",
    "choose_window",
    "dominant_period",
    "parse_times",
    "read_series",
    "read_several",
    "regular_series",
    "warn",
]

Array = NDArray[Any]
NS = "datetime64[ns]"
DAY = 86_400 * 10**9  # nanoseconds
JITTER = 0.25  # of a step, by which the times of a regular series may be off
OTHER_STEP = 1.5  # factor by which the steps of another series must differ to be refused
MAX_GROWTH, MAX_ADDED = 10, 100_000  # steps that gaps may add: ten per row, or so many
MONTH = 27.9 * DAY
LEAST_PERIOD, LEAST_WINDOW, DEFAULT_WINDOW = 4, 16, 32
MOST_WINDOW, MOST_WIDTH = 1024, 2048  # steps, and numbers, of a window that is chosen
PERIODS = 5  # that a series must hold to show one
LEAST_CORRELATION = 0.1  # of a series with itself a period later
CLOSE = 0.9  # to the highest correlation; the first such peak is the period, not its multiple
MAX_STEPS = 2**17  # in which a period is looked for
OFFSET = re.compile(r":\d\d(\.\d+)?\s*(Z|[+-]\d\d(:?\d\d)?)\s*$")
LOCAL_DATE = re.compile(r"\s*(\d{1,2})([./-])(\d{1,2})\2(\d{4})(?:[T\s]+(.*?))?\s*")


@dataclass(frozen=True, eq=False)
class Series:
    """Values at regular steps.

    Parameters
    ----------
    values : ndarray of float64, (n_steps, n_channels)
        NaN where a value is missing.
    rows : ndarray of int, (n_rows,)
        The step of each row of the input.
    channels : tuple of str, or None
        Names of the columns of a data frame.
    times : ndarray (n_steps,) of datetime64[ns] in UTC or of numbers, or None
        Time of each step.
    step : int, float or None
        Time between two steps, in nanoseconds or in the unit of numbers; None if rows are steps of
        one month or one business day, or have no times.
    zone : str or None
        Time zone of the input.
    """

    values: Array
    rows: Array
    channels: tuple[str, ...] | None = None
    times: Array | None = None
    step: int | float | None = None
    zone: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the channels; x0, x1, ... if they have none."""
        return self.channels or tuple(f"x{i}" for i in range(self.values.shape[1]))

    def select(self, channels: Sequence[str] | None, step: float | None, name: str) -> Series:
        """Return the series with some of its channels; raise a ValueError if its step differs."""
        if step is not None and self.step is not None and self.times is not None:
            _check_step(self.step, step, self.times, name)
        if channels is None or self.channels is None or tuple(channels) == self.channels:
            return self
        if missing := [c for c in channels if c not in self.channels]:
            raise ValueError(f"{name} has no channel {missing[0]!r}.")
        values = self.values[:, [self.channels.index(c) for c in channels]]
        return replace(self, values=values, channels=tuple(channels))

    def label(self, steps: Any) -> Any:
        """Return what names some steps: their times in the zone of the input, or their numbers."""
        if self.times is None or self.times.dtype.kind != "M":
            return np.asarray(steps) if self.times is None else self.times[steps]
        if self.zone is None:
            return self.times[steps]
        pandas = import_optional("pandas", extra="tables", what="a series with a time zone")
        return pandas.DatetimeIndex(self.times[steps], tz="UTC").tz_convert(self.zone)


def read_several(data: Any, **options: Any) -> tuple[list[Series], bool]:
    """Return the series in the input, and whether it is a list of series.

    A list or tuple of arrays or data frames is one of series; anything else is one series. The
    options are those of `read_series`.
    """
    if not isinstance(data, list | tuple) or not len(data) or not all(map(_is_series, data)):
        return [read_series(data, **options)], False
    read = []
    for i, each in enumerate(data):
        read.append(read_series(each, **options, name=f"series {i}"))
        widths = read[0].values.shape[1], read[-1].values.shape[1]
        if widths[0] != widths[1] or read[0].channels != read[-1].channels:
            raise ValueError(
                f"all series must have the same channels, but series 0 has {_listed(read[0])} and "
                f"series {i} has {_listed(read[-1])}."
            )
        options |= {"step": read[0].step} if options.get("step") is None else {}
    return read, True


def _is_series(data: Any) -> bool:
    return isinstance(data, Series) or is_frame(data) or getattr(data, "ndim", 0) >= 1


def _listed(series: Series) -> str:
    n = series.values.shape[1]
    return ", ".join(series.channels) if series.channels else f"{n} channel{'s' * (n > 1)}"


def read_series(
    data: Any,
    *,
    time: str | None = None,
    channels: Sequence[str] | None = None,
    step: float | None = None,
    name: str = "the series",
) -> Series:
    """Read one series as values at regular steps.

    Times are sorted. Rows with the same time are averaged. Missing steps become NaN. Values at
    irregular times are interpolated linearly. A `UserWarning` reports each change.

    Parameters
    ----------
    data : array-like (n,) or (n, n_channels), a data frame, or a Series
        Numbers; NaN, and masked values, are missing. The times of a frame are those of its column
        `time`, of its index, or of its only column of dates. Times without a zone count as UTC.
    time : str, optional
        The column of times: dates, numbers in any unit, or texts.
    channels : sequence of str, optional
        The columns to read, in this order; further ones are left out, with a warning.
    step : number, optional
        The time between two steps: nanoseconds, or the unit of numbers. By default the median.
    name : str
        What messages call the series.

    Raises
    ------
    ValueError
        If a value is not a finite number, a channel is missing, the times cannot be read, or their
        steps differ from `step`.

    Examples
    --------
    >>> import warnings
    >>> import pandas as pd
    >>> hours = pd.to_datetime([f"2024-03-31 0{hour}:00" for hour in (0, 4, 1, 2)])
    >>> frame = pd.DataFrame({"load": [1.0, 5.0, 2.0, 3.0]}, index=hours)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     series = read_series(frame)
    >>> series.values.ravel(), series.rows
    (array([ 1.,  2.,  3., nan,  5.]), array([0, 4, 1, 2]))
    >>> [str(each.message).partition(":")[0] for each in caught]
    ['the times of the series are not sorted', '1 of 5 steps of the series is missing']
    """
    if isinstance(data, Series):
        return data.select(channels, step, name)
    data, index = _unnamed(data)
    zone: str | None = None
    if is_frame(data):
        values, names, times, zone = _read_frame(data, time, channels, name)
    else:
        if time is not None:
            raise ValueError(f"{name} has no column {time!r}: pass a data frame, or omit time.")
        values, names, times = _read_array(data, name), None, index
        if times is not None:
            times, zone = as_times(times, f"the index of {name}")
        if channels is not None and len(channels) != values.shape[1]:
            raise ValueError(
                f"{name} has {values.shape[1]} channels, expected {len(channels)}: "
                f"{', '.join(channels)}."
            )
        names = None if channels is None else tuple(channels)
    if not len(values):
        raise ValueError(f"{name} is empty; expected one row per time.")
    return regular_series(values, times, names, zone, step=step, name=name)


def regular_series(
    values: Array,
    times: Array | None,
    names: tuple[str, ...] | None = None,
    zone: str | None = None,
    *,
    step: float | None = None,
    name: str = "the series",
) -> Series:
    """Return values (n, n_channels) at times as a series; see `read_series`."""
    _check_finite(values, names, name)
    if times is None:
        return Series(values, np.arange(len(values)), names)
    return replace(_regular(values, times, step, name), channels=names, zone=zone)


# ------------------------------------------------------------------ arrays and frames


def _unnamed(data: Any) -> tuple[Any, Any]:
    """Return data and, of a single column of a data frame, its index of times if it has one."""
    library, kind = library_of(data), type(data).__name__
    if library == "pandas" and kind == "Series":
        frame = data.to_frame() if data.name is not None else None
        times = data.index if _has_times(data.index) else None
        return (data.to_numpy(), times) if frame is None else (frame, None)
    if library == "polars" and kind == "Series":
        return data.to_numpy(), None
    return data, None


def _read_array(data: Any, name: str) -> Array:
    try:
        array = np.asarray(read_input(data, name))
        values = array.astype(np.float64) if array.dtype.kind in "biufO" else None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected numbers ({one_line(error)})") from None
    if values is None:
        raise ValueError(
            f"{name}: expected numbers, got {array.dtype}; pass a data frame with a column of "
            "times, and name it by time."
        )
    if values.ndim not in (1, 2):
        raise ValueError(
            f"{name}: expected shape (time,) or (time, channels), got {values.shape}; pass several "
            "series as a list."
        )
    return values[:, None] if values.ndim == 1 else values


def _read_frame(
    frame: Any, time: str | None, channels: Sequence[str] | None, name: str
) -> tuple[Array, tuple[str, ...], Any, str | None]:
    """Return the values, the names of the channels, the times if there are any, and their zone."""
    columns = [*map(str, frame.columns)]
    twice = next((c for i, c in enumerate(columns) if c in columns[:i]), None)
    if twice is not None:
        raise ValueError(f"{name} has two columns named {twice!r}; rename one.")
    if time is not None and time not in columns:
        index = getattr(frame, "index", None)
        if getattr(index, "name", None) != time:
            raise ValueError(
                f"{name} has no column {time!r}; columns: {', '.join(columns[:20])}."
                f"{did_you_mean(time, columns)}"
            )
        given: Any = index
    elif time is None and _has_times(getattr(frame, "index", None)):
        given = frame.index
    else:
        time = _only_times(frame, columns, name) if time is None else time
        given = None if time is None else frame[frame.columns[columns.index(time)]]
    label = f"column {time!r} of {name}" if time in columns else f"the index of {name}"
    times, zone = (None, None) if given is None else as_times(given, label)
    wanted = [c for c in columns if c != time]
    if channels is not None:
        if missing := [c for c in channels if c not in wanted]:
            raise ValueError(
                f"{name} has no channel {missing[0]!r}; expected {', '.join(channels)}, found "
                f"{', '.join(wanted[:20]) or 'none'}.{did_you_mean(missing[0], wanted)}"
            )
        if extra := [c for c in wanted if c not in channels]:
            warn(f"{name} has channels that were not seen during fit: {', '.join(extra)}; ignored.")
        wanted = [*channels]
    if not wanted:
        raise ValueError(f"{name} has no column beside the times; expected one per channel.")
    places = [columns.index(c) for c in wanted]
    chosen = frame.iloc[:, places] if library_of(frame) == "pandas" else frame[:, places]
    values = np.column_stack([_numbers(raw, name) for raw in raw_columns(chosen)])
    return values, tuple(wanted), times, zone


def _numbers(raw: Any, name: str) -> Array:
    """Return the column of a data frame as numbers."""
    if raw.numbers is not None:
        return np.asarray(raw.numbers, np.float64)
    if all(v is None or isinstance(v, bool) for v in raw.values):
        return np.array([np.nan if v is None else float(v) for v in raw.values])
    value = next(v for v in raw.values if v is not None and not isinstance(v, bool))
    hint = f"name it by time={raw.name!r}" if _is_date(value) else "encode it as numbers"
    raise ValueError(
        f"column {raw.name!r} of {name} holds no numbers, but {one_line(repr(value))}: drop it, or "
        f"{hint}."
    )


def _is_date(value: Any) -> bool:
    try:
        parse_times([str(value)], "")
    except ValueError:
        return False
    return not isinstance(value, int | float)


def _has_times(index: Any) -> bool:
    return type(index).__name__ in ("DatetimeIndex", "PeriodIndex", "TimedeltaIndex")


def _only_times(frame: Any, columns: list[str], name: str) -> str | None:
    """Return the only column of dates, None if there is none; raise an error if there are more."""
    found = [
        column
        for column, original in zip(columns, frame.columns, strict=True)
        if str(frame[original].dtype).lower().startswith("datetime")
    ]
    if len(found) > 1:
        raise ValueError(
            f"{name} has several columns of dates: {', '.join(found)}; name one by time, and drop "
            "the others."
        )
    return found[0] if found else None


# ------------------------------------------------------------------------------ times


def as_times(given: Any, name: str) -> tuple[Array, str | None]:
    """Return times as datetime64[ns] in UTC, or as numbers, and the time zone."""
    zone = None
    if library_of(given) == "pandas":
        given = given.to_timestamp() if type(given).__name__ == "PeriodIndex" else given
        dates = given.dt if type(given).__name__ == "Series" and given.dtype.kind in "mM" else given
        if given.dtype.kind == "M" and dates.tz is not None:
            zone, given = str(dates.tz), dates.tz_convert("UTC")
            given = (given.dt if type(given).__name__ == "Series" else given).tz_localize(None)
        array = given.to_numpy()
    elif library_of(given) == "polars":
        zone = getattr(given.dtype, "time_zone", None)
        if zone is not None:
            given = given.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        array = given.to_numpy() if given.dtype.is_temporal() else np.array(given.to_list(), object)
    else:
        array = np.asarray(given)
    if array.dtype.kind == "O" or array.dtype.kind in "UST":
        zone = zone or ("UTC" if any(map(_has_offset, array)) else None)
        array = _from_objects(array, name)
    if array.dtype.kind == "m":
        array = array.astype("timedelta64[ns]").astype(np.float64) / 1e9  # seconds
    if array.dtype.kind == "M":
        seconds = array.astype("datetime64[s]").astype(np.int64)
        known = seconds[~np.isnat(array)]
        if len(known) and np.abs(known).max() > 2**63 // 10**9:
            raise ValueError(f"{name}: expected dates from 1678 to 2262; check the times.")
        array = array.astype(NS)
    if array.dtype.kind not in "Miuf":
        raise ValueError(f"{name}: expected times, got {array.dtype}; convert them to dates.")
    array = array if array.dtype.kind == "M" else array.astype(np.float64)
    if (wrong := np.flatnonzero(~np.isfinite(array))).size:
        raise ValueError(
            f"{name}: the time in row {wrong[0]} is missing; fill it, or drop the row."
        )
    return array, zone


def _has_offset(value: Any) -> bool:
    """Return whether a time, or its text, says how far it is from UTC."""
    if isinstance(value, str):
        return OFFSET.search(value) is not None
    return getattr(value, "tzinfo", None) is not None


def _from_objects(array: Array, name: str) -> Array:
    if all(isinstance(v, str) for v in array):
        return parse_times(array, name)
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError):
        pass
    try:
        return np.array([_to_utc(v) for v in array], NS)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{name}: expected times ({one_line(error)}).") from None


def _to_utc(value: Any) -> Any:
    """Return a Python date as one without a zone, in UTC; None as a missing time."""
    if value is None:
        return np.datetime64("NaT")
    if getattr(value, "tzinfo", None) is not None:
        value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    return np.datetime64(value)


def parse_times(texts: Sequence[str] | Array, name: str = "the times") -> Array:
    """Return times written as text: datetime64[ns] in UTC, or numbers if all are numbers.

    Dates are those of ISO 8601, with or without a time zone, or have the year last. In dates such
    as 03/04/2024, the other dates decide which part is the day; with points the day is first.

    Raises
    ------
    ValueError
        If a text is not a time, or all dates could be read with the day or the month first.

    Examples
    --------
    >>> parse_times(["2024-03-31T01:30+01:00", "2024-03-31T03:30+02:00"])
    array(['2024-03-31T00:30:00.000000000', '2024-03-31T01:30:00.000000000'],
          dtype='datetime64[ns]')
    >>> parse_times(["28/01/2024", "02/02/2024"]).astype("datetime64[D]")
    array(['2024-01-28', '2024-02-02'], dtype='datetime64[D]')
    """
    try:
        return np.array([float(text) for text in texts])
    except ValueError:
        pass
    texts = [text.strip() for text in map(str, texts)]
    if not all(map(LOCAL_DATE.fullmatch, texts)):
        return np.array([_iso(text, i, name) for i, text in enumerate(texts)], NS)
    found = [match for text in texts if (match := LOCAL_DATE.fullmatch(text))]
    orders = {}
    for day, month in (1, 3), (3, 1):
        if all(int(m[month]) <= 12 and int(m[day]) <= 31 for m in found):
            isos = [
                f"{m[4]}-{int(m[month]):02}-{int(m[day]):02}T{_clock(m[5] or '')}" for m in found
            ]
            orders[day] = isos
    if not orders:
        raise ValueError(f"{name}: {one_line(repr(texts[0]))} is not a date; write 2024-01-31.")
    first, *others = orders.values()
    if others and first != others[0] and any(m[2] != "." for m in found):
        raise ValueError(
            f"{name}: {one_line(repr(texts[0]))} has the day or the month first, and the other "
            "dates do not tell which; write dates as 2024-01-31."
        )
    return np.array([_iso(text, i, name) for i, text in enumerate(first)], NS)


def _clock(text: str) -> str:
    """Return a time of day in the form of ISO 8601, 00:00 if there is none."""
    if match := re.fullmatch(r"(\d{1,2})(:\d\d(?::\d\d(?:\.\d+)?)?)\s*([AaPp][Mm])?", text):
        hour = int(match[1]) % 12 + 12 * (match[3] in ("PM", "pm", "Pm")) if match[3] else match[1]
        return f"{int(hour):02}{match[2]}"
    return text or "00:00"


def _iso(text: str, row: int, name: str) -> Any:
    try:
        return _to_utc(datetime.datetime.fromisoformat(text))
    except ValueError:
        raise ValueError(
            f"{name}: {one_line(repr(text))} in row {row} is not a time; write times as "
            "2024-01-31 12:00, or as numbers."
        ) from None


# ------------------------------------------------------------------------ regular steps


def _regular(values: Array, times: Array, step: float | None, name: str) -> Series:
    """Return values at regular steps, with a warning for whatever had to be done."""
    order = np.argsort(times, kind="stable")
    if (np.diff(order) < 0).any():
        warn(f"the times of {name} are not sorted: its rows are taken in the order of time.")
    sorted_times, first, place = np.unique(times[order], return_index=True, return_inverse=True)
    values = values[order]
    if twice := len(times) - len(first):
        warn(
            f"{twice} row{'s' * (twice > 1)} of {name} {'have' if twice > 1 else 'has'} the time "
            "of another row: their values are averaged. If a clock was set back for the end of "
            "summer, give times with a time zone, or in UTC."
        )
        values = _mean_of_runs(values, first)
    steps, step, points = _positions(sorted_times, step, name)
    n = int(steps[-1]) + 1
    if n > max(MAX_GROWTH * len(steps), len(steps) + MAX_ADDED):
        gap = int(np.argmax(np.diff(steps)))
        raise ValueError(
            f"{name} has {len(steps):,} rows, but its times span {n:,} steps of "
            f"{_duration(step, times)}; the longest gap follows {_text(sorted_times[gap])}. Check "
            "the times, or cut the series at the gap and pass a list of series."
        )
    rows = np.empty(len(times), np.int64)
    rows[order] = steps[place]
    if points is not None:
        low, high = (_duration(f(np.diff(sorted_times)), times) for f in (np.min, np.max))
        warn(
            f"the times of {name} are irregular, {low} to {high} apart: the values are "
            f"interpolated at steps of {_duration(step, times)}."
        )
        full = _interpolated(values, points, n)
        start, unit = sorted_times[0], step
        if times.dtype.kind == "M":
            full_times = start + (np.arange(n) * np.int64(unit)).astype("timedelta64[ns]")
        else:
            full_times = start + np.arange(n) * unit
        return Series(full, rows, None, full_times, step)
    full = np.full((n, values.shape[1]), np.nan)
    full[steps] = values
    if gaps := n - len(steps):
        longest = int(np.diff(steps).max()) - 1
        warn(
            f"{gaps:,} of {n:,} steps of {name} {'are' if gaps > 1 else 'is'} missing: "
            f"{'they count' if gaps > 1 else 'it counts'} as missing values. The longest gap has "
            f"{longest:,} step{'s' * (longest > 1)}, after "
            f"{_text(sorted_times[int(np.argmax(np.diff(steps)))])}."
        )
    return Series(full, rows, None, _times_of_steps(sorted_times, steps, n), step)


def _positions(times: Array, step: float | None, name: str) -> tuple[Array, Any, Array | None]:
    """Return the step of each time, the time between steps, and positions of irregular times."""
    if len(times) == 1:
        return np.zeros(1, np.int64), step, None
    if times.dtype.kind == "M":
        calendar = _calendar_steps(times)
        if calendar is not None and step is None:
            return calendar, None, None
        differences: Array = np.diff(times).astype(np.int64)
    else:
        differences = np.diff(times)
    median = float(np.median(differences))
    if step is None:
        step = int(median) if times.dtype.kind == "M" else median
    else:
        _check_step(median, step, times, name)
    whole = np.maximum(1, np.rint(differences / step))
    if (np.abs(differences / step - whole) <= JITTER).all():
        return np.append(0, np.cumsum(whole)).astype(np.int64), step, None
    if times.dtype.kind == "M":
        points = (times - times[0]).astype(np.int64) / step
    else:
        points = (times - times[0]) / step
    return np.rint(points).astype(np.int64), step, points


def _check_step(found: float, step: float, times: Array, name: str) -> None:
    if not step / OTHER_STEP < found < step * OTHER_STEP:
        raise ValueError(
            f"{name} has steps of {_duration(found, times)}, but the detector was fitted on steps "
            f"of {_duration(step, times)}; resample it."
        )


def _calendar_steps(times: Array) -> Array | None:
    """Return the steps of times that are whole months or business days apart, else None."""
    differences = np.diff(times).astype(np.int64)
    median = np.median(differences)
    if median >= MONTH:
        months = times.astype("datetime64[M]").astype(np.int64)
        apart = np.diff(months)
        step = int(np.median(apart))
        days = (times - times.astype("datetime64[M]")).astype(np.int64)
        same_day = np.ptp(days) <= 3 * DAY  # the same day of the month, or its last one
        if step > 0 and same_day and (apart % step == 0).all() and (apart > 0).all():
            return (months - months[0]) // step
    dates = times.astype("datetime64[D]")
    spans_weekends = median == DAY and (differences == 3 * DAY).any()
    if spans_weekends and np.is_busday(dates).all() and (differences % DAY == 0).all():
        return np.busday_count(dates[0], dates)
    return None


def _interpolated(values: Array, points: Array, n: int) -> Array:
    """Return values at steps 0, ..., n - 1, interpolated up to one step from a given value."""
    grid, full = np.arange(n), np.full((n, values.shape[1]), np.nan)
    for column, given in zip(full.T, values.T, strict=True):
        known = ~np.isnan(given)
        if not known.any():
            continue
        at = points[known]
        after = np.searchsorted(at, grid).clip(0, len(at) - 1)
        nearest = np.minimum(np.abs(at[after] - grid), np.abs(at[np.maximum(after - 1, 0)] - grid))
        column[:] = np.where(nearest <= 1, np.interp(grid, at, given[known]), np.nan)
    return full


def _mean_of_runs(values: Array, first: Array) -> Array:
    """Return the means of runs of rows, of which the beginnings are given, without NaN."""
    known = ~np.isnan(values)
    total = np.add.reduceat(np.where(known, values, 0.0), first)
    count = np.add.reduceat(known.astype(np.int64), first)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _times_of_steps(times: Array, steps: Array, n: int) -> Array:
    """Return the time of each step: those of the rows, and between them evenly spaced ones."""
    if len(times) == n:
        return times
    start = times[0]
    offsets = (times - start).astype(np.float64)
    between = np.interp(np.arange(n), steps, offsets)
    full = start + (
        between.round().astype("timedelta64[ns]") if times.dtype.kind == "M" else between
    )
    full[steps] = times
    return full


def _duration(value: Any, times: Array) -> str:
    """Return a time between steps in words."""
    if times.dtype.kind != "M":
        return f"{float(value):g}"
    return str(datetime.timedelta(microseconds=float(np.int64(value)) / 1000))


def _text(time: Any) -> str:
    if not isinstance(time, np.datetime64):
        return f"{time:g}"
    return str(np.datetime_as_string(time, "auto", casting="unsafe")).replace("T", " ")


def _check_finite(values: Array, names: tuple[str, ...] | None, name: str) -> None:
    infinite = np.argwhere(np.isinf(values))
    if len(infinite):
        row, column = infinite[0]
        channel = f", channel {names[column] if names else column}"
        raise ValueError(
            f"{name}: the value in row {row}{channel} is infinite; mark it as missing (NaN)."
        )


def warn(text: str) -> None:
    """Issue a `UserWarning` that points at the code of the user as well as that is possible."""
    warnings.warn(one_line(text), UserWarning, stacklevel=3)


# ----------------------------------------------------------------------------- period


def dominant_period(values: Array, least: int, most: int) -> int | None:
    """Return the number of steps after which a series repeats itself best.

    It is the first peak of the autocorrelation, averaged over the channels, that is nearly as high
    as the highest one.

    Parameters
    ----------
    values : ndarray (n_steps, n_channels)
        Missing values (NaN) are ignored.
    least, most : int
        Bounds of the period.

    Returns
    -------
    int or None
        None if no period is significant.

    Examples
    --------
    >>> t = np.arange(500)
    >>> dominant_period(np.sin(2 * np.pi * t / 24)[:, None], 4, 100)
    24
    >>> dominant_period(np.random.default_rng(0).normal(size=(500, 1)), 4, 100) is None
    True
    """
    from scipy.signal import correlate, detrend, find_peaks  # slow to import

    total, n = np.zeros(0), min(len(values), MAX_STEPS)
    if n < 4:
        return None
    start = (len(values) - n) // 2
    for column in values[start : start + n].T:
        known = ~np.isnan(column)
        if known.sum() < 4 or np.ptp(column[known]) == 0:
            continue
        x = np.where(known, column - column[known].mean(), 0.0)
        x = np.where(known, detrend(x), 0.0)
        products = correlate(x, x, method="fft")[n - 1 :]
        pairs = correlate(known.astype(float), known.astype(float), method="fft")[n - 1 :]
        variance = products[0] / pairs[0]
        if variance <= 0:
            continue
        each = products / np.maximum(pairs.round(), 1) / variance
        total = each if not len(total) else total + each
    if not len(total):
        return None
    total = total / total[0]
    most = min(most, len(total) - 2)
    peaks, _ = find_peaks(total[: most + 2])
    peaks = peaks[(peaks >= least) & (peaks <= most)]
    noise = 4 / np.sqrt(n)  # four standard errors of the correlation of white noise
    if not len(peaks) or total[peaks].max() < max(LEAST_CORRELATION, noise):
        return None
    return int(peaks[total[peaks] >= CLOSE * total[peaks].max()][0])


def choose_window(values: Array) -> tuple[int, str]:
    """Return the number of steps per window for a series (n_steps, n_channels), and why.

    Examples
    --------
    >>> choose_window(np.sin(2 * np.pi * np.arange(500) / 24)[:, None])
    (24, '24 steps, the dominant period')
    """
    n_steps, n_channels = values.shape
    most = min(n_steps // PERIODS, MOST_WINDOW, MOST_WIDTH // n_channels)
    if n_steps < PERIODS * LEAST_PERIOD:
        raise ValueError(
            f"{n_steps} steps are too few to choose a window: set window, or pass "
            f"at least {PERIODS * LEAST_PERIOD} steps."
        )
    if most < LEAST_PERIOD:
        window = max(1, MOST_WIDTH // n_channels)
        return window, f"{window} steps, because the series has many channels"
    period = dominant_period(values, LEAST_PERIOD, most)
    if period is None:
        window = min(DEFAULT_WINDOW, most)
        between = f"between {LEAST_PERIOD} and {most} steps"
        return window, f"{window} steps, because no period {between} stands out"
    window = period * -(-LEAST_WINDOW // period)
    if window == period or window > most:
        return period, f"{period} steps, the dominant period"
    return window, f"{window} steps, a multiple of the dominant period of {period}"
