"""``isthmus push``: a run in, a repository on the Hugging Face Hub out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from isthmus.commands.contact_sheet import load_rows
from isthmus.commands.fit import hold_out as hold_out
from isthmus.commands.folders import has_something
from isthmus.data.columns import Table
from isthmus.hub import push_to_hub, save_pretrained
from isthmus.persistence.run_folder import read_config

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Publish, or write what would be; return the exit code."""
    contents = _contents(arguments)
    if arguments.dry_run is not None:
        return _write(arguments, contents)
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


def _write(arguments: argparse.Namespace, contents: dict[str, Any]) -> int:
    """Write what would be published; return the exit code."""
    folder = Path(arguments.dry_run)
    if has_something(folder) or folder.is_file():
        raise ValueError(f"--dry-run {folder} is not empty; name a new folder.")
    save_pretrained(arguments.run, folder, repo_id=arguments.repo, **contents)
    for path in sorted(folder.iterdir()):
        print(f"{path.name:24} {path.stat().st_size:>12,} bytes")
    print(f"written to {folder}; nothing was sent")
    return 0


def _contents(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what is to be published beside the model."""
    said = (arguments.data, arguments.data_home, arguments.size, arguments.label)
    if not arguments.examples and any(value is not None for value in said):
        raise ValueError("--data and how it is read are for --examples; add that, or leave it out.")
    contents = {
        "card": arguments.card,
        "license": arguments.license,
        "report": arguments.with_report,
    }
    return contents | (_examples(arguments) if arguments.examples else {})


def _examples(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the rows that `isthmus fit` held out, and their labels."""
    data = load_rows(arguments)
    seed = read_config(Path(arguments.run))["fitted"]["seed"]
    _, X, y = hold_out(data, seed or 0)
    return {"examples": X if data.columns is None else Table(X, data.columns), "labels": y}
