"""Documentation pages: links resolve, code blocks parse, every public package has an API page."""

import ast
import importlib
import pkgutil
import re
import runpy
import sys
from importlib.util import find_spec
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


def with_ids(paths):
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in paths]


def anchors(page):
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", with_ids(PAGES))
def test_links_resolve(page):
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    for name, anchor in LINK.findall(text):
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name} links to {name}, which does not exist"
        if anchor:
            assert anchor in anchors(target), f"{page.name} links to {name}#{anchor}"


@pytest.mark.parametrize("page", with_ids(PAGES))
def test_code_parses(page):
    for _, kind, code in FENCED.findall(page.read_text(encoding="utf-8")):
        if kind.strip() == "python":
            ast.parse(code)


@pytest.mark.parametrize("page", with_ids(PAGES))
def test_imports_exist(page):
    for _, kind, code in FENCED.findall(page.read_text(encoding="utf-8")):
        if "python" not in kind:
            continue
        lines = (line for line in code.splitlines() if not line.startswith((":", "%")))
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("isthmus"):
                module = importlib.import_module(node.module)
                for name in (alias.name for alias in node.names):
                    exists = hasattr(module, name) or find_spec(f"{node.module}.{name}")
                    assert exists, f"{page.name}: {node.module} has no {name}"


@pytest.mark.parametrize("page", with_ids(PAGES))
def test_named_files_exist(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:src|tests|benchmarks|docs|examples)/[\w/-]+\.\w+)[`:]", text):
        assert (ROOT / name).exists(), f"{page.name} names {name}, which does not exist"


def test_every_public_package_is_on_the_api_page():
    """A package that exports names has a page, or its modules have; an underscore hides it."""
    listed = set(re.findall(r"^   (isthmus[\w.]*)$", (DOCS / "api/index.md").read_text(), re.M))
    for name in listed:
        importlib.import_module(name)
    for module in pkgutil.iter_modules(isthmus.__path__, "isthmus."):
        if module.name.rpartition(".")[2].startswith("_"):
            continue
        if getattr(importlib.import_module(module.name), "__all__", []):
            assert any(f"{name}.".startswith(f"{module.name}.") for name in listed), module.name


def test_the_gallery_page_matches_its_scripts():
    generator = runpy.run_path(str(DOCS / "make_gallery.py"))
    assert (DOCS / "gallery.md").read_text(encoding="utf-8") == generator["page"]()


def test_the_tests_of_the_guarantees_exist():
    """Each row names tests; a name without a file belongs to the last file named before it."""
    file = None
    page = (DOCS / "promises.md").read_text(encoding="utf-8")
    for path, name in re.findall(r"`(tests/[\w/]+\.py)?(?:::)?(test_\w+)?[^`\n]*`", page):
        file = ROOT / path if path else file
        assert not path or file.is_file(), f"promises.md names {path}, which does not exist"
        if name:
            found = f"def {name}(" in file.read_text(encoding="utf-8")
            assert found, f"promises.md names {name}, which is not in {file}"


@pytest.fixture
def site_pages(monkeypatch):
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    yield __import__("site_pages")
    sys.modules.pop("site_pages")


@pytest.mark.parametrize(
    ("docstring", "escaped"),
    [
        ("x : Tensor (*batch, *features)", r"x : Tensor (\*batch, \*features)"),
        ("the sum of |z_j|, of *clean* rows", r"the sum of \|z_j\|, of *clean* rows"),
        ("from `model_` as in offset_.", r"from `model_` as in offset\_."),
        ("n_iter_ : int", "n_iter_ : int"),
        (">>> f(*args)\n|1|\n\n|2|", ">>> f(*args)\n|1|\n\n" r"\|2\|"),
        ("``a ==\n b_``", "``a ==\n b_``"),
    ],
)
def test_symbols_in_docstrings_are_escaped(site_pages, docstring, escaped):
    lines = docstring.split("\n")
    site_pages.escape(None, "class", "name", None, None, lines)
    assert "\n".join(lines) == escaped


def test_links_between_root_files_become_links_to_pages(site_pages):
    text = ["[a](SECURITY.md), [b](docs/speed.md#memory), [c](benchmarks/NOTES.md)"]
    site_pages.on_include(None, None, "changelog", text)
    assert text == ["[a](/security.md), [b](/speed.md#memory), c (`benchmarks/NOTES.md`)"]


def test_external_resources_are_found(site_pages):
    assert site_pages.FETCHED.findall('<script src="https://a.b/c.js"></script>') == [
        "https://a.b/c.js"
    ]
    assert not site_pages.FETCHED.findall('<a href="https://a.b">, <img src="x.png">')


def test_the_reference_of_the_command_line_names_every_option(monkeypatch):
    from isthmus.cli._parser import COMMANDS, make_parser

    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    page = importlib.import_module("command_pages").page()
    for name in COMMANDS:
        section = page.partition(f"## isthmus {name}\n")[2].partition("\n## ")[0]
        [commands] = [a for a in make_parser()._actions if hasattr(a, "_choices_actions")]
        options = commands.choices[name]._option_string_actions
        for option in options.keys() - {"-h", "--help"}:
            assert re.search(rf"^`[^`]*{re.escape(option)}\b", section, re.MULTILINE), option
