"""``isthmus fit``: data by name in, a run folder out."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import TYPE_CHECKING, Any

from isthmus._messages import did_you_mean
from isthmus.cli._options import add_data_options, add_fields, add_model, fields_given

if TYPE_CHECKING:
    from isthmus.runs import DataArguments, Run

__all__ = ["add_parser", "run"]

TRACKERS = ("tensorboard", "mlflow")


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    fit = subparsers.add_parser(
        "fit",
        help="train a model on data; leaves a model and a page of pictures",
        description="Train a model on data. Leaves a folder with the model, its history and "
        "report.html, a page of pictures.",
        epilog="Examples:  isthmus fit digits   isthmus fit digits --n-components 2   "
        "isthmus fit photos/ --size 64 --backbone conv   isthmus fit table.csv --label class "
        "--model conditional-vae",
    )
    fit.add_argument(
        "data",
        metavar="DATA",
        help="digits, mnist, fashion-mnist or sprites; or a path: .npy, .npz, .zarr, a table "
        "(.csv, .tsv, .parquet: numbers, yes and no, categories), or a folder of pictures or "
        "sounds (its sub-folders are classes) or of .parquet files",
    )
    add_model(fit)
    add_data_options(fit)
    fit.add_argument("--out", metavar="DIR", help="folder of the run (default: runs/DATA-MODEL)")
    fit.add_argument("--force", action="store_true", help="replace an existing run in --out")
    fit.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in --out, which was broken off, by the settings it began with",
    )
    fit.add_argument(
        "--test-fraction",
        type=float,
        metavar="X",
        help="share of the rows held out for the summary, if the data have no test set of their "
        "own; 0 for none (default: 0.1)",
    )
    fit.add_argument(
        "--checkpoint-every",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="time between two checkpoints, from which --resume goes on; 'none' for no "
        "checkpoints, unless a run is resumed (default: 30)",
    )
    fit.add_argument(
        "--page",
        action="store_true",
        help="write studio.html besides, a page that runs the model in the browser, with up to "
        "5000 rows of the data in it (needs isthmus[studio])",
    )
    fit.add_argument(
        "--track",
        type=tracker_names,
        default=[],
        metavar="NAME[,NAME]",
        help=f"also write numbers and pictures to {', '.join(TRACKERS)} (needs isthmus[track])",
    )
    fit.add_argument(
        "--track-to",
        metavar="DIR|URI",
        help="where the tracker writes: a folder, or a server's address (default: tensorboard in "
        "--out; mlflow chooses its own place)",
    )
    fit.add_argument("--quiet", action="store_true", help="print nothing but errors")
    add_fields(fit)


def seconds(text: str) -> float | None:
    """Return a time in seconds, or None; the parser's error for another."""
    if text.lower() == "none":
        return None
    if not (value := float(text)) >= 0:
        raise argparse.ArgumentTypeError(f"expected seconds of 0 or more, or 'none', got {text!r}")
    return value


def tracker_names(text: str) -> list[str]:
    """Return names that commas join, each once; the parser's error for one that is not known."""
    names = [*dict.fromkeys(text.split(","))]
    for name in names:
        if name not in TRACKERS:
            raise argparse.ArgumentTypeError(
                f"unknown tracker {name!r}.{did_you_mean(name, TRACKERS)} "
                f"Known: {', '.join(TRACKERS)}"
            )
    return names


def run(arguments: argparse.Namespace) -> int:
    """Fit the run and print its summary; return the exit code."""
    from isthmus.runs import DataArguments, ModelSettings, RunOptions, fit_run

    values = {"progress": "none" if arguments.quiet else "auto"} | fields_given(arguments)
    # The default stands for any model when a run is resumed.
    name = None if arguments.model == "vae" else arguments.model
    data = DataArguments(arguments.data, arguments.data_home, arguments.size, arguments.label)
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
    from isthmus.cli._console import print_summary

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
