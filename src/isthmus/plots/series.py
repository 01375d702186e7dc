"""Figures of time series: values, what a model makes of them, scores and segments."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray

from isthmus.plots.groups import shortened
from isthmus.plots.style import INK, MUTED, PALE, PALETTE, figure, set_text, tidy, title

__all__ = ["time_series"]

Array = NDArray[Any]
MAX_CHANNELS = 12  # that are drawn
MAX_POINTS = 4000  # per line: of more, the least and the greatest value of each bin
HEIGHT = 0.8  # inches of a channel
BLUE, RED = PALETTE[0], PALETTE[2]


def time_series(
    values: ArrayLike,
    times: ArrayLike | None = None,
    *,
    names: Sequence[Any] | None = None,
    model: ArrayLike | None = None,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    score: ArrayLike | None = None,
    threshold: float | None = None,
    segments: Sequence[tuple[Any, Any]] = (),
    model_label: str = "model",
    heading: str = "",
) -> Figure:
    """Draw a time series, and below it the anomaly score with its threshold.

    Parameters
    ----------
    values : array-like (time,) or (time, channels)
        NaN leaves a gap. At most twelve channels are drawn, the first ones.
    times : array-like (time,), optional
        Dates or numbers; by default the numbers of the steps.
    names : sequence (channels,), optional
        Names of the channels.
    model : array-like of the shape of values, optional
        A reconstruction, filled gaps or a cleaned series, drawn on top.
    low, high : array-like of the shape of values, optional
        Bounds of a band around the model.
    score : array-like (time,), optional
        Drawn in a separate panel, with a logarithmic axis.
    threshold : float, optional
        Above which a score is anomalous.
    segments : sequence of (start, end)
        Stretches to shade, in the unit of the times.
    model_label, heading : str
        Name of the model in the legend, and the title.

    Returns
    -------
    Figure

    Examples
    --------
    >>> x = np.sin(np.arange(300) / 9)
    >>> sheet = time_series(x, score=np.abs(x) + 0.1, threshold=1.0, segments=[(100, 110)])
    >>> len(sheet.axes)
    2
    """
    x = _columns(values)
    t = np.arange(len(x)) if times is None else np.asarray(times)
    if t.shape != x.shape[:1]:
        raise ValueError(f"expected {len(x)} times, one for each value, got {t.shape}.")
    extra = {"model": model, "low": low, "high": high}
    other = {name: _columns(v) for name, v in extra.items() if v is not None}
    if wrong := [name for name, v in other.items() if v.shape != x.shape]:
        raise ValueError(f"{wrong[0]} has shape {other[wrong[0]].shape}, values have {x.shape}.")
    n = min(x.shape[1], MAX_CHANNELS)
    n_panels = n + (score is not None)
    sheet = figure(0.7 + max(1.6, HEIGHT * n_panels + 0.4))
    panels = sheet.subplots(n_panels, 1, sharex=True, squeeze=False)[:, 0]
    for j, axes in enumerate(panels[:n]):
        width = 1.4 if "model" in other else 0.8
        colour = PALETTE[3] if "model" in other else BLUE
        axes.plot(*_thinned(t, x[:, j]), color=colour, linewidth=width, label="given")
        if "low" in other and "high" in other:
            band = {"color": PALETTE[6], "alpha": 0.25, "linewidth": 0}
            axes.fill_between(t, other["low"][:, j], other["high"][:, j], **band)
        if "model" in other:
            line = {"color": PALETTE[6], "linewidth": 0.9, "label": model_label}
            axes.plot(*_thinned(t, other["model"][:, j]), **line)
        tidy(axes)
        if names is not None or x.shape[1] > 1:
            name = f"x{j}" if names is None else shortened(names[j])
            label = axes.set_ylabel("", rotation=0, ha="right", va="center")
            set_text(label, name)
    if score is not None:
        known = np.asarray(score, float)
        panels[-1].plot(*_thinned(t, known), color=INK, linewidth=0.8)
        if threshold is not None:
            panels[-1].axhline(threshold, color=RED, linewidth=1, linestyle="--")
        if (known[~np.isnan(known)] > 0).all():
            panels[-1].set_yscale("log")
            panels[-1].yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=5))
            panels[-1].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            panels[-1].yaxis.set_minor_formatter(NullFormatter())
        tidy(panels[-1]).set_ylabel("score", rotation=0, ha="right", va="center")
    for axes in panels:
        axes.margins(x=0.005)
        axes.grid(axis="y", color=PALE, linewidth=0.6)
        for start, end in segments:
            axes.axvspan(start, end, color=RED, alpha=0.15, linewidth=0)
    if t.dtype.kind == "M" or (t.dtype.kind == "O" and hasattr(t.flat[0], "year")):
        locator = AutoDateLocator()
        panels[-1].xaxis.set_major_locator(locator)
        panels[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))
    else:
        panels[-1].set_xlabel("step" if times is None else "time", color=MUTED)
    if "model" in other:
        style = {"ncols": 2, "frameon": False, "labelcolor": MUTED, "fontsize": 9}
        sheet.legend(handles=panels[0].get_lines(), loc="outside lower right", **style)
    if more := x.shape[1] - n:
        heading = f"{heading} (without {more} more channels)".strip()
    if heading:
        title(sheet, heading)
    return sheet


def _columns(values: Any) -> Array:
    array = np.asarray(values, float)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or not array.size:
        raise ValueError(f"expected values (time,) or (time, channels), got {array.shape}.")
    return array


def _thinned(t: Array, y: Array) -> tuple[Array, Array]:
    """Return a line that looks the same: the ends of the range of values in many bins."""
    if len(y) <= MAX_POINTS:
        return t, y
    edges = np.linspace(0, len(y), MAX_POINTS // 2 + 1).astype(int)
    parts = []
    for start, end in itertools.pairwise(edges):
        part = y[start:end]
        if np.isnan(part).all():
            parts.append(start)
            continue
        parts += sorted({start + int(np.nanargmin(part)), start + int(np.nanargmax(part))})
    return t[parts], y[parts]
