"""The parser of all commands, and the main function: parse, run, report errors."""

from __future__ import annotations

import argparse
import logging
import os
import re
import select
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from itertools import takewhile
from typing import Any, NoReturn

from isthmus._messages import did_you_mean, printable, say
from isthmus._version import __version__
from isthmus.cli._options import Command, add_arguments

__all__ = ["FAILED", "INTERRUPTED", "NO_READER", "USER_ERROR", "main", "make_parser"]

# Exit codes, beside 0 for success.
FAILED = 1  # some of many files could not be processed
USER_ERROR = 2
INTERRUPTED = 130
NO_READER = 141  # as a program that SIGPIPE ends

# In the order of `isthmus --help`. Each is a module with `COMMAND` and `run(arguments)`, which
# imports what it needs when it runs: help and completion answer at once.
COMMANDS = (
    "fit",
    "tune",
    "report",
    "info",
    "check",
    "evaluate",
    "transform",
    "detect",
    "impute",
    "denoise",
    "search",
    "sample",
    "traverse",
    "interpolate",
    "map",
    "compress",
    "studio",
    "export",
    "completion",
    "push",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    The code is 0 for success, 1 if some of many files failed, 2 for a user's mistake, 130 after
    an interrupt, and 141 if the reader of the output is gone, as after ``| head``. Set
    ISTHMUS_DEBUG=1 to see the traceback of an error.

    Examples
    --------
    >>> main(["fit", "digits", "--model", "vea"])
    2
    """
    with suppress(AttributeError):  # not a terminal, pipe or file
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = _run(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        _readers_are_gone()
        return NO_READER
    return code


def _run(argv: Sequence[str] | None) -> int:
    name = "isthmus"
    try:
        arguments = make_parser().parse_args(argv)
        name += f" {arguments.command}"
        command = import_module(f"isthmus.cli.{arguments.command}")
        with _printable_messages():
            return command.run(arguments)
    except SystemExit as stop:  # the parser has printed its message
        return int(stop.code or 0)
    except KeyboardInterrupt:
        if _is_main_process():
            say("isthmus: interrupted", error=True)
        return INTERRUPTED
    except (ValueError, OSError, ImportError, MemoryError) as error:
        broken_pipe = isinstance(error, BrokenPipeError) and _readers_are_gone()
        if broken_pipe or os.environ.get("ISTHMUS_DEBUG"):
            raise
        _let_main_process_report()
        say(f"{name}: {_flat(_reason(error))}", error=True)
        return USER_ERROR


def _readers_are_gone() -> bool:
    """Whether nobody reads the output any more; what is left of it is then dropped."""
    gone = [stream for stream in (sys.stdout, sys.stderr) if _is_broken(stream)]
    for stream in gone:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
    return bool(gone)


def _is_broken(stream: Any) -> bool:
    try:
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (AttributeError, OSError):  # no poll on Windows; no file, as in tests
        return False


@contextmanager
def _printable_messages() -> Iterator[None]:
    """Print warnings for users as one line each, and make all warnings and log records printable.

    Other libraries quote names and values in them, too.
    """
    show_others, make_record = warnings.showwarning, logging.getLogRecordFactory()

    def show(message: Any, category: Any, *place: Any) -> None:
        if issubclass(category, UserWarning):
            say(f"note: {_flat(message)}", error=True)
        else:
            show_others(_flat(message), category, *place)

    def record(*arguments: Any, **options: Any) -> logging.LogRecord:
        made = make_record(*arguments, **options)
        made.msg, made.args = _flat(made.getMessage()), None
        return made

    warnings.showwarning = show  # type: ignore[assignment]
    logging.setLogRecordFactory(record)
    try:
        yield
    finally:
        warnings.showwarning = show_others
        logging.setLogRecordFactory(make_record)


def _reason(error: BaseException) -> str:
    """Return the message of an error; those of the system begin with the name of the file."""
    if isinstance(error, OSError) and isinstance(error.filename, str) and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _flat(text: object) -> str:
    """Return text on one line that can be printed."""
    return printable(" ".join(str(text).split()))


def _let_main_process_report() -> None:
    """Give the main process time to report an error first: torchrun then ends the others."""
    if not _is_main_process():
        time.sleep(3)


def _is_main_process() -> bool:
    return not os.environ.get("RANK", "").strip("0")


def _module(command: str) -> Any:
    return import_module(f"isthmus.cli.{command}")


def make_parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="isthmus",
        description="Fit autoencoders to your data, and use them.",
        epilog="To start:  isthmus fit digits",
    )
    parser.add_argument("--version", action="version", version=f"isthmus {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        command: Command = _module(name).COMMAND
        added = subparsers.add_parser(
            name,
            help=command.summary,
            description=command.description,
            epilog="Examples:  " + "   ".join(command.examples) if command.examples else None,
        )
        add_arguments(added, command.arguments)
    return parser


def _is_option(name: str) -> bool:
    """Whether a word is an option with a long name, even after a single dash."""
    return name.startswith("-") and name.strip("-")[1:2].isalpha() and " " not in name


class Help(argparse.HelpFormatter):
    """Help that prints each example on its own line; two or more spaces separate them."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        prose, *examples = re.split(r" {2,}", text.strip())
        return "\n".join([super()._fill_text(prose, width, indent), *(f"  {e}" for e in examples)])


class Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line, and suggests what was meant."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=Help, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Print the message, say where help is, and exit with code 2."""
        _let_main_process_report()
        end = "" if message.endswith(("?", ".")) else "."
        text = printable(f"{self.prog}: {message}{end} See `{self.prog} --help`.")
        self.exit(USER_ERROR, f"{text}\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the arguments of this command; report an unknown one here, not at the top."""
        words = sys.argv[1:] if args is None else list(args)
        self._check_options(words)
        found, unknown = super().parse_known_args(words, namespace)
        if unknown:
            self.error(f"unexpected argument {unknown[0]!r}")
        return found, unknown

    def _check_options(self, words: Iterable[str]) -> None:
        """Report an unknown option before its value is taken for an argument."""
        if self._subparsers is not None:  # what follows the command belongs to the command
            words = takewhile(lambda word: word.startswith("-"), words)
        known = self._option_string_actions
        for word in takewhile(lambda word: word != "--", words):
            name = word.partition("=")[0]
            is_short = name[:2] in known and f"-{name}" not in known  # with its value, as in -n64
            if _is_option(name) and name not in known and not is_short:
                near = did_you_mean("--" + name.strip("-"), known)
                self.error(f"unknown option {name!r}.{near}")

    def _get_value(self, action: argparse.Action, text: str) -> Any:
        """Return a value; a choice may be spelled with other cases and underscores."""
        value = super()._get_value(action, text)
        choices = None if isinstance(action, argparse._SubParsersAction) else action.choices
        if choices is None or value in choices or not isinstance(value, str):
            return value
        spelled = value.lower().replace("_", "-")
        return spelled if spelled in choices else value

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Report a value that is none of the action's choices."""
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            listed = f"{did_you_mean(value, known)} Choose from: {', '.join(known)}"
            if isinstance(action, argparse._SubParsersAction):
                self.error(f"unknown command {value!r}.{listed}")
            raise argparse.ArgumentError(action, f"unknown value {value!r}.{listed}")
