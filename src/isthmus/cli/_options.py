"""Arguments of commands: how they are declared, their types, and those that several share.

The settings of the models become options by themselves, from their specifications.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from isthmus._messages import did_you_mean
from isthmus.models.params import Param, params_of, setting_text
from isthmus.models.specs import HANDLE_UNKNOWN, SPECS, Spec, Training, model_name

__all__ = [
    "DATA",
    "EXAMPLES",
    "FILES",
    "LIST",
    "MAX_STEPS",
    "MODEL",
    "READING",
    "RESIZE",
    "RUN",
    "SEED",
    "TABLES",
    "UNKNOWN",
    "Argument",
    "Command",
    "add_arguments",
    "command",
    "field_groups",
    "fields_given",
    "flag_of",
    "image_size",
    "model_settings",
    "names",
    "no_such_setting",
    "option",
    "other_data",
    "run_folder",
    "seconds",
    "switch",
    "whole_number",
]

TYPES: dict[str, type] = {"N": int, "X": float, "FRACTION": float}  # by metavar


class Argument(NamedTuple):
    """One argument of a command, as `argparse` takes it, and the group in whose help it is."""

    names: list[str]
    settings: dict[str, Any]
    group: str | None = None


class Command(NamedTuple):
    """A command: its line in ``isthmus --help``, its own help, and its arguments."""

    summary: str
    description: str
    arguments: tuple[Argument, ...]
    examples: tuple[str, ...]


def command(
    summary: str, description: str, *arguments: Argument, examples: tuple[str, ...] = ()
) -> Command:
    """Declare a command, as the constant `COMMAND` of its module."""
    return Command(summary, description, arguments, examples)


def option(text: str, **settings: Any) -> Argument:
    """Declare an argument that takes values, by "names METAVAR: help" or "names a|b|c: help".

    The metavar gives the type: an integer for N, a number for X or FRACTION. FILE+ takes one value
    or more, FILE? at most one. The first of several choices is the default. The help ends with the
    default, unless it states one itself.

    Examples
    --------
    >>> option("-k --n-neighbors N: results", default=10).settings["help"]
    'results (default: 10)'
    >>> option("--source prior|mixture: where codes come from").settings["default"]
    'prior'
    """
    declared, _, help = text.partition(": ")
    words = declared.split()
    metavar = words.pop() if words[-1].isupper() else None
    if metavar and metavar[-1] in "+?":
        metavar, settings["nargs"] = metavar[:-1], metavar[-1]
    if settings.get("nargs") == "?":
        settings["const"] = ""
    if metavar in TYPES:
        settings.setdefault("type", TYPES[metavar])
    if "|" in words[-1]:
        choices = words.pop().split("|")
        settings = {"choices": choices, "default": choices[0], **settings}
    default = settings.get("default")
    if default not in (None, "", []) and "(default" not in help:
        help += f" (default: {default})"
    return Argument(words, {"help": help, "metavar": metavar, **settings})


def switch(text: str, **settings: Any) -> Argument:
    """Declare a flag without a value, by "name: help"."""
    name, _, help = text.partition(": ")
    return Argument([name], {"action": "store_true", "help": help, **settings})


def add_arguments(parser: argparse.ArgumentParser, arguments: Iterable[Argument]) -> None:
    """Add arguments to a parser, in their groups."""
    groups: dict[str | None, Any] = {None: parser}
    for names, settings, title in arguments:
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        groups[title].add_argument(*names, **settings)


def run_folder(text: str) -> str:
    """Return the path of a run; raise the parser's error if no run is there."""
    from isthmus.data.datasets import known_datasets
    from isthmus.persistence.run_folder import CHECKPOINTS, CONFIG

    path = Path(text)
    if any((path / name).is_file() for name in (CONFIG, *CHECKPOINTS)):
        return text
    if path.is_dir():
        problem = f"{text} holds no saved model: it has no {CONFIG}."
    elif path.exists():
        problem = f"{text!r} is a file, not the folder of a run."
    elif text in known_datasets():
        problem = f"{text!r} is a dataset, not the folder of a run."
    else:
        problem = f"there is no folder {text!r}."
        siblings = path.parent.iterdir() if path.parent.is_dir() else ()
        if near := did_you_mean(text, [str(p) for p in siblings if p.is_dir()]):
            raise argparse.ArgumentTypeError(problem + near)
    known = [str(config.parent) for config in sorted(Path("runs").glob(f"*/{CONFIG}"))]
    hint = f"such as {' or '.join(known[:3])}" if known else "as `isthmus fit` wrote it"
    raise argparse.ArgumentTypeError(f"{problem} Name a run first, {hint}.")


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


