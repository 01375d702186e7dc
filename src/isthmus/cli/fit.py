"""``isthmus fit``: train a model on data and write a run folder."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from isthmus._messages import say, shell_quote
from isthmus.cli._options import (
    MODEL,
    READING,
    command,
    fields_given,
    model_settings,
    names,
    option,
    run_folder,
    seconds,
    switch,
)

if TYPE_CHECKING:
    from isthmus.runs import DataArguments, Run
    from isthmus.runs.settings import Model


COMMAND = command(
    "train a model on data; writes the model and a report with figures",
    "Train a model on data. Writes a folder with the model, its training history and report.html, "
    "a page of figures.",
    option(
        "data DATA: digits, mnist, fashion-mnist or sprites; or a path: .npy, .npz, .zarr, a table "
        "(.csv, .tsv, .jsonl, also .gz of these, .parquet: numbers, yes and no, categories), or a "
        "folder of images or sounds (its subfolders are classes) or of .parquet files"
    ),
    MODEL,
    *READING,
    option("--out DIR: folder of the run (default: runs/DATA-MODEL)"),
    switch("--force: replace an existing run in --out"),
    switch(
        "--resume: continue the interrupted run in --out with the settings it was started with, or "
        "make the report that it lacks"
    ),
    option(
        "--warm-start RUN: start from the weights of the model of another run, and from its "
        "settings; those of the networks cannot be changed, nor can the columns of the data",
        type=run_folder,
        dest="start_from",
    ),
    option(
        "--test-fraction X: share of the rows held out for the summary, if the data have no test "
        "set of their own; 0 for none (default: 0.1)"
    ),
    option(
        "--checkpoint-every SECONDS: time between two checkpoints, from which --resume continues; "
        "'none' for no checkpoints, unless a run is resumed (default: 30)",
        type=seconds,
        default=30.0,
    ),
    switch(
        "--page: also write studio.html, a page that runs the model in the browser and contains up "
        "to 5000 rows of the data (needs isthmus[studio])"
    ),
    option(
        "--track NAME[,NAME]: also write metrics and images to tensorboard, mlflow (needs "
        "isthmus[track])",
        type=names,
        default=[],
    ),
    option(
        "--track-to DIR|URI: where the tracker writes: a folder, or a server's address (default: "
        "tensorboard in --out; mlflow chooses its own place)"
    ),
    switch("--quiet: print nothing but errors"),
    *model_settings(progress="auto"),
    examples=(
        "isthmus fit digits",
        "isthmus fit digits --n-components 2",
        "isthmus fit photos/ --size 64 --backbone conv",
        "isthmus fit table.csv --label class --model conditional-vae",
    ),
)


def run(arguments: argparse.Namespace) -> int:
    """Fit the run and print its summary; return the exit code."""
    from isthmus.cli._run_data import data_arguments
    from isthmus.runs import RunOptions, fit_run

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
    result = fit_run(_model(arguments), data, options)
    _print_result(result, data, arguments)
    return result.exit_code


def _model(arguments: argparse.Namespace) -> Model:
    """Return the settings of a new model, or the fitted model to start from with new settings."""
    from isthmus import load
    from isthmus.runs import ModelSettings

    # The default stands for any model when a run is resumed, or is the start of another.
    name = None if arguments.model == "vae" else arguments.model
    progress = {"progress": "none" if arguments.quiet else "auto"}
    if arguments.start_from is None:
        return ModelSettings(name, progress | fields_given(arguments))
    model = load(arguments.start_from)
    if name not in (None, model.registered_name):
        run, own = shell_quote(arguments.start_from), model.registered_name
        raise ValueError(f"--warm-start: {run} is a run of a {own}, not of a {name}: omit --model.")
    arguments.model = model.registered_name
    return model.set_params(**progress | fields_given(arguments), warm_start=True)


def _print_result(result: Run, data: DataArguments, arguments: argparse.Namespace) -> None:
    """Print how to resume an interrupted run, and the summary."""
    from isthmus.cli._console import print_summary
    from isthmus.runs.data import recorded_arguments

    if result.resumable:
        rest = shell_quote("--out", result.folder, "--resume", *_to_repeat(arguments))
        say(f"resume it with:  isthmus fit {data.command_line} {rest}", error=True)
    if result.folder is None or result.report is None or arguments.quiet:
        return
    if result.page is not None:
        size = result.page.stat().st_size / 2**20
        say(f"written to {result.page}, {size:.1f} MB: open it in a browser")
    print_summary(result, recorded_arguments(result.folder, data).command_line)


def _to_repeat(arguments: argparse.Namespace) -> list[str]:
    """Return the flags with which a resumed run starts from the same run and is tracked."""
    flags = {
        "--warm-start": arguments.start_from,
        "--track": ",".join(arguments.track) or None,
        "--track-to": arguments.track_to,
    }
    return [word for flag, value in flags.items() if value is not None for word in (flag, value)]
