"""The command line: parsers made from the declared fields; nothing heavy is imported here."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from isthmus import __version__
from isthmus.fields import Param, nearest, params_of
from isthmus.rows import ROWS, Parts, Training

__all__ = ["main"]

USER_ERROR, INTERRUPTED = 2, 130


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is, and leave with 2."""
        self.exit(USER_ERROR, f"{self.prog}: {message} (`{self.prog} --help` lists all)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 0 fine, 2 a user's mistake, 130 interrupted.

    Set ISTHMUS_DEBUG=1 to see where an error comes from.

    Examples
    --------
    >>> main(["fit", "digits", "--model", "vea"])
    2
    """
    try:
        arguments = make_parser().parse_args(argv)
        command = importlib.import_module(f"isthmus.commands.{arguments.command}")
        return command.run(arguments)
    except SystemExit as stop:  # argparse has already spoken
        return int(stop.code or 0)
    except KeyboardInterrupt:
        print("isthmus: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("ISTHMUS_DEBUG"):
            raise
        print("isthmus: " + " ".join(str(error).split()), file=sys.stderr)
        return USER_ERROR


def make_parser() -> Parser:
    """Make the parser of all commands."""
    parser = Parser(
        prog="isthmus",
        description="Fit autoencoders to your data, and use them.",
        epilog="Begin with:  isthmus fit digits",
    )
    parser.add_argument("--version", action="version", version=f"isthmus {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_fit(commands)
    _add_info(commands)
    _add_evaluate(commands)
    return parser


def _add_fit(commands: Any) -> None:
    fit = commands.add_parser(
        "fit",
        help="train a model on data; leaves a model and a page of pictures",
        description="Train a model on data. Leaves a folder with the model, its history and "
        "report.html, a page of pictures.",
        epilog="Examples:  isthmus fit digits   isthmus fit digits --n-components 2   "
        "isthmus fit photos/ --size 64 --backbone conv   isthmus fit table.csv --label class "
        "--model conditional-vae",
        allow_abbrev=False,
    )
    fit.add_argument(
        "data",
        metavar="DATA",
        help="digits, mnist, fashion-mnist or sprites; or a path: .npy, .npz, .csv, .tsv, or a "
        "folder of pictures (its sub-folders are classes)",
    )
    fit.add_argument(
        "--model",
        default="vae",
        type=_model,
        metavar="NAME",
        help=f"{', '.join(ROWS)} (default: vae)",
    )
    _add_data_options(fit)
    fit.add_argument("--out", metavar="DIR", help="folder of the run (default: runs/DATA-MODEL)")
    fit.add_argument("--force", action="store_true", help="replace an existing run in --out")
    fit.add_argument("--quiet", action="store_true", help="print nothing but errors")
    for title, names in field_groups().items():
        group = fit.add_argument_group(title)
        for p in names:
            _add_field(group, p)


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-home",
        metavar="DIR",
        help="where mnist and fashion-mnist lie (default: the environment's ISTHMUS_DATA)",
    )
    parser.add_argument("--size", type=int, metavar="N", help="make pictures N x N")
    parser.add_argument("--label", metavar="COLUMN", help="the column of a table that is a label")


def _add_info(commands: Any) -> None:
    info = commands.add_parser(
        "info", help="describe a saved run", description="Describe a saved run."
    )
    info.add_argument("run", metavar="RUN", help="a folder that `isthmus fit` wrote")


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="measure a saved run on data: one table, and JSON",
        description="Measure a saved run on data: bounds, importance-weighted likelihood, "
        "reconstruction, sparsity; on request annealed importance sampling, sample quality and "
        "disentanglement. Prints a table and writes evaluation.json into the run.",
        allow_abbrev=False,
    )
    evaluate.add_argument("run", metavar="RUN", help="a folder that `isthmus fit` wrote")
    evaluate.add_argument("data", metavar="DATA", help="a name or path, as for `isthmus fit`")
    _add_data_options(evaluate)
    evaluate.add_argument(
        "--samples", type=int, default=500, metavar="S", help="importance samples (default: 500)"
    )
    evaluate.add_argument(
        "--rows", type=int, metavar="N", help="measure on N rows drawn at random, not on all"
    )
    evaluate.add_argument(
        "--annealed", action="store_true", help="annealed importance sampling on the first 100 rows"
    )
    evaluate.add_argument(
        "--quality",
        choices=("values", "codes"),
        help="quality of samples from the prior, in raw values or in the run's own codes",
    )
    evaluate.add_argument(
        "--factors",
        metavar="FILE",
        help=".npy of whole numbers (rows, factors): adds the disentanglement scores; data "
        "'sprites' bring their own",
    )
    evaluate.add_argument("--json", metavar="FILE", help="where to write the numbers")
    evaluate.add_argument("--random-state", type=int, default=0, metavar="N", help="seed")


def field_groups() -> dict[str, list[Param]]:
    """Return every field of every model, each once, under a title that says whose it is."""
    common = params_of(Parts)
    training = params_of(Training)
    groups = {
        "training": list(training.values()),
        "every model": [p for name, p in common.items() if name not in training],
    }
    owners: dict[str, list[str]] = {}
    params: dict[str, Param] = {}
    for model, row in ROWS.items():
        for name, p in params_of(row).items():
            if name not in common:
                owners.setdefault(name, []).append(model)
                params.setdefault(name, p)
    for name, models in owners.items():
        groups.setdefault("only " + ", ".join(models), []).append(params[name])
    return groups


def _add_field(group: Any, p: Param) -> None:
    flag = "--" + p.name.replace("_", "-")
    options: dict[str, Any] = {"default": argparse.SUPPRESS, "dest": p.name}
    if p.scalar is bool:
        options["action"] = argparse.BooleanOptionalAction
    elif p.is_tuple:
        options |= {"type": int, "nargs": "*", "metavar": "N"}
    elif p.choices:
        options |= {"metavar": "NAME"}
    else:
        options |= {"type": _reader(p), "metavar": {int: "N", float: "X"}.get(p.scalar, "NAME")}
    choices = f" One of: {', '.join(p.choices)}." if p.choices else ""
    group.add_argument(flag, help=_escape(f"{p.help}{choices}{_default(p)}"), **options)


def _default(p: Param) -> str:
    if p.default is None or isinstance(p.default, bool):
        return ""
    value = " ".join(map(str, p.default)) if p.is_tuple else p.default
    return f" (default: {value})"


def _escape(text: str) -> str:
    return text.replace("%", "%%")


def _reader(p: Param) -> Any:
    def read(text: str) -> Any:
        return None if p.optional and text.lower() == "none" else p.scalar(text)

    read.__name__ = {int: "integer", float: "number"}.get(p.scalar, "value")
    return read


def _model(name: str) -> str:
    if name not in ROWS:
        raise argparse.ArgumentTypeError(
            f"unknown model {name!r}.{nearest(name, ROWS)} Known: {', '.join(ROWS)}"
        )
    return name


def fields_given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the fields that the user set, checked to be the model's.

    Raises
    ------
    ValueError
        For a flag that the chosen model does not have.
    """
    own = params_of(ROWS[arguments.model])
    every = {name for row in ROWS.values() for name in params_of(row)}
    given = {k: v for k, v in vars(arguments).items() if k in every}
    for name in given:
        if name not in own:
            having = [m for m, row in ROWS.items() if name in params_of(row)]
            raise ValueError(
                f"--{name.replace('_', '-')} is no setting of {arguments.model}; it belongs to "
                f"{', '.join(having)}."
            )
    return {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
