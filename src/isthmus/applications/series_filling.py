"""Fill the gaps of time series from the windows around them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from isthmus.applications.imputation import Imputation
from isthmus.applications.series_scores import TrainingWindows, WindowScorer
from isthmus.applications.window_pca import MAX_WIDTH, Moments
from isthmus.data.frames import is_frame, library_of
from isthmus.data.series import Series, choose_window, read_several, warn
from isthmus.data.windows import Windows

__all__ = ["SeriesImputer"]

Array = NDArray[Any]
AUTO = "auto"
RIDGE = 1e-3  # added to the variance of each standardised value
MOST_WIDTH = 1024  # numbers of a window that is chosen
MAX_WINDOWS = 20_000
OVERLAP = 8  # windows per window length
HELD_OUT = 0.2  # last part of the windows, on which the standard deviations are scaled
MAX_CHECKS = 50  # windows in which values are hidden for that
COVERAGE, NORMAL_QUANTILE = 0.9, 1.645


@dataclass(eq=False, repr=False)
class SeriesImputer(TransformerMixin, BaseEstimator):
    """Fill missing values of time series by what is expected given the values around them.

    Windows of the standardised series are taken as draws from one normal distribution, whose mean
    and covariance are those of all windows. Each window with a gap gives the expected values and
    the standard deviations of the gap given its observed values; those of overlapping windows are
    averaged by precision. Observed values do not change.

    Parameters
    ----------
    window : "auto" or int
        Steps per window. "auto": the dominant period, or a multiple of it if the gaps are long.
    time : str
        The column of the times in data frames. "auto": the index, or the only column of dates.

    Attributes
    ----------
    window_ : int
        Steps per window.
    scaling_ : float
        By which the standard deviations were multiplied, so that nine tenths of the values that
        were hidden for a check lie within 1.645 of them.

    See Also
    --------
    LatentImputer : Fills gaps of tables and images by a model.

    Examples
    --------
    >>> t = np.arange(1000)
    >>> series = np.sin(2 * np.pi * t / 50) + np.random.default_rng(0).normal(0, 0.1, 1000)
    >>> gappy = np.where((t >= 500) & (t < 520), np.nan, series)
    >>> values, std = SeriesImputer().fit(gappy).impute(gappy)
    >>> bool(np.abs(values - series)[500:520].max() < 0.4), bool((std[500:520] > 0.08).all())
    (True, True)
    """

    _: KW_ONLY
    window: str | int = AUTO
    time: str = AUTO

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit to one series or to several, with or without gaps.

        Parameters
        ----------
        X : series, or list of series
            As for `SeriesDetector`.
        y : None
            Ignored.
        """
        series, _ = read_several(X, time=self._time)
        values = [each.values for each in series]
        n_channels = values[0].shape[1]
        window = self._choose_window(values)
        if window * n_channels > MAX_WIDTH:
            raise ValueError(
                f"a window of {window} steps of {n_channels} channels has "
                f"{window * n_channels:,} numbers, more than {MAX_WIDTH:,}: set a shorter window."
            )
        _check_length(values, window)
        nothing = [np.zeros(len(x), bool) for x in values]
        scorer = WindowScorer.fit_scale(values, "standard", "none", "whitened")
        windows = TrainingWindows.of(values, nothing, window, 1, MAX_WINDOWS)
        if len(windows) < 2:
            raise ValueError(f"there are fewer than two windows of {window} steps with values.")
        rows = np.concatenate([*_complete_first(windows, scorer)])
        self.window_, self._scorer, self.step_ = window, scorer, series[0].step
        self._channels, self.n_features_in_ = series[0].channels, n_channels
        cut = round(len(rows) * (1 - HELD_OUT))
        self.scaling_ = self._scale_on(rows[:cut], rows[min(cut + window, len(rows)) :], values)
        self._moments = _regularised(rows)
        return self

    def transform(self, X: Any) -> Any:
        """Return series with their missing values filled; see `impute`."""
        filled = self.impute(X)
        return [each.values for each in filled] if isinstance(filled, list) else filled.values

    def impute(self, X: Any) -> Any:
        """Fill the missing values of a series, and estimate their uncertainty.

        Values farther than a window from any observed value stay missing, with a `UserWarning`.

        Parameters
        ----------
        X : series, or list of series
            Rows are not added for times that are missing: give a data frame all times first,
            ``frame.asfreq("h")`` in pandas.

        Returns
        -------
        Imputation, or list of these
            `values` in the form of X, with one row for each row of X; `std` of shape (n_rows,
            n_channels), or (n_rows,) for an array (time,), 0 where a value was observed.
        """
        check_is_fitted(self, "window_")
        series, is_list = read_several(X, time=self._time, channels=self._channels, step=self.step_)
        if series[0].values.shape[1] != self.n_features_in_:
            raise ValueError(
                f"the series has {series[0].values.shape[1]} channels, but the imputer was fitted "
                f"on {self.n_features_in_}."
            )
        _check_length([each.values for each in series], self.window_)
        filled = []
        for given, each in zip(X if is_list else [X], series, strict=True):
            values, std = self._fill(each.values)
            if left := int(np.isnan(values[each.rows]).sum()):
                warn(f"{left:,} values are farther than a window from observed ones: left missing.")
            filled.append(_in_form_of(given, each, values[each.rows], std[each.rows]))
        return filled if is_list else filled[0]

    def _fill(self, x: Array) -> tuple[Array, Array]:
        """Return a series with its gaps filled, and the standard deviations."""
        gaps, window = np.isnan(x), self.window_
        total, weights, variances = np.zeros(x.shape), np.zeros(x.shape), np.zeros(x.shape)
        starts = Windows((window,), stride=max(1, window // OVERLAP)).starts(len(x))
        for start in starts:
            place = slice(start, start + window)
            hidden = gaps[place]
            if not hidden.any() or hidden.all():
                continue
            z = ((x[place] - self._scorer.center) / self._scorer.scale).T.ravel()
            mean, variance = _conditional(self._moments, z, ~hidden.T.ravel())
            mean, variance = (v.reshape(-1, window).T for v in (mean, variance))
            precision = 1 / np.maximum(variance, RIDGE)
            total[place] += precision * mean
            weights[place] += precision
            variances[place] += precision * variance
        with np.errstate(invalid="ignore"):
            values, std = total / weights, np.sqrt(variances / weights) * self.scaling_
        values = values * self._scorer.scale + self._scorer.center
        return np.where(gaps, values, x), np.where(gaps, std * self._scorer.scale, 0.0)

    def _scale_on(self, rows: Array, held_out: Array, values: list[Array]) -> float:
        """Return the factor by which standard deviations are too small on held-out windows."""
        held_out = held_out[:: max(1, -(-len(held_out) // MAX_CHECKS))]
        lengths = [length for x in values for length in _gap_lengths(x)]
        size = int(np.clip(np.median(lengths) if lengths else 1, 1, max(1, self.window_ // 2)))
        if len(held_out) < 2 or len(rows) < 2:
            return 1.0
        moments, start = _regularised(rows), (self.window_ - size) // 2
        known = np.ones((self.n_features_in_, self.window_), bool)
        known[:, start : start + size] = size == self.window_
        if known.all():
            return 1.0
        ratios = []
        for row in held_out:
            mean, variance = _conditional(moments, row, known.ravel())
            hidden = ~known.ravel()
            ratios.append(np.abs(row - mean)[hidden] / np.sqrt(variance[hidden]))
        return float(np.quantile(np.concatenate(ratios), COVERAGE) / NORMAL_QUANTILE)

    def _choose_window(self, values: list[Array]) -> int:
        if self.window != AUTO:
            if not isinstance(self.window, int) or isinstance(self.window, bool) or self.window < 2:
                raise ValueError(
                    f"window must be 'auto' or a whole number of at least 2, got {self.window!r}."
                )
            return self.window
        longest = max(values, key=len)
        period, _ = choose_window(longest)
        gap = max((length for x in values for length in _gap_lengths(x)), default=0)
        times = max(1, -(-(gap + period) // (2 * period)))
        most = min(MOST_WIDTH // longest.shape[1], len(longest) // 5)
        return max(2, min(times * period, max(most // period, 1) * period))

    @property
    def _time(self) -> str | None:
        return None if self.time == AUTO else self.time

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "window_")


def _check_length(values: list[Array], window: int) -> None:
    for i, x in enumerate(values):
        if len(x) < window:
            name = "the series" if len(values) == 1 else f"series {i}"
            raise ValueError(f"{name} has {len(x)} steps, fewer than a window of {window}.")


def _complete_first(windows: TrainingWindows, scorer: WindowScorer) -> Iterator[Array]:
    """Yield standardised windows as rows: those without gaps, if they are at least half of all."""
    complete = [~np.isnan(block).any((1, 2)) for block in windows.blocks()]
    share = np.concatenate(complete).mean()
    for block, whole in zip(windows.blocks(), complete, strict=True):
        chosen = block[whole] if share >= 0.5 else block
        x, _ = scorer.prepared(chosen)
        yield x.reshape(len(x), -1)


def _regularised(rows: Array) -> Moments:
    moments = Moments.of([rows])
    moments.covariance += RIDGE * np.eye(rows.shape[1])
    return moments


def _conditional(moments: Moments, z: Array, known: Array) -> tuple[Array, Array]:
    """Return the mean and the variances of a normal row given some of its values."""
    hidden = np.flatnonzero(~known)
    mean, variance = z.copy(), np.zeros(len(z))
    cross = moments.covariance[np.ix_(hidden, known)]
    gain = np.linalg.solve(moments.covariance[np.ix_(known, known)], cross.T).T
    mean[hidden] = moments.mean[hidden] + gain @ (z[known] - moments.mean[known])
    own = moments.covariance[hidden, hidden] - (gain * cross).sum(1)
    variance[hidden] = np.maximum(own, RIDGE / 2)
    return mean, variance


def _gap_lengths(x: Array) -> list[int]:
    """Return the lengths of the runs of missing values of all channels."""
    lengths: list[int] = []
    for column in np.isnan(x).T:
        change = np.diff(np.concatenate([[0], column.astype(int), [0]]))
        lengths += (np.flatnonzero(change < 0) - np.flatnonzero(change > 0)).tolist()
    return lengths


def _in_form_of(given: Any, series: Series, values: Array, std: Array) -> Imputation:
    """Return filled values in the form of the input."""
    if not is_frame(given):
        if getattr(given, "ndim", 2) == 1:
            return Imputation(values[:, 0], std[:, 0])
        return Imputation(values, std)
    gappy: Array = np.asarray(np.isnan(series.values[series.rows]).any(0))
    columns = {
        name: column
        for name, column, has_gaps in zip(series.names, values.T, gappy, strict=True)
        if has_gaps
    }
    if library_of(given) == "polars":
        import polars

        return Imputation(given.with_columns(polars.Series(n, v) for n, v in columns.items()), std)
    named = {str(name): name for name in given.columns}
    return Imputation(given.assign(**{named[n]: v for n, v in columns.items()}), std)
