"""The rate-distortion plane of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from isthmus.models.params import setting_text
from isthmus.plots.style import INK, MUTED, PALE, PALETTE, figure, signed, tidy, title

__all__ = ["rate_distortion_figure"]

MARKERS = "osD^vP*X"
NEAR = np.array([0.12, 0.05])  # fractions of width and height within which labels would overlap


def rate_distortion_figure(
    results: Sequence[Mapping[str, Any]], best: int, label: str | None = None
) -> Figure:
    """Plot the rate and distortion of each candidate on the test rows.

    Thin lines connect points of equal ELBO, minus the sum of rate and distortion; closer to the
    lower left is better. A ring marks the best candidate.

    Parameters
    ----------
    results : sequence of dict
        Rows with `params`, `rate` and `distortion`, nats per example.
    best : int
        Index of the result to mark.
    label : str, optional
        Setting to show at each point; by default beta if it is varied, else the first that is. A
        second one that is varied is shown by colours and shapes.

    Returns
    -------
    Figure

    References
    ----------
    Fixing a broken ELBO (Alemi, Poole, Fischer, Dillon, Saurous, Murphy, 2018).

    Examples
    --------
    >>> points = [{"params": {"beta": b}, "rate": 9 - b, "distortion": 90.0 + b} for b in (1, 4)]
    >>> len(rate_distortion_figure(points, best=0).axes)
    1
    """
    rate, distortion = (np.array([r[k] for r in results]) for k in ("rate", "distortion"))
    name = label or _label(results)
    sheet = figure(4.4)
    axes = tidy(
        sheet.subplots(),
        xlabel="rate: KL from posterior to prior, nats per example",
        ylabel="distortion: −log p(x|z), nats per example",
    )
    second = None if label else _second(results, name)
    if second is None:
        axes.scatter(rate, distortion, s=26, color=PALETTE[0], zorder=3)
    else:
        _draw_groups(axes, second, [r["params"].get(second) for r in results], rate, distortion)
    axes.scatter(
        rate[best], distortion[best], s=110, facecolor="none", edgecolor=PALETTE[6], zorder=3
    )
    axes.margins(0.12)
    _write_values(axes, name, [r["params"].get(name) for r in results], rate, distortion)
    _same_sums(axes)
    total = signed(-float(rate[best] + distortion[best]), ",.2f")
    title(sheet, f"Rate and distortion on test rows; best: {total} nats per example")
    return sheet


def _draw_groups(axes: Any, name: str, values: list[Any], rate: Any, distortion: Any) -> None:
    """Draw the points of each value of a setting in a different colour and shape."""
    for i, value in enumerate(dict.fromkeys(values)):
        own = np.array([v == value for v in values])
        style = {"color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i % len(MARKERS)]}
        text = f"{name} {setting_text(value)}"
        axes.scatter(rate[own], distortion[own], s=30, label=text, zorder=3, **style)
    axes.legend(loc="lower left", frameon=False, fontsize=8.5)


def _write_values(axes: Any, name: str, values: list[Any], rate: Any, distortion: Any) -> None:
    """Label each value once, at the mean of its points; nearby values share a label."""
    spans = np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim())
    written: list[tuple[Any, list[str]]] = []
    for value in dict.fromkeys(values):
        own = [v == value for v in values]
        middle = np.array([rate[own].mean(), distortion[own].mean()])
        near = [words for place, words in written if (abs(place - middle) < NEAR * spans).all()]
        text = f"{value:g}" if isinstance(value, float) else setting_text(value)
        near[0].append(text) if near else written.append((middle, [text]))
    style = {"textcoords": "offset points", "fontsize": 8.5, "color": INK}
    for place, words in written:
        axes.annotate(f"{name} {', '.join(words)}", place, (7, 6), **style)


def _same_sums(axes: Any) -> None:
    """Draw thin lines of equal ELBO within the plot's limits."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    sums = np.linspace(left + low, right + high, 9)[1:-1]
    for total in sums:
        axes.plot([left, right], [total - left, total - right], color=PALE, linewidth=0.7)
    axes.set(xlim=(left, right), ylim=(low, high))
    style = {"transform": axes.transAxes, "ha": "right", "va": "top", "fontsize": 8.5}
    axes.text(0.99, 0.985, "thin lines: the same ELBO", color=MUTED, **style)


def _varied(results: Sequence[Mapping[str, Any]]) -> list[str]:
    names = results[0]["params"]
    return [n for n in names if len({repr(r["params"].get(n)) for r in results}) > 1]


def _label(results: Sequence[Mapping[str, Any]]) -> str:
    varied = _varied(results)
    return "beta" if "beta" in varied or not varied else varied[0]


def _second(results: Sequence[Mapping[str, Any]], name: str) -> str | None:
    """Return the other setting to tell apart by colour: one of few values, not the seed."""
    others = [n for n in _varied(results) if n not in (name, "random_state")]
    counts = {n: len({repr(r["params"].get(n)) for r in results}) for n in others}
    few = [n for n in others if counts[n] <= len(MARKERS)]
    return few[0] if few else None
