"""``isthmus sample``: generate examples."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator

from isthmus.applications.generation import (
    MIXTURE,
    MIXTURES,
    LatentSampler,
    variations,
)
from isthmus.applications.meta_estimator import model_digest
from isthmus.cli._run_data import as_class, load_rows, read_queries
from isthmus.cli._sheets import (
    beside_sheet,
    check_out,
    rows_of_cells,
    save_array,
    save_frame,
    short,
    write_figure,
)
from isthmus.data import Dataset
from isthmus.estimators import model_io
from isthmus.estimators.validation import as_array

Array = NDArray[Any]

__all__ = ["run"]

MANY, FEW = 64, 10  # default number of examples: in all, and per class or input
MAX_EXAMPLES = 1600  # in one image
TABLES = (".csv", ".parquet")
ACROSS = 10  # examples in a row of a class
MIXTURE_SEED = 0  # of the fit; --random-state seeds the draws from it


def run(arguments: argparse.Namespace) -> int:
    """Generate examples, draw or write them; return the exit code."""
    if arguments.out and Path(arguments.out).suffix in TABLES:
        return _write_table(arguments)
    out = check_out(arguments.out, Path(arguments.run) / "samples.png")
    _check_suffix(arguments.save, (".npy", *TABLES))
    groups = arguments.of or arguments.around
    n = arguments.n_samples or (FEW if groups else MANY)
    _check_number(n * len(groups or [0]))
    if arguments.of and arguments.around:
        raise ValueError("--of and --around exclude each other.")
    estimator = model_io.load(arguments.run)
    _check_suffix(arguments.save, (".npy",) if estimator.columns_ is None else (".npy", *TABLES))
    if arguments.around:
        examples, sheet = _around(arguments, estimator, n)
    else:
        examples, sheet = _drawn(arguments, _sampler(arguments, estimator), n)
    write_figure(sheet, out)
    if arguments.save and Path(arguments.save).suffix in TABLES:
        rows = examples.reshape(-1, *estimator.feature_shape_)
        save_frame(Path(arguments.save), estimator.as_input_type(rows))
    elif arguments.save:
        save_array(Path(arguments.save), examples)
    return 0


def _write_table(arguments: argparse.Namespace) -> int:
    """Write rows of a table instead of an image; return the exit code."""
    out = check_out(arguments.out, Path(), suffixes=TABLES)
    estimator = model_io.load(arguments.run)
    if estimator.columns_ is None:
        raise ValueError(f"--out {out.name} needs a model of a table; name an image instead.")
    if arguments.around:
        raise ValueError("--around draws an image: give --out an image, and --save the rows.")
    n = arguments.n_samples or MANY
    sampler = _sampler(arguments, estimator)
    y = np.repeat(_classes(arguments.of, sampler), n) if arguments.of else None
    save_frame(out, sampler.sample(n if y is None else len(y), arguments.random_state, y=y))
    return 0


def _check_suffix(path: str | None, suffixes: tuple[str, ...]) -> None:
    if path and Path(path).suffix not in suffixes:
        raise ValueError(f"--save must end in {' or '.join(suffixes)}, got {path!r}.")


def _check_number(n: int) -> None:
    if n > MAX_EXAMPLES:
        raise ValueError(f"-n must give at most {MAX_EXAMPLES} examples in all, got {n}.")


def _sampler(arguments: argparse.Namespace, estimator: Any) -> LatentSampler:
    """Return a sampler of the prior, of the run's mixture, or of a new mixture, which is stored."""
    sampler = LatentSampler(
        FrozenEstimator(estimator),
        source=arguments.source,
        n_modes=arguments.modes,
        random_state=MIXTURE_SEED,
    )
    if not _needs_mixture(arguments, estimator):
        return sampler.fit(None)  # nothing to learn
    by_class = bool(arguments.of) or estimator.conditional
    folder = Path(arguments.run) / (MIXTURES if by_class else MIXTURE)
    record = _record(folder, arguments, estimator)
    if record and arguments.data is None:
        return _stored(folder, record, estimator)
    data = load_rows(arguments)
    if record and _matches(record["data"], _fingerprint(data, by_class)):
        return _stored(folder, record, estimator)
    sampler.fit(data.X, data.y if by_class else None)
    try:
        sampler.save(folder, _fingerprint(data, by_class))
        where = f"stored in {folder}"
    except OSError as error:  # a read-only run is still good to draw from
        where = f"not stored: {error}"
    print(f"fitted a mixture to the codes of {len(data.X):,} rows of {data.name}, {where}")
    return sampler


