"""What the verbs that end in a picture share: rows in, a sheet out."""

from __future__ import annotations

import argparse
import io as streams
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from isthmus._messages import one_line
from isthmus.data import Columns, Dataset, known_datasets, read_image_folder
from isthmus.data import load as load_data
from isthmus.data.datasets import DataSource
from isthmus.data.images import IMAGE_SUFFIXES
from isthmus.persistence.atomic import write_atomic
from isthmus.persistence.run_folder import read_columns, read_config
from isthmus.plots.cells import as_units, cell_height, draw_cells, value_range
from isthmus.plots.style import INK, MUTED, figure, title

__all__ = [
    "Queries",
    "as_class",
    "beside_sheet",
    "check_out",
    "find_rows",
    "load_rows",
    "path_sheet",
    "read_queries",
    "rows_of_cells",
    "save_array",
    "save_frame",
    "short",
    "write_figure",
]

Array = NDArray[Any]

KINDS = (".png", ".jpg", ".pdf", ".svg")
DPI = 160
CELL = 0.75  # inches of a cell where there is room
WIDEST, NARROWEST = 11.0, 4.2  # inches of a sheet
LETTER = 0.078  # inches of a letter of a heading
LONGEST = 9  # letters of a label above a cell
MOST_TO_CHECK = 2**28  # bytes of data that are compared with those of the run
CHANGED = "the data have changed since the run: they differ from those it was fitted on."
GREY = np.array([0.299, 0.587, 0.114])  # weights of red, green and blue (BT.601)


def check_out(
    path: str | Path | None,
    default: Path,
    flag: str = "--out",
    kinds: tuple[str, ...] = KINDS,
) -> Path:
    """Return where the picture goes; a ValueError, before any work, for another kind of file."""
    out = Path(path or default)
    if out.suffix.lower() not in kinds:
        raise ValueError(f"{flag} must end in {', '.join(kinds)}, got {str(out)!r}.")
    if not out.parent.is_dir():
        raise ValueError(f"{flag} {out}: there is no folder {out.parent}; make it first.")
    return out


def write_figure(sheet: Figure, out: Path) -> None:
    """Write a figure, whole or not at all, and say where."""
    buffer = streams.BytesIO()
    sheet.savefig(buffer, format=out.suffix[1:].lower(), dpi=DPI, facecolor="white")
    write_atomic(out, buffer.getvalue())
    print(f"written to {out}")


def save_array(path: Path, array: Array) -> None:
    """Write an .npy file, whole or not at all, and say where."""
    buffer = streams.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_atomic(path, buffer.getvalue())
    print(f"written to {path}")


def save_frame(path: Path, frame: Any) -> None:
    """Write a data frame as .csv or .parquet, whole or not at all, and say where."""
    buffer = streams.BytesIO()
    pandas = hasattr(frame, "to_csv")  # else polars
    if path.suffix == ".parquet":
        frame.to_parquet(buffer) if pandas else frame.write_parquet(buffer)
    else:
        frame.to_csv(buffer, index=False) if pandas else frame.write_csv(buffer)
    write_atomic(path, buffer.getvalue())
    print(f"written to {path}")


def load_rows(arguments: argparse.Namespace) -> Dataset:
    """Load the data that were asked for, or else the run's own; say where those have changed."""
    data = find_rows(
        arguments.run,
        arguments.data,
        data_home=arguments.data_home,
        size=arguments.size,
        label=arguments.label,
    )
    if CHANGED in data.notes:
        print(f"note: {CHANGED}", file=sys.stderr)
    return data


def find_rows(
    run: str | Path,
    data: str | Path | None = None,
    *,
    data_home: str | Path | None = None,
    size: int | tuple[int, int] | None = None,
    label: str | int | None = None,
) -> Dataset:
    """Load data as the model of a run takes them: those named, or else those it was fitted on.

    Parameters
    ----------
    run : path-like
        A folder that `isthmus fit` wrote.
    data : str or path-like, optional
        A name or path, as for `isthmus.data.load`.
    data_home, size, label : optional
        As for `isthmus.data.load`; without `data`, size and label are those of the run.

    Returns
    -------
    Dataset
        With a note where the run's own data are no longer those that it was fitted on.

    Raises
    ------
    ValueError
        Where no data are given, and the run's own are not known or no longer there.
    """
    record: dict[str, Any] = {}
    if data is None:
        record = read_config(Path(run))["data"]
        data, size, label = _own_source(run, record, size, label)
    columns = read_columns(run)
    found = load_data(data, data_home=data_home, size=size, label=label, columns=columns)
    changed = record.get("source") is not None and _has_changed(found, record)
    return replace(found, notes=(*found.notes, CHANGED)) if changed else found


