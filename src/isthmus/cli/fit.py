"""``isthmus fit``: train a model on data and write a run folder."""

from __future__ import annotations

import argparse
import shlex
import sys

from isthmus.cli._console import print_summary
from isthmus.cli._options import fields_given
from isthmus.cli._run_data import data_arguments
from isthmus.runs import DataArguments, ModelSettings, Run, RunOptions, fit_run


def run(arguments: argparse.Namespace) -> int:
    """Fit the run and print its summary; return the exit code."""
    values = {"progress": "none" if arguments.quiet else "auto"} | fields_given(arguments)
    # The default stands for any model when a run is resumed.
    name = None if arguments.model == "vae" else arguments.model
    data = data_arguments(arguments)
    options = RunOptions(
        out=arguments.out,
        force=arguments.force,
        resume=arguments.resume,
        test_fraction=arguments.test_fraction,
        checkpoint_every=arguments.checkpoint_every,
        trackers=arguments.track,
        track_to=arguments.track_to,
        page=arguments.page,
        quiet=arguments.quiet,
    )
    result = fit_run(ModelSettings(name, values), data, options)
    _print_result(result, data, arguments)
    return result.exit_code


def _print_result(result: Run, data: DataArguments, arguments: argparse.Namespace) -> None:
    """Print how to resume an interrupted run, and the summary."""
    if result.resumable:
        out = shlex.quote(str(result.folder))
        command = f"isthmus fit {data.command_line} --out {out} --resume{_tracking(arguments)}"
        print(f"resume it with:  {command}", file=sys.stderr)
    if result.report is None or arguments.quiet:
        return
    if result.page is not None:
        size = result.page.stat().st_size / 2**20
        print(f"written to {result.page}, {size:.1f} MB: open it in a browser")
    print_summary(result, data.command_line)


def _tracking(arguments: argparse.Namespace) -> str:
    """Return the flags with which a resumed run is tracked as before."""
    flags = f" --track {','.join(arguments.track)}" if arguments.track else ""
    to = arguments.track_to
    return flags if to is None else f"{flags} --track-to {shlex.quote(to)}"
