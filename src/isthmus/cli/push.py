"""``isthmus push``: a run in, a repository on the Hugging Face Hub out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from isthmus.cli._options import add_data_options, add_run

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    push = subparsers.add_parser(
        "push",
        help="publish a run on the Hugging Face Hub, with a model card",
        description="Publish a run on the Hugging Face Hub: its model, a model card and pictures. "
        "No row of the data and no path of this machine goes along unless --examples or "
        "--with-report asks for rows. Log in by `hf auth login`, or set HF_TOKEN.",
        epilog="Examples:  isthmus push RUN me/digits-vae --dry-run look-first/   "
        "isthmus push RUN me/digits-vae --private   isthmus push RUN me/digits-vae --license mit",
    )
    add_run(push)
    push.add_argument("repo", metavar="OWNER/NAME", help="the repository; made if it is not there")
    push.add_argument(
        "--dry-run",
        metavar="DIR",
        help="send nothing: write what would be published to a new folder",
    )
    push.add_argument(
        "--private", action="store_true", default=None, help="only its owner sees a new repository"
    )
    push.add_argument("--license", metavar="ID", help="as the hub calls it: mit, cc-by-4.0, ...")
    push.add_argument("--message", metavar="TEXT", help="what the change is called in the history")
    push.add_argument("--revision", metavar="BRANCH", help="the branch (default: main)")
    push.add_argument(
        "--card", metavar="FILE", help="a Markdown file to take as the card, instead of writing one"
    )
    push.add_argument(
        "--with-report", action="store_true", help="add the run's report.html, which shows rows"
    )
    push.add_argument(
        "--examples",
        action="store_true",
        help="show held-out rows: beside what comes back, and their codes as a map",
    )
    push.add_argument(
        "--data", metavar="DATA", help="where the rows are (default: those the run was fitted on)"
    )
    add_data_options(push)


def run(arguments: argparse.Namespace) -> int:
    """Publish, or write what would be; return the exit code."""
    from isthmus.hub import push_to_hub

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
    from isthmus.cli._folders import has_something
    from isthmus.hub import save_pretrained

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
    from isthmus.cli._contact_sheet import load_rows
    from isthmus.cli.fit import hold_out as hold_out
    from isthmus.data.columns import Table
    from isthmus.persistence.run_folder import read_config

    data = load_rows(arguments)
    seed = read_config(Path(arguments.run))["fitted"]["seed"]
    _, X, y = hold_out(data, seed or 0)
    return {"examples": X if data.columns is None else Table(X, data.columns), "labels": y}
