"""Flags of ``isthmus fit``: every field of every model, from its one declaration."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from isthmus._messages import did_you_mean
from isthmus.models.params import Param, params_of
from isthmus.models.specs import SPECS, Spec, Training
from isthmus.verbs.options import add_data_options

__all__ = ["TRACKERS", "add", "add_field", "field_groups", "fields_given", "model_name"]

TRACKERS = ("tensorboard", "mlflow", "trackio")


def add(commands: Any) -> None:
    """Add the verb."""
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
        help="digits, mnist, fashion-mnist or sprites; or a path: .npy, .npz, .zarr, a table "
        "(.csv, .tsv, .parquet: numbers, yes and no, categories), or a folder of pictures or "
        "sounds (its sub-folders are classes) or of .parquet files",
    )
    fit.add_argument(
        "--model",
        default="vae",
        type=model_name,
        metavar="NAME",
        help=f"{', '.join(SPECS)} (default: vae)",
    )
    add_data_options(fit)
    fit.add_argument("--out", metavar="DIR", help="folder of the run (default: runs/DATA-MODEL)")
    fit.add_argument("--force", action="store_true", help="replace an existing run in --out")
    fit.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in --out, which was broken off, by the settings it began with",
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
        "--out, mlflow and trackio where they do by themselves)",
    )
    fit.add_argument("--quiet", action="store_true", help="print nothing but errors")
    for title, names in field_groups().items():
        group = fit.add_argument_group(title)
        for p in names:
            add_field(group, p)


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
