"""Flags of ``isthmus completion``."""

from __future__ import annotations

from typing import Any

__all__ = ["SHELLS", "add"]

SHELLS = ("bash", "zsh", "fish")


def add(commands: Any) -> None:
    """Add the verb."""
    completion = commands.add_parser(
        "completion",
        help="print a script by which the Tab key completes commands",
        description="Print a script by which the Tab key completes verbs, flags, their choices, "
        "names of data, files and folders. Write it where your shell looks for such scripts.",
        epilog="Examples:  isthmus completion bash > "
        "~/.local/share/bash-completion/completions/isthmus   "
        'isthmus completion zsh > "${fpath[1]}/_isthmus"   '
        "isthmus completion fish > ~/.config/fish/completions/isthmus.fish",
        allow_abbrev=False,
    )
    completion.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))
