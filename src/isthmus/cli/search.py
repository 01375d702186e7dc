"""``isthmus search``: a query in, the nearest rows and a contact sheet of them out."""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.cli._options import add_data_options, add_run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isthmus.applications.retrieval import LatentIndex
    from isthmus.data import Dataset

__all__ = ["add_parser", "run"]

MOST = 40  # queries of one sheet
SHORT = 3  # letters of a label that fits beside the distance


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    search = subparsers.add_parser(
        "search",
        help="find the examples most like a query: a contact sheet of results",
        description="Find the rows of a data set whose codes are nearest to those of a query. "
        "The first search encodes the data and keeps the index in the run; later ones use it.",
        epilog="Examples:  isthmus search runs/digits-vae 17   isthmus search RUN test:3 test:9 "
        "--data mnist   isthmus search RUN photo.jpg --data photos/",
    )
    add_run(search)
    search.add_argument(
        "query",
        metavar="QUERY",
        nargs="+",
        help="the number of a row (it does not find itself), test:NUMBER, a picture, or .npy",
    )
    search.add_argument(
        "--data",
        metavar="DATA",
        help="what to search, as for `isthmus fit` (default: what was indexed last, else what the "
        "run was fitted on)",
    )
    add_data_options(search)
    search.add_argument(
        "-k", "--n-neighbors", type=int, default=10, metavar="N", help="results (default: 10)"
    )
    search.add_argument(
        "--metric",
        choices=("euclidean", "cosine", "scaled"),
        default="euclidean",
        help="distance of codes; scaled: each latent divided by its standard deviation",
    )
    search.add_argument(
        "--backend",
        choices=("auto", "exact", "approximate"),
        default="auto",
        help="auto is exact up to 200,000 rows, beyond that approximate where faiss is installed",
    )
    search.add_argument("--out", metavar="FILE", help="the sheet (default: RUN/search.png)")


def run(arguments: argparse.Namespace) -> int:
    """Find, print, draw; return the exit code."""
    import numpy as np

    from isthmus.cli._contact_sheet import (
        beside_sheet,
        check_out,
        load_rows,
        read_queries,
        write_figure,
    )
    from isthmus.estimators import model_io

    folder = Path(arguments.run)
    out = check_out(arguments.out, folder / "search.png")
    estimator = model_io.load(folder)
    record = _record(folder)
    again = _as_before(arguments, record)
    data = load_rows(again)
    queries = read_queries(arguments.query, data, estimator.feature_shape_)
    k = _checked_k(arguments.n_neighbors, len(data.X), len(queries.X))
    index = _index(again, estimator, data, record)
    distances, rows = index.kneighbors(queries.X, k + 1)  # one more: a row finds itself
    kept = [_others(r, own)[:k] for r, own in zip(rows, queries.rows, strict=True)]
    found = np.stack([r[i] for r, i in zip(rows, kept, strict=True)])
    apart = np.stack([d[i] for d, i in zip(distances, kept, strict=True)])
    for name, numbers, far in zip(queries.names, found, apart, strict=True):
        print(f"{name}: " + ", ".join(map(_line, numbers, far, _labels(data, numbers))))
    notes = [
        [_note(d, label) for d, label in zip(far, _labels(data, numbers), strict=True)]
        for numbers, far in zip(found, apart, strict=True)
    ]
    heading = "Query, and the nearest by code: label and distance, nearest first"
    results = np.asarray(data.X[found])
    write_figure(beside_sheet(queries.X, results, queries.names, heading, notes), out)
    return 0


def _record(folder: Path) -> dict[str, Any] | None:
    """Return what the run's index says of itself, if there is one that can be read."""
    from isthmus.applications.retrieval import INDEX, read_record

    try:
        return read_record(folder / INDEX)
    except (ValueError, OSError):
        return None


def _as_before(arguments: argparse.Namespace, record: dict[str, Any] | None) -> argparse.Namespace:
    """Return the arguments, with the data that were indexed last where none are given."""
    from isthmus.data.datasets import DataSource

    again = copy.copy(arguments)
    if arguments.data is None and record is not None:
        source = DataSource.from_record(record["data"]) or DataSource(record["data"].get("name"))
        again.data, again.size, again.label = source
    return again


def _checked_k(k: int, rows: int, queries: int) -> int:
    if not 1 <= k < rows:
        raise ValueError(f"-k must be from 1 to {rows - 1}, got {k}.")
    if queries > MOST:
        raise ValueError(f"{queries} queries are more than one sheet holds: {MOST} at most.")
    return k


def _index(
    arguments: argparse.Namespace, estimator: Any, data: Dataset, record: dict[str, Any] | None
) -> LatentIndex:
    """Return the run's index if it is of this model and these data, else a new one, saved."""
    from isthmus.applications.retrieval import INDEX, LatentIndex

    folder = Path(arguments.run) / INDEX
    print_of_data = data.fingerprint
    settings = {"metric": arguments.metric, "backend": arguments.backend}
    if record is not None and _is_current(record, estimator, print_of_data):
        return LatentIndex.load(folder, estimator, **settings)
    index = LatentIndex.from_fitted(estimator, **settings).fit(data.X)
    index.save(folder, print_of_data)
    print(f"indexed {len(data.X):,} rows of {data.name}, kept in {folder}")
    return index


def _is_current(record: dict[str, Any], estimator: Any, print_of_data: dict[str, object]) -> bool:
    from isthmus.applications.meta_estimator import model_digest

    content = ("shape", "dtype", "sha256")  # wherever it lies
    same_data = all(record["data"].get(k) == print_of_data[k] for k in content)
    return same_data and record["model"] == model_digest(estimator)


def _others(rows: NDArray[Any], own: int) -> NDArray[Any]:
    """Return which neighbours are not the query's own row."""
    import numpy as np

    return np.flatnonzero(rows != own)


def _labels(data: Dataset, rows: NDArray[Any]) -> list[str]:
    from isthmus.cli._contact_sheet import short

    return [""] * len(rows) if data.y is None else [short(label) for label in data.y[rows]]


def _line(row: int, distance: float, label: str) -> str:
    return f"{row} ({label + ', ' if label else ''}{distance:.3g})"


def _note(distance: float, label: str) -> str:
    between = " · " if len(label) <= SHORT else "\n"
    return f"{label}{between}{distance:.2g}" if label else f"{distance:.2g}"
