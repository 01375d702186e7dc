"""Flags of ``isthmus push``."""

from __future__ import annotations

from typing import Any

from isthmus.verbs.options import add_data_options

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the verb."""
    push = commands.add_parser(
        "push",
        help="publish a run on the Hugging Face Hub, with a model card",
        description="Publish a run on the Hugging Face Hub: its model, a model card and pictures. "
        "No row of the data and no path of this machine goes along unless --examples or "
        "--with-report asks for rows. Log in by `hf auth login`, or set HF_TOKEN.",
        epilog="Examples:  isthmus push RUN me/digits-vae --dry-run look-first/   "
        "isthmus push RUN me/digits-vae --private   isthmus push RUN me/digits-vae --license mit",
        allow_abbrev=False,
    )
    push.add_argument("run", metavar="RUN", help="a folder that `isthmus fit` wrote")
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
