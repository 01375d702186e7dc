"""``isthmus report``: make what a run lacks of its report."""

from __future__ import annotations

import argparse

from isthmus.cli._options import READING, RESIZE, RUN, command, option, switch

COMMAND = command(
    "make the report of a run that was ended before it had one",
    "Make what a run lacks: the numbers on its held-out rows, report.html, and with --page "
    "studio.html. A run that was killed after its model was saved, or ended by SIGTERM, has none "
    "of them.",
    RUN,
    option(
        "data DATA?: the data the run was fitted on (default: from where the run recorded them)",
        default=None,
    ),
    *READING,
    RESIZE,
    switch("--page: also write studio.html (needs isthmus[studio])"),
    switch("--force: write again what exists"),
    switch("--quiet: print nothing but errors"),
    examples=("isthmus report runs/digits-vae", "isthmus report RUN table.csv --page"),
)


def run(arguments: argparse.Namespace) -> int:
    """Make what is missing, and print the summary; return the exit code."""
    from isthmus.cli._console import print_summary
    from isthmus.cli._run_data import data_arguments
    from isthmus.runs import report_run
    from isthmus.runs.data import recorded_arguments

    data = data_arguments(arguments)
    result = report_run(
        arguments.run,
        data,
        page=arguments.page,
        force=arguments.force,
        quiet=arguments.quiet,
    )
    if not arguments.quiet:
        print_summary(result, recorded_arguments(arguments.run, data).command_line)
    return 0
