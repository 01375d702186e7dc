"""The flags of each verb of the command line; what a verb does is in `isthmus.commands`.

Nothing heavy is imported here, so that ``isthmus --help`` answers at once. To add a verb, write
``add(commands)`` in a module of its name here, ``run(arguments)`` in its namesake in
`isthmus.commands`, and name it in `VERBS`.
"""

__all__ = ["VERBS"]

VERBS = (
    "fit",
    "tune",
    "info",
    "evaluate",
    "transform",
    "detect",
    "repair",
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
