"""``isthmus export``: a run in; a page out that runs the model in the browser, or its networks."""

from __future__ import annotations

import argparse
import io
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from isthmus import export
from isthmus.commands.live import check_rows, rows_to_show, write_live
from isthmus.estimators import LatentEstimator
from isthmus.estimators.model_io import load
from isthmus.persistence.atomic import write_all

__all__ = ["run"]

ONNX = {"encoder": export.encoder, "decoder": export.decoder, "scorer": export.scorer}


def run(arguments: argparse.Namespace) -> int:
    """Export what was asked for; return the exit code."""
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
    if arguments.page is None and arguments.onnx is None and arguments.torch is None:
        raise ValueError("say what to export: --page, --onnx, or --torch.")
    if arguments.opset is not None and arguments.onnx is None:
        raise ValueError("--opset is a version of ONNX: use it with --onnx.")
    export.check_opset(arguments.opset)
    check_rows(arguments)


def write_networks(arguments: argparse.Namespace) -> None:
    """Write the networks of a run as files, all or none, and say where."""
    if arguments.onnx is None and arguments.torch is None:
        return
    run = Path(arguments.run)
    estimator = load(run, device="cpu")
    files: dict[Path, bytes] = {}
    if arguments.onnx is not None:
        out = Path(arguments.onnx) if arguments.onnx else run / "onnx"
        files |= {out / f"{k}.onnx": make(estimator, arguments.opset) for k, make in ONNX.items()}
    if arguments.torch is not None:
        out = Path(arguments.torch) if arguments.torch else run / "torch"
        files |= {out / f"{part}.pt2": saved_program(estimator, part) for part in export.PARTS}
    write_files(files)


def saved_program(estimator: LatentEstimator, part: str) -> bytes:
    """Return what `torch.export.save` writes of a part."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of buffers that are views of one memory
        torch.export.save(export.program(estimator, part), file)
    return file.getvalue()


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write files and their folders, and say where."""
    for folder in {path.parent for path in files}:
        folder.mkdir(parents=True, exist_ok=True)
    write_all(files)
    for path, content in files.items():
        print(f"written to {path}, {len(content) / 2**20:.1f} MB")