def image_size(text: str) -> int | tuple[int, int]:
    """Read one number, or a height and a width joined by x.

    Examples
    --------
    >>> image_size("64"), image_size("12x20")
    (64, (12, 20))
    """
    numbers = [whole_number(1)(word) for word in text.lower().split("x")]
    if len(numbers) > 2:
        raise argparse.ArgumentTypeError(f"expected N or HEIGHTxWIDTH, got {text}")
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


image_size.__name__ = "size: a whole number, or HEIGHTxWIDTH"


def seconds(text: str) -> float | None:
    """Read a time in seconds, or 'none'."""
    return None if text.lower() == "none" else float(text)


def names(text: str) -> list[str]:
    """Read names separated by commas, each once."""
    return [*dict.fromkeys(text.split(","))]


def model_settings(**defaults: Any) -> Iterator[Argument]:
    """Declare an option for each setting of each model, in groups.

    `defaults` are those of a command that has others than Python.
    """
    for title, fields in field_groups(defaults).items():
        yield from (_setting(p, title) for p in fields)


def field_groups(defaults: Mapping[str, Any] | None = None) -> dict[str, list[Param]]:
    """Return every setting of every model, each once, under a title that says whose it is."""
    common, training = params_of(Spec), params_of(Training)
    groups: dict[str, list[Param]] = {"training": [], "every model": []}
    for name, p in common.items():
        if name == "warm_start":  # an option of `isthmus fit`, which names the run to start from
            continue
        p = dataclasses.replace(p, default=(defaults or {}).get(name, p.default))
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
    text = p.help.replace("hidden=()", "--hidden none").replace("None", "none")
    text = text.replace("() is linear", "none for a linear model")
    choices = f" One of: {', '.join(p.choices)}." if p.choices else ""
    widths = " Write several as 400x200." if p.is_tuple else ""
    if p.default is None:
        return f"{text}{widths}{choices}"
    default = p.default
    if isinstance(default, bool):
        default = "yes" if default else "no"
    return f"{text}{widths}{choices} (default: {setting_text(default)})"


def _setting(p: Param, group: str) -> Argument:
    settings: dict[str, Any] = {"default": argparse.SUPPRESS, "dest": p.name}
    if p.scalar is bool:
        settings["action"] = argparse.BooleanOptionalAction
    elif p.is_tuple:
        settings |= {"type": _reader(p), "nargs": "*", "metavar": "WIDTHS"}
    elif p.choices:
        settings |= {"choices": p.choices, "metavar": "NAME"}
    else:
        settings |= {"type": _reader(p), "metavar": {int: "N", float: "X"}.get(p.scalar, "NAME")}
    settings["help"] = p.help.replace("%", "%%")
    return Argument([flag_of(p.name)], settings, group)


def flag_of(name: str) -> str:
    """Return the flag of a setting."""
    return f"--{name.replace('_', '-')}"


def _reader(p: Param) -> Any:
    def read(text: str) -> Any:
        try:
            return p.read(text)
        except ValueError:
            example = ", such as 400x200" if p.is_tuple else ""
            expected = p.expected.replace("None", "none")
            raise argparse.ArgumentTypeError(
                f"expected {expected}{example}, got {text!r}"
            ) from None

    return read


