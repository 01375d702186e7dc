"""``isthmus export``: a run in; a page out that runs the model in the browser, or its networks."""

from __future__ import annotations

import argparse
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.cli._options import add_data_options, add_run

if TYPE_CHECKING:
    from isthmus.estimators import LatentEstimator

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    export = subparsers.add_parser(
        "export",
        help="write a run as a page that runs the model in the browser, as ONNX, or for torch",
        description="Write a run as one page that needs neither Python nor a network: the model "
        "decodes in the reader's browser, under the cursor. Name a folder instead of a .html file "
        "for large models. Or write its networks as ONNX, for other programs, or for torch without "
        "isthmus.",
        epilog="Examples:  isthmus export RUN --page   isthmus export RUN --page mine.html --rows "
        "2000   isthmus export RUN --page site/ --data table.csv   isthmus export RUN --onnx "
        "--torch   isthmus export RUN --onnx graphs/ --opset 18",
    )
    add_run(export)
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


def run(arguments: argparse.Namespace) -> int:
    """Export what was asked for; return the exit code."""
    from isthmus.cli._live import rows_to_show, write_live

    check(arguments)
    write_networks(arguments)
    if arguments.page is not None:
        dataset, missing = rows_to_show(arguments)
        if missing:
            print(f"without rows: {missing}")
        out = Path(arguments.page) if arguments.page else None
        write_live(Path(arguments.run), dataset, missing, out, arguments.rows)
    return 0


def check(arguments: argparse.Namespace) -> None:
    """Raise a ValueError for flags that do not go together, before anything is done."""
    from isthmus import export
    from isthmus.cli._live import check_rows

    if arguments.page is None and arguments.onnx is None and arguments.torch is None:
        raise ValueError("say what to export: --page, --onnx, or --torch.")
    if arguments.opset is not None and arguments.onnx is None:
        raise ValueError("--opset is a version of ONNX: use it with --onnx.")
    export.check_opset(arguments.opset)
    check_rows(arguments)


def write_networks(arguments: argparse.Namespace) -> None:
    """Write the networks of a run as files, all or none, and say where."""
    from isthmus import export
    from isthmus.estimators.model_io import load

    if arguments.onnx is None and arguments.torch is None:
        return
    run = Path(arguments.run)
    estimator = load(run, device="cpu")
    files: dict[Path, bytes] = {}
    if arguments.onnx is not None:
        out = Path(arguments.onnx) if arguments.onnx else run / "onnx"
        files |= {
            out / f"{part}.onnx": getattr(export, part)(estimator, arguments.opset)
            for part in export.PARTS
        }
    if arguments.torch is not None:
        out = Path(arguments.torch) if arguments.torch else run / "torch"
        files |= {out / f"{part}.pt2": saved_program(estimator, part) for part in export.PARTS}
    write_files(files)


def saved_program(estimator: LatentEstimator, part: str) -> bytes:
    """Return what `torch.export.save` writes of a part."""
    import torch

    from isthmus import export

    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of buffers that are views of one memory
        torch.export.save(export.program(estimator, part), file)
    return file.getvalue()


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write files and their folders, and say where."""
    from isthmus.persistence.atomic import write_all_atomic

    for folder in {path.parent for path in files}:
        folder.mkdir(parents=True, exist_ok=True)
    write_all_atomic(files)
    for path, content in files.items():
        print(f"written to {path}, {len(content) / 2**20:.1f} MB")
