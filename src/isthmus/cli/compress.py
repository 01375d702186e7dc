"""``isthmus compress``: write data as quantised codes, and decode such files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from isthmus._messages import say
from isthmus.cli._options import READING, RESIZE, RUN, command, option, switch

SHOWN, PAIRS = 64, 12  # examples in the image


COMMAND = command(
    "write data as quantised codes, or decode them",
    "Encode data, round each component of the codes to a few bits over its range in the training "
    "rows, and write them; report the bytes they take on disk and the error. With --decompress, "
    "DATA is such a file, and its rows are decoded. Decoding needs the model, whose size is not "
    "counted.",
    RUN,
    option("data DATA: dataset name or path, as for `isthmus fit`; or a file of codes"),
    *READING,
    RESIZE,
    option("--bits N: bits per component, 1 to 16", default=8),
    option(
        "--coding auto|packed|zlib|lzma: how the numbers become bytes (default: auto, the shortest)"
    ),
    switch("--test: compress the test set, over the ranges of the training set"),
    switch("--decompress: decode a file of codes"),
    option(
        "--out FILE: output file of codes (.npz) or rows (.npy, for tables .csv); default: "
        "RUN/codes.npz, RUN/rows.npy"
    ),
    option("--picture FILE: output image (default: like --out, ending in .png)"),
    examples=(
        "isthmus compress RUN digits --out codes.npz --bits 6",
        "isthmus compress RUN codes.npz --decompress --out back.npy",
    ),
)


def run(arguments: argparse.Namespace) -> int:
    """Compress or decompress, and draw some of the rows; return the exit code."""
    from isthmus.cli._sheets import check_out
    from isthmus.estimators import model_io

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
    from isthmus.applications.compression import LatentCodec
    from isthmus.cli._console import print_table
    from isthmus.cli._run_data import load_rows
    from isthmus.cli._sheets import write_figure
    from isthmus.estimators.validation import as_array
    from isthmus.persistence.integrity import WEIGHTS, described_file
    from isthmus.persistence.run_folder import read_config
    from isthmus.plots import reconstructions

    codec = LatentCodec.from_fitted(estimator, bits=arguments.bits, coding=arguments.coding)
    data = load_rows(arguments)
    if arguments.test and data.X_test is None:
        raise ValueError(f"{data.name} has no test set; omit --test.")
    X: Any = data.X_test if arguments.test else data.X
    packed = codec.fit(data.X).compress(X)
    report = codec.report(X, packed)
    on_disk = packed.save(out)
    report |= {"bytes of the file": on_disk, "bytes per row of the file": on_disk / len(X)}
    run = Path(arguments.run)
    weights = described_file(run / WEIGHTS, read_config(run))
    report["bytes of the model, not counted"] = weights.stat().st_size
    print_table(f"{data.name} as codes of {type(estimator).__name__}", report)
    say(f"written to {out}")
    chosen = X[:: max(1, len(X) // PAIRS)][:PAIRS]
    decoded = as_array(estimator, codec.decompress(codec.compress(chosen)))
    write_figure(reconstructions(chosen, decoded), picture)


def _decompress(arguments: argparse.Namespace, estimator: Any, out: Path, picture: Path) -> None:
    from isthmus.applications.compression import CompressedCodes, decompress
    from isthmus.cli._sheets import save_array, save_frame, write_figure
    from isthmus.plots import pictures

    rows = decompress(estimator, CompressedCodes.load(arguments.data))
    if estimator.columns_ is not None:
        save_frame(out, rows)
        return
    save_array(out, rows)
    write_figure(pictures(rows[:SHOWN]), picture)
