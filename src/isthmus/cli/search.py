"""``isthmus search``: find the rows nearest to a query by their codes."""

from __future__ import annotations

import argparse
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus._messages import say
from isthmus.cli._options import RUN, command, option, other_data

if TYPE_CHECKING:
    from isthmus.applications.retrieval import LatentIndex
    from isthmus.data import Dataset


MAX_QUERIES = 40
SHORT = 3  # letters of a label that fits next to the distance


COMMAND = command(
    "find the examples most like a query, as a contact sheet",
    "Find the rows of a data set whose codes are nearest to those of a query. The first search "
    "encodes the data and stores the index in the run; later searches reuse it.",
    RUN,
    option(
        "query QUERY+: a row number (the row itself is not a result), test:NUMBER, an image, or an "
        ".npy file"
    ),
    *other_data(
        "data to search, as for `isthmus fit` (default: those indexed last, else those the run was "
        "fitted on)"
    ),
    option("-k --n-neighbors N: results", default=10),
    option(
        "--metric euclidean|cosine|scaled: distance between codes; scaled: each latent divided by "
        "its standard deviation"
    ),
    option(
        "--backend auto|exact|approximate: auto is exact up to 200,000 rows, beyond that "
        "approximate if faiss is installed"
    ),
    option("--out FILE: output image (default: RUN/search.png)"),
    examples=(
        "isthmus search runs/digits-vae 17",
        "isthmus search RUN test:3 test:9 --data mnist",
        "isthmus search RUN photo.jpg --data photos/",
    ),
)


def run(arguments: argparse.Namespace) -> int:
    """Find the neighbours, print and draw them; return the exit code."""
    import numpy as np

    from isthmus.applications.retrieval import INDEX, LatentIndex
    from isthmus.cli._run_data import load_rows, read_queries
    from isthmus.cli._sheets import beside_sheet, check_out, write_figure
    from isthmus.estimators import model_io
    from isthmus.runs.data import own_source

    folder = Path(arguments.run)
    out = check_out(arguments.out, folder / "search.png")
    estimator = model_io.load(folder)
    record = None
    with suppress(ValueError, OSError):  # an index that cannot be read is replaced
        record = LatentIndex.read_record(folder / INDEX)
    if arguments.data is None and record is not None:  # the data that were indexed last
        source = own_source(folder, record["data"], record["model"])
        for name, value in {**source._asdict(), **asdict(source.table)}.items():
            setattr(arguments, "data" if name == "path" else name, value)
    data = load_rows(arguments)
    queries = read_queries(arguments.query, data, estimator.feature_shape_)
    k = arguments.n_neighbors
    if not 1 <= k < len(data.X):
        raise ValueError(f"-k must be from 1 to {len(data.X) - 1}, got {k}.")
    if len(queries.X) > MAX_QUERIES:
        raise ValueError(f"expected at most {MAX_QUERIES} queries, got {len(queries.X)}.")
    index = _index(arguments, estimator, data, record)
    distances, rows = index.kneighbors(queries.X, k + 1)  # one more: a row finds itself
    others = [np.flatnonzero(r != own)[:k] for r, own in zip(rows, queries.rows, strict=True)]
    found, apart = (
        np.stack([a[i] for a, i in zip(each, others, strict=True)]) for each in (rows, distances)
    )
    notes = []
    for name, own, numbers, far in zip(queries.names, queries.rows, found, apart, strict=True):
        labels = _labels(data, numbers)
        lines = map(_line, (_name(data, row) for row in numbers), far, labels)
        named = f"{name} {_name(data, own)}" if own >= 0 and data.ids else name
        say(f"{named}: " + ", ".join(lines))
        notes.append(list(map(_note, far, labels)))
    heading = "Query, and the nearest by code: label and distance, nearest first"
    results = np.asarray(data.X[found])
    write_figure(beside_sheet(queries.X, results, queries.names, heading, notes), out)
    return 0


def _index(
    arguments: argparse.Namespace, estimator: Any, data: Dataset, record: dict[str, Any] | None
) -> LatentIndex:
    """Return the run's index if it is of this model and these data, else a new, saved one."""
    from isthmus.applications.meta_estimator import model_digest
    from isthmus.applications.retrieval import INDEX, LatentIndex
    from isthmus.persistence.atomic import inner_folder

    folder, fingerprint = Path(arguments.run) / INDEX, data.fingerprint
    settings = {"metric": arguments.metric, "backend": arguments.backend}
    if record is not None and record["model"] == model_digest(estimator):
        same = all(record["data"].get(k) == fingerprint[k] for k in ("shape", "dtype", "sha256"))
        if same:  # wherever the data lie
            return LatentIndex.load(folder, estimator, **settings)
    index = LatentIndex.from_fitted(estimator, **settings).fit(data.X)
    try:
        index.save(inner_folder(folder.parent, INDEX), fingerprint)
        where = f"stored in {folder}"
    except OSError as error:  # a read-only run can still be searched
        where = f"not stored: {error}"
    say(f"indexed {len(data.X):,} rows of {data.name}; the index is {where}")
    return index


def _labels(data: Dataset, rows: Any) -> list[str]:
    from isthmus.cli._sheets import short

    return [""] * len(rows) if data.y is None else [short(label) for label in data.y[rows]]


def _name(data: Dataset, row: int) -> str:
    """Return the file or id of a row, or its number."""
    return data.row_name(row) if data.ids else str(row)


def _line(row: str, distance: float, label: str) -> str:
    return f"{row} ({label + ', ' if label else ''}{distance:.3g})"


def _note(distance: float, label: str) -> str:
    between = " · " if len(label) <= SHORT else "\n"
    return f"{label}{between}{distance:.2g}" if label else f"{distance:.2g}"
