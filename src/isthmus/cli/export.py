"""``isthmus export``: write a run as a web page, or its networks for ONNX or torch."""

from __future__ import annotations

import argparse
import io
import warnings
from pathlib import Path
from typing import Any

from isthmus._messages import say
from isthmus.cli._options import RUN, command, option, other_data, switch, whole_number

COMMAND = command(
    "write a run as a page that runs the model in the browser, as ONNX, or for torch",
    "Write a run as one page that needs neither Python nor a network connection: the model decodes "
    "in the browser, under the cursor. For large models give a folder instead of a .html file. Or "
    "write its networks as ONNX, for other programs, or for torch without isthmus.",
    RUN,
    option("--page PATH?: output page: a .html file or a folder (default: RUN/studio.html)"),
    option("--onnx DIR?: folder for encoder.onnx, decoder.onnx, scorer.onnx (default: RUN/onnx)"),
    option(
        "--torch DIR?: folder for encoder.pt2, decoder.pt2 and scorer.pt2, which torch.export.load "
        "reads (default: RUN/torch)"
    ),
    option("--opset N: ONNX operator set, 18 to 25 (default: that of torch, usually 20)"),
    *other_data("rows to show (default: those the run was fitted on)"),
    option("--rows N: maximum number of rows to show", type=whole_number(2), default=5000),
    switch("--no-data: show the model only, without any row of data"),
    examples=(
        "isthmus export RUN --page",
        "isthmus export RUN --page mine.html --rows 2000",
        "isthmus export RUN --page site/ --data table.csv",
        "isthmus export RUN --onnx --torch",
        "isthmus export RUN --onnx graphs/ --opset 18",
    ),
)


def run(arguments: argparse.Namespace) -> int:
    """Write the networks and the page; return the exit code."""
    from isthmus import export
    from isthmus.cli._run_data import rows_to_show
    from isthmus.runs.studio_page import write_studio_page

    if arguments.page is None and arguments.onnx is None and arguments.torch is None:
        raise ValueError("nothing to export: give --page, --onnx, or --torch.")
    if arguments.opset is not None and arguments.onnx is None:
        raise ValueError("--opset is a version of ONNX: use it with --onnx.")
    if arguments.onnx is not None:
        export.check_opset(arguments.opset)
    _write_networks(arguments)
    if arguments.page is not None:
        dataset, missing = rows_to_show(arguments)
        if missing:
            say(f"without rows: {missing}")
        out = Path(arguments.page) if arguments.page else None
        page = write_studio_page(Path(arguments.run), dataset, out=out, rows=arguments.rows)
        size = page.n_bytes / 2**20
        say(f"written to {page.path}, {size:.1f} MB: open it in a browser")
    return 0


def _write_networks(arguments: argparse.Namespace) -> None:
    """Write the networks of a run as files."""
    from isthmus import export
    from isthmus.estimators.model_io import load
    from isthmus.persistence.atomic import inner_folder, write_all_atomic

    if arguments.onnx is None and arguments.torch is None:
        return
    run = Path(arguments.run)
    estimator = load(run, device="cpu")
    files: dict[Path, bytes] = {}
    for part in export.PARTS:
        if arguments.onnx is not None:
            out = Path(arguments.onnx or run / "onnx") / f"{part}.onnx"
            files[out] = getattr(export, part)(estimator, arguments.opset)
        if arguments.torch is not None:
            out = Path(arguments.torch or run / "torch") / f"{part}.pt2"
            files[out] = _saved_program(estimator, part)
    for named, name in ((arguments.onnx, "onnx"), (arguments.torch, "torch")):
        if named is not None:
            inner_folder(Path(named)) if named else inner_folder(run, name)
    write_all_atomic(files)
    for path, content in files.items():
        say(f"written to {path}, {len(content) / 2**20:.1f} MB")


def _saved_program(estimator: Any, part: str) -> bytes:
    import torch

    from isthmus import export

    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of buffers that are views of one memory
        torch.export.save(export.program(estimator, part), file)
    return file.getvalue()
