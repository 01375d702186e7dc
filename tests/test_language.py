"""Plain English: phrases that stop readers, kept out of pages, messages and help texts.

To allow an exception, add it to `ALLOWED` with the reason.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
#: What is checked: Markdown pages, and the string literals and docstrings of Python files.
PATHS = [
    *ROOT.glob("*.md"),
    *(ROOT / ".github").rglob("*.md"),
    *(ROOT / "benchmarks").glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "docs").rglob("*.py"),
    *(ROOT / "examples").glob("*.py"),
    *(ROOT / "reproductions").glob("*.py"),
]
SKIPPED = {"_build", "generated"}
PATHS = [path for path in PATHS if not SKIPPED & set(path.relative_to(ROOT).parts)]
MEASURE = r"(nats|bits?|bytes?|errors?|draws?|seconds|ms|µs|units?|rows|numbers?)"
UNIT = r"(row|example|digit|image|picture|sample|second|step|epoch|batch|pass|column|feature)s?"
#: A pattern (letter case matters), and what to write instead.
PHRASES = {
    r"\bis none\b": "'does not exist', 'is not available', or `None`",
    r"(?<![Tt]here )\b(is|are|was|were) no (?!longer\b|\w+ than\b)": "'is not a ...'",
    r"\black(s|ed)?\b": "'does not have', 'is missing'",
    r"(?<!\bone )(?<!\bfew )\bof which\b": "a sentence of its own, or 'whose'",
    r"\b(is|are|was|were|be|been) (said|told|asked|heard|met)\b": "print, pass, request, receive",
    r"\bit is said\b": "'isthmus prints', 'a warning says'",
    r"\b(hears?|heard)\b": "'receives', 'is conditioned on'",
    r"\bby and by\b": "'incrementally'",
    rf"\b{MEASURE} an? {UNIT}\b(?! is)": "'per'",
    r"(?:^|[.:;] )Of (an?|the|all|these|those|two|one)\b": "the subject first",
    r"\bwhere (there|one|it) (is|are|has) (no|none)\b": "'if there is no ...'",
    r"\b[Ww]hoever\b|\bfor who\b|\bof who\b": "'anyone who', 'users who'",
    r"\ba thing of\b|\b(thing|things) of (its|their) own\b": "name the thing",
    r"\bby itself says\b|\bsays by itself\b": "'shows', 'reports'",
    r"\b[Mm]ended?\b": "'fixed'",
    r"\bas it (stands|came)\b|\bas they came\b": "'unchanged', 'original'",
    r"\b(lie|lies|stand|stands) (beside|before) it\b": "'is next to'",
    r"\bfor ever\b": "'forever', or what happens (a deadlock)",
    r"\b[Bb]order\b(?= (checks?|of the)|:)": "'validation', 'interface'",
    r"\bwhat (lacks|is not there)\b|\bnot there\b": "'missing', 'does not exist'",
    r"\bgoes? on (where|to the same)\b": "'continues', 'resumes'",
    r"\bread as asked\b|\bas (it was|they were) asked\b": "'as requested'",
}
#: Exceptions: (file name, text around the phrase, reason).
ALLOWED: list[tuple[str, str, str]] = [
    ("CHANGELOG.md", '"nats an example" in metric names', "quotes the old name"),
]
FENCED = re.compile(r"^(`{3,}|\$\$)[^\n]*\n.*?^\1 *$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def texts(path):
    """Return pairs of a number and a text: paragraphs of Markdown, or strings of Python by line."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        nodes = ast.walk(ast.parse(source))
        constants = (n for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str))
        return [(node.lineno, node.value) for node in constants]
    prose = FENCED.sub(lambda code: "\n" * code[0].count("\n"), source)
    return list(enumerate(prose.split("\n\n"), 1))


def is_allowed(path, text):
    return any(path.name == name and part in text for name, part, _ in ALLOWED)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(ROOT)))
def test_text_is_plain_english(path):
    found = []
    for place, text in texts(path):
        words = " ".join(text.split())
        for pattern, instead in PHRASES.items():
            for hit in re.finditer(pattern, words):
                around = words[max(0, hit.start() - 40) : hit.end() + 40]
                if not is_allowed(path, around):
                    found.append(f"{path.name}, text {place}: ...{around}...: write {instead}")
    assert not found, "\n".join(found)


def test_every_exception_is_needed():
    for name, part, reason in ALLOWED:
        sources = [path.read_text(encoding="utf-8") for path in PATHS if path.name == name]
        assert reason
        assert any(part in " ".join(source.split()) for source in sources), f"remove {part!r}"
