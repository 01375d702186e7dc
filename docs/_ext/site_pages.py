"""What the pages say differently on the site than where their files lie.

Files of the root (the changelog, how to contribute) are pages of the site, and links to them
lead there. Scenes of the gallery that are not run show the picture that was kept of them.
Docstrings are plain text, read by `help` as often as here: their stars and bars are no markup.
No page may fetch anything from a network.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

#: Files of the root, and the pages that include them.
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "README.md": "index.md",
}
FETCHED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"(https?:[^\"]+)")
CELL = ".. code-block:: Python"
OUTSIDE = re.compile(r"\[([^\]]+)\]\(((?!docs/)[a-z]+/[^)]+)\)")  # links to files that are no pages
#: In docstrings, what is code; and what rst takes for signs, though it is meant as it stands: the
#: stars of (*batch, n), |z|, and model_ (numpydoc escapes the names that are declared itself).
CODE_OR_SIGN = re.compile(
    r"(?P<code>`[^`]+`+|^ *>>> .*(?:\n.*\S.*)*)"
    r"|(?<=[(, ])\*(?=[\w(])(?![\w ]+\*)|\||(?<=\w)_(?!\w| :)",
    re.MULTILINE,
)
OTHERS = ("sklearn.", "torch.")  # their inherited methods have documentation of their own


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect what follows."""
    app.connect("source-read", on_read)
    app.connect("include-read", on_include)
    app.connect("autodoc-skip-member", skip_member)
    app.connect("autodoc-process-docstring", escape, priority=400)  # before numpydoc
    app.connect("build-finished", check_offline)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def on_read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Lead links to the root's files to their pages; put kept pictures under their headings."""
    source[0] = re.sub(r"\]\((?:\.\./)+([A-Z]+\.md)\)", to_page, source[0])
    if docname.startswith("generated/gallery/"):
        source[0] = with_picture(Path(app.srcdir), docname.rpartition("/")[2], source[0])


def on_include(app: Sphinx, path: Path, parent: str, source: list[str]) -> None:
    """Lead links in the root's files to pages; name the files that are none."""
    text = re.sub(r"\]\(([A-Z]+\.md)\)", to_page, source[0])
    text = OUTSIDE.sub(r"\1 (`\2`)", text)
    source[0] = text.replace("](docs/", "](/")


def to_page(link: re.Match[str]) -> str:
    return f"](/{PAGES[link[1]]})" if link[1] in PAGES else link[0]


def with_picture(docs: Path, name: str, text: str) -> str:
    """Put the kept picture before the code of a scene that was not run."""
    picture = docs / "images" / "gallery" / f"{name}.png"
    if not picture.exists() or ".. image-sg::" in text:
        return text
    shown = f".. image:: /images/gallery/{name}.png\n   :class: sphx-glr-single-img\n\n"
    return text.replace(CELL, shown + CELL, 1)


def skip_member(
    app: Sphinx, kind: str, name: str, member: Any, skip: bool, options: Any
) -> bool | None:
    """Pass over what scikit-learn and torch gave to a class."""
    home = getattr(getattr(member, "fget", member), "__module__", None) or ""
    return True if home.startswith(OTHERS) else None


def escape(app: Sphinx, kind: str, name: str, member: Any, options: Any, lines: list[str]) -> None:
    """Escape what is no markup, except in code."""

    def escaped(found: re.Match[str]) -> str:
        return found[0] if found["code"] else "\\" + found[0]

    lines[:] = CODE_OR_SIGN.sub(escaped, "\n".join(lines)).split("\n")


def check_offline(app: Sphinx, error: Exception | None) -> None:
    """Warn of pages that would fetch something."""
    for page in sorted(Path(app.outdir).rglob("*.html")):
        for address in FETCHED.findall(page.read_text(encoding="utf-8")):
            logger.warning("%s fetches %s", page.relative_to(app.outdir), address)
