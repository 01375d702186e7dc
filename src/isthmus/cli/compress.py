"""``isthmus compress``: data in, a file of quantised codes out; and back."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from isthmus.cli._options import add_data_options, add_run

__all__ = ["add_parser", "run"]

SHOWN, PAIRS = 64, 12  # examples of the sheets


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    compress = subparsers.add_parser(
        "compress",
        help="write data as quantised codes, with the bytes a row and the error; and back",
        description="Encode data, round each component of the codes to a few bits over the range "
        "it has on the training rows, and write them with the bytes they take on disk and the "
        "error they make. With --decompress DATA is such a file, and rows come back. The model "
        "is needed to decode and is not counted.",
        epilog="Examples:  isthmus compress RUN digits --out codes.npz --bits 6   "
        "isthmus compress RUN codes.npz --decompress --out back.npy",
    )
    add_run(compress)
    compress.add_argument(
        "data", metavar="DATA", help="a name or path, as for `isthmus fit`; or a file of codes"
    )
    add_data_options(compress)
    compress.add_argument(
        "--bits", type=int, default=8, metavar="N", help="of each component, 1 to 16 (default: 8)"
    )
    compress.add_argument(
        "--coding",
        choices=("auto", "packed", "zlib", "lzma"),
        default="auto",
        help="how the numbers become bytes; auto keeps the shortest",
    )
    compress.add_argument(
        "--test",
        action="store_true",
        help="compress the data's test set, by the ranges of its training set",
    )
    compress.add_argument("--decompress", action="store_true", help="turn codes into rows again")
    compress.add_argument(
        "--out",
        metavar="FILE",
        help="where codes (.npz) or rows (.npy) go (default: RUN/codes.npz, RUN/rows.npy)",
    )
    compress.add_argument(
        "--picture", metavar="FILE", help="the sheet (default: beside --out, ending in .png)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Compress or decompress, say what it costs, draw; return the exit code."""
    from isthmus.cli._contact_sheet import check_out
    from isthmus.estimators import model_io

    estimator = model_io.load(arguments.run)
    suffix, name = ".npz", "codes"
    if arguments.decompress:
        suffix, name = ".npy" if estimator.columns_ is None else ".csv", "rows"
    out = Path(arguments.out or Path(arguments.run) / f"{name}{suffix}")
    if out.suffix != suffix:
        raise ValueError(f"--out must end in {suffix}, got {str(out)!r}.")
    picture = check_out(arguments.picture, out.with_suffix(".png"), "--picture")
    work = _decompress if arguments.decompress else _compress
    work(arguments, estimator, out, picture)
    return 0


def _compress(arguments: argparse.Namespace, estimator: Any, out: Path, picture: Path) -> None:
    from isthmus.applications.compression import LatentCodec
    from isthmus.cli._console import print_table
    from isthmus.cli._contact_sheet import load_rows, write_figure
    from isthmus.estimators.validation import as_array
    from isthmus.persistence.run_folder import WEIGHTS
    from isthmus.plots import reconstructions

    settings = {"bits": arguments.bits, "coding": arguments.coding}
    codec = LatentCodec.from_fitted(estimator, **settings)
    data = load_rows(arguments)
    if arguments.test and data.X_test is None:
        raise ValueError(f"{data.name} has no test set; leave --test away.")
    X: Any = data.X_test if arguments.test else data.X
    packed = codec.fit(data.X).compress(X)
    report = codec.report(X, packed)
    on_disk = packed.save(out)
    report |= {"bytes of the file": on_disk, "bytes per row of the file": on_disk / len(X)}
    report["bytes of the model, not counted"] = (Path(arguments.run) / WEIGHTS).stat().st_size
    print_table(f"{data.name} as codes of {type(estimator).__name__}", report)
    print(f"written to {out}")
    chosen = X[:: max(1, len(X) // PAIRS)][:PAIRS]
    again = as_array(estimator, codec.decompress(codec.compress(chosen)))
    write_figure(reconstructions(chosen, again), picture)


def _decompress(arguments: argparse.Namespace, estimator: Any, out: Path, picture: Path) -> None:
    from isthmus.applications.compression import CompressedCodes, decompress
    from isthmus.cli._contact_sheet import save_array, save_frame, write_figure
    from isthmus.plots import pictures

    rows = decompress(estimator, CompressedCodes.load(arguments.data))
    if estimator.columns_ is not None:
        save_frame(out, rows)
        return
    save_array(out, rows)
    write_figure(pictures(rows[:SHOWN]), picture)
