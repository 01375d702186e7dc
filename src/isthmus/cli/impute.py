"""``isthmus impute``: fill in missing values with a saved run."""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.cli._options import add_data_options, add_run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    from isthmus.data import Dataset

__all__ = ["add_parser", "run"]

SHOWN = 10  # rows in the picture


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    impute = subparsers.add_parser(
        "impute",
        help="fill in what is missing in data, by a saved run",
        description="Fill in what is missing: the empty cells of a table, the NaN of an array, or "
        "what a mask marks. What was observed is written as it was.",
        epilog="Examples:  isthmus impute runs/table-vae table.csv   "
        "isthmus impute runs/digits-vae digits --mask lower-half.npy",
    )
    add_run(impute)
    impute.add_argument("data", metavar="DATA", help="a name or path, as for `isthmus fit`")
    add_data_options(impute)
    impute.add_argument(
        "--mask",
        metavar="FILE",
        help=".npy of True and False, or a picture whose white parts are missing: of one "
        "example, or of each",
    )
    impute.add_argument(
        "--method",
        choices=("auto", "decode", "optimize", "predict", "sample"),
        default="auto",
        help="how: by encoding and decoding again, by the best code, by one pass with "
        "the gaps hidden as in training, or by draws, which also "
        "give an uncertainty (default: auto)",
    )
    impute.add_argument(
        "--draws", type=int, default=100, metavar="N", help="draws behind each value (default: 100)"
    )
    impute.add_argument("--rows", type=int, metavar="N", help="only the first N rows")
    impute.add_argument(
        "--out",
        metavar="FILE",
        help="where to write: .csv or .parquet for such tables, else .npz (default: "
        "NAME-imputed beside the run's other files)",
    )
    impute.add_argument("--force", action="store_true", help="replace an existing --out")
    impute.add_argument("--random-state", type=int, default=0, metavar="N", help="seed")


def run(arguments: argparse.Namespace) -> int:
    """Impute, write, show; return the exit code."""
    import numpy as np
    from sklearn.frozen import FrozenEstimator

    from isthmus.applications.imputation import LatentImputer, missing_mask
    from isthmus.cli._console import print_table
    from isthmus.data import load as load_data
    from isthmus.estimators import model_io
    from isthmus.estimators.scaling import as_float64

    estimator = model_io.load(arguments.run)
    data = load_data(
        arguments.data,
        data_home=arguments.data_home,
        size=arguments.size,
        label=arguments.label,
        columns=estimator.columns_,
    )
    X = (data.X if data.X_test is None else data.X_test)[: arguments.rows]
    out = _out(arguments, data)
    imputer = LatentImputer(
        FrozenEstimator(estimator),
        method=arguments.method,
        n_draws=arguments.draws,
        random_state=arguments.random_state,
    ).fit(X)
    mask = None if arguments.mask is None else _mask(Path(arguments.mask), X.shape)
    gaps = missing_mask(X, mask)
    if not gaps.any():
        raise ValueError(f"nothing is missing in {data.name}: leave cells empty, or give --mask.")
    full, std = imputer.impute(X, mask)
    _write(out, arguments, data, full, std, gaps)
    numbers: dict[str, Any] = {
        "rows": len(X),
        "rows imputed": int(gaps.reshape(len(X), -1).any(1).sum()),
        "values filled in": int(gaps.sum()),
    }
    if std.any():
        numbers["their standard deviation, median"] = float(np.median(std[gaps]))
    print_table(f"{data.name}, imputed by {type(estimator).__name__}", numbers)
    if X.ndim in (3, 4):
        rows = np.flatnonzero(gaps.reshape(len(X), -1).any(1))[:SHOWN]
        page = out.with_suffix(".png")
        _draw(
            as_float64(full[rows]),
            gaps[rows],
            std[rows] / (255 if X.dtype == np.uint8 else 1),
            page,
        )
        print(f"picture at {page}")
    print(f"written to {out}")
    return 0


def _out(arguments: argparse.Namespace, data: Dataset) -> Path:
    suffix = ".npz" if data.columns is None else ".csv"
    if Path(arguments.data).suffix.lower() == ".parquet":
        suffix = ".parquet"
    out = Path(arguments.out or Path(arguments.run) / f"{data.name}-imputed{suffix}")
    if out.suffix.lower() != suffix:
        raise ValueError(f"--out must end in {suffix} for {data.name}, got {out.name!r}.")
    if out.exists() and not arguments.force:
        raise ValueError(f"{out} is there already; add --force to replace it.")
    if not out.parent.is_dir():
        raise ValueError(f"{out.parent} is no folder; make it first.")
    return out


def _draw(full: Array, gaps: Array, std: Array, page: Path) -> None:
    """Draw what was given, what was made of it, and where that is uncertain."""
    import numpy as np

    from isthmus.plots import pictures

    middle = 0.5 * (full.min() + full.max())
    sheet, names = [np.where(gaps, middle, full), full], ["given", "imputed"]
    if std.any():
        sheet, names = [*sheet, full.min() + 2 * middle * std / std.max()], [*names, "uncertainty"]
    labels = [word for name in names for word in [name, *[""] * (len(full) - 1)]]
    pictures(np.concatenate(sheet), columns=len(full), labels=labels).savefig(page, dpi=150)


def _mask(path: Path, shape: tuple[int, ...]) -> Array:
    import numpy as np

    from isthmus.data.images import open_image

    if not path.is_file():
        raise FileNotFoundError(f"--mask {path}: no such file.")
    try:
        if path.suffix.lower() == ".npy":
            mask = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            with open_image(path) as image:
                mask = np.asarray(image.convert("L")) > 127
    except (OSError, ValueError) as error:
        raise ValueError(f"--mask {path}: expected an .npy file or a picture ({error}).") from None
    if mask.shape == shape[-2:] and len(shape) == 4:  # all channels alike
        mask = np.broadcast_to(mask, shape[1:])
    return np.asarray(mask)


def _write(
    out: Path, arguments: argparse.Namespace, data: Dataset, full: Array, std: Array, gaps: Array
) -> None:
    import numpy as np

    from isthmus.data.tables import fill_table, read_parquet
    from isthmus.persistence.atomic import write_atomic

    buffer = BytesIO()
    if data.columns is None:
        np.savez_compressed(buffer, X=full, std=std.astype(np.float32), missing=gaps)
    elif out.suffix == ".parquet":
        frame = read_parquet(Path(arguments.data)).iloc[: len(full)]
        data.columns.fill(frame, full, gaps).to_parquet(buffer)
    else:
        text = fill_table(arguments.data, full, gaps, data.columns, arguments.label)
        buffer.write(text.encode())
    write_atomic(out, buffer.getvalue())