def _own_source(run: str | Path, record: dict[str, Any], size: Any, label: Any) -> DataSource:
    """Return where a run's own data are, by path or by a known name, and how to read them."""
    own, name = DataSource.from_record(record), record.get("name")
    if own is None and name in known_datasets():
        return DataSource(str(name))
    if own is None:
        raise ValueError(
            f"{run} was fitted on {name or 'data'} that are not known by name; say where they "
            "are: --data PATH."
        )
    if not Path(own.path).exists():
        raise ValueError(
            f"the data of {run} are no longer at {one_line(own.path)}; say where they are: "
            "--data PATH."
        )
    return DataSource(own.path, size or own.size, own.label if label is None else label)


def _has_changed(data: Dataset, record: dict[str, Any]) -> bool:
    """Whether data are not those of the record; of large ones only the shape is looked at."""
    if list(data.X.shape) != record.get("shape"):
        return True
    return data.X.nbytes < MOST_TO_CHECK and data.sha256 != record.get("sha256")


class Queries(NamedTuple):
    """Examples (n, *shape), what to call each, its number among the rows or -1, its label."""

    X: Array
    names: list[str]
    rows: list[int]
    labels: list[Any]


def read_queries(queries: Sequence[str], data: Dataset, shape: tuple[int, ...]) -> Queries:
    """Return the examples that queries name.

    Parameters
    ----------
    queries : sequence of str
        Each the number of a row, "test:" and the number of a row of the test set, a picture, or
        an .npy file of examples.
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
    names = [name for part in parts for name in part.names]
    rows = [row for part in parts for row in part.rows]
    return Queries(X, names, rows, [label for part in parts for label in part.labels])


def _read_query(query: str, data: Dataset, shape: tuple[int, ...]) -> Queries:
    part, _, number = query.rpartition(":")
    if number.isdecimal() and part in ("", "test"):
        X, y = (data.X_test, data.y_test) if part else (data.X, data.y)
        if X is None:
            raise ValueError(f"{data.name} has no test set; name a row without 'test:'.")
        i = int(number)
        if i >= len(X):
            raise ValueError(f"there is no row {query}: {data.name} has 0 to {len(X) - 1}.")
        name = query if y is None else f"{query} ({short(y[i])})"
        label = None if y is None else y[i]
        return Queries(np.asarray(X[i : i + 1]), [name], [-1 if part else i], [label])
    path = Path(query)
    if not path.is_file():
        raise ValueError(
            f"{query!r} is no query: expected the number of a row, test:NUMBER, a picture or an "
            ".npy file."
        )
    examples = _read_file(path, shape, data.columns)
    n = len(examples)
    return Queries(examples, [path.name] * n, [-1] * n, [None] * n)


def _read_file(path: Path, shape: tuple[int, ...], columns: Columns | None) -> Array:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return _read_picture(path, shape)
    X = load_data(path, columns=columns).X
    return X[None] if X.shape == shape else X


def _read_picture(path: Path, shape: tuple[int, ...]) -> Array:
    """Return a picture as the model takes one: its size, grey or in colours."""
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] not in (1, 3)):
        raise ValueError(f"{path} is a picture, but one example has shape {shape}; use .npy.")
    with tempfile.TemporaryDirectory() as folder:  # the one reader of pictures takes folders
        shutil.copyfile(path, Path(folder) / path.name)
        X = read_image_folder(folder, (shape[-2], shape[-1]))[0]
    if shape[0] == 3 and len(shape) == 3:
        return X if X.ndim == 4 else np.repeat(X[:, None], 3, axis=1)
    if X.ndim == 4:
        X = np.tensordot(X, GREY, axes=(1, 0)).round().astype(np.uint8)
    return X.reshape(1, *shape)


def beside_sheet(
    queries: Array,
    results: Array,
    names: list[str],
    heading: str,
    notes: list[list[str]] | None = None,
) -> Figure:
    """Draw each query, and to its right what came of it.

    Parameters
    ----------
    queries : ndarray (n, *shape)
    results : ndarray (n, k, *shape)
    names : list of str (n,)
        What to write above each query.
    heading : str
    notes : list of list of str (n, k), optional
        What to write above each result.
    """
    n, k = results.shape[:2]
    queries, found = as_units(queries), as_units(results.reshape(-1, *results.shape[2:]))
    limits = value_range(np.concatenate([queries, found]))
    width = float(np.clip((k + 1.4) * CELL, NARROWEST, WIDEST))
    cell = width / (k + 1.4)
    lines = 2 if notes and any("\n" in note for note in notes[0]) else 1
    sheet = figure(0.5 + n * (cell * cell_height(queries.shape[1:]) + 0.08 + 0.14 * lines), width)
    panels = sheet.subplots(n, 2, squeeze=False, width_ratios=[1, k])
    for i, (left, right) in enumerate(panels):
        draw_cells(left, queries[i : i + 1], 1, limits)
        draw_cells(right, found[i * k : (i + 1) * k], k, limits)
        _write(left, 0.5, names[i], INK)
        for j, note in enumerate(notes[i] if notes else []):
            _write(right, j + 0.5, note, MUTED)
    _head(sheet, heading)
    return sheet


def path_sheet(
    starts: Array, between: Array, ends: Array, names: list[tuple[str, str]], heading: str
) -> Figure:
    """Draw each path (n, n_steps, *shape) between its two ends as they are.

    Parameters
    ----------
    starts, ends : ndarray (n, *shape)
    between : ndarray (n, n_steps, *shape)
    names : list of (str, str)
        What to write above the ends.
    heading : str
    """
    n, k = between.shape[:2]
    shape = between.shape[2:]
    starts, ends = as_units(starts), as_units(ends)
    flat = as_units(between.reshape(-1, *shape))
    limits = value_range(np.concatenate([starts, ends, flat]))
    width = float(np.clip((k + 2.8) * CELL, NARROWEST, WIDEST))
    cell = width / (k + 2.8)
    sheet = figure(0.5 + n * (cell * cell_height(shape) + 0.22), width)
    panels = sheet.subplots(n, 3, squeeze=False, width_ratios=[1, k, 1])
    for i, (left, middle, right) in enumerate(panels):
        draw_cells(middle, flat[i * k : (i + 1) * k], k, limits)
        for axes, end, name in ((left, starts, names[i][0]), (right, ends, names[i][1])):
            draw_cells(axes, end[i : i + 1], 1, limits)
            _write(axes, 0.5, name, INK)
    _head(sheet, heading)
    return sheet


def as_class(text: str, known: Array) -> Any:
    """Return the class that a word of the command line names.

    Raises
    ------
    ValueError
        Where there is none; says which there are.

    Examples
    --------
    >>> int(as_class("3", np.arange(5)))
    3
    """
    by_name = {name: c for c in known for name in (str(c), short(c))}
    if text not in by_name:
        more = ", …" if len(known) > 20 else ""
        raise ValueError(
            f"there is no class {text!r}; known are: {', '.join(map(str, known[:20]))}{more}."
        )
    return by_name[text]


def rows_of_cells(
    examples: ArrayLike,
    columns: int,
    names: list[str],
    heading: str,
    ticks: list[str] | None = None,
) -> Figure:
    """Draw examples (n, *shape) row after row, each row with its name at the left.

    Parameters
    ----------
    examples : array-like (n, *shape)
    columns : int
    names : list of str
        Of the rows; empty for none.
    heading : str
    ticks : list of str, optional
        What to write above the columns.
    """
    cells = as_units(examples, "examples")
    beside = 0.25 + 0.075 * max(map(len, names), default=0)
    width = float(np.clip(columns * CELL + beside, NARROWEST, WIDEST))
    rows = -(-len(cells) // columns)
    cell = (width - beside) / columns * cell_height(cells.shape[1:])
    sheet = figure(0.45 + rows * cell + (0.2 if ticks else 0), width)
    axes = sheet.subplots()
    draw_cells(axes, cells, columns)
    if names:
        axes.set_yticks(np.arange(rows) + 0.5, names, parse_math=False)
        axes.tick_params(axis="y", labelcolor=INK)
    if ticks:
        axes.set_xticks(np.arange(columns) + 0.5, ticks)
        axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False)
    _head(sheet, heading)
    return sheet


def short(label: Any) -> str:
    """Return a label that fits over a cell.

    Examples
    --------
    >>> short(7.0), short("Smileys & Emotion")
    ('7', 'Smileys …')
    """
    text = f"{label:g}" if isinstance(label, float | np.floating) else str(label)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _head(sheet: Figure, heading: str) -> None:
    """Write the heading, on as many lines as the sheet's width asks for."""
    width, height = sheet.get_size_inches()
    lines = textwrap.wrap(heading, int(width / LETTER))
    sheet.set_figheight(height + 0.17 * (len(lines) - 1))
    title(sheet, "\n".join(lines))


def _write(axes: Any, x: float, text: str, colour: str) -> None:
    style: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 8, "parse_math": False}
    axes.text(x, -0.01, text, color=colour, **style)