def _stored(folder: Path, record: dict[str, Any], estimator: Any) -> LatentSampler:
    print(f"using the mixture in {folder}, of {record['data'].get('name', 'unnamed data')}")
    return LatentSampler.load(folder, estimator)


def _needs_mixture(arguments: argparse.Namespace, estimator: Any) -> bool:
    no_prior = estimator.model_.prior is None
    return arguments.source == "mixture" or (arguments.source == "auto" and no_prior)


def _record(folder: Path, arguments: argparse.Namespace, estimator: Any) -> dict[str, Any] | None:
    """Return the record of the stored mixture, if it is of this model and as many components."""
    try:
        record = LatentSampler.read_record(folder)
    except FileNotFoundError:
        return None
    wanted = {"model": model_digest(estimator), "n_modes": arguments.modes}
    return record if _matches({**record, **record["settings"]}, wanted) else None


def _fingerprint(data: Dataset, by_class: bool) -> dict[str, Any]:
    """Return what identifies the data, and their labels if these are used."""
    labels = "\n".join(map(str, data.y)) if by_class and data.y is not None else ""
    content = {k: data.fingerprint[k] for k in ("name", "shape", "dtype", "sha256")}
    return {**content, "labels": hashlib.sha256(labels.encode()).hexdigest()}


def _matches(record: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(record.get(key) == value for key, value in wanted.items())


def _drawn(arguments: argparse.Namespace, sampler: LatentSampler, n: int) -> tuple[Array, Figure]:
    estimator = sampler.estimator_.estimator
    source = "its prior"
    if sampler.source_ == "mixture":
        source = f"a mixture of {arguments.modes} normals fitted to its codes"
    heading = f"Samples of {type(estimator).__name__}, from {source}"
    classes = _classes(arguments.of, sampler) if arguments.of else None
    if classes is None:
        examples = as_array(estimator, sampler.sample(n, arguments.random_state))
        return examples, rows_of_cells(examples, int(np.ceil(np.sqrt(n))), [], heading)
    _check_number(n * len(classes))
    y = np.repeat(classes, n)
    examples = as_array(estimator, sampler.sample(len(y), arguments.random_state, y=y))
    return examples, _by_class(examples, classes, n, heading)


def _by_class(examples: Array, classes: Array, n: int, heading: str) -> Figure:
    """Draw the examples so that each class starts a row, with its name at the left."""
    across = min(n, ACROSS)
    down = -(-n // across)
    shape = examples.shape[1:]
    cells = np.full((len(classes), down * across, *shape), np.nan)
    cells[:, :n] = examples.reshape(len(classes), n, *shape)
    names = [short(c) if i == 0 else "" for c in classes for i in range(down)]
    return rows_of_cells(cells.reshape(-1, *shape), across, names, heading)


def _classes(names: list[str], sampler: LatentSampler) -> Array:
    """Return the classes that words of the command line name."""
    known = getattr(sampler, "classes_", getattr(sampler.estimator_, "classes_", None))
    if known is None:
        if sampler.estimator_.conditional:  # the condition is a number
            return np.array([float(name) for name in names])
        raise ValueError(
            f"{type(sampler.estimator_.estimator).__name__} cannot generate a given class: fit "
            "--model conditional-vae, or use --source mixture with labelled data."
        )
    return known if names == ["each"] else np.array([as_class(name, known) for name in names])


def _around(arguments: argparse.Namespace, estimator: Any, n: int) -> tuple[Array, Figure]:
    queries = read_queries(arguments.around, load_rows(arguments), estimator.feature_shape_)
    seed, spread = arguments.random_state, arguments.spread
    if _needs_mixture(arguments, estimator):
        examples = _sampler(arguments, estimator).variations(queries.X, n, spread, seed)
    else:
        labelled = estimator.conditional and not any(label is None for label in queries.labels)
        condition = np.array(queries.labels) if labelled else None
        examples = variations(
            estimator, queries.X, n, spread, condition=condition, random_state=seed
        )
    heading = f"Input, and {n} variations of its code, spread {spread:g}"
    return examples, beside_sheet(queries.X, examples, queries.names, heading)
