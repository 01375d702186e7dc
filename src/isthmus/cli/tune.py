"""``isthmus tune``: train a grid of models; write a table, a plot and the best model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from isthmus._messages import did_you_mean, say, shell_quote
from isthmus.cli._options import (
    DATA,
    MODEL,
    command,
    fields_given,
    flag_of,
    model_settings,
    option,
    switch,
)
from isthmus.models.params import Param, params_of
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
        "--grid SETTING=A,B,...: a setting and its values; repeat it for each setting. Join the "
        "widths of several layers by x: hidden=64,128x64",
        action="append",
    ),
    option(
        "--halving X: successive halving: train all for a few epochs, continue the best 1/X, and "
        "so on"
    ),
    option(
        "--max-stacked N: maximum number of models in one program; 1 trains them in turn",
        default=16,
    ),
    option("--test-fraction X: share of the rows held out to evaluate the models", default=0.1),
    option("--out DIR: folder (default: runs/DATA-MODEL-tune)"),
    switch("--force: replace an existing sweep in --out"),
    switch("--quiet: print nothing but errors"),
    *model_settings(),
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
            near = did_you_mean(name, fields) or f" It has: {', '.join(fields)}."
            raise ValueError(f"--grid {text}: {spec.__name__} has no setting {name!r}.{near}")
        if name in grid:
            raise ValueError(f"--grid has {name} twice; write all of its values in one.")
        grid[name] = [_value(word.strip(), fields[name]) for word in values.split(",")]
    return grid


def _value(word: str, p: Param) -> Any:
    """Return one value of a setting."""
    if p.optional and word.lower() == "none":
        return None
    try:
        if p.is_tuple:
            return tuple(int(width) for width in word.split("x")) if word != "()" else ()
        if p.scalar is bool:
            return {"true": True, "false": False}[word.lower()]
        return p.scalar(word)
    except (ValueError, KeyError):
        raise ValueError(f"--grid: {p.name} must be {p.expected}, got {word!r}.") from None


def run(arguments: argparse.Namespace) -> int:
    """Tune, and print the candidates; return the exit code."""
    from isthmus.cli._parser import INTERRUPTED
    from isthmus.cli._run_data import data_arguments
    from isthmus.runs import tune_run

    data = data_arguments(arguments)
    options = {"out": arguments.out, "force": arguments.force, "quiet": arguments.quiet}
    tuning = tune_run(_sweep(arguments), data, **options)
    if not arguments.quiet:
        _print_candidates(tuning)
    return INTERRUPTED if tuning.outcome == "interrupted" else 0


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
    return Sweep(
        ESTIMATORS[arguments.model](**fields),
        grid,
        halving=arguments.halving,
        test_fraction=arguments.test_fraction,
        max_stacked=arguments.max_stacked,
        random_state=int(fields["random_state"]),
        progress="none" if quiet else "lines",
    )


def _print_candidates(tuning: Tuning) -> None:
    """Print the candidates, best first, and the files written."""
    from isthmus.cli._console import number_text, print_columns
    from isthmus.runs.tune import BEST, FIGURE, RESULTS, setting_text, varied_settings

    sweep, folder = tuning.sweep, tuning.folder
    names = varied_settings(sweep)
    shown = ("score", "rate", "distortion", "epochs", "seconds")
    rows = []
    for row in sorted(sweep.results_, key=lambda r: -r["metric"]):
        values = [str(setting_text(row["params"].get(name, ""))) for name in names]
        rows.append([*values, *(number_text(row[name]) for name in shown), row["stopped"]])
    columns = {name.replace("_", " "): name in shown for name in (*names, *shown, "stopped")}
    print_columns("nats per example on held-out rows, best first", columns, rows)
    say(
        "",
        f"table  {folder / RESULTS}",
        f"plot   {folder / FIGURE}",
        f"best   {folder / BEST}",
        "",
        "next:",
        f"  {shell_quote('isthmus', 'info', folder / BEST)}",
    )
