"""Let sphinx-gallery show the `figure` that each gallery script assigns."""

from __future__ import annotations

from typing import Any

from sphinx_gallery.scrapers import figure_rst

DPI = 110


def scrape(block: Any, variables: dict[str, Any], settings: dict[str, Any]) -> str:
    """Save the figure of a script once, and return the text that shows it."""
    figure = variables["example_globals"].pop("figure", None)
    if figure is None:
        return ""
    path = variables["image_path_iterator"].next()
    figure.savefig(path, dpi=DPI, facecolor="white")
    return figure_rst([path], settings["src_dir"])
