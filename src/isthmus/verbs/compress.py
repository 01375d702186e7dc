"""Flags of ``isthmus compress``."""

from __future__ import annotations

from typing import Any

from isthmus.verbs.options import add_data_options

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the verb."""
    compress = commands.add_parser(
        "compress",
        help="write data as quantised codes, with the bytes a row and the error; and back",
        description="Encode data, round each component of the codes to a few bits over the range "
        "it has on the training rows, and write them with the bytes they take on disk and the "
        "error they make. With --decompress DATA is such a file, and rows come back. The model "
        "is needed to decode and is not counted.",
        epilog="Examples:  isthmus compress RUN digits --out codes.npz --bits 6   "
        "isthmus compress RUN codes.npz --decompress --out back.npy",
        allow_abbrev=False,
    )
    compress.add_argument("run", metavar="RUN", help="a folder that `isthmus fit` wrote")
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
