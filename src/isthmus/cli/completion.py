"""``isthmus completion``: print a completion script for a shell, made by shtab."""

from __future__ import annotations

import argparse
from typing import Any

import shtab

from isthmus.cli._parser import make_parser
from isthmus.data.datasets import known_datasets


def run(arguments: argparse.Namespace) -> int:
    """Print the script; return the exit code."""
    root, completers = make_parser(), _completers()
    (commands,) = (a for a in root._actions if isinstance(a, argparse._SubParsersAction))
    for parser in commands.choices.values():
        for action in parser._actions:
            if completer := completers.get(action.metavar):
                action.complete = completer  # read by shtab
    print(shtab.complete(root, arguments.shell))
    return 0


def _completers() -> dict[str, Any]:
    """Return what completes an argument, by its metavar."""
    names = " ".join(known_datasets())
    in_bash = f'compgen -W "{names}" -- "$1"; compgen -f -- "$1";'
    data = {  # a known name or a path: what each shell calls, and the function it needs for that
        "bash": "_isthmus_name_or_file",
        "zsh": "_isthmus_name_or_file",
        "fish": f"{names} (__fish_complete_path (commandline -ct))",
        "preamble": {
            "bash": f"_isthmus_name_or_file() {{ {in_bash} }}",
            "zsh": "_isthmus_name_or_file() { _alternative "
            f"'names:known data:({names})' 'files:file:_files' }}",
        },
    }
    folders, files = ("RUN", "DIR"), ("FILE", "PATH", "QUERY")
    kinds = {**dict.fromkeys(folders, shtab.DIRECTORY), **dict.fromkeys(files, shtab.FILE)}
    return {"DATA": data, **kinds}
