"""``isthmus push``: publish a run on the Hugging Face Hub."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from isthmus.cli._run_data import load_rows, reading_options
from isthmus.hub import push_to_hub, save_pretrained
from isthmus.runs.folders import has_content
from isthmus.runs.split import recorded_split


def run(arguments: argparse.Namespace) -> int:
    """Publish, or write what would be published; return the exit code."""
    contents = _contents(arguments)
    if arguments.dry_run is not None:
        _write(arguments, contents)
        return 0
    address = push_to_hub(
        arguments.run,
        arguments.repo,
        private=arguments.private,
        commit_message=arguments.message,
        revision=arguments.revision,
        **contents,
    )
    print(f"published at {address}")
    print(f"  python -c \"import isthmus; print(isthmus.from_pretrained('{arguments.repo}'))\"")
    return 0


def _write(arguments: argparse.Namespace, contents: dict[str, Any]) -> None:
    folder = Path(arguments.dry_run)
    if has_content(folder) or folder.is_file():
        raise ValueError(f"--dry-run {folder} is not empty; name a new folder.")
    save_pretrained(arguments.run, folder, repo_id=arguments.repo, **contents)
    for path in sorted(folder.iterdir()):
        print(f"{path.name:24} {path.stat().st_size:>12,} bytes")
    print(f"written to {folder}; nothing was sent")


def _contents(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what to publish besides the model."""
    if not arguments.examples and any([arguments.data, *reading_options(arguments).values()]):
        raise ValueError(
            "--data and the options for reading them, such as --label, require --examples."
        )
    contents = {
        "card": arguments.card,
        "license": arguments.license,
        "report": arguments.with_report,
    }
    return contents | (_examples(arguments) if arguments.examples else {})


def _examples(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the rows that the run held out, and their labels."""
    split = recorded_split(Path(arguments.run), load_rows(arguments))
    if not len(split.X_test):
        raise ValueError(f"{arguments.run} held out no rows: leave --examples out.")
    return {"examples": split.table, "labels": split.y_test}
