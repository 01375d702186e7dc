"""Loss curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from isthmus.plots.style import INK, MUTED, PALE, PALETTE, figure, signed, tidy, title

__all__ = ["loss_curves"]

NAMES = {
    "loss": "total loss",
    "reconstruction": "reconstruction: −log p(x|z)",
    "kl": "KL from posterior to prior",
    "penalty": "penalty",
}
TRAIN, HELD_OUT = PALETTE[0], PALETTE[6]
STEEP = 20.0  # largest over last value above which the axis is logarithmic


def loss_curves(history: Any, *, ax: Axes | None = None) -> Figure:
    """Draw the total loss and each of its non-zero terms over the epochs.

    Parameters
    ----------
    history : LatentEstimator, or sequence of dict
        A fitted model, or its `history_`: one record per epoch with `epoch`, `loss`,
        `reconstruction`, `kl` and `penalty` in nats per example, and optionally the same with
        prefix `valid_`.
    ax : Axes, optional
        Axes of your own, in which only the total loss is drawn, with a legend.

    Returns
    -------
    Figure
        A new figure, or that of `ax`. The epoch with the lowest held-out loss (or training loss) is
        marked. An axis is logarithmic if positive losses fall steeply; it ends below the losses of
        a few epochs that would hide the others.

    Examples
    --------
    >>> terms = {"loss": 3.0, "reconstruction": 2.0, "kl": 1.0, "penalty": 0.0}
    >>> len(loss_curves([{"epoch": 1, **terms}]).axes)
    3
    """
    history = getattr(history, "history_", history)
    if not history:
        raise ValueError("history is empty: expected at least one epoch.")
    if ax is not None:
        _panel(ax, history, "loss")
        ax.legend(frameon=False, labelcolor=MUTED, fontsize=9)
        return ax.get_figure(root=True)  # type: ignore[return-value]
    panels: list[Any]
    parts = [k for k in ("reconstruction", "kl", "penalty") if any(r.get(k) for r in history)]
    if len(parts) < 2:  # the total is the same curve
        sheet, panels = figure(3.2), [["".join(parts) or "loss"]]
    else:
        sheet, panels = figure(5.2), [["loss"] * len(parts), parts]
    for name, axes in sheet.subplot_mosaic(panels).items():
        _panel(axes, history, name)
    lines = sheet.axes[0].get_lines()
    style = {"ncols": 3, "columnspacing": 3, "frameon": False, "labelcolor": MUTED}
    sheet.legend(handles=lines, loc="outside lower center", **style)
    best = _best(history)
    which, key = ("held-out", "valid_loss") if "valid_loss" in best else ("training", "loss")
    value = signed(best[key], ",.2f")
    title(sheet, f"Lowest {which} loss: {value} nats per example, in epoch {best['epoch']}")
    return sheet


def _panel(axes: Axes, history: Sequence[Mapping[str, Any]], name: str) -> None:
    _curve(axes, history, name, color=TRAIN, label="training rows")
    if any("valid_loss" in r for r in history):
        style = {"color": HELD_OUT, "linestyle": "--", "label": "held-out rows"}
        _curve(axes, history, "valid_" + name, **style)
    _set_scale(axes, np.array([r[name] for r in history]))
    best = _best(history)["epoch"]
    axes.axvline(best, color=MUTED, linewidth=1, linestyle=":", label="best epoch")
    axes.set_title(NAMES[name], loc="left", fontsize=9.5, color=INK)
    axes.grid(axis="y", color=PALE, linewidth=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    tidy(axes, xlabel="epoch", ylabel="nats per example")


def _set_scale(axes: Axes, values: Any) -> None:
    """Let the values of most epochs take up most of the axis."""
    shown = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.get_lines()])
    low, high = np.quantile(shown, (0.1, 0.9))
    spread = high - low
    if shown.min() > 0 and values.max() > STEEP * values[-1]:
        axes.set_yscale("log")
    elif np.ptp(shown) > STEEP * spread > 0:  # a few epochs leave the axis
        axes.set_ylim(max(shown.min(), low - spread), min(shown.max(), high + spread))
        highest = f"highest: {signed(shown.max())}"
        style: Any = {"ha": "right", "va": "top", "color": MUTED, "fontsize": 9}
        axes.text(0.99, 0.97, highest, transform=axes.transAxes, **style)


def _curve(axes: Axes, history: Sequence[Mapping[str, Any]], key: str, **style: Any) -> None:
    known = [(r["epoch"], r[key]) for r in history if key in r]
    axes.plot(*zip(*known, strict=True), marker="o" if len(known) < 3 else "", **style)


def _best(history: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    validated = [r for r in history if "valid_loss" in r]
    return min(validated or history, key=lambda r: r["valid_loss" if validated else "loss"])
