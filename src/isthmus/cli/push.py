"""``isthmus push``: publish a run on the Hugging Face Hub."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from isthmus._messages import python_command, say
from isthmus.cli._options import RUN, command, option, other_data, switch

COMMAND = command(
    "publish a run on the Hugging Face Hub, with a model card",
    "Publish a run on the Hugging Face Hub: its model, a model card and plots. No row of the data "
    "and no path of this machine is included, unless --examples or --with-report asks for rows. "
    "Log in by `hf auth login`, or set HF_TOKEN.",
    RUN,
    option("repo OWNER/NAME: repository; created if it does not exist"),
    option("--dry-run DIR: write to a new folder what would be published; send nothing"),
    switch("--private: make a new repository private", default=None),
    option("--license ID: license as the Hub names it, such as mit"),
    option("--message TEXT: commit message"),
    option("--revision BRANCH: branch (default: main)"),
    option("--card FILE: Markdown file to use as the model card"),
    switch("--with-report: include the run's report.html, which shows rows"),
    switch("--examples: show held-out rows with their reconstructions, and a map of their codes"),
    *other_data("data of --examples (default: those the run was fitted on)"),
    examples=(
        "isthmus push RUN me/digits-vae --dry-run preview/",
        "isthmus push RUN me/digits-vae --private",
        "isthmus push RUN me/digits-vae --license mit",
    ),
)


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
    say(f"published at {address}")
    code = f"import isthmus; print(isthmus.from_pretrained({str(arguments.repo)!r}))"
    say(f"  {python_command(code)}")
    return 0


def _write(arguments: argparse.Namespace, contents: dict[str, Any]) -> None:
    from isthmus.hub import save_pretrained
    from isthmus.runs.folders import has_content

    folder = Path(arguments.dry_run)
    if has_content(folder) or folder.is_file():
        raise ValueError(f"--dry-run {folder} is not empty; name a new folder.")
    save_pretrained(arguments.run, folder, repo_id=arguments.repo, **contents)
    for path in sorted(folder.iterdir()):
        say(f"{path.name:24} {path.stat().st_size:>12,} bytes")
    say(f"written to {folder}; nothing was sent")


def _contents(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what to publish besides the model."""
    from isthmus.cli._run_data import reading_options

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
    from isthmus.cli._run_data import load_rows
    from isthmus.runs.split import recorded_split

    split = recorded_split(Path(arguments.run), load_rows(arguments))
    if not len(split.X_test):
        raise ValueError(f"{arguments.run} held out no rows: leave --examples out.")
    return {"examples": split.table, "labels": split.y_test}
