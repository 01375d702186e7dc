"""The command line: one module per command.

The module of a command has ``add_parser(subparsers)``, its flags, and ``run(arguments)``, its
work. It imports nothing heavy at module level, so that ``isthmus --help`` answers at once. To add
a command, write such a module and list it in `isthmus.cli._parser`.
"""

from isthmus.cli._parser import main

__all__ = ["main"]
