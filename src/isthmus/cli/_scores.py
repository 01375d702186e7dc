"""The output of ``isthmus detect``: a table of scores, and how well they agree with labels."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isthmus._messages import say
from isthmus._optional import import_optional

__all__ = ["DEFAULT_TABLE", "TABLES", "check_writable", "is_labelled", "quality", "write_table"]

TABLES = (".parquet", ".csv")
DEFAULT_TABLE = "scores.csv"


def is_labelled(arguments: argparse.Namespace) -> bool:
    """Return whether the scores are to be compared with labels."""
    return arguments.label is not None or bool(arguments.anomalous)


def quality(labels: Any, table: Mapping[str, Any], arguments: argparse.Namespace) -> Any:
    """Return how well the scores find the rows whose labels are anomalous."""
    from isthmus.evaluation.detection import anomalous_rows, detection_numbers

    try:
        is_anomalous = anomalous_rows(labels, arguments.anomalous)
    except ValueError as error:
        if arguments.anomalous:
            raise
        say(f"note: to measure how well anomalies are found, {error}", error=True)
        return {}
    return detection_numbers(is_anomalous, table["anomaly_score"], table["prediction"] == -1)


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


def write_table(path: Path, columns: dict[str, Any]) -> None:
    """Write columns as Parquet, or as CSV with all digits."""
    from isthmus.persistence.atomic import write_atomic

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
