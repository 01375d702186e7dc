"""Style shared by all figures."""

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
    "set_text",
    "signed",
    "tidy",
    "title",
]

WIDTH = 6.6  # inches; 10-point text stays readable on a phone
INK, MUTED, PALE = "#1f2933", "#5c6670", "#d5dae0"
FONT = "DejaVu Sans"  # comes with matplotlib

#: Ten colours that remain distinct with colour vision deficiency (Petroff, 2021).
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
    """A figure that notebooks display with any backend."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", bbox_inches="tight")
        return buffer.getvalue()


def figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty white figure; sizes in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06)
    return Sheet(figsize=(width, height), layout=layout, facecolor="white")


def title(on: Figure, text: str) -> None:
    """Write a left-aligned figure title."""
    on.suptitle(text, x=0.012, ha="left", fontsize=10.5, color=INK, parse_math=False)


def set_text(text: Text, words: Any) -> Text:
    r"""Set untrusted text: on one line, without TeX, in fonts that contain its characters.

    A character that no installed font contains is shown by its code point, such as "U+732B". The
    original text is kept as the artist's label, for renderers with other fonts. Returns the artist.

    Examples
    --------
    >>> set_text(Text(), "$a\nb").get_text()
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
    """Return the family of an installed font that contains a character."""
    for entry in sorted(font_manager.fontManager.ttflist, key=lambda e: e.name != FONT):
        try:
            has = font_manager.get_font(entry.fname).get_char_index(ord(letter))
        except (OSError, RuntimeError):  # missing or invalid font file
            continue
        if has and "lastresort" not in entry.name.lower().replace(" ", ""):  # boxes
            return entry.name
    return None


def signed(value: float, form: str = ".3g") -> str:
    """Format a number with a typographic minus sign.

    Examples
    --------
    >>> signed(-1.5)
    '−1.5'
    """
    return format(value, form).replace("-", "−")


def tidy(axes: Axes, **labels: Any) -> Axes:
    """Apply labels and a reduced frame to axes."""
    axes.set(**labels)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(colors=MUTED, labelsize=9)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=MUTED, fontsize=9.5)
    return axes


def colour_bar(of: Any, beside: Any, label: str, **style: Any) -> None:
    """Add a colour bar for an artist next to one or more axes."""
    bar = of.figure.colorbar(of, ax=beside, aspect=40, pad=0.02, **style)
    bar.outline.set_visible(False)
    bar.solids.set_rasterized(True)  # vector steps would show seams
    tidy(bar.ax, ylabel=label)


def bare(axes: Axes) -> Axes:
    """Remove frame and ticks."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=MUTED, labelsize=9, length=0)
    return axes
