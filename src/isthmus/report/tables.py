"""Tables of reconstructed, generated and traversed rows, with the values of the data."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.data.columns import Column, Columns
from isthmus.plots.latent import traversal_steps

__all__ = ["Sheet", "generated_rows", "number", "reconstructed_rows", "traversed_rows"]

Array = NDArray[Any]

COLUMNS = 40  # of the data, one per line
ARROW = " →\N{NO-BREAK SPACE}"  # allows a line break before it
APART = "\N{FIRST STRONG ISOLATE}{}\N{POP DIRECTIONAL ISOLATE}"  # for right-to-left scripts
LONGEST = 60  # characters of a value
GIVEN, GENERATED, LATENTS = 3, 5, 5  # columns of the three tables


class Sheet(NamedTuple):
    """Headings, lines that begin with a column name, and the number of omitted columns."""

    head: tuple[str, ...]
    lines: list[tuple[str, ...]]
    left_out: int


def generated_rows(columns: Columns, X: Array) -> Sheet:
    """Return a table of generated rows (n, columns)."""
    X = X[:GENERATED]
    head = [f"row {i + 1}" for i in range(len(X))]
    return _sheet(columns, head, [_as_text(c, x) for c, x in _each(columns, X)])


def reconstructed_rows(columns: Columns, X: Array, R: Array) -> Sheet:
    """Return the reconstruction quality of each column, and a few reconstructed rows."""
    n = min(GIVEN, len(X))
    head = ["quality", *(f"row {i + 1}" for i in range(n))]
    cells = [
        [_quality(c, x, r), *map(_path, zip(_as_text(c, x[:n]), _as_text(c, r[:n]), strict=True))]
        for (c, x), (_, r) in zip(_each(columns, X), _each(columns, R), strict=True)
    ]
    return _sheet(columns, head, cells)


def traversed_rows(estimator: Any, codes: Array, condition: Any = None) -> Sheet:
    """Return how each column changes as one latent goes from low over the middle to high."""
    dims, z, _ = traversal_steps(estimator, codes, LATENTS, 3)
    decoded = estimator.decode(z.reshape(-1, z.shape[-1]), condition=condition)
    cells = [
        [_path(_as_text(c, x)) for x in values.reshape(len(dims), 3)]
        for c, values in _each(estimator.columns_, decoded)
    ]
    activity = codes.var(0)
    return _sheet(estimator.columns_, [f"z{d + 1} ({activity[d]:.2f})" for d in dims], cells)


def _each(columns: Columns, X: Array) -> list[tuple[Column, Array]]:
    return list(zip(columns.columns, np.asarray(X).T[:COLUMNS], strict=False))


def _sheet(columns: Columns, head: list[str], cells: list[list[str]]) -> Sheet:
    names = map(str, columns.names)
    lines = [(name, *values) for name, values in zip(names, cells, strict=False)]
    return Sheet(("column", *head), lines, len(columns.names) - len(lines))


def _as_text(column: Column, numbers: Array) -> list[str]:
    """Return numbers as text, with the column's original values."""
    if column.kind != "number":
        return ["missing" if v is None else _cut(str(v)) for v in column.from_numbers(numbers)]
    values = column.from_numbers(numbers)
    whole = column.whole
    return [
        "missing" if np.isnan(v) else str(int(v)) if whole else number(float(v)) for v in values
    ]


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _path(values: Any) -> str:
    """Return values joined by arrows, without repetitions.

    Examples
    --------
    >>> _path(["7", "7", "7"]), _path(["cat", "cat", "dog"]).count(ARROW)
    ('7', 1)
    """
    values = list(values)
    changed = [v for i, v in enumerate(values) if i == 0 or v != values[i - 1]]
    return changed[0] if len(changed) == 1 else ARROW.join(map(APART.format, changed))


def _quality(column: Column, x: Array, r: Array) -> str:
    """Return the error in standard deviations, or the accuracy next to that of the mode."""
    known = ~np.isnan(x)
    x, r = x[known], r[known]
    if not len(x):
        return "all missing"
    if column.kind != "number":
        r = np.clip(np.round(r), 0, len(column.categories) - 1)
        (_, commonest), *_ = Counter(x.tolist()).most_common(1)
        return f"{np.mean(x == r):.0%} correct, guess {commonest / len(x):.0%}"
    spread = float(np.std(x))
    error = float(np.sqrt(np.mean((x - r) ** 2)))
    return f"error {error / spread:.2f} sd" if spread > 0 else "constant"


def number(value: Any) -> str:
    """Return a number rounded for display, and other values as text.

    Examples
    --------
    >>> number(1234.5678), number(0.01234), number(10000), number("as it is")
    ('1,234.57', '0.0123', '10,000', 'as it is')
    >>> number(-0.5)
    '−0.5'
    """
    if isinstance(value, float | np.floating):
        text = f"{value:,.2f}" if abs(float(value)) >= 1 else f"{value:.3g}"
        return text.replace("-", "−")
    return f"{value:,}" if isinstance(value, int | np.integer) else str(value)
