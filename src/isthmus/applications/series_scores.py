"""Scores of the windows of a series, and their average over the windows around each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from isthmus.applications.window_pca import Moments, WindowPCA, interpolate_gaps
from isthmus.data.windows import BLOCK, Windows

__all__ = ["LEAST", "METHODS", "SCALINGS", "TRENDS", "TrainingWindows", "WindowScorer", "blend"]

Array = NDArray[Any]
METHODS = ("whitened", "reconstruction")
SCALINGS = ("standard", "robust")
TRENDS = ("none", "difference", "level", "linear")
CLOSEST = 0.9  # share of the windows to which "whitened" is fitted
CONCENTRATION_STEPS = 2  # towards the mean and covariance of the closest windows
LEAST = 1e-12  # score, in a logarithm
PIECE = 2**16  # steps blended at once
IQR = 1.349  # interquartile range of a standard normal


@dataclass(eq=False)
class WindowScorer:
    """Scores windows (m, n_channels, window) in the units of the data; NaN is missing.

    Parameters
    ----------
    center, scale : ndarray (n_channels,)
        Of each channel.
    trend : str
        What is subtracted from each window: its mean ("level") or a line ("linear").
    pca : WindowPCA or None
        Of the standardised windows; None before it is fitted.
    models : list of (LatentEstimator, WindowPCA)
        Fitted to windows in the units of the data, and the components of its errors.
    method : str
        "whitened" or "reconstruction".
    units : list of float
        By which the scores of the components, and of each model, are divided; empty for 1.
    """

    center: Array
    scale: Array
    trend: str
    method: str
    pca: WindowPCA | None = None
    models: list[tuple[Any, WindowPCA]] = field(default_factory=list)
    units: list[float] = field(default_factory=list)

    @classmethod
    def fit_scale(cls, parts: list[Array], scaling: str, trend: str, method: str) -> WindowScorer:
        """Return a scorer with the location and scale of values (n, n_channels) with gaps."""
        values = np.concatenate(parts)
        center, scale = np.zeros(values.shape[1]), np.ones(values.shape[1])
        for j, column in enumerate(values.T):
            known = column[~np.isnan(column)]
            if not len(known):
                continue
            if scaling == "standard":
                center[j], spread = known.mean(), known.std()
            else:
                low, center[j], high = np.quantile(known, (0.25, 0.5, 0.75))
                spread = (high - low) / IQR or known.std()  # most values may be equal
            # A constant is computed up to rounding.
            scale[j] = spread if spread > 1e-12 * np.abs(known).max() else 1.0
        return cls(center, scale, trend, method)

    def prepared(self, windows: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Return standardised windows without gaps and trend, and which values are known."""
        known = ~np.isnan(windows)
        x = (windows - self.center[:, None]) / self.scale[:, None]
        incomplete = np.flatnonzero(~known.all((1, 2)))
        if len(incomplete):
            x[incomplete] = interpolate_gaps(x[incomplete])
        if self.trend in ("level", "linear"):
            x = x - self._trend_of(x)
        if len(incomplete) and self.pca is not None:
            m, *shape = x[incomplete].shape
            rows = x[incomplete].reshape(m, -1), known[incomplete].reshape(m, -1)
            x[incomplete] = self.pca.fill(*rows).reshape(m, *shape)
        return x, known

    def in_units(self, x: Array) -> Array:
        """Return standardised windows in the units of the data."""
        return x * self.scale[:, None] + self.center[:, None]

    def _trend_of(self, x: Array) -> Array:
        size = x.shape[-1]
        if self.trend == "level" or size == 1:
            return x.mean(-1, keepdims=True)
        line = np.linspace(-1, 1, size)
        slope = (x @ line / (line @ line))[..., None]
        return x.mean(-1, keepdims=True) + slope * line

    def errors_of(self, model: Any, x: Array) -> Array:
        """Return what a model leaves of standardised windows."""
        shape = (len(x), *model.feature_shape_)
        reconstruction = model.reconstruct(self.in_units(x).reshape(shape))
        reconstruction = np.asarray(reconstruction, np.float64).reshape(x.shape)
        return x - (reconstruction - self.center[:, None]) / self.scale[:, None]

    def fit_units(self, blocks: Iterable[Array]) -> None:
        """Make 1 the median score of windows, except for "reconstruction" by the components."""
        self.units = []
        means = [self.means(block)[0] for block in blocks]
        medians = [
            float(np.median(np.concatenate(each))) or 1.0 for each in zip(*means, strict=True)
        ]
        self.units = medians if self._whitens else [1.0, *medians[1:]]

    def squares(self, windows: Array) -> tuple[list[Array], NDArray[np.bool_]]:
        """Return what each value adds to the score of each model, and which values are known."""
        assert self.pca is not None
        x, known = self.prepared(windows)
        parts = [self._squared(self.pca, x)]
        for model, pca in self.models:
            errors = self.errors_of(model, x)
            parts.append(self._squared(pca, errors) if self._whitens else errors**2)
        return parts, known

    @property
    def _whitens(self) -> bool:
        return self.method == "whitened"

    def _squared(self, pca: WindowPCA, x: Array) -> Array:
        rows = x.reshape(len(x), -1)
        result = pca.whitened(rows) if self._whitens else pca.residual(rows)
        return (result**2).reshape(x.shape)

    def means(self, windows: Array) -> tuple[list[Array], Array]:
        """Return the score of each window by each model, and the share of known values."""
        parts, known = self.squares(windows)
        n = known.sum((1, 2))
        means = [(part * known).sum((1, 2)) / np.maximum(n, 1) for part in parts]
        return means, n / known[0].size

    def scores(self, windows: Array) -> tuple[Array, Array]:
        """Return the score of each window: the geometric mean of those of the models.

        That of a model is the mean over all known values. The second result is the share of these.
        """
        means, share = self.means(windows)
        return np.exp(self._logarithm(means)), share

    def _logarithm(self, means: list[Array]) -> Array:
        units = self.units or [1.0] * len(means)
        return np.mean(
            [np.log(np.maximum(m / u, LEAST)) for m, u in zip(means, units, strict=True)], 0
        )

    def rows(self, windows: Array) -> Array:
        """Return rows to blend (m, 2, window): logarithms of scores times weights, and weights."""
        score, share = self.scores(windows)
        return self._over_time(
            np.stack([share * np.log(np.maximum(score, LEAST)), share], 1), windows
        )

    def channel_rows(self, windows: Array) -> Array:
        """Return rows to blend (m, 2 + 2 n_channels, window): those of `rows`, and of channels."""
        parts, known = self.squares(windows)
        n = known.sum(2)
        each = [(part * known).sum(2) for part in parts]  # (m, n_channels)
        means = [part.sum(1) / np.maximum(n.sum(1), 1) for part in each]
        logarithm = self._logarithm(means)
        share = n.sum(1) / known[0].size
        shares = [part / np.maximum(part.sum(1, keepdims=True), LEAST) for part in each]
        blame = np.mean(shares, 0) * np.exp(logarithm)[:, None]
        rows = [(share * logarithm)[:, None], share[:, None], blame]
        return self._over_time(np.concatenate(rows, 1), windows)

    @staticmethod
    def _over_time(rows: Array, windows: Array) -> Array:
        return np.broadcast_to(rows[..., None], (*rows.shape, windows.shape[-1]))


