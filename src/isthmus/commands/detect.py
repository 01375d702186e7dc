"""``isthmus detect``: a run and data in, a table of how strange each row is out."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import io as text
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator

from isthmus import io
from isthmus.commands.show import print_table
from isthmus.data import load as load_data
from isthmus.uses.anomalies import AnomalyDetector, conformal_pvalues

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Score, print, write; return the exit code."""
    out = Path(arguments.out)
    check_writable(out)
    model = io.load(arguments.run)
    options = {"size": arguments.size, "label": arguments.label, "columns": model.columns_}
    name, X = _rows(arguments.data, arguments.data_home, options)
    normal = X if arguments.normal is None else _normal_rows(arguments, options)
    detector = AnomalyDetector(
        FrozenEstimator(model),
        score=arguments.score,
        contamination="auto" if arguments.contamination is None else arguments.contamination,
        false_alarms=arguments.false_alarms,
        random_state=arguments.random_state,
    ).fit(normal)
    table = _table(detector, X)
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


def _rows(source: str, data_home: str | None, options: dict[str, Any]) -> tuple[str, Any]:
    """Return name and rows: of a test set where there is one."""
    data = load_data(source, data_home=data_home, **options)
    if data.X_test is not None:
        return f"test rows of {data.name}", data.X_test
    return data.name, data.X


def _normal_rows(arguments: argparse.Namespace, options: dict[str, Any]) -> Any:
    """Return the rows of --normal, read as the data are, where it is of their kind."""
    kinds = [Path(source).suffix.lower() for source in (arguments.data, arguments.normal)]
    alike = kinds[0] == kinds[1]
    return _rows(arguments.normal, arguments.data_home, options if alike else {})[1]


def _table(detector: AnomalyDetector, X: Any) -> dict[str, np.ndarray]:
    """Return the columns, each (n,)."""
    scores = detector.score_samples(X)
    return {
        "row": np.arange(len(X)),
        "anomaly_score": -scores,
        "pvalue": conformal_pvalues(detector.calibration_scores_, scores),
        "prediction": np.where(scores < detector.offset_, -1, 1),
    }


def check_writable(path: Path) -> None:
    """Raise an error where a table cannot be written there, before any work is done."""
    if path.suffix not in (".parquet", ".csv"):
        raise ValueError(f"--out must end in .parquet or .csv, got {str(path)!r}.")
    if not path.parent.is_dir():
        raise ValueError(f"--out {str(path)!r}: there is no folder {str(path.parent)!r}; make it.")
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise ImportError("writing .parquet needs pyarrow: pip install pyarrow, or use --out *.csv")


def write_table(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Write columns as Parquet or, with all digits, as CSV."""
    buffer: Any = text.BytesIO()
    if path.suffix == ".parquet":
        arrow, parquet = map(importlib.import_module, ("pyarrow", "pyarrow.parquet"))
        parquet.write_table(arrow.table(columns), buffer)
    else:
        lines = zip(*(column.tolist() for column in columns.values()), strict=True)
        rows = [",".join(columns), *(",".join(map(repr, line)) for line in lines)]
        buffer.write(("\n".join(rows) + "\n").encode())
    io.write(path, buffer.getvalue())
