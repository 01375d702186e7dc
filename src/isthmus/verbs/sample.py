"""Flags of ``isthmus sample``."""

from __future__ import annotations

from typing import Any

from isthmus.verbs.options import add_data_options

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the verb."""
    sample = commands.add_parser(
        "sample",
        help="generate examples: from the prior, of a class, around an input",
        description="Generate examples and draw them as a sheet. Models without a prior draw "
        "from a mixture of normals fitted to the codes of the data; it is kept in the run, and "
        "used again for the same data, or where no --data is given.",
        epilog="Examples:  isthmus sample RUN -n 64 --out sheet.png   isthmus sample RUN --of 7   "
        "isthmus sample RUN --of each -n 10   isthmus sample RUN --around 17 --spread 2   "
        "isthmus sample runs/table-vae -n 1000 --out rows.csv",
        allow_abbrev=False,
    )
    sample.add_argument("run", metavar="RUN", help="a folder that `isthmus fit` wrote")
    sample.add_argument(
        "-n",
        "--n-samples",
        type=int,
        metavar="N",
        help="examples, of each class or around each input where such are named (default: 64; 10)",
    )
    sample.add_argument(
        "--of",
        nargs="+",
        metavar="CLASS",
        help="classes to generate, or 'each': of a conditional model, or by --source mixture of "
        "labelled data",
    )
    sample.add_argument(
        "--around",
        nargs="+",
        metavar="QUERY",
        help="vary these: the number of a row, test:NUMBER, a picture, or .npy",
    )
    sample.add_argument(
        "--spread",
        type=float,
        default=1.0,
        metavar="X",
        help="how far to vary, in standard deviations of q(z|x) (default: 1)",
    )
    sample.add_argument(
        "--source",
        choices=("auto", "prior", "mixture"),
        default="auto",
        help="where codes come from; auto is the prior where there is one, else a mixture",
    )
    sample.add_argument(
        "--mixture",
        action="store_const",
        dest="source",
        const="mixture",
        help="short for --source mixture",
    )
    sample.add_argument(
        "--modes", type=int, default=10, metavar="N", help="normals of the mixture (default: 10)"
    )
    sample.add_argument(
        "--data",
        metavar="DATA",
        help="the data, as for `isthmus fit` (default: what the kept mixture was fitted to, "
        "else the run's own)",
    )
    add_data_options(sample)
    sample.add_argument("--random-state", type=int, default=0, metavar="N", help="seed")
    sample.add_argument("--out", metavar="FILE", help="the sheet (default: RUN/samples.png)")
    sample.add_argument(
        "--save",
        metavar="FILE",
        help="write the examples, too: .npy, or of a table .csv or .parquet",
    )
