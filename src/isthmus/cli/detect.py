"""``isthmus detect``: score rows and flag anomalies."""

from __future__ import annotations

import argparse
import hashlib
import os
from collections import Counter
from dataclasses import replace
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus._messages import as_text, say
from isthmus.cli._options import FILES, LIST, READING, RESIZE, RUN, SEED, command, option
from isthmus.cli._scores import (
    DEFAULT_TABLE,
    TABLES,
    check_writable,
    is_labelled,
    quality,
    write_table,
)
from isthmus.models.specs import HANDLE_UNKNOWN

if TYPE_CHECKING:
    from isthmus.applications.anomaly_detection import AnomalyDetector
    from isthmus.data import Dataset
    from isthmus.data.feature_columns import FeatureColumns
    from isthmus.runs.detector import RunDetector


__all__ = ["COMMAND", "run"]

FALSE_ALARM_RATE = 0.05
SHOWN = 5  # flagged rows that are printed
CALIBRATION_CHUNK = 8192  # normal rows read at once


COMMAND = command(
    "score rows and flag anomalies",
    "Score the rows of data: the anomaly score of each row, its p-value and whether it is flagged. "
    "The threshold and the p-values come from a detector that is stored in the run, one for each "
    "--score, so that the same row gets the same verdict in every file. It is calibrated once: on "
    "the rows of --normal, which the run should not have been trained on, or else on the test rows "
    "of the run. Rows are named by their file, or by the column of --id; with --label, the output "
    "has the label of each row, and it is measured how well the scores find the anomalous ones. "
    "With many files, finished ones are skipped, and under torchrun the files are divided among "
    "the processes. A run of a time series (--time) scores the rows of another one: the output "
    "has their times, and a table of the flagged segments and a picture are written beside it.",
    RUN,
    option(
        "data DATA+: dataset name or path, as for `isthmus fit`, or images or sounds; or many "
        "files, patterns and folders"
    ),
    *READING,
    RESIZE,
    option(
        f"--handle-unknown {'|'.join(HANDLE_UNKNOWN)}: categories of a table that were not seen "
        "during fit: an error, missing values, or anomalies, with the column named in the output",
        default="flag",
    ),
    option(
        "--normal DATA: name or path of normal rows that were not trained on: calibrate the run's "
        "detector on these (default: the stored one, else on the run's own test rows)"
    ),
    option(
        "--score reconstruction|likelihood|nap|latent|paths|whitened|mahalanobis: how anomaly is "
        "measured. reconstruction: squared error of the scaled data. likelihood: negative "
        "log-likelihood or ELBO in nats. nap: difference between the encoder's activations of a "
        "row and of its reconstruction. latent: distance of the code from those of normal rows. "
        "paths: distance of activations and errors together (images). whitened: distance of the "
        "errors (tables of normal rows). mahalanobis: distance of row and error together (tables "
        "with outliers among the training rows)"
    ),
    option(
        "--anomalous LABEL+: labels of anomalous rows: values of the column of --label, or folders "
        "of images or sounds (default: of two labels, the one that is 1, true, yes, anomaly, "
        "outlier or fraud)",
        **LIST,
    ),
    option(
        "--contamination FRACTION: flag this fraction of the normal rows, above 0 and at most 0.5 "
        "(default: flag p-values of at most --false-alarm-rate)"
    ),
    option(
        "--false-alarm-rate FRACTION: fraction of normal rows that may be flagged (default: 0.05; "
        "of a time series, scores far from those of held-out steps are flagged instead)"
    ),
    option(
        "--out FILE: output table, .parquet or .csv, with one row for each row (default: "
        "scores.csv); for many files a folder, such as scores/"
    ),
    SEED,
    *FILES,
)


def run(arguments: argparse.Namespace) -> int:
    """Score one data set or many files; return the exit code."""
    from isthmus.cli._series import detect_series, time_column

    if time_column(arguments.run) is not None:
        return detect_series(arguments)
    arguments.data = _media_files(arguments) or arguments.data
    return _score_files(arguments) if _has_many_files(arguments) else _score_data(arguments)


