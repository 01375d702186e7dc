"""The look that all figures share."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text

__all__ = [
    "INK",
    "MUTED",
    "PALE",
    "PALETTE",
    "WIDTH",
    "bare",
    "colour_bar",
    "figure",
    "said",
    "signed",
    "tidy",
    "title",
]

WIDTH = 6.6  # inches: text of 10 points stays readable where the figure shrinks to a phone
INK, MUTED, PALE = "#1f2933", "#5c6670", "#d5dae0"
FONT = "DejaVu Sans"  # comes with matplotlib

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


class Sheet(Figure):
    """A figure that notebooks draw, whatever back end is on."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", bbox_inches="tight")
        return buffer.getvalue()


def figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty white figure, of inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06)
    return Sheet(figsize=(width, height), layout=layout, facecolor="white")


def title(on: Figure, text: str) -> None:
    """Write the title of a figure, at the left."""
    on.suptitle(text, x=0.012, ha="left", fontsize=10.5, color=INK, parse_math=False)


def said(text: Text, words: Any) -> Text:
    r"""Let a text show words from outside: never as TeX, on one line, in fonts that have them.

    A letter that no installed font has is shown by its number, as in "U+732B". The words in
    their own letters stay in the text's label, for whoever draws it with other fonts.

    Parameters
    ----------
    text : Text
    words : object
        Anything with a name: a label, a column.

    Returns
    -------
    Text
        The same.

    Examples
    --------
    >>> said(Text(), "$a\nb").get_text()
    '$a b'
    """
    plain = "".join(c if c.isprintable() else " " for c in str(words)).strip()
    fonts = {c: _font_with(c) for c in dict.fromkeys(plain)}
    shown = "".join(c if fonts[c] else f"U+{ord(c):04X} " for c in plain).strip()
    text.set(parse_math=False, text=shown, label=plain)
    text.set(fontfamily=list(dict.fromkeys([FONT, *filter(None, fonts.values())])))
    return text


@cache
def _font_with(letter: str) -> str | None:
    """Return the family of an installed font that has a letter."""
    for entry in sorted(font_manager.fontManager.ttflist, key=lambda e: e.name != FONT):
        try:
            has = font_manager.get_font(entry.fname).get_char_index(ord(letter))
        except (OSError, RuntimeError):  # a file that is gone, or no font
            continue
        if has and "lastresort" not in entry.name.lower().replace(" ", ""):  # boxes for all
            return entry.name
    return None


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


def colour_bar(of: Any, beside: Any, label: str, **style: Any) -> None:
    """Draw what the colours of an artist mean, beside axes or a list of them."""
    bar = of.figure.colorbar(of, ax=beside, aspect=40, pad=0.02, **style)
    bar.outline.set_visible(False)
    bar.solids.set_rasterized(True)  # as shapes, its steps would show seams
    tidy(bar.ax, ylabel=label)


def bare(axes: Axes) -> Axes:
    """Take frame and ticks away."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=MUTED, labelsize=9, length=0)
    return axes
