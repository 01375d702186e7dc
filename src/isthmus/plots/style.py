"""The look that all figures share."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

__all__ = ["INK", "MUTED", "PALE", "PALETTE", "WIDTH", "bare", "figure", "signed", "tidy", "title"]

WIDTH = 6.6  # inches: text of 10 points stays readable where the figure shrinks to a phone
INK, MUTED, PALE = "#1f2933", "#5c6670", "#d5dae0"

#: Ten colours that stay apart for colour-blind eyes (Petroff, 2021).
PALETTE = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)


def figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty white figure, of inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06)
    return Figure(figsize=(width, height), layout=layout, facecolor="white")


def title(on: Figure, text: str) -> None:
    """Write the title of a figure, at the left."""
    on.suptitle(text, x=0.012, ha="left", fontsize=10.5, color=INK, parse_math=False)


def signed(value: float, form: str = ".3g") -> str:
    """Return a number with a true minus sign.

    Examples
    --------
    >>> signed(-1.5)
    '−1.5'
    """
    return format(value, form).replace("-", "−")


def tidy(axes: Axes, **labels: Any) -> Axes:
    """Leave of a plot's frame what is read."""
    axes.set(**labels)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(colors=MUTED, labelsize=9)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=MUTED, fontsize=9.5)
    return axes


def bare(axes: Axes) -> Axes:
    """Take frame and ticks away."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=MUTED, labelsize=9, length=0)
    return axes
