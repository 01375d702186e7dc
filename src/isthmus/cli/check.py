"""``isthmus check``: say what is wrong with the model of a run, and which setting to change."""

from __future__ import annotations

import argparse

from isthmus._messages import say
from isthmus.cli._options import READING, RESIZE, RUN, SEED, UNKNOWN, command, option, switch

COMMAND = command(
    "say what is wrong with a saved run, and which setting to change",
    "Check a saved run: whether training converged, the code carries information, the model beats "
    "simple ones, and more. Prints a verdict for each check with its evidence and, if something "
    "is wrong, the setting to change. Checks whose data are missing are listed with the reason.",
    RUN,
    option(
        "data DATA?: the data the run was fitted on (default: from where the run recorded them); "
        "other data count as new rows",
        default=None,
    ),
    *READING,
    RESIZE,
    UNKNOWN,
    option("--new DATA: rows that the model is to be used on, read in the same way"),
    switch("--json: print JSON instead of a table"),
    switch("--strict: exit with code 1 if a check fails"),
    switch(
        "--try: fit the proposed settings to at most 2,000 rows, and say which helped; takes as "
        "long as several fits",
        dest="try_remedies",
    ),
    SEED,
    examples=("isthmus check runs/digits-vae", "isthmus check RUN --new today.csv --strict"),
)


def run(arguments: argparse.Namespace) -> int:
    """Check the run and print the findings; return the exit code."""
    from dataclasses import replace

    from isthmus.cli._console import print_findings
    from isthmus.cli._run_data import data_arguments
    from isthmus.runs import check_run

    data = data_arguments(arguments)
    new = None if arguments.new is None else replace(data, source=arguments.new)
    findings = check_run(
        arguments.run,
        data,
        new=new,
        try_remedies=arguments.try_remedies,
        random_state=arguments.random_state,
    )
    if arguments.json:
        say(*findings.to_json().splitlines())
    else:
        print_findings(findings)
    return int(arguments.strict and findings.worst == "failure")
