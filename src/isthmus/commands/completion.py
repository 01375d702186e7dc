"""``isthmus completion``: the flags of every verb as a script for a shell, made by shtab."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import shtab

from isthmus.cli import make_parser
from isthmus.data.datasets import known_datasets
from isthmus.models.params import params_of
from isthmus.models.specs import SPECS

__all__ = ["run"]

NAMES = " ".join(known_datasets())
DATA = {  # a known name or any path: what each shell calls, and the function it needs for that
    "bash": "_isthmus_name_or_file",
    "zsh": "_isthmus_name_or_file",
    "fish": f"{NAMES} (__fish_complete_path (commandline -ct))",
    "preamble": {
        "bash": f'_isthmus_name_or_file() {{ compgen -W "{NAMES}" -- "$1"; compgen -f -- "$1"; }}',
        "zsh": "_isthmus_name_or_file() { _alternative "
        f"'names:known data:({NAMES})' 'files:file:_files' }}",
    },
}
BY_METAVAR = {
    "DATA": DATA,
    "RUN": shtab.DIRECTORY,
    "DIR": shtab.DIRECTORY,
    "FILE": shtab.FILE,
    "PATH": shtab.FILE,
    "QUERY": shtab.FILE,
}


def run(arguments: argparse.Namespace) -> int:
    """Print the script of a shell; return the exit code."""
    parser = make_parser()
    for action in _arguments(parser):
        _describe(action)
    print(shtab.complete(parser, arguments.shell))
    return 0


def _arguments(parser: argparse.ArgumentParser) -> Iterator[Any]:
    """Yield every positional and flag of every verb."""
    (verbs,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    for verb in verbs.choices.values():
        yield from verb._actions


def _describe(action: Any) -> None:
    """Tell shtab what may stand there: its metavar says what kind of thing it is."""
    if complete := BY_METAVAR.get(action.metavar):
        action.complete = complete
    elif not action.choices and (choices := _choices().get(action.dest)):
        action.choices = choices


def _choices() -> dict[str, list[str]]:
    """Return the names that each setting may have in some model."""
    names: dict[str, dict[str, None]] = {"model": dict.fromkeys(SPECS)}
    for spec in SPECS.values():
        for name, p in params_of(spec).items():
            names.setdefault(name, {}).update(dict.fromkeys(p.choices))
    return {name: list(known) for name, known in names.items()}
