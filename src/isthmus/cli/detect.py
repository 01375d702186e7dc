"""``isthmus detect``: score rows and flag anomalies."""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import os
from glob import has_magic
from pathlib import Path
from typing import Any

import numpy as np

from isthmus._optional import import_optional
from isthmus.applications.anomaly_detection import AnomalyDetector
from isthmus.applications.meta_estimator import model_digest
from isthmus.bulk.files import FileTask, output_paths
from isthmus.bulk.maps import score_columns
from isthmus.bulk.worker_rank import WorkerRank
from isthmus.cli._console import print_table
from isthmus.cli._files import process_and_report
from isthmus.data import load
from isthmus.data.chunked_reader import ARRAY_SUFFIXES, SUFFIXES, TEXT_SUFFIXES, read_chunks
from isthmus.data.feature_columns import FeatureColumns
from isthmus.estimators import model_io
from isthmus.persistence.atomic import write_atomic

__all__ = ["run"]

TABLES = (".parquet", ".csv")
DEFAULT_TABLE = "scores.csv"
CALIBRATION_CHUNK = 8192  # normal rows read at once


def run(arguments: argparse.Namespace) -> int:
    """Score one data set or many files; return the exit code."""
    return _score_files(arguments) if _has_many_files(arguments) else _score_data(arguments)


def _has_many_files(arguments: argparse.Namespace) -> bool:
    """Return whether several names or a pattern are given, or --out is a folder."""
    out, (first, *others) = arguments.out, arguments.data
    if others or (has_magic(first) and not os.path.exists(first)):
        return True
    if out is None:
        return False
    folder = out.endswith(("/", os.sep)) or Path(out).is_dir()
    return folder or (not Path(out).suffix and os.path.isdir(first))


def _score_data(arguments: argparse.Namespace) -> int:
    out, (source,) = Path(arguments.out or DEFAULT_TABLE), arguments.data
    check_writable(out)
    _check_single(Path(source))
    _check_flags(arguments, {"--keep": arguments.keep, "--column": arguments.column})
    model = model_io.load(arguments.run, device=arguments.device)
    options = {"size": arguments.size, "label": arguments.label, "columns": model.columns_}
    name, X = _load(source, arguments.data_home, options)
    normal, same_kind = X, False
    if arguments.normal is not None:
        same_kind = Path(source).suffix.lower() == Path(arguments.normal).suffix.lower()
        normal = _load(arguments.normal, arguments.data_home, options if same_kind else {})[1]
    detector = _calibrated(arguments, model, normal)
    table = {"row": np.arange(len(X)), **score_columns(detector, X)}
    origin = "the same data" if arguments.normal is None else arguments.normal
    numbers: dict[str, Any] = {
        "rows": len(X),
        "flagged": int((table["prediction"] == -1).sum()),
        "threshold": -detector.offset_,
        "calibrated on": f"{len(detector.calibration_scores_)} rows of {origin}",
    }
    print_table(f"{arguments.score} of {name} by {type(model).__name__}", numbers)
    _write_table(out, table)
    print(f"written to {out}")
    return 0


def _check_single(source: Path) -> None:
    """Raise a ValueError for a folder of arrays or text tables, which is not one data set."""
    files = [path for path in source.iterdir() if path.is_file()] if source.is_dir() else []
    if files and all(path.suffix.lower() in (*ARRAY_SUFFIXES, *TEXT_SUFFIXES) for path in files):
        raise ValueError(f"{source} holds many files: name an output folder by --out DIR.")


def _check_flags(arguments: argparse.Namespace, flags: dict[str, Any]) -> None:
    """Raise a ValueError for a flag that has no effect here."""
    if given := [flag for flag, value in flags.items() if value]:
        right, wrong = "one data set", "many files"
        if not _has_many_files(arguments):
            right, wrong = wrong, right
        raise ValueError(f"{given[0]} is for {right}, not for {wrong}; omit it.")


def _load(source: str, data_home: str | None, options: dict[str, Any]) -> tuple[str, Any]:
    """Return a name and rows: those of the test set if there is one."""
    data = load(source, data_home=data_home, **options)
    if data.X_test is not None:
        return f"test rows of {data.name}", data.X_test
    return data.name, data.X


def _calibrated(arguments: argparse.Namespace, model: Any, normal: Any) -> AnomalyDetector:
    """Return a detector whose threshold comes from normal rows."""
    detector = AnomalyDetector(
        model,
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


def _score_files(arguments: argparse.Namespace) -> int:
    """Score each file with one calibration, which is the same in all processes."""
    rank = WorkerRank.from_environment()
    _check_flags(arguments, {"--size": arguments.size, "--label": arguments.label})
    if arguments.normal is None:
        raise ValueError("many files need one threshold: name normal rows by --normal DATA.")
    if arguments.out is None:
        raise ValueError("many files need an output folder: name one by --out DIR.")
    # The column may belong to the normal rows only.
    column = arguments.column if Path(arguments.normal).suffix.lower() in ARRAY_SUFFIXES else None
    targets = output_paths(arguments.data, Path(arguments.out), "parquet", column)
    model = model_io.load(arguments.run, device=arguments.device)
    features = FeatureColumns.for_model(model, arguments.column, arguments.keep)
    detector = _calibrated(arguments, model, _calibration_rows(arguments, features))
    task = FileTask(
        lambda X, start: {"row": np.arange(start, start + len(X)), **score_columns(detector, X)},
        features,
        {"verb": "detect", "model": model_digest(model), "detector": _digest(detector)},
    )
    return process_and_report(task, rank, targets, arguments.force)


def _calibration_rows(arguments: argparse.Namespace, features: FeatureColumns) -> Any:
    """Return the rows of --normal; a file is read as the others are."""
    path = Path(arguments.normal)
    if path.suffix.lower() not in SUFFIXES:
        return _load(arguments.normal, arguments.data_home, {"columns": features.columns})[1]
    if path.suffix.lower() in ARRAY_SUFFIXES:
        features = FeatureColumns(features.n_features)
    return np.concatenate([chunk.X for chunk in read_chunks(path, features, CALIBRATION_CHUNK)])


def _digest(detector: AnomalyDetector) -> str:
    """Return what identifies a calibration."""
    setting = f"{detector.score_method} {detector.offset_!r}".encode()
    return hashlib.sha256(setting + detector.calibration_scores_.tobytes()).hexdigest()


def check_writable(path: Path) -> None:
    """Raise an error, before any work, if a table cannot be written to a path."""
    if path.suffix not in TABLES:
        raise ValueError(
            "--out must end in .parquet or .csv, or for many files in /, as the name of a folder; "
            f"got {str(path)!r}."
        )
    if not path.parent.is_dir():
        raise ValueError(
            f"--out {str(path)!r}: there is no folder {str(path.parent)!r}; create it."
        )
    if path.suffix == ".parquet":
        import_optional(
            "pyarrow", extra="tables", what="writing .parquet", instead="use --out *.csv"
        )


def _write_table(path: Path, columns: dict[str, Any]) -> None:
    """Write columns as Parquet, or as CSV with all digits."""
    if path.suffix == ".parquet":
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        buffer = io.BytesIO()
        pq.write_table(pa.table(columns), buffer)
        write_atomic(path, buffer.getvalue())
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
    write_atomic(path, text.getvalue().encode())
