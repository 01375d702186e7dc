"""``isthmus tune``: train a grid of models; write a table, a plot and the best model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus._messages import say, shell_quote
from isthmus.cli._options import (
    DATA,
    MODEL,
    command,
    fields_given,
    flag_of,
    model_settings,
    no_such_setting,
    option,
    switch,
)
from isthmus.models.params import Param, params_of, setting_text
from isthmus.models.specs import SPECS, Spec

if TYPE_CHECKING:
    from isthmus.runs import Tuning
    from isthmus.search import Sweep


COMMAND = command(
    "train a grid of models together; writes a table, a plot and the best model",
    "Train one model at every point of a grid of settings, dense models many at a time, and "
    "evaluate all on the same held-out rows. Writes a folder with results.csv, rate-distortion.png "
    "and the best model as a run, which every other command takes.",
    *DATA,
    MODEL,
    option(
        "--grid SETTING=A,B,...: a setting and its values; repeat it for each setting. Write the "
        "widths of several layers as 400x200: hidden=64,128x64",
        action="append",
    ),
    option(
        "--halving X: successive halving: train all for a few epochs, continue the best 1/X, and "
        "so on"
    ),
    option(
        "--max-stacked N: maximum number of models in one program; 1 trains them in turn "
        "(default: 16)"
    ),
    option("--test-fraction X: share of the rows held out to evaluate the models (default: 0.1)"),
    option(
        "--metric score|squared-error: what the models are ranked by: score, the ELBO in nats, or "
        "squared-error, which also compares likelihoods of grey values with those of real numbers "
        "(default: score)",
        default=None,
    ),
    option("--out DIR: folder (default: runs/DATA-MODEL-tune)"),
    switch("--force: replace an existing sweep in --out"),
    switch(
        "--resume: continue the sweep in --out, which was interrupted or killed, with its "
        "settings; finished models are kept"
    ),
    switch("--quiet: print nothing but errors"),
    *model_settings(progress="lines"),
    examples=(
        "isthmus tune digits --model beta-vae --grid beta=1,2,4 --grid random-state=0,1",
        "isthmus tune table.csv --grid learning-rate=0.001,0.003 --grid hidden=64,128x64 --halving "
        "3",
    ),
)


def read_grid(texts: list[str], spec: type[Spec]) -> dict[str, list[Any]]:
    """Parse a grid of settings such as ``beta=1,2,4``; raise a ValueError for an invalid one.

    Examples
    --------
    >>> read_grid(["beta=1,2", "hidden=64,128x64"], SPECS["beta-vae"])
    {'beta': [1.0, 2.0], 'hidden': [(64,), (128, 64)]}
    """
    if not texts:
        raise ValueError("nothing to vary: name settings and values, as --grid beta=1,2,4.")
    fields, grid = params_of(spec), {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not values.strip():
            raise ValueError(f"--grid takes SETTING=A,B,..., as beta=1,2,4; got {text!r}.")
        if name not in fields:
            raise ValueError(f"--grid {text}: {no_such_setting(name, spec)}")
        if name in grid:
            raise ValueError(f"--grid has {name} twice; write all of its values in one.")
        grid[name] = [_value(word.strip(), fields[name]) for word in values.split(",")]
    return grid


def _value(word: str, p: Param) -> Any:
    """Return one value of a setting."""
    try:
        return p.read(word)
    except (ValueError, KeyError):
        raise ValueError(f"--grid: {p.name} must be {p.expected}, got {word!r}.") from None


def run(arguments: argparse.Namespace) -> int:
    """Tune, and print the candidates; return the exit code."""
    from isthmus.cli._parser import INTERRUPTED
    from isthmus.cli._run_data import data_arguments
    from isthmus.runs import tune_run

    data = data_arguments(arguments)
    options = {"out": arguments.out, "force": arguments.force, "quiet": arguments.quiet}
    if arguments.resume and _is_complete(arguments):
        return 0
    sweep = _sweep_to_resume(arguments) if arguments.resume else _sweep(arguments)
    tuning = tune_run(sweep, data, resume=arguments.resume, **options)
    if tuning.outcome == "interrupted":
        rest = shell_quote("--out", tuning.folder, "--resume")
        say(f"resume it with:  isthmus tune {data.command_line} {rest}", error=True)
    if not arguments.quiet:
        _print_candidates(tuning)
    return INTERRUPTED if tuning.outcome == "interrupted" else 0


def _is_complete(arguments: argparse.Namespace) -> bool:
    """Print that the sweep to resume is complete, if it is."""
    from isthmus.runs.tune import has_finished

    if arguments.out is None:
        raise ValueError("--resume continues the sweep in a folder: name it by --out.")
    complete = has_finished(Path(arguments.out))
    if complete and not arguments.quiet:
        say(f"the sweep in {arguments.out} is complete: nothing is missing.", error=True)
    return complete


def _sweep_to_resume(arguments: argparse.Namespace) -> Sweep:
    """Return the sweep in the folder; settings on the command line must be its own."""
    from isthmus.estimators.run_fingerprint import params_to_json
    from isthmus.runs.tune import sweep_of

    sweep = sweep_of(arguments.out, progress="none" if arguments.quiet else "lines")
    name = str(sweep.estimator.registered_name)
    if arguments.model not in ("vae", name):
        raise ValueError(f"the sweep in {arguments.out} is of a {name}, not a {arguments.model}.")
    arguments.model = name
    given = {k: [v] for k, v in fields_given(arguments).items() if k != "progress"}
    given |= read_grid(arguments.grid, SPECS[name]) if arguments.grid else {}
    recorded = [c.estimator.get_params(deep=False) for c in sweep.candidates()]
    for key, values in given.items():
        before = list(dict.fromkeys(params[key] for params in recorded))
        if {*values} != {*before}:
            shown = ", ".join(str(setting) for setting in params_to_json({"": before})[""])
            raise ValueError(
                f"the sweep in {arguments.out} has {flag_of(key)} {shown}: omit it, or start a new "
                "sweep."
            )
    for key in ("halving", "test_fraction", "max_stacked", "metric"):
        value = getattr(arguments, key)
        if value not in (None, getattr(sweep, key)):
            raise ValueError(
                f"the sweep in {arguments.out} has {flag_of(key)} {getattr(sweep, key)}: omit it, "
                "or start a new sweep."
            )
    return sweep


def _sweep(arguments: argparse.Namespace) -> Sweep:
    from isthmus.estimators import ESTIMATORS
    from isthmus.estimators.defaults import fresh_seed
    from isthmus.search import Sweep

    grid = read_grid(arguments.grid, SPECS[arguments.model])
    fields: dict[str, Any] = fields_given(arguments)
    for name in grid:
        if name in fields:
            raise ValueError(f"{flag_of(name)} is given a value and a grid; leave one of them out.")
    if fields.get("random_state") is None:
        fields["random_state"] = fresh_seed() % 2**31  # recorded, so that it can be repeated
    quiet = arguments.quiet or fields.pop("progress", "auto") == "none"
    names = ("halving", "test_fraction", "max_stacked", "metric")
    given = {n: getattr(arguments, n) for n in names if getattr(arguments, n) is not None}
    return Sweep(
        ESTIMATORS[arguments.model](**fields),
        grid,
        random_state=int(fields["random_state"]),
        progress="none" if quiet else "lines",
        **given,
    )


def _print_candidates(tuning: Tuning) -> None:
    """Print the candidates, best first, and the files written."""
    from isthmus.cli._console import number_text, print_columns
    from isthmus.runs.tune import BEST, FIGURE, RESULTS, varied_settings

    sweep, folder = tuning.sweep, tuning.folder
    names = varied_settings(sweep)
    ranked = ("metric",) if sweep.metric != "score" else ()
    shown = (*ranked, "score", "rate", "distortion", "epochs", "seconds")
    rows = []
    for row in sorted(sweep.results_, key=lambda r: -r["metric"]):
        values = [setting_text(row["params"].get(name, "")) for name in names]
        rows.append([*values, *(number_text(row[name]) for name in shown), row["stopped"]])
    columns = {name.replace("_", " "): name in shown for name in (*names, *shown, "stopped")}
    words = f"; metric: minus the {sweep.metric}" if ranked else ""
    print_columns(f"nats per example on held-out rows, best first{words}", columns, rows)
    say(
        "",
        f"table  {folder / RESULTS}",
        f"plot   {folder / FIGURE}",
        f"best   {folder / BEST}",
        "",
        "next:",
        f"  {shell_quote('isthmus', 'info', folder / BEST)}",
    )
