"""Points coloured by label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from isthmus.plots.style import INK, MUTED, PALE, PALETTE, colour_bar, set_text

__all__ = ["Colours", "shortened"]

Array = NDArray[Any]

MANY = 20  # labels that colours and marks can distinguish
COMMON = 9  # names with their own colour if there are too many
MARKS = ("o", "^")  # the second for the labels after the tenth
LONGEST = 24  # letters of a name
SHORT = 10  # longer names would hide their points
BINS = 60


@dataclass(frozen=True)
class Colours:
    """The colours of n points, by classes, by numbers, or the same for all."""

    names: tuple[str, ...] = ()  # of the classes
    index: Array | None = None  # class of each point
    numbers: Array | None = None  # number of each point
    others: bool = False  # whether the last class combines all rare ones

    @classmethod
    def of(cls, labels: Array | None) -> Colours:
        """Return colours by class, or by number if there are more than 20 distinct numbers."""
        if labels is None:
            return cls()
        if labels.dtype.kind not in "biuf":
            labels = labels.astype(str)
        values, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
        if len(values) <= MANY:
            return cls(tuple(map(shortened, values)), index)
        if labels.dtype.kind in "iuf":
            return cls(numbers=labels)
        # The most frequent names have colours; all others share the last name and grey.
        common = np.argsort(-counts, kind="stable")[:COMMON]
        place = np.full(len(values), COMMON)
        place[common] = np.arange(COMMON)
        others = f"{len(values) - COMMON:,} others"
        return cls((*map(shortened, values[common]), others), place[index], others=True)

    def scatter(self, axes: Axes, points: Array) -> None:
        """Draw points (n, 2), with a legend or a colour bar."""
        size = float(np.clip(16_000 / len(points), 3, 30))
        style: dict[str, Any] = {"s": size, "linewidths": 0, "alpha": 0.8}
        if self.numbers is not None:
            style |= {"cmap": "viridis", "edgecolors": MUTED, "linewidths": 0.4}
            drawn = axes.scatter(points[:, 0], points[:, 1], c=self.numbers, **style)
            colour_bar(drawn, axes, "label")
        elif self.index is None:
            axes.scatter(points[:, 0], points[:, 1], color=PALETTE[0], **style)
        else:
            self._scatter_classes(axes, points, style)

    def _scatter_classes(self, axes: Axes, points: Array, style: dict[str, Any]) -> None:
        assert self.index is not None
        colours = np.array([self._colour(k) for k in range(len(self.names))])
        behind = self.index == len(self.names) - 1 if self.others else np.zeros(len(points), bool)
        layers = [(behind, "o")]
        layers += [(~behind & (self.index // len(PALETTE) == k), m) for k, m in enumerate(MARKS)]
        for these, mark in layers:
            if these.any():
                x, y = points[these].T
                axes.scatter(x, y, c=colours[self.index[these]], marker=mark, **style)
        self._legend(axes)
        if max(map(len, self.names)) <= SHORT and not self.others:
            for k, name in enumerate(self.names):
                x, y = np.median(points[self.index == k], axis=0)
                text = axes.text(x, y, "", ha="center", va="center", color=INK, fontsize=10)
                halo = patheffects.withStroke(linewidth=3, foreground="white")
                text.set(weight="bold", path_effects=[halo])
                set_text(text, name)

    def histogram(self, axes: Axes, values: Array) -> None:
        """Draw a histogram of the values (n,), with stacked classes."""
        index = np.zeros(len(values), int) if self.index is None else self.index
        n = max(1, len(self.names))
        parts = [values[index == k] for k in range(n)]
        colours = [self._colour(k) for k in range(n)]
        axes.hist(parts, bins=BINS, stacked=True, histtype="stepfilled", color=colours)
        if self.names:
            self._legend(axes)

    def _colour(self, k: int) -> str:
        is_last = k == len(self.names) - 1
        return PALE if self.others and is_last else PALETTE[k % len(PALETTE)]

    def _legend(self, axes: Axes) -> None:
        marks = [
            Line2D([], [], color=self._colour(k), marker=MARKS[k // len(PALETTE)], linestyle="")
            for k in range(len(self.names))
        ]
        legend = axes.legend(
            marks,
            ["label"] * len(marks),
            loc="center left",
            bbox_to_anchor=(1.01, 0.5),
            frameon=False,
            labelcolor=MUTED,
            handletextpad=0.1,
            fontsize=9,
        )
        # Set afterwards: matplotlib would skip names that begin with "_" and read "$" as TeX.
        for text, name in zip(legend.get_texts(), self.names, strict=True):
            set_text(text, name)


def shortened(value: Any) -> str:
    """Return a label as text of at most 24 letters.

    Examples
    --------
    >>> shortened(np.float64(3.0)), shortened("a" * 30)
    ('3', 'aaaaaaaaaaaaaaaaaaaaaaa…')
    """
    text = f"{value:g}" if isinstance(value, np.floating) else str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
