"""The gallery's scenes as sphinx-gallery shows them: each ends with a `figure`."""

from __future__ import annotations

from typing import Any

from sphinx_gallery.scrapers import figure_rst

DPI = 110


def scrape(block: Any, variables: dict[str, Any], settings: dict[str, Any]) -> str:
    """Keep the figure of a scene that was run, once, and return the text that shows it."""
    figure = variables["example_globals"].pop("figure", None)
    if figure is None:
        return ""
    path = variables["image_path_iterator"].next()
    figure.savefig(path, dpi=DPI, facecolor="white")
    return figure_rst([path], settings["src_dir"])
