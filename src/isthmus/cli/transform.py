"""``isthmus transform``: write the codes of many files."""

from __future__ import annotations

import argparse
from pathlib import Path

from isthmus.cli._options import FILES, RESIZE, RUN, TABLES, UNKNOWN, command, option

COMMAND = command(
    "write the codes of the rows of many files",
    "Encode files of any length: for each a file of the same name and format in OUT, with one row "
    "for each row. A folder of images or sounds becomes one file, with the names of the files. "
    "Finished files are skipped, so that the same command continues after an interruption. Under "
    "torchrun the files are divided among the processes.",
    RUN,
    option(
        "inputs INPUT+: files (.parquet, .npy, .npz, .csv, .tsv, .jsonl), patterns, or folders of "
        "files; images, sounds, or folders of these; or the name of a dataset, such as digits"
    ),
    option("out OUT: output folder"),
    option(
        "--format auto|parquet|npy|csv|tsv: output format (default: auto, that of the input; "
        "Parquet for images and sounds)"
    ),
    option("--id COLUMN: table column that names its rows; kept in the output", dest="id_column"),
    option("--label COLUMN: table column that holds the label; kept in the output"),
    RESIZE,
    UNKNOWN,
    *FILES,
    *TABLES,
    examples=(
        "isthmus transform RUN photos/ codes/",
        "isthmus transform RUN digits codes/",
        "isthmus transform RUN in/*.parquet out/",
        "torchrun --nproc-per-node 4 -m isthmus transform RUN in/*.parquet out/",
    ),
)


def run(arguments: argparse.Namespace) -> int:
    """Encode each file; return the exit code."""
    from isthmus.applications.meta_estimator import model_digest
    from isthmus.bulk.files import FileTask, output_paths
    from isthmus.bulk.maps import code_columns, unknown_column
    from isthmus.bulk.worker_rank import WorkerRank
    from isthmus.cli._files import features_for, process_and_report
    from isthmus.cli._run_data import load_model

    rank = WorkerRank.from_environment()
    targets = output_paths(
        arguments.inputs, Path(arguments.out), arguments.format, arguments.column
    )
    model = load_model(arguments, arguments.device)
    features = features_for(model, arguments)
    task = FileTask(
        lambda X, start: code_columns(model, X) | unknown_column(model, X),
        features,
        {
            "verb": "transform",
            "model": model_digest(model),
            "handle_unknown": model.handle_unknown,
        },
    )
    return process_and_report(task, rank, targets, arguments.force)
