"""``isthmus detect``: a run and data in, a table of how strange each row is out, or many."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import io as text
import os
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus._optional import import_optional
from isthmus.cli._options import add_data_options, add_file_options, add_run

if TYPE_CHECKING:
    import numpy as np

    from isthmus.applications.anomaly_detection import AnomalyDetector
    from isthmus.data.feature_columns import FeatureColumns

__all__ = ["add_parser", "run"]

TABLES = (".parquet", ".csv")
TABLE = "scores.csv"  # of one file, where none is named
CALIBRATION_PART = 8192  # normal rows read in one go


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    detect = subparsers.add_parser(
        "detect",
        help="say which rows are anomalous, by a saved run",
        description="Score the rows of data by a saved run: how strange each is, its p-value and "
        "whether it is flagged. The cut and the p-values come from the rows of --normal, which "
        "the run should not have been trained on; without it, from the data themselves. Of many "
        "files those that are finished are passed over, and under torchrun they are divided among "
        "the processes.",
    )
    add_run(detect)
    detect.add_argument(
        "data",
        metavar="DATA",
        nargs="+",
        help="a name or path, as for `isthmus fit`; or many files, patterns and folders of such",
    )
    add_data_options(detect)
    detect.add_argument(
        "--normal", metavar="DATA", help="normal rows, not trained on: a name or path of their own"
    )
    detect.add_argument(
        "--score",
        default="reconstruction",
        choices=("reconstruction", "likelihood", "nap", "latent", "paths", "whitened"),
        help="what is strange (default: reconstruction)",
    )
    detect.add_argument(
        "--contamination",
        metavar="SHARE",
        type=float,
        help="flag this share of the normal rows, over 0 and at most 0.5 (default: p-values of "
        "at most --false-alarm-rate)",
    )
    detect.add_argument(
        "--false-alarm-rate",
        metavar="SHARE",
        type=float,
        default=0.05,
        help="share of normal rows that may be flagged (default: 0.05)",
    )
    detect.add_argument(
        "--out",
        metavar="FILE",
        help="a table .parquet or .csv, a row for each row (default: scores.csv); of many files a "
        "folder, such as scores/, for a table each",
    )
    detect.add_argument("--random-state", type=int, default=0, metavar="N", help="seed")
    add_file_options(detect)


def run(arguments: argparse.Namespace) -> int:
    """Score, print, write; return the exit code."""
    return _files(arguments) if _is_folder(arguments) else _one(arguments)


def _is_folder(arguments: argparse.Namespace) -> bool:
    """Whether many files are to be scored: several names, a pattern, or --out is a folder."""
    out, (first, *others) = arguments.out, arguments.data
    pattern = has_magic(first) and not os.path.exists(first)
    return bool(others) or pattern or (out is not None and _names_folder(out, first))


def _names_folder(out: str, source: str) -> bool:
    """Whether --out says so by itself, or has no ending, and a folder is read."""
    clear = out.endswith(("/", os.sep)) or Path(out).is_dir()
    return clear or (not Path(out).suffix and os.path.isdir(source))


def _one(arguments: argparse.Namespace) -> int:
    import numpy as np

    from isthmus.bulk.maps import score_columns
    from isthmus.cli._console import print_table
    from isthmus.estimators import model_io

    out, (source,) = Path(arguments.out or TABLE), arguments.data
    check_writable(out)
    _check_one(Path(source))
    _check_flags(arguments, {"--keep": arguments.keep, "--column": arguments.column})
    model = model_io.load(arguments.run, device=arguments.device)
    options = {"size": arguments.size, "label": arguments.label, "columns": model.columns_}
    name, X = _rows(source, arguments.data_home, options)
    normal = X if arguments.normal is None else _normal_rows(arguments, options)
    detector = _calibrated(arguments, model, normal)
    table = {"row": np.arange(len(X)), **score_columns(detector, X)}
    numbers: dict[str, Any] = {
        "rows": len(X),
        "flagged": int((table["prediction"] == -1).sum()),
        "cut": -detector.offset_,
        "calibrated on": f"{len(detector.calibration_scores_)} rows of "
        + ("the same data" if arguments.normal is None else arguments.normal),
    }
    print_table(f"{arguments.score} of {name} by {type(model).__name__}", numbers)
    write_table(out, table)
    print(f"written to {out}")
    return 0


def _check_one(source: Path) -> None:
    """Say what lacks where a folder of arrays or tables as text was given as one set of data."""
    from isthmus.data.chunked_reader import ARRAY_SUFFIXES, TEXT_SUFFIXES

    files = [path for path in source.iterdir() if path.is_file()] if source.is_dir() else []
    if files and all(path.suffix.lower() in (*ARRAY_SUFFIXES, *TEXT_SUFFIXES) for path in files):
        raise ValueError(f"{source} holds many files: name a folder for the results by --out DIR.")


def _calibrated(arguments: argparse.Namespace, model: Any, normal: Any) -> AnomalyDetector:
    """Return a detector whose cut is by normal rows."""
    from sklearn.frozen import FrozenEstimator

    from isthmus.applications.anomaly_detection import AnomalyDetector

    detector = AnomalyDetector(
        FrozenEstimator(model),
        score_method=arguments.score,
        contamination="auto" if arguments.contamination is None else arguments.contamination,
        false_alarm_rate=arguments.false_alarm_rate,
        random_state=arguments.random_state,
    )
    try:
        return detector.fit(normal)
    except ValueError as error:
        source = arguments.normal or arguments.data[0]
        raise ValueError(f"calibrating on {source}: {error}") from error


def _rows(source: str, data_home: str | None, options: dict[str, Any]) -> tuple[str, Any]:
    """Return name and rows: of a test set where there is one."""
    from isthmus.data import load as load_data

    data = load_data(source, data_home=data_home, **options)
    if data.X_test is not None:
        return f"test rows of {data.name}", data.X_test
    return data.name, data.X


def _normal_rows(arguments: argparse.Namespace, options: dict[str, Any]) -> Any:
    """Return the rows of --normal, read as the data are, where it is of their kind."""
    kinds = [Path(source).suffix.lower() for source in (arguments.data[0], arguments.normal)]
    alike = kinds[0] == kinds[1]
    return _rows(arguments.normal, arguments.data_home, options if alike else {})[1]


def _files(arguments: argparse.Namespace) -> int:
    """Score each file by one calibration, the same in all processes; return the exit code."""
    import numpy as np

    from isthmus.applications.meta_estimator import model_digest
    from isthmus.bulk.files import FileTask, output_paths
    from isthmus.bulk.maps import score_columns
    from isthmus.bulk.worker_rank import WorkerRank
    from isthmus.cli.transform import work
    from isthmus.data.chunked_reader import ARRAY_SUFFIXES
    from isthmus.data.feature_columns import FeatureColumns
    from isthmus.estimators import model_io

    rank = WorkerRank.from_environment()
    _check_flags(arguments, {"--size": arguments.size, "--label": arguments.label})
    if arguments.normal is None:
        raise ValueError("many files need one cut: name normal rows by --normal DATA.")
    if arguments.out is None:
        raise ValueError("many files need a folder for the results: name one by --out DIR.")
    # The column may be that of the normal rows alone.
    column = arguments.column if Path(arguments.normal).suffix.lower() in ARRAY_SUFFIXES else None
    targets = output_paths(arguments.data, Path(arguments.out), "parquet", column)
    model = model_io.load(arguments.run, device=arguments.device)
    features = FeatureColumns.for_model(model, arguments.column, arguments.keep)
    detector = _calibrated(arguments, model, _calibration_rows(arguments, features))
    job = FileTask(
        lambda X, start: {"row": np.arange(start, start + len(X)), **score_columns(detector, X)},
        features,
        {"verb": "detect", "model": model_digest(model), "detector": _digest(detector)},
    )
    return work(job, rank, targets, arguments.force)


def _check_flags(arguments: argparse.Namespace, flags: dict[str, Any]) -> None:
    """Say which flags mean nothing here."""
    if given := [flag for flag, value in flags.items() if value]:
        kinds = ("many files", "one") if _is_folder(arguments) else ("one file", "many")
        raise ValueError(f"{given[0]} is not for {kinds[0]} but for {kinds[1]}; omit it.")


def _calibration_rows(arguments: argparse.Namespace, features: FeatureColumns) -> Any:
    """Return the rows of --normal: a file is read as the others are."""
    import numpy as np

    from isthmus.data.chunked_reader import ARRAY_SUFFIXES, SUFFIXES, read_chunks
    from isthmus.data.feature_columns import FeatureColumns

    path = Path(arguments.normal)
    if path.suffix.lower() not in SUFFIXES:
        return _rows(arguments.normal, arguments.data_home, {"columns": features.columns})[1]
    if path.suffix.lower() in ARRAY_SUFFIXES:
        features = FeatureColumns(features.n_features)
    parts = read_chunks(path, features, CALIBRATION_PART)
    return np.concatenate([part.X for part in parts])


def _digest(detector: AnomalyDetector) -> str:
    """Return what tells two calibrations apart."""
    setting = f"{detector.score_method} {detector.offset_!r}".encode()
    return hashlib.sha256(setting + detector.calibration_scores_.tobytes()).hexdigest()


def check_writable(path: Path) -> None:
    """Raise an error where a table cannot be written there, before any work is done."""
    if path.suffix not in TABLES:
        raise ValueError(
            "--out must end in .parquet or .csv, or for many files in /, as a folder's name, got "
            f"{str(path)!r}."
        )
    if not path.parent.is_dir():
        raise ValueError(f"--out {str(path)!r}: there is no folder {str(path.parent)!r}; make it.")
    if path.suffix == ".parquet":
        import_optional(
            "pyarrow", extra="tables", what="writing .parquet", instead="use --out *.csv"
        )


def write_table(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Write columns as Parquet or, with all digits, as CSV."""
    from isthmus.persistence.atomic import write_atomic

    buffer: Any = text.BytesIO()
    if path.suffix == ".parquet":
        arrow, parquet = map(importlib.import_module, ("pyarrow", "pyarrow.parquet"))
        parquet.write_table(arrow.table(columns), buffer)
    else:
        lines = zip(*(column.tolist() for column in columns.values()), strict=True)
        rows = [",".join(columns), *(",".join(map(repr, line)) for line in lines)]
        buffer.write(("\n".join(rows) + "\n").encode())
    write_atomic(path, buffer.getvalue())
