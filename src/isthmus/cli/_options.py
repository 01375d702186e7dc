"""Flags that several commands have; those of the settings come from their one declaration."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from isthmus._messages import did_you_mean
from isthmus.models.params import Param, params_of
from isthmus.models.specs import SPECS, Spec, Training

__all__ = [
    "add_data_options",
    "add_field",
    "add_file_options",
    "field_groups",
    "fields_given",
    "model_name",
]


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add where data lie and how they are read."""
    parser.add_argument(
        "--data-home",
        metavar="DIR",
        help="where mnist and fashion-mnist lie (default: the environment's ISTHMUS_DATA)",
    )
    parser.add_argument(
        "--size", type=int, metavar="N", help="make pictures N x N; windows of sound N samples"
    )
    parser.add_argument("--label", metavar="COLUMN", help="the column of a table that is a label")


def add_file_options(parser: Any) -> None:
    """Add how many files are read and written."""
    parser.add_argument(
        "--keep",
        metavar="COLUMN",
        action="append",
        default=[],
        help="a column of tables that is no feature and goes to the output as it is; may be "
        "repeated",
    )
    parser.add_argument(
        "--column",
        metavar="COLUMN",
        help="the one column of tables that holds whole rows, as lists",
    )
    parser.add_argument(
        "--device",
        default="auto",
        metavar="DEVICE",
        help="where to compute (default: a GPU where there is one, under torchrun each its own)",
    )
    parser.add_argument(
        "--force", action="store_true", help="do finished files again, replace what is there"
    )


def field_groups() -> dict[str, list[Param]]:
    """Return every field of every model, each once, under a title that says whose it is."""
    common = params_of(Spec)
    training = params_of(Training)
    groups = {
        "training": list(training.values()),
        "every model": [p for name, p in common.items() if name not in training],
    }
    owners: dict[str, dict[str, Param]] = {}
    for model, spec in SPECS.items():
        for name, p in params_of(spec).items():
            if name not in common:
                owners.setdefault(name, {})[model] = p
    for each in owners.values():
        groups.setdefault("only " + ", ".join(each), []).append(_merged(each))
    return groups


def _merged(each: dict[str, Param]) -> Param:
    """Return one setting for the models that have one of its name, each by its own words."""
    words: dict[str, list[str]] = {}
    for model, p in each.items():
        words.setdefault(_help(p), []).append(model)
    first = next(iter(each.values()))
    if len(words) == 1:
        return first
    said = " ".join(f"{', '.join(models).capitalize()}: {text}" for text, models in words.items())
    return dataclasses.replace(first, help=said, choices=(), default=None)


def add_field(group: Any, p: Param) -> None:
    """Add the flag of one setting to a group."""
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
    group.add_argument(flag, help=_escape(_help(p)), **options)


def _help(p: Param) -> str:
    choices = f" One of: {', '.join(p.choices)}." if p.choices else ""
    return f"{p.help}{choices}{_default(p)}"


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


def model_name(name: str) -> str:
    """Return the name of a model; the parser's error for another."""
    if name not in SPECS:
        raise argparse.ArgumentTypeError(
            f"unknown model {name!r}.{did_you_mean(name, SPECS)} Known: {', '.join(SPECS)}"
        )
    return name


def fields_given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the fields that the user set, checked to be the model's.

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
                f"--{name.replace('_', '-')} is no setting of {arguments.model}; it belongs to "
                f"{', '.join(having)}."
            )
    return {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
