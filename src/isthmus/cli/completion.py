"""``isthmus completion``: the flags of every verb as a script for a shell, made by shtab."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add_parser", "run"]

SHELLS = ("bash", "zsh", "fish")
PATHS = ("FILE", "PATH", "QUERY")  # what stands for a path in usage lines
FOLDERS = ("RUN", "DIR")


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    completion = subparsers.add_parser(
        "completion",
        help="print a script by which the Tab key completes commands",
        description="Print a script by which the Tab key completes verbs, flags, their choices, "
        "names of data, files and folders. Write it where your shell looks for such scripts.",
        epilog="Examples:  isthmus completion bash > "
        "~/.local/share/bash-completion/completions/isthmus   "
        'isthmus completion zsh > "${fpath[1]}/_isthmus"   '
        "isthmus completion fish > ~/.config/fish/completions/isthmus.fish",
    )
    completion.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))


def run(arguments: argparse.Namespace) -> int:
    """Print the script of a shell; return the exit code."""
    import shtab

    completers = _completers(shtab)
    for command in _commands(arguments.root).values():
        for action in command._actions:
            _describe(action, completers)
    print(shtab.complete(arguments.root, arguments.shell))
    return 0


def _commands(root: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command."""
    (commands,) = (a for a in root._actions if isinstance(a, argparse._SubParsersAction))
    return commands.choices


def _completers(shtab: Any) -> dict[str, Any]:
    """Return what completes an argument, by its metavar."""
    from isthmus.data.datasets import known_datasets

    names = " ".join(known_datasets())
    in_bash = f'compgen -W "{names}" -- "$1"; compgen -f -- "$1";'
    data = {  # a known name or any path: what each shell calls, and the function it needs for that
        "bash": "_isthmus_name_or_file",
        "zsh": "_isthmus_name_or_file",
        "fish": f"{names} (__fish_complete_path (commandline -ct))",
        "preamble": {
            "bash": f"_isthmus_name_or_file() {{ {in_bash} }}",
            "zsh": "_isthmus_name_or_file() { _alternative "
            f"'names:known data:({names})' 'files:file:_files' }}",
        },
    }
    paths = dict.fromkeys(PATHS, shtab.FILE)
    return {"DATA": data, **dict.fromkeys(FOLDERS, shtab.DIRECTORY), **paths}


def _describe(action: Any, completers: dict[str, Any]) -> None:
    """Set the attributes by which shtab completes an argument."""
    if complete := completers.get(action.metavar):
        action.complete = complete
