"""The data of a command: a run's own rows or another data set, and the rows a query names."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus._messages import as_text, did_you_mean, say
from isthmus.cli._sheets import short
from isthmus.data import Columns, Dataset, load
from isthmus.data.images import IMAGE_SUFFIXES, match_channels, read_images
from isthmus.data.layout import channels_last
from isthmus.data.table_options import TableOptions
from isthmus.estimators import model_io
from isthmus.persistence.run_folder import read_config
from isthmus.plots.cells import as_units
from isthmus.runs.data import CHANGED, DataArguments, load_for_run

__all__ = [
    "Queries",
    "as_class",
    "data_arguments",
    "load_model",
    "load_rows",
    "read_queries",
    "reading_options",
    "rows_to_show",
    "table_options",
    "unseen_rows",
    "with_notes",
]

Array = NDArray[Any]
SAMPLE = 256  # rows that tell whether most pixels are dark
FAR = 0.25  # of the range of grey values, from middle grey


def load_model(arguments: argparse.Namespace, device: str = "auto") -> Any:
    """Load the model of a run, which treats unknown categories as the command line states."""
    model = model_io.load(arguments.run, device=device)
    if arguments.handle_unknown is not None:
        model.set_params(handle_unknown=arguments.handle_unknown)
    return model


def load_rows(arguments: argparse.Namespace) -> Dataset:
    """Load the data given on the command line, or else the run's own; warn if these changed."""
    return with_notes(load_for_run(arguments.run, arguments.data, **reading_options(arguments)))


def with_notes(data: Dataset) -> Dataset:
    """Return data after printing what was not kept or has changed; a table's columns are not."""
    for note in data.notes if data.columns is None else {*data.notes} & {CHANGED}:
        say(f"note: {note}", error=True)
    return data


def data_arguments(arguments: argparse.Namespace) -> DataArguments:
    """Return the data given on the command line, to be loaded later."""
    return DataArguments(arguments.data, **reading_options(arguments))


def rows_to_show(arguments: argparse.Namespace) -> tuple[Dataset | None, str | None]:
    """Return the data to show, or why there are none: a run can be shown without its own data."""
    if getattr(arguments, "no_data", False):
        return None, "omitted by --no-data"
    run = Path(arguments.run)
    options = reading_options(arguments)
    if arguments.data is not None:
        return load_for_run(run, arguments.data, **options), None
    read_config(run)
    try:
        return load_for_run(run, **options), None
    except (ValueError, OSError) as error:
        return None, str(error)


