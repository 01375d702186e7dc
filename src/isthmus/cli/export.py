"""``isthmus export``: write a run as a web page, or its networks for ONNX or torch."""

from __future__ import annotations

import argparse
import io
import warnings
from pathlib import Path
from typing import Any

import torch

from isthmus import export
from isthmus.cli._run_data import rows_to_show
from isthmus.estimators.model_io import load
from isthmus.persistence.atomic import write_all_atomic
from isthmus.runs.studio_page import write_studio_page


def run(arguments: argparse.Namespace) -> int:
    """Write the networks and the page; return the exit code."""
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
            print(f"without rows: {missing}")
        out = Path(arguments.page) if arguments.page else None
        page = write_studio_page(Path(arguments.run), dataset, out=out, rows=arguments.rows)
        size = page.n_bytes / 2**20
        print(f"written to {page.path}, {size:.1f} MB: open it in a browser")
    return 0


def _write_networks(arguments: argparse.Namespace) -> None:
    """Write the networks of a run as files, all or none."""
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
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
    write_all_atomic(files)
    for path, content in files.items():
        print(f"written to {path}, {len(content) / 2**20:.1f} MB")


def _saved_program(estimator: Any, part: str) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of buffers that are views of one memory
        torch.export.save(export.program(estimator, part), file)
    return file.getvalue()
