"""``isthmus transform``: write the codes of many files."""

from __future__ import annotations

import argparse
from pathlib import Path

from isthmus.applications.meta_estimator import model_digest
from isthmus.bulk.files import FileTask, output_paths
from isthmus.bulk.maps import code_columns, unknown_column
from isthmus.bulk.worker_rank import WorkerRank
from isthmus.cli._files import features_for, process_and_report
from isthmus.cli._run_data import load_model


def run(arguments: argparse.Namespace) -> int:
    """Encode each file; return the exit code."""
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
