"""Flags that several commands share; those of a model's settings come from its specification."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from isthmus._messages import did_you_mean
from isthmus.models.params import Param, params_of
from isthmus.models.specs import SPECS, Spec, Training

__all__ = [
    "add_data",
    "add_data_options",
    "add_fields",
    "add_file_options",
    "add_model",
    "add_run",
    "add_seed",
    "field_groups",
    "fields_given",
    "run_folder",
    "whole_number",
]

DATASET = "dataset name or path, as for `isthmus fit`"


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the folder of a run."""
    parser.add_argument(
        "run", metavar="RUN", type=run_folder, help="run folder written by `isthmus fit`"
    )


def run_folder(text: str) -> str:
    """Return the path of a run; raise the parser's error if nothing is there."""
    path = Path(text)
    if not path.exists():
        siblings = path.parent.iterdir() if path.parent.is_dir() else ()
        near = did_you_mean(text, [str(p) for p in siblings if p.is_dir()])
        raise argparse.ArgumentTypeError(f"there is no folder {text!r}.{near}")
    return text


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return the type of an argument: an integer within bounds."""

    def read(text: str) -> int:
        number = int(text)
        if number < least or (most is not None and number > most):
            bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"expected a whole number {bounds}, got {text}")
        return number

    read.__name__ = "whole number"
    return read


def add_data(
    parser: argparse.ArgumentParser, flag: str = "data", help: str = DATASET, **options: Any
) -> None:
    """Add a data set, and how to read it; by default as a positional argument."""
    parser.add_argument(flag, metavar="DATA", help=help, **options)
    add_data_options(parser)


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add how to read a data set."""
    parser.add_argument(
        "--data-home",
        metavar="DIR",
        help="folder of mnist and fashion-mnist (default: the environment variable ISTHMUS_DATA)",
    )
    parser.add_argument(
        "--size",
        type=int,
        metavar="N",
        help="resize images to N x N pixels; cut sound into windows of N samples",
    )
    parser.add_argument("--label", metavar="COLUMN", help="column of a table that holds the label")


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Add the seed."""
    parser.add_argument("--random-state", type=int, default=0, metavar="N", help="random seed")


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """Add how to read and write many files."""
    parser.add_argument(
        "--keep",
        metavar="COLUMN",
        action="append",
        default=[],
        help="table column that is not a feature, to be copied to the output; may be repeated",
    )
    parser.add_argument(
        "--column", metavar="COLUMN", help="the one table column that holds each row as a list"
    )
    parser.add_argument(
        "--device",
        default="auto",
        metavar="DEVICE",
        help="device to compute on (default: a GPU if there is one; one per torchrun process)",
    )
    parser.add_argument(
        "--force", action="store_true", help="process finished files again, and replace results"
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the name of a model."""
    parser.add_argument(
        "--model",
        default="vae",
        choices=tuple(SPECS),
        metavar="NAME",
        help=f"{', '.join(SPECS)} (default: vae)",
    )


def add_fields(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting of each model, in groups."""
    for title, fields in field_groups().items():
        group = parser.add_argument_group(title)
        for p in fields:
            _add_field(group, p)


def field_groups() -> dict[str, list[Param]]:
    """Return every setting of every model, each once, under a title that says whose it is."""
    common, training = params_of(Spec), params_of(Training)
    groups: dict[str, list[Param]] = {"training": [], "every model": []}
    for name, p in common.items():
        groups["training" if name in training else "every model"].append(_merged({"": p}))
    owners: dict[str, dict[str, Param]] = {}
    for model, spec in SPECS.items():
        for name, p in params_of(spec).items():
            if name not in common:
                owners.setdefault(name, {})[model] = p
    for by_model in owners.values():
        groups.setdefault("only " + ", ".join(by_model), []).append(_merged(by_model))
    return groups


def _merged(by_model: dict[str, Param]) -> Param:
    """Return one setting with the help and the choices of all models that have it."""
    models: dict[str, list[str]] = {}
    for model, p in by_model.items():
        models.setdefault(_help(p), []).append(model)
    text = " ".join(f"{', '.join(names).capitalize()}: {text}" for text, names in models.items())
    return dataclasses.replace(
        next(iter(by_model.values())),
        help=text if len(models) > 1 else next(iter(models)),
        choices=tuple(dict.fromkeys(c for p in by_model.values() for c in p.choices)),
    )


def _help(p: Param) -> str:
    choices = f" One of: {', '.join(p.choices)}." if p.choices else ""
    if p.default is None or isinstance(p.default, bool):
        return f"{p.help}{choices}"
    default = " ".join(map(str, p.default)) if p.is_tuple else p.default
    return f"{p.help}{choices} (default: {default})"


def _add_field(group: Any, p: Param) -> None:
    options: dict[str, Any] = {"default": argparse.SUPPRESS, "dest": p.name}
    if p.scalar is bool:
        options["action"] = argparse.BooleanOptionalAction
    elif p.is_tuple:
        options |= {"type": int, "nargs": "*", "metavar": "N"}
    elif p.choices:
        options |= {"choices": p.choices, "metavar": "NAME"}
    else:
        options |= {"type": _reader(p), "metavar": {int: "N", float: "X"}.get(p.scalar, "NAME")}
    help = p.help.replace("%", "%%")
    group.add_argument(f"--{p.name.replace('_', '-')}", help=help, **options)


def _reader(p: Param) -> Any:
    def read(text: str) -> Any:
        return None if p.optional and text.lower() == "none" else p.scalar(text)

    read.__name__ = {int: "integer", float: "number"}.get(p.scalar, "value")
    return read


def fields_given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that the user gave.

    Raises
    ------
    ValueError
        For a flag that the chosen model does not have.
    """
    own = params_of(SPECS[arguments.model])
    every = {name for spec in SPECS.values() for name in params_of(spec)}
    given = {k: v for k, v in vars(arguments).items() if k in every}
    for name in given:
        if name not in own:
            having = [m for m, spec in SPECS.items() if name in params_of(spec)]
            raise ValueError(
                f"--{name.replace('_', '-')} is not a setting of {arguments.model}; it belongs to "
                f"{', '.join(having)}."
            )
    return {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
