"""The rows that the studio shows, live or as a page."""

from __future__ import annotations

import argparse
from pathlib import Path

from isthmus.data import Dataset
from isthmus.persistence.run_folder import read_config
from isthmus.runs.data import load_for_run

__all__ = ["rows_to_show"]


def rows_to_show(arguments: argparse.Namespace) -> tuple[Dataset | None, str | None]:
    """Return the data to show, or why there are none: a run can be shown without its own data.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no run, or the data given on the command line cannot be read.
    """
    if getattr(arguments, "no_data", False):
        return None, "omitted by --no-data"
    run = Path(arguments.run)
    options = {name: getattr(arguments, name) for name in ("data_home", "size", "label")}
    if arguments.data is not None:
        return load_for_run(run, arguments.data, **options), None
    read_config(run)
    try:
        return load_for_run(run, **options), None
    except (ValueError, OSError) as error:
        return None, str(error)
