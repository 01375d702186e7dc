"""The command line: one module per command, with its arguments and its work."""

from isthmus.cli._parser import main

__all__ = ["main"]