def _media_files(arguments: argparse.Namespace) -> list[str]:
    """Return the images and audio files named, if they alone are named: one table has them all."""
    from isthmus.data.datasets import is_media

    names = [path for name in arguments.data for path in sorted(glob(name)) or [name]]
    is_file = all(Path(name).is_file() and is_media(Path(name)) for name in names)
    return names if is_file and Path(arguments.out or DEFAULT_TABLE).suffix in TABLES else []


def _has_many_files(arguments: argparse.Namespace) -> bool:
    """Return whether several names or a pattern are given, or --out is a folder."""
    out, (first, *others) = arguments.out, arguments.data
    if _media_files(arguments):
        return False
    if others or (has_magic(first) and not os.path.exists(first)):
        return True
    if out is None:
        return False
    folder = out.endswith(("/", os.sep)) or Path(out).is_dir()
    return folder or (not Path(out).suffix and os.path.isdir(first))


def _score_data(arguments: argparse.Namespace) -> int:
    import numpy as np

    from isthmus.bulk.maps import score_columns
    from isthmus.cli._console import print_table
    from isthmus.cli._run_data import load_model

    out = Path(arguments.out or DEFAULT_TABLE)
    check_writable(out)
    _check_single(Path(arguments.data[0]))
    _check_flags(arguments, {"--column": arguments.column})
    model = load_model(arguments, arguments.device)
    name, data = _load_all(arguments)
    normal = None
    if arguments.normal is not None:
        normal = _load(arguments, arguments.normal, _options_of_normal(arguments))[1].X
    detector, origin = _detector(arguments, model, normal)
    table = {"row": np.arange(len(data.X)), **(data.ids or {}), **_kept(arguments, data)}
    table |= _scores(table, score_columns(detector, data.X))
    numbers: dict[str, Any] = {
        "rows": len(data.X),
        "flagged": int((table["prediction"] == -1).sum()),
        "threshold": -detector.offset_,
        "calibrated on": _calibrated_on(detector, origin),
    }
    if is_labelled(arguments):
        numbers |= quality(data.y, table, arguments)
    print_table(f"{arguments.score} of {name} by {type(model).__name__}", numbers)
    _print_flagged(data, table)
    write_table(out, table)
    say(f"written to {out}")
    return 0


def _scores(ids: dict[str, Any], scores: dict[str, Any]) -> dict[str, Any]:
    """Return the scores, unless one of their names is that of the id column."""
    if twice := [name for name in scores if name in ids]:
        raise ValueError(f"the column {twice[0]!r} has the name of an output; rename it.")
    return scores


def _kept(arguments: argparse.Namespace, data: Dataset) -> dict[str, Any]:
    """Return the label and the columns of --keep, by name."""
    from isthmus.data.row_ids import read_ids

    kept = {}
    if is_labelled(arguments):
        if data.y is None:
            raise ValueError(f"{data.name} has no labels: name their column by --label COLUMN.")
        kept[arguments.label or "label"] = data.y
    for name in arguments.keep:
        kept[name] = read_ids(Path(arguments.data[0]), name, "column of --keep")
    return kept


def _print_flagged(data: Dataset, table: dict[str, Any]) -> None:
    """Print the names of the rows that were flagged, the most anomalous first."""
    import numpy as np

    from isthmus.cli._console import number_text

    scores, flagged = table["anomaly_score"], np.flatnonzero(table["prediction"] == -1)
    for row in flagged[np.argsort(-scores[flagged], kind="stable")][:SHOWN]:
        p = number_text(float(table["pvalue"][row]))
        score = number_text(float(scores[row]))
        say(f"flagged: {data.row_name(row)} (score {score}, p-value {p})")
    if len(flagged) > SHOWN:
        say(f"and {len(flagged) - SHOWN:,} more in the table")