def fields_given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that the user gave; raise a ValueError if the model has no such one."""
    given = {}
    for name, value in vars(arguments).items():
        having = [model for model, spec in SPECS.items() if name in params_of(spec)]
        if having and arguments.model not in having:
            raise ValueError(
                f"{flag_of(name)} is not a setting of {arguments.model}; it belongs to "
                f"{', '.join(having)}."
            )
        if having:
            is_widths = isinstance(value, list)
            given[name] = tuple(chain.from_iterable(value)) if is_widths else value
    return given


def no_such_setting(name: str, spec: type[Spec]) -> str:
    """Return what is wrong with a setting that a model does not have."""
    every = dict.fromkeys(known for each in SPECS.values() for known in params_of(each))
    having = [model for model, each in SPECS.items() if name in params_of(each)]
    if having:
        return f"{name!r} is not a setting of {spec.__name__}; it belongs to {', '.join(having)}."
    near = did_you_mean(name, params_of(spec)) or did_you_mean(name, every)
    listed = "" if near else f" Known: {', '.join(params_of(spec))}."
    return f"{spec.__name__} has no setting {name!r}.{near}{listed}"


MAX_STEPS = 40  # of a path

EXAMPLES = "a row number, test:NUMBER, an image, or an .npy file"


RUN = option("run RUN: run folder written by `isthmus fit`", type=run_folder)

SEED = option("--random-state N: random seed", type=whole_number(0), default=0)

LIST = {"action": "extend", "default": []}

TABLES = tuple(
    each._replace(group="tables")
    for each in (
        option("--drop COLUMN+: columns to leave out, such as identifiers", **LIST),
        option("--columns COLUMN+: the only columns to read", **LIST),
        option("--categorical COLUMN+: columns of categories, even if they are numbers", **LIST),
        option("--numeric COLUMN+: columns of numbers, even if only 0 and 1 occur", **LIST),
        option("--decimal auto|.|,: decimal mark (default: auto, the one that fits whole columns)"),
        option(
            "--na-values WORD+: cells that are missing, besides empty ones and words such as NA",
            **LIST,
        ),
    )
)

READING = (
    option(
        "--data-home DIR: folder of mnist and fashion-mnist (default: the environment variable "
        "ISTHMUS_DATA)"
    ),
    option(
        "--size --window SIZE: resize images to N x N pixels, or to HEIGHTxWIDTH such as 12x20; "
        "cut sound or a time series into windows of N samples (default for a series: its dominant "
        "period)",
        type=image_size,
    ),
    option(
        "--time COLUMN: column of times: the table is a time series, cut into windows",
        dest="time_column",
    ),
    option("--label COLUMN: column of a table that holds the label"),
    option("--id COLUMN: column of a table that names its rows, not a feature", dest="id_column"),
    option(
        "--groups COLUMN: column of a table, not a feature: rows with equal cells, such as those "
        "of one patient, are held out together",
        dest="group_column",
    ),
    option(
        "--weights COLUMN: column of a table, not a feature, of sample weights: a row of weight 2 "
        "counts twice in training and in the summary, one of weight 0 not at all",
        dest="weight_column",
    ),
    *TABLES,
)

UNKNOWN = option(
    f"--handle-unknown {'|'.join(HANDLE_UNKNOWN)}: categories of a table that were not seen during "
    "fit: an error, missing values, or missing values that are also named in the output (default: "
    "as the run was fitted, 'error' unless stated)",
    default=None,
)

RESIZE = switch("--resize: resize images to the size that the model takes")

DATA = (option("data DATA: dataset name or path, as for `isthmus fit`"), *READING)

FILES = (
    option(
        "--keep COLUMN: table column that is not a feature, to be copied to the output; may be "
        "repeated",
        action="append",
        default=[],
    ),
    option("--column COLUMN: the one table column that holds each row as a list"),
    option(
        "--device DEVICE: device to compute on (default: a GPU if there is one; one per torchrun "
        "process)",
        default="auto",
    ),
    switch("--force: process finished files again, and replace results"),
)

MODEL = option(
    f"--model NAME: {', '.join(SPECS)}", default="vae", choices=tuple(SPECS), type=model_name
)


def other_data(help: str) -> tuple[Argument, ...]:
    """Declare data to use instead of the run's own, and how to read them."""
    return (option(f"--data DATA: {help}"), *READING, RESIZE)
