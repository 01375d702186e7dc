"""The command line: `_commands` declares each command, and the module of its name runs it."""

from isthmus.cli._parser import main

__all__ = ["main"]