def blend(
    function: Callable[[Array], Array], chunks: Iterable[Array], window: int, stride: int
) -> Iterator[Array]:
    """Yield the averages of rows over the windows around each step, as soon as they are final.

    Parameters
    ----------
    function : callable
        Maps windows (m, n_channels, window) to rows (m, n_rows, window).
    chunks : iterable of ndarray (n, n_channels)
        Successive parts of a series, of any lengths.
    window, stride : int
        Steps of a window, and between windows. The last window ends with the series.

    Yields
    ------
    ndarray (n_rows, n)
        For as many steps as there are in the chunks, in all. The result does not depend on how a
        series is cut into chunks.
    """
    windows = Windows((window,), stride=stride, taper=False)
    held, start, done = None, 0, 0  # values since step `start`; steps that are yielded
    for chunk in chunks:
        for first in range(0, len(chunk), PIECE):
            piece = chunk[first : first + PIECE].T
            held = piece if held is None else np.concatenate([held, piece], 1)
            ready = start + held.shape[1] - window  # later steps lie in windows yet to come
            if ready > done:
                yield windows.apply(function, held[None])[0][:, done - start : ready - start]
                done = ready
                begin = max(0, done - window + 1) // stride * stride
                held, start = held[:, begin - start :], begin
    if held is None or start + held.shape[1] < window:
        n = 0 if held is None else held.shape[1]
        raise ValueError(f"the series has {n} steps, fewer than a window of {window}.")
    yield windows.apply(function, held[None])[0][:, done - start :]


