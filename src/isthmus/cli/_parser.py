"""The parser of all commands, and the main function: parse, run, report errors."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from isthmus._version import __version__
from isthmus.cli import (
    completion,
    compress,
    denoise,
    detect,
    evaluate,
    export,
    fit,
    info,
    interpolate,
    map,
    push,
    repair,
    sample,
    search,
    studio,
    transform,
    traverse,
    tune,
)
from isthmus.cli._exit_codes import INTERRUPTED, USER_ERROR

__all__ = ["COMMANDS", "main", "make_parser"]

MODULES = (
    fit,
    tune,
    info,
    evaluate,
    transform,
    detect,
    repair,
    denoise,
    search,
    sample,
    traverse,
    interpolate,
    map,
    compress,
    studio,
    export,
    completion,
    push,
)
COMMANDS = {module.__name__.rpartition(".")[2]: module for module in MODULES}


class Help(argparse.HelpFormatter):
    """Help in which each example, set apart by two spaces or more, has a line of its own."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        said, *examples = re.split(r" {2,}", text.strip())
        return "\n".join([super()._fill_text(said, width, indent), *(f"  {e}" for e in examples)])


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"formatter_class": Help} | kwargs)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is, and leave with 2."""
        _let_the_first_speak()
        self.exit(USER_ERROR, f"{self.prog}: {message} (`{self.prog} --help` lists all)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code.

    0 is fine, 1 that some of many files failed, 2 a user's mistake, 130 interrupted.

    Set ISTHMUS_DEBUG=1 to see where an error comes from.

    Examples
    --------
    >>> main(["fit", "digits", "--model", "vea"])
    2
    """
    try:
        arguments = make_parser().parse_args(argv)
        return COMMANDS[arguments.command].run(arguments)
    except SystemExit as stop:  # argparse has already spoken
        return int(stop.code or 0)
    except KeyboardInterrupt:
        if _is_first():
            print("isthmus: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError, ImportError, MemoryError) as error:
        if os.environ.get("ISTHMUS_DEBUG"):
            raise
        _let_the_first_speak()
        print("isthmus: " + " ".join(str(error).split()), file=sys.stderr)
        return USER_ERROR


def _let_the_first_speak() -> None:
    """Of several processes with one trouble, only the first is to say so before all are ended."""
    if not _is_first():
        time.sleep(3)


def _is_first() -> bool:
    """Whether this is the first of several processes, or the only one."""
    return not os.environ.get("RANK", "").strip("0")


def make_parser() -> Parser:
    """Make the parser of all commands."""
    parser = Parser(
        prog="isthmus",
        description="Fit autoencoders to your data, and use them.",
        epilog="Begin with:  isthmus fit digits",
    )
    parser.add_argument("--version", action="version", version=f"isthmus {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in MODULES:
        module.add_parser(commands)
    parser.set_defaults(root=parser)
    return parser
