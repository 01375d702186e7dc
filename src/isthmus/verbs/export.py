"""Flags of ``isthmus export``."""

from __future__ import annotations

from typing import Any

from isthmus.verbs.options import add_data_options

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the verb."""
    export = commands.add_parser(
        "export",
        help="write a run as a page that runs the model in the browser, as ONNX, or for torch",
        description="Write a run as one page that needs neither Python nor a network: the model "
        "decodes in the reader's browser, under the cursor. Name a folder instead of a .html file "
        "for large models. Or write its networks as ONNX, for other programs, or for torch without "
        "isthmus.",
        epilog="Examples:  isthmus export RUN --page   isthmus export RUN --page mine.html --rows "
        "2000   isthmus export RUN --page site/ --data table.csv   isthmus export RUN --onnx "
        "--torch   isthmus export RUN --onnx graphs/ --opset 18",
        allow_abbrev=False,
    )
    export.add_argument("run", metavar="RUN", help="a folder that `isthmus fit` wrote")
    export.add_argument(
        "--page",
        nargs="?",
        const="",
        metavar="PATH",
        help="the page: a .html file, or a folder (default: RUN/studio.html)",
    )
    export.add_argument(
        "--onnx",
        nargs="?",
        const="",
        metavar="DIR",
        help="a folder for encoder.onnx, decoder.onnx and scorer.onnx (default: RUN/onnx)",
    )
    export.add_argument(
        "--opset",
        type=int,
        metavar="N",
        help="the version of ONNX's operations, 18 to 25 (default: torch's own, 20 as a rule)",
    )
    export.add_argument(
        "--torch",
        nargs="?",
        const="",
        metavar="DIR",
        help="a folder for encoder.pt2, decoder.pt2 and scorer.pt2, which torch.export.load reads "
        "(default: RUN/torch)",
    )
    export.add_argument(
        "--data", metavar="DATA", help="rows to show (default: those the run was fitted on)"
    )
    add_data_options(export)
    export.add_argument(
        "--rows", type=int, default=5000, metavar="N", help="rows to show, at most (default: 5000)"
    )
    export.add_argument(
        "--no-data", action="store_true", help="show the model alone: no row leaves this machine"
    )