@dataclass(eq=False)
class TrainingWindows:
    """Windows of several series (n_steps, n_channels), some at a time.

    `places` are pairs of the series and the first step of each window, (n, 2).
    """

    values: list[Array]
    window: int
    places: Array

    @classmethod
    def every(cls, values: list[Array], window: int, stride: int) -> TrainingWindows:
        """Return the windows at every `stride`-th step, and those that end with a series."""
        starts = [Windows((window,), stride=stride).starts(len(x)) for x in values]
        numbers = np.repeat(np.arange(len(values)), [*map(len, starts)])
        return cls(values, window, np.column_stack([numbers, np.concatenate(starts)]))

    @classmethod
    def of(
        cls, values: list[Array], held_out: list[Array], window: int, stride: int, most: int
    ) -> TrainingWindows:
        """Return at most so many windows, evenly spaced, that touch no step that is held out.

        At least half of the values of each are known; if no window has so many, any are enough.
        """
        places = cls.every(values, window, stride).places
        free, known = np.zeros(len(places), bool), np.zeros(len(places))
        for i, (x, hidden) in enumerate(zip(values, held_out, strict=True)):
            rows = places[:, 0] == i
            starts = places[rows, 1]
            n_hidden = np.append(0, np.cumsum(hidden))
            n_known = np.append(0, np.cumsum((~np.isnan(x)).mean(1)))
            free[rows] = n_hidden[starts + window] == n_hidden[starts]
            known[rows] = (n_known[starts + window] - n_known[starts]) / window
        kept = places[free & (known >= 0.5)]
        kept = kept if len(kept) else places[free & (known > 1e-9)]
        step = max(1, -(-len(kept) // most))
        return cls(values, window, kept[::step])

    def __len__(self) -> int:
        return len(self.places)

    def blocks(self, most: int = BLOCK) -> Iterator[Array]:
        """Yield windows (m, n_channels, window) of at most so many numbers."""
        size = max(1, most // (self.window * self.values[0].shape[1]))
        for i, x in enumerate(self.values):
            views = sliding_window_view(x, self.window, 0)
            starts = self.places[self.places[:, 0] == i, 1]
            for first in range(0, len(starts), size):
                yield views[starts[first : first + size]]

    def some(self, most: int) -> TrainingWindows:
        """Return at most so many of the windows, evenly spaced."""
        step = max(1, -(-len(self) // most))
        return TrainingWindows(self.values, self.window, self.places[::step])

    def fit_pca(self, scorer: WindowScorer, n_components: int | None) -> TrainingWindows:
        """Set the components of a scorer; return the windows to which they are fitted.

        For "whitened" these are the nine tenths that are closest to the mean.
        """
        distances = scorer.method == "whitened"
        kept = self
        for last in range(1 + CONCENTRATION_STEPS * distances):
            scorer.pca = WindowPCA.fit(
                Moments.of(kept.prepared_rows(scorer)), n_components, distances=distances
            )
            if distances and last < CONCENTRATION_STEPS:
                found = np.concatenate([scorer.scores(block)[0] for block in self.blocks()])
                close = found <= np.quantile(found, CLOSEST)
                kept = TrainingWindows(self.values, self.window, self.places[close])
        return kept

    def prepared_rows(self, scorer: WindowScorer) -> Iterator[Array]:
        """Yield standardised windows as rows."""
        for block in self.blocks():
            x, _ = scorer.prepared(block)
            yield x.reshape(len(x), -1)
