"""``isthmus tune``: data and a grid in; a table, a plot and the best model out."""

from __future__ import annotations

import argparse
import csv
import io as text_io
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from isthmus.cli import INTERRUPTED
from isthmus.commands.console import number_text
from isthmus.commands.folders import replaceable, unused
from isthmus.data import Dataset
from isthmus.data import load as load_data
from isthmus.estimators import ESTIMATORS, model_io
from isthmus.estimators.defaults import fresh_seed
from isthmus.estimators.validation import check_finite
from isthmus.evaluation.summary import held_out_summary
from isthmus.models.specs import SPECS
from isthmus.persistence.atomic import write
from isthmus.persistence.locks import claimed
from isthmus.search import Sweep
from isthmus.training.distributed import started_together
from isthmus.verbs.fit import fields_given
from isthmus.verbs.tune import read_grid

__all__ = ["run"]

RESULTS, FIGURE, BEST = "results.csv", "rate-distortion.png", "best"
NUMBERS = ("score", "rate", "distortion", "valid_loss", "epochs", "best_epoch", "seconds")


def run(arguments: argparse.Namespace) -> int:
    """Train, judge, write, print; return the exit code."""
    if started_together():
        raise ValueError("tune trains its models in one process: start it without torchrun.")
    sweep = _sweep(arguments)
    n = sweep.check()
    data = load_data(
        arguments.data, data_home=arguments.data_home, size=arguments.size, label=arguments.label
    )
    folder = _folder(arguments, data)
    check_finite(data.X, data.feature_names, sweep.estimator.missing == "ignore")
    with claimed(folder):
        if not arguments.quiet:
            print(_opening(sweep, data, n), *data.notes, sep="\n", file=sys.stderr)
        code = _fit(sweep, data)
        _write(sweep, data, folder)
    if not arguments.quiet:
        _show(sweep, folder)
    return code


def _sweep(arguments: argparse.Namespace) -> Sweep:
    grid = read_grid(arguments.grid, SPECS[arguments.model])
    fields: dict[str, Any] = fields_given(arguments)
    for name in grid:
        if name in fields:
            flag = "--" + name.replace("_", "-")
            raise ValueError(f"{flag} is given a value and a grid; leave one of them out.")
    if fields.get("random_state") is None:
        fields["random_state"] = fresh_seed() % 2**31  # recorded, so that it can be repeated
    quiet = arguments.quiet or fields.pop("progress", "auto") == "none"
    return Sweep(
        ESTIMATORS[arguments.model](**fields),
        grid,
        halving=arguments.halving,
        together=arguments.together,
        random_state=int(fields["random_state"]),
        progress="none" if quiet else "lines",
    )


def _fit(sweep: Sweep, data: Dataset) -> int:
    try:
        sweep.fit(data.rows, data.y, groups=data.groups)
    except KeyboardInterrupt as stop:
        if not hasattr(sweep, "results_"):
            raise
        print(stop, file=sys.stderr)
        return INTERRUPTED
    return 0


def _folder(arguments: argparse.Namespace, data: Dataset) -> Path:
    """Return the folder: a new name, an empty one, or that of a sweep to be replaced."""
    if arguments.out is None:
        return unused(Path("runs") / f"{data.name}-{arguments.model}-tune")
    folder = Path(arguments.out)
    return replaceable(folder, "sweep", (folder / RESULTS).is_file(), arguments.force)


def _write(sweep: Sweep, data: Dataset, folder: Path) -> None:
    """Write the best model first: whatever happens to the rest, the work is safe."""
    best = sweep.best_estimator_
    model_io.save(best, folder / BEST, data.fingerprint)
    write(folder / RESULTS, _csv(sweep).encode())
    X, y = data.X_test, data.y_test
    if X is None:
        held = sweep.held_out_rows_
        X, y = data.X[held], None if data.y is None else data.y[held]
    summary = held_out_summary(best, data.X[sweep.train_rows_], X, y)
    model_io.save(best, folder / BEST, data.fingerprint, summary)
    draft = text_io.BytesIO()
    sweep.figure().savefig(draft, dpi=150, format="png")
    write(folder / FIGURE, draft.getvalue())


def _csv(sweep: Sweep) -> str:
    """Return the results as a table of text, the best candidate marked."""
    out = text_io.StringIO()
    names = _varied(sweep)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*names, *NUMBERS, "stopped", "together", "best"])
    for i, row in enumerate(sweep.results_):
        numbers = [row[name] for name in NUMBERS]
        values = [_text(row["params"].get(name)) for name in names]
        last = [row["stopped"], row["together"], int(i == sweep.best_index_)]
        writer.writerow([*values, *numbers, *last])
    return out.getvalue()


def _varied(sweep: Sweep) -> list[str]:
    return list(dict.fromkeys(name for row in sweep.results_ for name in row["params"]))


def _text(value: Any) -> Any:
    """Return a value as --grid would be told it."""
    return ("x".join(map(str, value)) or "()") if isinstance(value, tuple) else value


def _opening(sweep: Sweep, data: Dataset, n: int) -> str:
    shape = " x ".join(map(str, data.X.shape[1:]))
    return (
        f"{n} of {type(sweep.estimator).__name__} on {data.name}: {len(data.X):,} rows of {shape}, "
        f"{sweep.held_out:.0%} held out to judge by, seed {sweep.random_state}"
    )


def _show(sweep: Sweep, folder: Path) -> None:
    """Print the candidates, best first, and where things lie."""
    names = _varied(sweep)
    shown = ("score", "rate", "distortion", "epochs", "seconds")
    table = Table(title="nats an example on held-out rows, best first", title_justify="left")
    for name in (*names, *shown, "stopped"):
        table.add_column(name.replace("_", " "), justify="right" if name in shown else "left")
    for row in sorted(sweep.results_, key=lambda r: -r["metric"]):
        values = [str(_text(row["params"].get(name, ""))) for name in names]
        numbers = [number_text(row[name]) for name in shown]
        table.add_row(*map(escape, [*values, *numbers, row["stopped"]]))
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(f"\ntable  {escape(str(folder / RESULTS))}")
    console.print(f"plot   {escape(str(folder / FIGURE))}")
    console.print(f"best   {escape(str(folder / BEST))}\n")
    console.print(f"next:\n  isthmus info {escape(str(folder / BEST))}")
