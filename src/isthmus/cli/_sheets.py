"""Contact sheets: examples drawn in rows under names, and the files that commands write."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from isthmus._messages import say
from isthmus.persistence.atomic import write_atomic
from isthmus.plots.cells import as_units, cell_height, draw_cells, value_range
from isthmus.plots.style import INK, MUTED, figure, title

__all__ = [
    "IMAGES",
    "beside_sheet",
    "check_out",
    "path_sheet",
    "rows_of_cells",
    "save_array",
    "save_frame",
    "short",
    "write_figure",
]

Array = NDArray[Any]

IMAGES = (".png", ".jpg", ".pdf", ".svg")
DPI = 160
CELL = 0.75  # inches of a cell if there is room
MAX_WIDTH, MIN_WIDTH = 11.0, 4.2  # inches of a sheet
LETTER = 0.078  # inches of a letter of a heading
MAX_LABEL = 9  # letters of a label above a cell


def check_out(
    path: str | Path | None, default: Path, flag: str = "--out", suffixes: Sequence[str] = IMAGES
) -> Path:
    """Return the path of an output, or raise a ValueError if it cannot be written."""
    out = Path(path or default)
    if out.suffix.lower() not in suffixes:
        raise ValueError(f"{flag} must end in {', '.join(suffixes)}, got {str(out)!r}.")
    if not out.parent.is_dir():
        raise ValueError(f"{flag} {out}: there is no folder {out.parent}; create it first.")
    return out


def write_figure(sheet: Figure, out: Path) -> None:
    """Write a figure and print its path."""
    buffer = io.BytesIO()
    sheet.savefig(buffer, format=out.suffix[1:].lower(), dpi=DPI, facecolor="white")
    _write_file(out, buffer)


def save_array(path: Path, array: Array) -> None:
    """Write an .npy file and print its path."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    _write_file(path, buffer)


def save_frame(path: Path, frame: Any) -> None:
    """Write a pandas or polars data frame as .csv or .parquet, and print its path."""
    buffer = io.BytesIO()
    pandas = hasattr(frame, "to_csv")  # else polars
    if path.suffix.lower() == ".parquet":
        frame.to_parquet(buffer) if pandas else frame.write_parquet(buffer)
    else:
        frame.to_csv(buffer, index=False) if pandas else frame.write_csv(buffer)
    _write_file(path, buffer)


def _write_file(path: Path, buffer: io.BytesIO) -> None:
    write_atomic(path, buffer.getvalue())
    say(f"written to {path}")


def beside_sheet(
    queries: Array,
    results: Array,
    names: list[str],
    heading: str,
    notes: list[list[str]] | None = None,
) -> Figure:
    """Draw each query (n, *shape) with its results (n, k, *shape) to the right.

    `names` stand above the queries, `notes` (n, k) above the results.
    """
    n, k = results.shape[:2]
    flat = results.reshape(-1, *results.shape[2:])
    lines = 2 if notes and any("\n" in note for note in notes[0]) else 1
    sheet, panels = _panels([1, k], n, queries, flat, 0.4, 0.08 + 0.14 * lines)
    for i, (left, right) in enumerate(panels):
        _write_above(left, 0.5, names[i], INK)
        for j, note in enumerate(notes[i] if notes else []):
            _write_above(right, j + 0.5, note, MUTED)
    _write_heading(sheet, heading)
    return sheet


def path_sheet(
    starts: Array, between: Array, ends: Array, names: list[tuple[str, str]], heading: str
) -> Figure:
    """Draw paths (n, n_steps, *shape) between their ends (n, *shape); `names` stand above these."""
    n, k = between.shape[:2]
    flat = between.reshape(-1, *between.shape[2:])
    sheet, panels = _panels([1, k, 1], n, starts, flat, 0.8, 0.22, ends)
    for (left, _, right), (start, end) in zip(panels, names, strict=True):
        _write_above(left, 0.5, start, INK)
        _write_above(right, 0.5, end, INK)
    _write_heading(sheet, heading)
    return sheet


def _panels(
    columns: list[int], n: int, left: Array, middle: Array, gap: float, text: float, *right: Array
) -> tuple[Figure, Array]:
    """Draw n rows of one example, some examples, and perhaps one more; return figure and axes.

    `gap` is the space between the panels in cells, `text` that above each row in inches.
    """
    parts = [as_units(part) for part in (left, middle, *right)]
    limits, n_cells = value_range(np.concatenate(parts)), sum(columns) + gap
    width = float(np.clip(n_cells * CELL, MIN_WIDTH, MAX_WIDTH))
    height = width / n_cells * cell_height(parts[0].shape[1:]) + text
    sheet = figure(0.5 + n * height, width)
    panels = sheet.subplots(n, len(columns), squeeze=False, width_ratios=columns)
    for i, row in enumerate(panels):
        for axes, part, k in zip(row, parts, columns, strict=True):
            draw_cells(axes, part[i * k : (i + 1) * k], k, limits)
    return sheet, panels


def rows_of_cells(
    examples: ArrayLike,
    columns: int,
    names: list[str],
    heading: str,
    ticks: list[str] | None = None,
) -> Figure:
    """Draw examples (n, *shape) in rows, with the rows' names at the left and ticks above."""
    cells = as_units(examples, "examples")
    margin = 0.25 + 0.075 * max(map(len, names), default=0)
    width = float(np.clip(columns * CELL + margin, MIN_WIDTH, MAX_WIDTH))
    rows = -(-len(cells) // columns)
    cell = (width - margin) / columns * cell_height(cells.shape[1:])
    sheet = figure(0.45 + rows * cell + (0.2 if ticks else 0), width)
    axes = sheet.subplots()
    draw_cells(axes, cells, columns)
    if names:
        axes.set_yticks(np.arange(rows) + 0.5, names, parse_math=False)
        axes.tick_params(axis="y", labelcolor=INK)
    if ticks:
        axes.set_xticks(np.arange(columns) + 0.5, ticks)
        axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False)
    _write_heading(sheet, heading)
    return sheet


def short(label: Any) -> str:
    """Return a label that fits over a cell.

    Examples
    --------
    >>> short(7.0), short("Smileys & Emotion")
    ('7', 'Smileys …')
    """
    text = f"{label:g}" if isinstance(label, float | np.floating) else str(label)
    return text if len(text) <= MAX_LABEL else text[: MAX_LABEL - 1] + "…"


def _write_heading(sheet: Figure, heading: str) -> None:
    """Write the heading on as many lines as the width of the sheet requires."""
    width, height = sheet.get_size_inches()
    lines = textwrap.wrap(heading, int(width / LETTER))
    sheet.set_figheight(height + 0.17 * (len(lines) - 1))
    title(sheet, "\n".join(lines))


def _write_above(axes: Any, x: float, text: str, colour: str) -> None:
    style: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 8, "parse_math": False}
    axes.text(x, -0.01, text, color=colour, **style)
