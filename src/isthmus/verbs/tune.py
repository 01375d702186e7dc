"""Flags of ``isthmus tune``: a grid, and every field of every model for what is not varied."""

from __future__ import annotations

from typing import Any

from isthmus._messages import did_you_mean
from isthmus.models.params import Param, params_of
from isthmus.models.specs import SPECS, Spec
from isthmus.verbs.fit import add_field, field_groups, model_name
from isthmus.verbs.options import add_data_options

__all__ = ["add", "read_grid"]


def add(commands: Any) -> None:
    """Add the verb."""
    tune = commands.add_parser(
        "tune",
        help="train a grid of models together; leaves a table, a plot and the best one",
        description="Train one model at every point of a grid of settings, dense ones many at a "
        "time, and judge all on the same held-out rows. Leaves a folder with results.csv, "
        "rate-distortion.png and the best model as a run, which every other command takes.",
        epilog="Examples:  isthmus tune digits --model beta-vae --grid beta=1,2,4 "
        "--grid random-state=0,1   isthmus tune table.csv --grid learning-rate=0.001,0.003 "
        "--grid hidden=64,128x64 --halving 3",
        allow_abbrev=False,
    )
    tune.add_argument("data", metavar="DATA", help="a name or path, as for `isthmus fit`")
    tune.add_argument(
        "--model",
        default="vae",
        type=model_name,
        metavar="NAME",
        help=f"{', '.join(SPECS)} (default: vae)",
    )
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
        "--together",
        type=int,
        default=16,
        metavar="N",
        help="models in one program, at most; 1 trains all in turn (default: 16)",
    )
    add_data_options(tune)
    tune.add_argument("--out", metavar="DIR", help="folder (default: runs/DATA-MODEL-tune)")
    tune.add_argument("--force", action="store_true", help="replace an existing sweep in --out")
    tune.add_argument("--quiet", action="store_true", help="print nothing but errors")
    for title, fields in field_groups().items():
        group = tune.add_argument_group(title)
        for p in fields:
            add_field(group, p)


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
