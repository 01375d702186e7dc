"""Convert figures to inline SVG that takes its colours and fonts from the page.

Text stays text, so the browser can draw labels in scripts for which this machine has no font, and
one drawing serves light mode, dark mode and print.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import Any, NamedTuple
from xml.etree import ElementTree as Xml

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.text import Text

from isthmus.plots.style import INK, MUTED, PALE, PALETTE

__all__ = ["Picture", "as_picture"]

DPI = 144  # of embedded images: sharp at the width of the page
LARGE, COARSE = 1_000_000, 96  # larger drawings use this DPI, to keep a page below 5 MB
DIGITS = 2  # of coordinates in points
HALO = "halo"  # class of text drawn over points
# Keep text as text, and make ids reproducible.
SVG_OPTIONS: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "isthmus"}
LINKS = "href", "clip-path"
NAME = r"(?<=#)[\w-]+"  # of a shape in a link such as "#name" or "url(#name)"
COLOURS = {INK: "var(--ink)", MUTED: "var(--soft)", PALE: "var(--line)"}
COLOURS |= {colour: f"var(--c{k})" for k, colour in enumerate(PALETTE)}


class Picture(NamedTuple):
    """A figure's title, and its drawing as one ``<svg>`` element."""

    headline: str
    svg: str


def as_picture(figure: Figure, alt: str, key: str) -> Picture:
    """Convert a figure to inline SVG.

    Parameters
    ----------
    figure : Figure
        It is modified.
    alt : str
        Alternative text.
    key : str
        Prefix of the ids, unique within the page.

    Examples
    --------
    >>> from isthmus.plots import latent_map
    >>> picture = as_picture(latent_map([[0, 1], [1, 0]], ["猫", "<b>"]), "two points", "a")
    >>> picture.headline
    'Codes of 2 examples, coloured by label'
    >>> "猫" in picture.svg, "<b>" in picture.svg, 'aria-label="two points"' in picture.svg
    (True, False, True)
    """
    headline = figure.get_suptitle()
    figure.suptitle("")
    _restore_text(figure)
    drawn = _drawn(figure, DPI)
    root = Xml.fromstring(drawn if len(drawn) <= LARGE else _drawn(figure, COARSE))
    _strip(root)
    _rename(root, key)
    for parent in root.iter():
        _join(parent)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": alt}
    return Picture(headline, Xml.tostring(root, encoding="unicode"))


def _restore_text(figure: Figure) -> None:
    """Restore the original text behind code points, and mark text with a halo by a class."""
    for text in figure.findobj(Text):
        if text.get_label():
            text.set_text(text.get_label())
        if text.get_path_effects():  # path effects would turn text into shapes
            text.set(path_effects=[], gid=HALO)


def _drawn(figure: Figure, dpi: int) -> bytes:
    file = io.BytesIO()
    with mpl.rc_context(SVG_OPTIONS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s)Glyph .* missing")  # browsers have more fonts
        figure.savefig(file, format="svg", dpi=dpi, transparent=True, metadata={"Date": None})
    return file.getvalue()


def _strip(root: Xml.Element) -> None:
    """Drop metadata and styles, and use the colours and fonts of the page."""
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {k.rpartition("}")[2]: v for k, v in element.attrib.items()}
        for name, short in SHORTER.items():
            if name in element.attrib:
                element.set(name, short(element.attrib[name]))
        for child in [*element]:
            if child.tag.endswith(
                ("}metadata", "}style")
            ):  # a style element applies to the whole page
                element.remove(child)
        if element.tag != "text":
            element.text = None
        element.tail = None


def _style(value: str) -> str:
    value = re.sub(r"#[0-9a-f]{6}", lambda m: COLOURS.get(m[0], m[0]), value)
    value = re.sub(r"'DejaVu Sans'[^;]*", "var(--font)", value)
    return re.sub(r"([\d.]+)px", r"calc(\1px * var(--zoom))", value)


def _places(value: str) -> str:
    value = re.sub(r"-?\d+\.\d+", lambda m: f"{round(float(m[0]), DIGITS):g}", value)
    return " ".join(value.split())


SHORTER = {"style": _style, "d": _places, "x": _places, "y": _places}


def _rename(root: Xml.Element, key: str) -> None:
    """Give short, unique ids to the shapes that are referenced, and drop other ids."""
    linked = " ".join(e.get(name, "") for e in root.iter() for name in LINKS)
    names = {old: f"{key}-{i}" for i, old in enumerate(dict.fromkeys(re.findall(NAME, linked)))}
    for element in root.iter():
        old = element.attrib.pop("id", "")
        if old in names:
            element.set("id", names[old])
        elif old == HALO:
            element.set("class", HALO)
        for link in LINKS:
            if link in element.attrib:
                element.set(link, re.sub(NAME, lambda m: names[m[0]], element.attrib[link]))


def _join(parent: Xml.Element) -> None:
    """Merge adjacent groups with equal attributes: matplotlib writes one per point."""
    before: Xml.Element | None = None
    for child in [*parent]:
        if before is not None and child.tag == before.tag == "g" and child.attrib == before.attrib:
            before.extend([*child])
            parent.remove(child)
        else:
            before = child
