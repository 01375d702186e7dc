"""``isthmus fit``: train a model on data and write a run folder."""

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
        help="train a model on data; writes the model and a report with figures",
        description="Train a model on data. Writes a folder with the model, its training history "
        "and report.html, a page of figures.",
        epilog="Examples:  isthmus fit digits   isthmus fit digits --n-components 2   "
        "isthmus fit photos/ --size 64 --backbone conv   isthmus fit table.csv --label class "
        "--model conditional-vae",
    )
    fit.add_argument(
        "data",
        metavar="DATA",
        help="digits, mnist, fashion-mnist or sprites; or a path: .npy, .npz, .zarr, a table "
        "(.csv, .tsv, .parquet: numbers, yes and no, categories), or a folder of images or "
        "sounds (its subfolders are classes) or of .parquet files",
    )
    add_model(fit)
    add_data_options(fit)
    fit.add_argument("--out", metavar="DIR", help="folder of the run (default: runs/DATA-MODEL)")
    fit.add_argument("--force", action="store_true", help="replace an existing run in --out")
    fit.add_argument(
        "--resume",
        action="store_true",
        help="continue the interrupted run in --out with the settings it was started with",
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
        help="time between two checkpoints, from which --resume continues; 'none' for no "
        "checkpoints, unless a run is resumed (default: 30)",
    )
    fit.add_argument(
        "--page",
        action="store_true",
        help="also write studio.html, a page that runs the model in the browser and contains up "
        "to 5000 rows of the data (needs isthmus[studio])",
    )
    fit.add_argument(
        "--track",
        type=tracker_names,
        default=[],
        metavar="NAME[,NAME]",
        help=f"also write metrics and images to {', '.join(TRACKERS)} (needs isthmus[track])",
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
    """Read a time in seconds, or 'none'."""
    if text.lower() == "none":
        return None
    if not (value := float(text)) >= 0:
        raise argparse.ArgumentTypeError(f"expected seconds of 0 or more, or 'none', got {text!r}")
    return value


def tracker_names(text: str) -> list[str]:
    """Read names of trackers, separated by commas."""
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
