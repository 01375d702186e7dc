"""Write the reference of the command line from its parsers, before Sphinx reads the pages."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.cli._parser import make_parser

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HEAD = """# Command line

Every command, with its arguments and options; `isthmus COMMAND --help` prints the same in a
terminal. Options can be given in any order. A mistake is reported in one line, with exit code 2;
with `ISTHMUS_DEBUG=1` an error shows its traceback.

| command | purpose |
| --- | --- |
"""


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the function of this module to Sphinx."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write(app: Sphinx) -> None:
    """Write the page, if it differs, so that Sphinx does not build it again for nothing."""
    path = Path(app.srcdir) / "generated" / "commands.md"
    text = page()
    if not path.is_file() or path.read_text() != text:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def page() -> str:
    """Return the page."""
    [commands] = [a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    summaries = {action.dest: action.help for action in commands._choices_actions}
    table = "".join(f"| [{name}](#isthmus-{name}) | {summaries[name]} |\n" for name in summaries)
    sections = (section(name, commands.choices[name]) for name in summaries)
    return HEAD + table + "\n" + "\n".join(sections)


def section(name: str, parser: argparse.ArgumentParser) -> str:
    """Return the section of a command: description, usage, options, examples."""
    _, *examples = re.split(r" {2,}", (parser.epilog or "").strip())
    parts = [f"## isthmus {name}\n", f"{escaped(parser.description or '')}\n"]
    parts += ["```\n" + usage(parser) + "\n```\n"]
    for group in parser._action_groups:
        entries = [entry for action in group._group_actions for entry in described(action, parser)]
        if entries:
            parts += [f"**{(group.title or '').capitalize()}**\n", *entries]
    if examples:
        parts += ["**Examples**\n", "```\n" + "\n".join(examples) + "\n```\n"]
    return "\n".join(parts)


def usage(parser: argparse.ArgumentParser) -> str:
    """Return the line of the arguments, without those of options."""
    positional = [a for a in parser._actions if not a.option_strings]
    return (
        f"{parser.prog} "
        + parser._get_formatter()._format_actions_usage(positional, [])
        + (" [OPTIONS]")
    )


def described(action: argparse.Action, parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield an argument and its help, as an entry of a definition list."""
    if action.help in (None, argparse.SUPPRESS) or action.dest == "help":
        return
    formatter = parser._get_formatter()
    name = formatter._format_action_invocation(action)
    yield f"`{name}`\n: {escaped(formatter._expand_help(action))}\n"


def escaped(text: str) -> str:
    """Return text in which Markdown has no meaning, with options as code."""
    text = re.sub(r"([*_<>\[\]$|])", r"\\\1", " ".join(text.split()))
    return re.sub(r"(?<![\w-])--[a-z][a-z-]*", r"`\g<0>`", text)
