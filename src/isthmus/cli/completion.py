"""``isthmus completion``: print a completion script for a shell, made by shtab."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add_parser", "run"]

SHELLS = ("bash", "zsh", "fish")


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "completion",
        help="print a script for completion by the Tab key",
        description="Print a script that lets the Tab key complete commands, flags, their choices, "
        "names of data sets, files and folders. Write it where your shell reads such scripts.",
        epilog="Examples:  isthmus completion bash > "
        "~/.local/share/bash-completion/completions/isthmus   "
        'isthmus completion zsh > "${fpath[1]}/_isthmus"   '
        "isthmus completion fish > ~/.config/fish/completions/isthmus.fish",
    )
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))


def run(arguments: argparse.Namespace) -> int:
    """Print the script; return the exit code."""
    import shtab

    (commands,) = (
        action
        for action in arguments.root._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    completers = _completers()
    for parser in commands.choices.values():
        for action in parser._actions:
            if completer := completers.get(action.metavar):
                action.complete = completer  # read by shtab
    print(shtab.complete(arguments.root, arguments.shell))
    return 0


def _completers() -> dict[str, Any]:
    """Return what completes an argument, by its metavar."""
    import shtab

    from isthmus.data.datasets import known_datasets

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
