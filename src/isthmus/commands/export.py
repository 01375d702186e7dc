"""``isthmus export``: a run in; a page out that runs the model in the browser, or ONNX."""

from __future__ import annotations

import argparse
from pathlib import Path

from isthmus import graphs, io
from isthmus.commands.live import check_rows, rows_to_show, write_live
from isthmus.writing import write_all

__all__ = ["run"]

GRAPHS = {"encoder": graphs.encoder, "decoder": graphs.decoder, "scorer": graphs.scorer}


def run(arguments: argparse.Namespace) -> int:
    """Export what was asked for; return the exit code."""
    if arguments.page is None and arguments.onnx is None:
        raise ValueError("say what to export: --page, or --onnx.")
    check_rows(arguments)
    folder = Path(arguments.run)
    if arguments.onnx is not None:
        write_graphs(folder, Path(arguments.onnx) if arguments.onnx else folder / "onnx")
    if arguments.page is not None:
        dataset, missing = rows_to_show(arguments)
        if missing:
            print(f"without rows: {missing}")
        out = Path(arguments.page) if arguments.page else None
        write_live(folder, dataset, missing, out, arguments.rows)
    return 0


def write_graphs(run: Path, out: Path) -> None:
    """Write the networks of a run as ONNX files, all or none, and say where."""
    estimator = io.load(run, device="cpu")
    files = {out / f"{name}.onnx": graph(estimator) for name, graph in GRAPHS.items()}
    out.mkdir(parents=True, exist_ok=True)
    write_all(files)
    for path, content in files.items():
        print(f"written to {path}, {len(content) / 2**20:.1f} MB")