def _check_single(source: Path) -> None:
    """Raise a ValueError for a folder of arrays or text tables, which is not one data set."""
    from isthmus.data.chunked_reader import ARRAY_SUFFIXES, TEXT_SUFFIXES
    from isthmus.data.text_files import suffix_of

    files = [path for path in source.iterdir() if path.is_file()] if source.is_dir() else []
    if files and all(suffix_of(path) in (*ARRAY_SUFFIXES, *TEXT_SUFFIXES) for path in files):
        raise ValueError(f"{source} holds many files: name an output folder by --out DIR.")


def _check_flags(arguments: argparse.Namespace, flags: dict[str, Any]) -> None:
    """Raise a ValueError for a flag that has no effect here."""
    if given := [flag for flag, value in flags.items() if value]:
        right, wrong = "one data set", "many files"
        if not _has_many_files(arguments):
            right, wrong = wrong, right
        raise ValueError(f"{given[0]} is for {right}, not for {wrong}; omit it.")


def _load_all(arguments: argparse.Namespace) -> tuple[str, Dataset]:
    """Return the data, or those of several images or audio files together."""
    import numpy as np

    from isthmus.cli._run_data import reading_options
    from isthmus.plots.cells import as_units
    from isthmus.runs import load_for_run

    first, *others = arguments.data
    options = reading_options(arguments)
    if not others:
        return _load(arguments, first, options)
    parts = [load_for_run(arguments.run, name, **options) for name in arguments.data]
    for note, n in Counter(note for part in parts for note in part.notes).items():
        say(f"note: {note}, in each of {n} files", error=True)
    lengths = [len(part.X) for part in parts]
    ids = {"file": np.repeat([*map(as_text, arguments.data)], lengths)}
    for name in dict.fromkeys(name for part in parts for name in part.ids or {} if name != "file"):
        columns = [(p.ids or {}).get(name, np.ones(len(p.X), int)) for p in parts]
        ids[name] = np.concatenate(columns)  # images without pages are page 1
    deep = len({part.X.dtype for part in parts}) > 1
    X = np.concatenate([as_units(part.X) if deep else part.X for part in parts])
    return f"{len(parts)} files", replace(parts[0], X=X, ids=ids)


def _load(
    arguments: argparse.Namespace, source: str, options: dict[str, Any]
) -> tuple[str, Dataset]:
    """Return a name and rows as the model takes them: those of the test set if there is one."""
    from isthmus.cli._run_data import with_notes
    from isthmus.runs import load_for_run

    data = with_notes(load_for_run(arguments.run, source, **options))
    if data.X_test is not None:
        return f"test rows of {data.name}", replace(data, X=data.X_test, ids=None)
    return data.name, data