def reading_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of `isthmus.data.load` that were given, by name."""
    names = (
        *("data_home", "size", "label", "id_column", "group_column", "weight_column", "resize"),
        *("time_column", "handle_unknown"),
    )
    given = {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}
    return given | {"table": table_options(arguments)}


def table_options(arguments: argparse.Namespace) -> TableOptions:
    """Return the options for reading tables that were given."""
    given = {field.name: getattr(arguments, field.name) for field in fields(TableOptions)}
    return TableOptions.of(**{k: _split(v) if isinstance(v, list) else v for k, v in given.items()})


def _split(words: list[str]) -> list[str]:
    """Return names that are separated by commas; a name with a comma is in double quotes."""
    return [name for word in words for name in next(csv.reader([word]), [""])]


def unseen_rows(data: Dataset) -> tuple[Any, Any]:
    """Return the rows and labels of the test set if there is one, else of all data."""
    return (data.X, data.y) if data.X_test is None else (data.X_test, data.y_test)


class Queries(NamedTuple):
    """Examples (n, *shape), with a name, a row number (-1 for none) and a label for each."""

    X: Array
    names: list[str]
    rows: list[int]
    labels: list[Any]


def read_queries(queries: Sequence[str], data: Dataset, shape: tuple[int, ...]) -> Queries:
    """Return the examples that queries name.

    Parameters
    ----------
    queries : sequence of str
        Each is a row number, "test:" with the number of a row of the test set, an image, or an
        .npy file of examples.
    data : Dataset
    shape : tuple of int
        Shape of one example.
    """
    parts = [_read_query(query, data, shape) for query in queries]
    shapes = {part.X.shape[1:] for part in parts}
    if len(shapes) > 1:
        raise ValueError(f"the queries have different shapes: {', '.join(map(str, shapes))}.")
    mixed = len({part.X.dtype == np.uint8 for part in parts}) > 1  # bytes stand for [0, 1]
    X = np.concatenate([as_units(part.X) if mixed else part.X for part in parts])
    _note_inverted(X, data, queries)
    names = [name for part in parts for name in part.names]
    rows = [row for part in parts for row in part.rows]
    return Queries(X, names, rows, [label for part in parts for label in part.labels])


def _note_inverted(X: Array, data: Dataset, queries: Sequence[str]) -> None:
    """Note if images are dark where those of the data are bright, such as black on white."""
    if X.ndim < 3 or not any(Path(q).suffix.lower() in IMAGE_SUFFIXES for q in queries):
        return
    sample = np.asarray(data.X[: min(len(data.X), SAMPLE)])
    usual, asked = (float(np.median(as_units(part))) for part in (sample, X))
    if abs(usual - 0.5) > FAR and abs(usual - asked) > 2 * FAR:
        kinds = ("dark", "bright") if usual < asked else ("bright", "dark")
        say(
            f"note: most pixels of the data are {kinds[0]}, those of the query {kinds[1]}: if it "
            "is inverted, such as black on white, invert it first.",
            error=True,
        )


def _read_query(query: str, data: Dataset, shape: tuple[int, ...]) -> Queries:
    part, _, number = query.rpartition(":")
    if number.isdecimal() and part in ("", "test"):
        X, y = (data.X_test, data.y_test) if part else (data.X, data.y)
        if X is None:
            raise ValueError(f"{data.name} has no test set; give a row number without 'test:'.")
        i = int(number)
        if i >= len(X):
            raise ValueError(f"there is no row {query}: {data.name} has 0 to {len(X) - 1}.")
        name = query if y is None else f"{query} ({short(y[i])})"
        label = None if y is None else y[i]
        return Queries(np.asarray(X[i : i + 1]), [name], [-1 if part else i], [label])
    path = Path(query)
    if not path.is_file():
        raise ValueError(
            f"{query!r} is not a query: expected a row number, test:NUMBER, an image or an .npy "
            "file."
        )
    examples = _read_file(path, shape, data.columns)
    n = len(examples)
    return Queries(examples, [as_text(path.name)] * n, [-1] * n, [None] * n)


def _read_file(path: Path, shape: tuple[int, ...], columns: Columns | None) -> Array:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return _read_image(path, shape)
    X = load(path, columns=columns).X
    return X[None] if X.shape == shape else X


def _read_image(path: Path, shape: tuple[int, ...]) -> Array:
    """Return an image in the size and the channels that the model takes."""
    if len(shape) == 3 and shape[-1] in (1, 3) and shape[0] not in (1, 3):
        return channels_last(_read_image(path, (shape[-1], *shape[:-1])))
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] not in (1, 3)):
        raise ValueError(f"{path} is an image, but one example has shape {shape}; use .npy.")
    images = read_images(path, (shape[-2], shape[-1]))
    X, note = match_channels(images.X, shape)
    for line in (*images.notes, *([note] if note else [])):
        say(f"note: {path}: {line}", error=True)
    return X


def as_class(text: str, known: Array) -> Any:
    """Return the class that a word of the command line names.

    Examples
    --------
    >>> int(as_class("3", np.arange(5)))
    3
    """
    text = as_text(text)
    by_name = {name: c for c in known for name in (str(c), short(c))}
    if text not in by_name:
        more = ", …" if len(known) > 20 else ""
        raise ValueError(
            f"unknown class {text!r}; known classes: {', '.join(map(str, known[:20]))}{more}."
            f"{did_you_mean(text, by_name)}"
        )
    return by_name[text]
