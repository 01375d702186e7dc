"""The pages: links that lead somewhere, code that parses, names that all have a page."""

import ast
import pkgutil
import re
import runpy
import sys
from pathlib import Path

import pytest

import isthmus

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
    if not {"_build", "generated"} & set(path.relative_to(ROOT).parts)
)
FENCED = re.compile(r"^(`{3,}|:{3,})(.*?)\n(.*?)^\1 *$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")
#: Modules that hold no public names: the command line, and what the public ones are made of.
INTERNAL = {
    *("cli", "commands", "verbs", "__main__"),
    *("ahead", "claims", "config", "extras", "files", "restore", "templates", "tiles", "writing"),
}


def named(paths):
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in paths]


def anchors(page):
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", named(PAGES))
def test_links_lead_somewhere(page):
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    for name, anchor in LINK.findall(text):
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name} links to {name}, which is not there"
        if anchor:
            assert anchor in anchors(target), f"{page.name} links to {name}#{anchor}"


@pytest.mark.parametrize("page", named(PAGES))
def test_code_parses(page):
    for _, kind, code in FENCED.findall(page.read_text(encoding="utf-8")):
        if kind.strip() == "python":
            ast.parse(code)


def test_every_public_module_has_a_page():
    listed = set(re.findall(r"^   isthmus\.(\w+)$", (DOCS / "api/index.md").read_text(), re.M))
    there = {module.name for module in pkgutil.iter_modules(isthmus.__path__)}
    assert listed == there - INTERNAL


def test_the_gallery_is_that_of_its_scenes():
    made = runpy.run_path(str(DOCS / "make_gallery.py"))
    assert (DOCS / "gallery.md").read_text(encoding="utf-8") == made["page"]()


@pytest.fixture
def site_pages(monkeypatch):
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    yield __import__("site_pages")
    sys.modules.pop("site_pages")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("x : Tensor (*batch, *features)", r"x : Tensor (\*batch, \*features)"),
        ("the sum of |z_j|, of *clean* rows", r"the sum of \|z_j\|, of *clean* rows"),
        ("from `model_` as in offset_.", r"from `model_` as in offset\_."),
        ("n_iter_ : int", "n_iter_ : int"),
        (">>> f(*args)\n|1|\n\n|2|", ">>> f(*args)\n|1|\n\n" r"\|2\|"),
        ("``a ==\n b_``", "``a ==\n b_``"),
    ],
)
def test_signs_in_docstrings_are_no_markup(site_pages, written, shown):
    lines = written.split("\n")
    site_pages.escape(None, "class", "name", None, None, lines)
    assert "\n".join(lines) == shown


def test_links_between_the_roots_files_lead_to_pages(site_pages):
    text = ["[a](SECURITY.md), [b](docs/speed.md#memory), [c](benchmarks/NOTES.md)"]
    site_pages.on_include(None, None, "changelog", text)
    assert text == ["[a](/security.md), [b](/speed.md#memory), c (`benchmarks/NOTES.md`)"]


def test_pages_that_fetch_are_told(site_pages):
    assert site_pages.FETCHED.findall('<script src="https://a.b/c.js"></script>') == [
        "https://a.b/c.js"
    ]
    assert not site_pages.FETCHED.findall('<a href="https://a.b">, <img src="x.png">')