def _options_of_normal(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of reading that apply to the normal rows, which may be of another kind."""
    from isthmus.cli._run_data import reading_options
    from isthmus.data.chunked_reader import TEXT_SUFFIXES
    from isthmus.data.datasets import is_media
    from isthmus.data.row_ids import has_column
    from isthmus.data.text_files import suffix_of

    path, options = Path(arguments.normal), reading_options(arguments)
    if not is_media(path):
        options |= {"size": None, "resize": False}
    if suffix_of(path) not in (*TEXT_SUFFIXES, ".parquet"):
        options["table"] = None
    for name in ("label", "id_column", "group_column", "weight_column"):
        if options[name] is not None and not has_column(path, options[name]):
            options[name] = None
    return options


def _detector(
    arguments: argparse.Namespace, model: Any, normal: Any, store: bool = True
) -> RunDetector:
    """Return the run's detector, or a new one that is calibrated on normal rows."""
    from isthmus.runs.detector import detector_of_run

    return detector_of_run(
        arguments.run,
        model,
        normal,
        arguments.normal or "",
        score_method=arguments.score,
        contamination="auto" if arguments.contamination is None else arguments.contamination,
        false_alarm_rate=arguments.false_alarm_rate or FALSE_ALARM_RATE,
        random_state=arguments.random_state,
        handle_unknown=arguments.handle_unknown,
        data_home=arguments.data_home,
        store=store,
    )


def _calibrated_on(detector: AnomalyDetector, origin: str) -> str:
    """Return the number and origin of the calibration rows; note if they are too few."""
    from isthmus.runs.detector import OWN

    n, needed = len(detector.calibration_scores_), round(1 / detector.false_alarm_rate) - 1
    if detector.contamination == "auto" and n < needed:
        say(
            f"note: {n} calibration rows are too few for a false alarm rate of "
            f"{detector.false_alarm_rate:g}, which takes {needed}: only rows more anomalous than "
            "all of them are flagged.",
            error=True,
        )
    return f"{n:,} rows of {origin}" if origin != OWN else f"{n:,} {OWN}"


def _score_files(arguments: argparse.Namespace) -> int:
    """Score each file with one calibration, which is the same in all processes."""
    import numpy as np

    from isthmus.applications.meta_estimator import model_digest
    from isthmus.bulk.files import FileTask, output_paths
    from isthmus.bulk.maps import score_columns
    from isthmus.bulk.worker_rank import WorkerRank
    from isthmus.cli._files import features_for, process_and_report
    from isthmus.cli._run_data import load_model
    from isthmus.data.chunked_reader import ARRAY_SUFFIXES

    rank = WorkerRank.from_environment()
    _check_flags(arguments, {"--size": arguments.size})
    if arguments.out is None:
        raise ValueError("many files need an output folder: name one by --out DIR.")
    # The column may belong to the normal rows only.
    in_normal = Path(arguments.normal or "").suffix.lower() not in ARRAY_SUFFIXES
    column = None if arguments.normal and in_normal else arguments.column
    targets = output_paths(arguments.data, Path(arguments.out), "parquet", column)
    model = load_model(arguments, arguments.device)
    features = features_for(model, arguments)
    normal = None if arguments.normal is None else _calibration_rows(arguments, features)
    detector = _detector(arguments, model, normal, store=rank.number == 0).detector
    task = FileTask(
        lambda X, start: {
            "row": np.arange(start, start + len(X)),
            **score_columns(detector, X, warn=False),
        },
        features,
        {"verb": "detect", "model": model_digest(model), "detector": _digest(detector)},
        score="anomaly_score",
    )
    code = process_and_report(task, rank, targets, arguments.force)
    if code == 0 and arguments.label is not None and rank.world_size == 1:
        _printquality([*targets.values()], arguments)
    return code


def _printquality(outputs: list[Path], arguments: argparse.Namespace) -> None:
    """Print how well the scores in all outputs find the anomalous rows."""
    import numpy as np
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    from isthmus.cli._console import print_table

    names = [arguments.label, "anomaly_score", "prediction"]
    parts = [pq.read_table(path, columns=names) for path in outputs]
    table = {name: np.concatenate([part[name].to_numpy() for part in parts]) for name in names}
    if numbers := quality(table[names[0]], table, arguments):
        numbers = {"rows": len(table["prediction"]), **numbers}
        print_table(f"{arguments.score} of all files", numbers)


def _calibration_rows(arguments: argparse.Namespace, features: FeatureColumns) -> Any:
    """Return the rows of --normal; a file is read as the others are."""
    import numpy as np

    from isthmus.data.chunked_reader import ARRAY_SUFFIXES, SUFFIXES, read_chunks
    from isthmus.data.feature_columns import FeatureColumns
    from isthmus.data.row_ids import has_column
    from isthmus.data.text_files import suffix_of

    path = Path(arguments.normal)
    if suffix_of(path) not in SUFFIXES:
        return _load(arguments, arguments.normal, _options_of_normal(arguments))[1].X
    if path.suffix.lower() in ARRAY_SUFFIXES:
        features = FeatureColumns(features.n_features)
    features = replace(features, keep=[name for name in features.keep if has_column(path, name)])
    return np.concatenate([chunk.X for chunk in read_chunks(path, features, CALIBRATION_CHUNK)])


def _digest(detector: AnomalyDetector) -> str:
    """Return what identifies a calibration."""
    setting = f"{detector.score_method} {detector.offset_!r} {detector.handle_unknown}".encode()
    return hashlib.sha256(setting + detector.calibration_scores_.tobytes()).hexdigest()
