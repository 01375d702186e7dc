"""``isthmus push``: publish a run on the Hugging Face Hub."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from isthmus.cli._options import add_data, add_run

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "push",
        help="publish a run on the Hugging Face Hub, with a model card",
        description="Publish a run on the Hugging Face Hub: its model, a model card and plots. No "
        "row of the data and no path of this machine is included, unless --examples or "
        "--with-report asks for rows. Log in by `hf auth login`, or set HF_TOKEN.",
        epilog="Examples:  isthmus push RUN me/digits-vae --dry-run preview/   "
        "isthmus push RUN me/digits-vae --private   isthmus push RUN me/digits-vae --license mit",
    )
    add_run(parser)
    parser.add_argument(
        "repo", metavar="OWNER/NAME", help="repository; created if it does not exist"
    )
    parser.add_argument(
        "--dry-run",
        metavar="DIR",
        help="write to a new folder what would be published; send nothing",
    )
    parser.add_argument(
        "--private", action="store_true", default=None, help="make a new repository private"
    )
    parser.add_argument("--license", metavar="ID", help="license as the Hub names it, such as mit")
    parser.add_argument("--message", metavar="TEXT", help="commit message")
    parser.add_argument("--revision", metavar="BRANCH", help="branch (default: main)")
    parser.add_argument("--card", metavar="FILE", help="Markdown file to use as the model card")
    parser.add_argument(
        "--with-report", action="store_true", help="include the run's report.html, which shows rows"
    )
    parser.add_argument(
        "--examples",
        action="store_true",
        help="show held-out rows with their reconstructions, and a map of their codes",
    )
    add_data(parser, "--data", "data of --examples (default: those the run was fitted on)")


def run(arguments: argparse.Namespace) -> int:
    """Publish, or write what would be published; return the exit code."""
    from isthmus.hub import push_to_hub

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
    from isthmus.hub import save_pretrained
    from isthmus.runs.folders import has_content

    folder = Path(arguments.dry_run)
    if has_content(folder) or folder.is_file():
        raise ValueError(f"--dry-run {folder} is not empty; name a new folder.")
    save_pretrained(arguments.run, folder, repo_id=arguments.repo, **contents)
    for path in sorted(folder.iterdir()):
        print(f"{path.name:24} {path.stat().st_size:>12,} bytes")
    print(f"written to {folder}; nothing was sent")


def _contents(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what to publish besides the model."""
    options = (arguments.data, arguments.data_home, arguments.size, arguments.label)
    if not arguments.examples and any(value is not None for value in options):
        raise ValueError("--data, --data-home, --size and --label require --examples.")
    contents = {
        "card": arguments.card,
        "license": arguments.license,
        "report": arguments.with_report,
    }
    return contents | (_examples(arguments) if arguments.examples else {})


def _examples(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the rows that the run held out, and their labels."""
    from isthmus.cli._run_data import load_rows
    from isthmus.runs.split import recorded_split

    split = recorded_split(Path(arguments.run), load_rows(arguments))
    if not len(split.X_test):
        raise ValueError(f"{arguments.run} held out no rows: leave --examples out.")
    return {"examples": split.table, "labels": split.y_test}
