"""``isthmus impute``: fill in missing values."""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus._messages import say
from isthmus.cli._options import DATA, RESIZE, RUN, SEED, UNKNOWN, command, option, switch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isthmus.data import Dataset

    Array = NDArray[Any]


SHOWN = 10  # rows in the image, and columns in the summary


COMMAND = command(
    "fill in missing values: empty cells of a table, masked parts of images",
    "Fill in what is missing: the empty cells of a table, the NaN of an array, or the values under "
    "a mask. Observed values are written unchanged. The gaps of a time series (a run with --time) "
    "are filled by SeriesImputer, fitted to the run's own series.",
    RUN,
    *DATA,
    RESIZE,
    UNKNOWN,
    option(
        "--mask FILE: what is missing: an .npy file of True and False, or an image that is white "
        "there; for one example or for each"
    ),
    option(
        "--method auto|decode|optimize|predict|sample: decode: encode and decode repeatedly; "
        "optimize: search for the best code; predict: one pass with the gaps masked as in "
        "training; sample: draws, which also give the uncertainty"
    ),
    option("--draws N: draws per value", default=100),
    option("--rows N: process only the first N rows"),
    option(
        "--out FILE: output file: .csv or .parquet for such tables, else .npz (default: "
        "NAME-imputed in the run's folder)"
    ),
    switch("--force: replace an existing --out"),
    SEED,
    examples=(
        "isthmus impute runs/table-vae table.csv",
        "isthmus impute runs/digits-vae digits --mask lower-half.npy",
    ),
)


def run(arguments: argparse.Namespace) -> int:
    """Impute, write the result and draw it; return the exit code."""
    import numpy as np

    from isthmus.applications.imputation import LatentImputer, missing_mask
    from isthmus.cli._console import print_table
    from isthmus.cli._run_data import load_model, load_rows, unseen_rows
    from isthmus.cli._series import impute_series, time_column

    if time_column(arguments.run) is not None:
        return impute_series(arguments)
    estimator = load_model(arguments)
    data = load_rows(arguments)
    X = unseen_rows(data)[0][: arguments.rows]
    out = _output(arguments, data)
    imputer = LatentImputer(
        estimator,
        method=arguments.method,
        n_draws=arguments.draws,
        random_state=arguments.random_state,
    ).fit(X)
    mask = None if arguments.mask is None else _read_mask(Path(arguments.mask), X.shape)
    gaps = missing_mask(X, mask)
    if not gaps.any():
        raise ValueError(f"{data.name} has no missing values: leave cells empty, or give --mask.")
    full, std = imputer.impute(X, mask)
    gaps = gaps & ~np.isnan(full)  # columns without values in training stay empty
    if not gaps.any():
        raise ValueError(
            "no missing value can be imputed; the model was trained without values there."
        )
    _write(out, arguments, data, full, std, gaps)
    with_gaps = np.flatnonzero(gaps.reshape(len(X), -1).any(1))
    numbers: dict[str, Any] = {
        "rows": len(X),
        "rows imputed": len(with_gaps),
        "values imputed": int(gaps.sum()),
    }
    numbers |= _uncertainty(estimator, std, gaps)
    print_table(f"{data.name}, imputed by {type(estimator).__name__}", numbers)
    if X.ndim in (3, 4):
        rows = with_gaps[:SHOWN]
        _draw(out.with_suffix(".png"), full[rows], gaps[rows], std[rows])
    say(f"written to {out}")
    return 0


def _uncertainty(estimator: Any, std: Array, gaps: Array) -> dict[str, str | float]:
    """Return how uncertain the imputed values are, per column of a table."""
    import numpy as np

    if estimator.columns_ is None:
        return {"median standard deviation of imputed values": float(np.median(std[gaps]))}
    numbers: dict[str, str | float] = {}
    for column, spread, missing in zip(estimator.columns_.columns, std.T, gaps.T, strict=True):
        if missing.any() and len(numbers) < SHOWN:
            what = "median standard deviation"
            value: str | float = float(np.median(spread[missing]))
            if column.kind != "number":
                what, value = "expected share of wrong values", f"{spread[missing].mean():.1%}"
            numbers[f"{column.name}: {what}"] = value
    return numbers


def _output(arguments: argparse.Namespace, data: Dataset) -> Path:
    from isthmus.cli._sheets import check_out

    suffix = ".npz" if data.columns is None else ".csv"
    if Path(arguments.data).suffix.lower() == ".parquet":
        suffix = ".parquet"
    default = Path(arguments.run) / f"{data.name}-imputed{suffix}"
    out = check_out(arguments.out, default, suffixes=[suffix])
    if out.exists() and not arguments.force:
        raise ValueError(f"{out} already exists; add --force to replace it.")
    return out


def _read_mask(path: Path, shape: tuple[int, ...]) -> Array:
    import numpy as np

    from isthmus.data.images import as_grey, read_image

    if not path.is_file():
        raise FileNotFoundError(f"--mask {path}: no such file.")
    try:
        if path.suffix.lower() == ".npy":
            mask = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            mask = as_grey(read_image(path)[0])
            mask = mask > (127 if mask.dtype == np.uint8 else 0.5)
    except (OSError, ValueError) as error:
        raise ValueError(f"--mask {path}: expected an .npy file or an image ({error}).") from None
    if mask.shape == shape[-2:] and len(shape) == 4:  # one mask for all channels
        mask = np.broadcast_to(mask, shape[1:])
    return np.asarray(mask)


def _write(
    out: Path, arguments: argparse.Namespace, data: Dataset, full: Array, std: Array, gaps: Array
) -> None:
    import numpy as np

    from isthmus.data.tables import fill_table, read_parquet
    from isthmus.persistence.atomic import write_atomic

    buffer = io.BytesIO()
    if data.columns is None:
        np.savez_compressed(buffer, X=full, std=std.astype(np.float32), missing=gaps)
    elif out.suffix == ".parquet":
        frame = read_parquet(Path(arguments.data)).iloc[: len(full)]
        data.columns.fill(frame, full, gaps).to_parquet(buffer)
    else:
        text = fill_table(arguments.data, full, gaps, data.columns, arguments.label)
        buffer.write(text.encode())
    write_atomic(out, buffer.getvalue())


def _draw(path: Path, full: Array, gaps: Array, std: Array) -> None:
    """Draw the input, the imputed images, and the uncertainty if there is one."""
    import numpy as np

    from isthmus.cli._sheets import write_figure
    from isthmus.data.layout import to_channels_first
    from isthmus.plots import pictures
    from isthmus.plots.cells import as_units

    std = to_channels_first(std / (255 if full.dtype == np.uint8 else 1))
    full, gaps = as_units(full), to_channels_first(gaps)
    middle = 0.5 * (full.min() + full.max())
    sheet, names = [np.where(gaps, middle, full), full], ["given", "imputed"]
    if std.any():
        sheet, names = [*sheet, full.min() + 2 * middle * std / std.max()], [*names, "uncertainty"]
    labels = [word for name in names for word in [name, *[""] * (len(full) - 1)]]
    write_figure(pictures(np.concatenate(sheet), columns=len(full), labels=labels), path)
