"""Adapt pages and docstrings to the site.

Links to files of the repository root (changelog, contributing) lead to their pages. Gallery scripts
that do not run show their saved picture. Symbols in docstrings, which are plain text, are escaped.
Pages that load something from a network cause a warning.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

#: Files of the repository root, and the pages that include them.
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "README.md": "index.md",
}
FETCHED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"(https?:[^\"]+)")
CELL = ".. code-block:: Python"
OUTSIDE = re.compile(r"\[([^\]]+)\]\(((?!docs/)[a-z]+/[^)]+)\)")  # links to files without a page
#: Code in docstrings, or symbols with a meaning in rst that are meant literally: the star of
#: (*batch, n), |z|, and model_ (numpydoc escapes declared names itself).
CODE_OR_SIGN = re.compile(
    r"(?P<code>`[^`]+`+|^ *>>> .*(?:\n.*\S.*)*)"
    r"|(?<=[(, ])\*(?=[\w(])(?![\w ]+\*)|\||(?<=\w)_(?!\w| :)",
    re.MULTILINE,
)
OTHERS = ("sklearn.", "torch.")  # inherited methods are documented there


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the functions of this module to Sphinx."""
    app.connect("source-read", on_read)
    app.connect("include-read", on_include)
    app.connect("autodoc-skip-member", skip_member)
    app.connect("autodoc-process-docstring", escape, priority=400)  # before numpydoc
    app.connect("build-finished", check_offline)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def on_read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Turn links to root files into links to pages; insert saved pictures."""
    source[0] = re.sub(r"\]\((?:\.\./)+([A-Z]+\.md)\)", to_page, source[0])
    if docname.startswith("generated/gallery/"):
        source[0] = with_picture(Path(app.srcdir), docname.rpartition("/")[2], source[0])


def on_include(app: Sphinx, path: Path, parent: str, source: list[str]) -> None:
    """Turn links in root files into links to pages, or into file names."""
    text = re.sub(r"\]\(([A-Z]+\.md)\)", to_page, source[0])
    text = OUTSIDE.sub(r"\1 (`\2`)", text)
    source[0] = text.replace("](docs/", "](/")


def to_page(link: re.Match[str]) -> str:
    return f"](/{PAGES[link[1]]})" if link[1] in PAGES else link[0]


def with_picture(docs: Path, name: str, text: str) -> str:
    """Insert the saved picture before the code of a script that did not run."""
    picture = docs / "images" / "gallery" / f"{name}.png"
    if not picture.exists() or ".. image-sg::" in text:
        return text
    shown = f".. image:: /images/gallery/{name}.png\n   :class: sphx-glr-single-img\n\n"
    return text.replace(CELL, shown + CELL, 1)


def skip_member(
    app: Sphinx, kind: str, name: str, member: Any, skip: bool, options: Any
) -> bool | None:
    """Skip members inherited from scikit-learn and torch."""
    home = getattr(getattr(member, "fget", member), "__module__", None) or ""
    return True if home.startswith(OTHERS) else None


def escape(app: Sphinx, kind: str, name: str, member: Any, options: Any, lines: list[str]) -> None:
    """Escape symbols that rst would interpret, except in code."""

    def escaped(found: re.Match[str]) -> str:
        return found[0] if found["code"] else "\\" + found[0]

    lines[:] = CODE_OR_SIGN.sub(escaped, "\n".join(lines)).split("\n")


def check_offline(app: Sphinx, error: Exception | None) -> None:
    """Warn about pages that load something from a network."""
    for page in sorted(Path(app.outdir).rglob("*.html")):
        for address in FETCHED.findall(page.read_text(encoding="utf-8")):
            logger.warning("%s loads %s", page.relative_to(app.outdir), address)
