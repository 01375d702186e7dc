"""docs/check.md has a section for each finding: what it looks like, why, what helps, the source."""

import re
from pathlib import Path

import pytest

from isthmus.evaluation.checks.registry import CHECKS

DOCS = Path(__file__).parents[3] / "docs"
FINDINGS = [name for check in CHECKS for name in check.names]
PICTURES = (DOCS / "make_check_pictures.py").read_text(encoding="utf-8")


def sections():
    """Return the text below each heading of level 3 or 4, by the findings that it names."""
    text = (DOCS / "check.md").read_text(encoding="utf-8")
    _, *parts = re.split(r"^#{2,4} (.*)$", text, flags=re.MULTILINE)
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return {name: body for names, body in pairs for name in names.lower().split(", ")}


@pytest.mark.parametrize("name", FINDINGS)
def test_each_finding_has_a_section_with_its_picture(name):
    section, slug = sections()[name], name.replace(" ", "-")
    assert f"](images/check/{slug}.png)" in section
    assert (DOCS / "images" / "check" / f"{slug}.png").is_file()
    assert f'"{slug}": ' in PICTURES
    for part in ("looks like", "because", "helps", "source"):
        assert f"| {part} | " in section, part


def test_each_source_is_among_the_references():
    named = re.findall(r"^\| source \| (.*) \|$", "\n".join(sections().values()), re.MULTILINE)
    references = sections()["references"]
    for source in re.split(r"; ", "; ".join(set(named))):
        authors, year = re.match(r"(.*?)(?: and others)? \((\d+)\)", source).groups()
        first = authors.split(", ")[0]
        entries = references.split("\n- ")
        assert any(first in each and year in each for each in entries), source


def test_no_picture_is_left_over():
    slugs = {name.replace(" ", "-") for name in FINDINGS}
    assert {path.stem for path in (DOCS / "images" / "check").glob("*.png")} == slugs
