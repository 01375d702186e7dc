"""``isthmus tune``: data and a grid in; a table, a plot and the best model out."""

from __future__ import annotations

import argparse
import csv
import io as text_io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus._messages import did_you_mean
from isthmus.cli._exit_codes import INTERRUPTED
from isthmus.cli._options import add_data_options, add_fields, add_model, fields_given
from isthmus.models.params import Param, params_of
from isthmus.models.specs import SPECS, Spec

if TYPE_CHECKING:
    from isthmus.data import Dataset
    from isthmus.search import Sweep

__all__ = ["add_parser", "run"]

RESULTS, FIGURE, BEST = "results.csv", "rate-distortion.png", "best"
NUMBERS = ("score", "rate", "distortion", "valid_loss", "epochs", "best_epoch", "seconds")


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    tune = subparsers.add_parser(
        "tune",
        help="train a grid of models together; leaves a table, a plot and the best one",
        description="Train one model at every point of a grid of settings, dense ones many at a "
        "time, and judge all on the same held-out rows. Leaves a folder with results.csv, "
        "rate-distortion.png and the best model as a run, which every other command takes.",
        epilog="Examples:  isthmus tune digits --model beta-vae --grid beta=1,2,4 "
        "--grid random-state=0,1   isthmus tune table.csv --grid learning-rate=0.001,0.003 "
        "--grid hidden=64,128x64 --halving 3",
    )
    tune.add_argument("data", metavar="DATA", help="a name or path, as for `isthmus fit`")
    add_model(tune)
    tune.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="SETTING=A,B,...",
        help="a setting and its values; once for each setting. Widths of several layers are "
        "joined by x: hidden=64,128x64",
    )
    tune.add_argument(
        "--halving",
        type=float,
        metavar="X",
        help="train all for a few epochs, let the best 1/X go on, and so forth",
    )
    tune.add_argument(
        "--max-stacked",
        type=int,
        default=16,
        metavar="N",
        help="maximum number of models in one program; 1 trains them in turn (default: 16)",
    )
    add_data_options(tune)
    tune.add_argument("--out", metavar="DIR", help="folder (default: runs/DATA-MODEL-tune)")
    tune.add_argument("--force", action="store_true", help="replace an existing sweep in --out")
    tune.add_argument("--quiet", action="store_true", help="print nothing but errors")
    add_fields(tune)


def read_grid(texts: list[str], spec: type[Spec]) -> dict[str, list[Any]]:
    """Return the grid of a spec's settings that words such as ``beta=1,2,4`` describe.

    Raises
    ------
    ValueError
        No words at all, a setting that the spec does not have or that comes twice, or a value of
        the wrong type.

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
    """Train, evaluator, write, print; return the exit code."""
    from isthmus.data import load as load_data
    from isthmus.estimators.validation import check_finite
    from isthmus.persistence.locks import exclusive_folder
    from isthmus.training.distributed import started_together

    if started_together():
        raise ValueError("tune trains its models in one process: start it without torchrun.")
    sweep = _sweep(arguments)
    n = sweep.check()
    data = load_data(
        arguments.data, data_home=arguments.data_home, size=arguments.size, label=arguments.label
    )
    folder = _folder(arguments, data)
    check_finite(data.X, data.feature_names, sweep.estimator.missing == "ignore")
    with exclusive_folder(folder):
        if not arguments.quiet:
            print(_opening(sweep, data, n), *data.notes, sep="\n", file=sys.stderr)
        code = _fit(sweep, data)
        _write(sweep, data, folder)
    if not arguments.quiet:
        _show(sweep, folder)
    return code


def _sweep(arguments: argparse.Namespace) -> Sweep:
    from isthmus.estimators import ESTIMATORS
    from isthmus.estimators.defaults import fresh_seed
    from isthmus.search import Sweep

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
        max_stacked=arguments.max_stacked,
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
    from isthmus.cli._folders import replaceable, unused

    if arguments.out is None:
        return unused(Path("runs") / f"{data.name}-{arguments.model}-tune")
    folder = Path(arguments.out)
    return replaceable(folder, "sweep", (folder / RESULTS).is_file(), arguments.force)


def _write(sweep: Sweep, data: Dataset, folder: Path) -> None:
    """Write the best model first: whatever happens to the rest, the work is safe."""
    from isthmus.estimators import model_io
    from isthmus.evaluation.summary import held_out_summary
    from isthmus.persistence.atomic import write_atomic

    best = sweep.best_estimator_
    model_io.save(best, folder / BEST, data.fingerprint)
    write_atomic(folder / RESULTS, _csv(sweep).encode())
    X, y = data.X_test, data.y_test
    if X is None:
        held = sweep.test_rows_
        X, y = data.X[held], None if data.y is None else data.y[held]
    summary = held_out_summary(best, data.X[sweep.train_rows_], X, y)
    model_io.save(best, folder / BEST, data.fingerprint, summary)
    draft = text_io.BytesIO()
    sweep.figure().savefig(draft, dpi=150, format="png")
    write_atomic(folder / FIGURE, draft.getvalue())


def _csv(sweep: Sweep) -> str:
    """Return the results as a table of text, the best candidate marked."""
    out = text_io.StringIO()
    names = _varied(sweep)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*names, *NUMBERS, "stopped", "stacked", "best"])
    for i, row in enumerate(sweep.results_):
        numbers = [row[name] for name in NUMBERS]
        values = [_text(row["params"].get(name)) for name in names]
        last = [row["stopped"], row["stacked"], int(i == sweep.best_index_)]
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
        f"{sweep.test_fraction:.0%} held out to judge by, seed {sweep.random_state}"
    )


def _show(sweep: Sweep, folder: Path) -> None:
    """Print the candidates, best first, and where things lie."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from isthmus.cli._console import number_text

    names = _varied(sweep)
    shown = ("score", "rate", "distortion", "epochs", "seconds")
    table = Table(title="nats per example on held-out rows, best first", title_justify="left")
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
