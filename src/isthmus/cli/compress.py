"""``isthmus compress``: write data as quantised codes, and decode such files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from isthmus.applications.compression import CompressedCodes, LatentCodec, decompress
from isthmus.cli._console import print_table
from isthmus.cli._run_data import load_rows
from isthmus.cli._sheets import check_out, save_array, save_frame, write_figure
from isthmus.estimators import model_io
from isthmus.estimators.validation import as_array
from isthmus.persistence.run_folder import WEIGHTS
from isthmus.plots import pictures, reconstructions

SHOWN, PAIRS = 64, 12  # examples in the image


def run(arguments: argparse.Namespace) -> int:
    """Compress or decompress, and draw some of the rows; return the exit code."""
    estimator = model_io.load(arguments.run)
    suffix, name, work = ".npz", "codes", _compress
    if arguments.decompress:
        suffix = ".npy" if estimator.columns_ is None else ".csv"
        name, work = "rows", _decompress
    default = Path(arguments.run) / f"{name}{suffix}"
    out = check_out(arguments.out, default, suffixes=[suffix])
    picture = check_out(arguments.picture, out.with_suffix(".png"), "--picture")
    work(arguments, estimator, out, picture)
    return 0


def _compress(arguments: argparse.Namespace, estimator: Any, out: Path, picture: Path) -> None:
    codec = LatentCodec.from_fitted(estimator, bits=arguments.bits, coding=arguments.coding)
    data = load_rows(arguments)
    if arguments.test and data.X_test is None:
        raise ValueError(f"{data.name} has no test set; omit --test.")
    X: Any = data.X_test if arguments.test else data.X
    packed = codec.fit(data.X).compress(X)
    report = codec.report(X, packed)
    on_disk = packed.save(out)
    report |= {"bytes of the file": on_disk, "bytes per row of the file": on_disk / len(X)}
    report["bytes of the model, not counted"] = (Path(arguments.run) / WEIGHTS).stat().st_size
    print_table(f"{data.name} as codes of {type(estimator).__name__}", report)
    print(f"written to {out}")
    chosen = X[:: max(1, len(X) // PAIRS)][:PAIRS]
    decoded = as_array(estimator, codec.decompress(codec.compress(chosen)))
    write_figure(reconstructions(chosen, decoded), picture)


def _decompress(arguments: argparse.Namespace, estimator: Any, out: Path, picture: Path) -> None:
    rows = decompress(estimator, CompressedCodes.load(arguments.data))
    if estimator.columns_ is not None:
        save_frame(out, rows)
        return
    save_array(out, rows)
    write_figure(pictures(rows[:SHOWN]), picture)
