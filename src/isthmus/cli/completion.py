"""``isthmus completion``: print a completion script for a shell, made by shtab."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from isthmus.cli._options import command, option

SHELLS = ("bash", "zsh", "fish")

COMMAND = command(
    "print a script for completion by the Tab key",
    "Print a script that lets the Tab key complete commands, flags, their choices, names of data "
    "sets, files and folders. Write it where your shell reads such scripts.",
    option(f"shell SHELL: {', '.join(SHELLS)}", choices=SHELLS),
    examples=(
        "isthmus completion bash > ~/.local/share/bash-completion/completions/isthmus",
        'isthmus completion zsh > "${fpath[1]}/_isthmus"',
        "isthmus completion fish > ~/.config/fish/completions/isthmus.fish",
    ),
)


def run(arguments: argparse.Namespace) -> int:
    """Print the script; return the exit code."""
    import shtab

    from isthmus.cli._parser import make_parser

    root, completers = make_parser(), _completers()
    (commands,) = (a for a in root._actions if isinstance(a, argparse._SubParsersAction))
    for parser in commands.choices.values():
        for action in parser._actions:
            if completer := completers.get(action.metavar):
                action.complete = completer  # read by shtab
    sys.stdout.write(f"{shtab.complete(root, arguments.shell)}\n")
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
