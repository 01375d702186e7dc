"""``isthmus sample``: a run in, a sheet of generated examples out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator

from isthmus import io
from isthmus.commands.sheet import (
    as_class,
    beside_sheet,
    check_out,
    load_rows,
    read_queries,
    rows_of_cells,
    save_array,
    short,
    write_figure,
)
from isthmus.uses.generation import LatentSampler, variations

__all__ = ["run"]

Array = NDArray[Any]

MANY, FEW = 64, 10  # examples of a sheet, and of each row that has a name
MOST = 1600  # examples of one sheet
ACROSS = 10  # cells in a row of a class


def run(arguments: argparse.Namespace) -> int:
    """Generate, draw; return the exit code."""
    out = check_out(arguments.out, Path(arguments.run) / "samples.png")
    if arguments.save and Path(arguments.save).suffix != ".npy":
        raise ValueError(f"--save must end in .npy, got {arguments.save!r}.")
    named = arguments.of or arguments.around
    n = arguments.n_samples if arguments.n_samples is not None else FEW if named else MANY
    _check_number(n * len(named or [0]))
    if arguments.of and arguments.around:
        raise ValueError("--of and --around exclude each other: a variation is of its input.")
    estimator = io.load(arguments.run)
    if arguments.around:
        examples, sheet = _around(arguments, estimator, n)
    else:
        examples, sheet = _drawn(arguments, _sampler(arguments, estimator), n)
    write_figure(sheet, out)
    if arguments.save:
        save_array(Path(arguments.save), examples)
    return 0


def _check_number(n: int) -> None:
    if not 1 <= n <= MOST:
        raise ValueError(f"-n must give 1 to {MOST} examples in all, got {n}.")


def _sampler(arguments: argparse.Namespace, estimator: Any) -> LatentSampler:
    """Return a sampler; the data are read only where a mixture is to be fitted to their codes."""
    source = "mixture" if arguments.mixture or estimator.model_.prior is None else "prior"
    sampler = LatentSampler(
        FrozenEstimator(estimator),
        source=source,
        n_modes=arguments.modes,
        random_state=arguments.random_state,
    )
    if source == "prior":
        return sampler.fit(None)  # nothing is learned
    data = load_rows(arguments)
    return sampler.fit(data.X, data.y if arguments.of or estimator.conditional else None)


def _drawn(arguments: argparse.Namespace, sampler: LatentSampler, n: int) -> tuple[Array, Figure]:
    estimator = sampler.estimator_
    source = "its prior"
    if sampler.source_ == "mixture":
        source = f"a mixture of {arguments.modes} normals fitted to its codes"
    name = type(estimator.estimator).__name__
    if not arguments.of:
        examples = sampler.sample(n, arguments.random_state)
        columns = int(np.ceil(np.sqrt(n)))
        return examples, rows_of_cells(examples, columns, [], f"Samples of {name}, from {source}")
    classes = _classes(arguments.of, sampler)
    _check_number(n * len(classes))
    y = np.repeat(classes, n)
    examples = sampler.sample(len(y), arguments.random_state, y=y)
    heading = f"Samples of {name} by class, from {source}"
    return examples, _by_class(examples, classes, n, heading)


def _by_class(examples: Array, classes: Array, n: int, heading: str) -> Figure:
    """Return a sheet in which each class begins a row, with its name at the left."""
    across = min(n, ACROSS)
    down = -(-n // across)
    shape = examples.shape[1:]
    cells = np.full((len(classes), down * across, *shape), np.nan)
    cells[:, :n] = examples.reshape(len(classes), n, *shape)
    names = [short(c) if i == 0 else "" for c in classes for i in range(down)]
    return rows_of_cells(cells.reshape(-1, *shape), across, names, heading)


def _classes(asked: list[str], sampler: LatentSampler) -> Array:
    """Return the classes as the model knows them: their names in the terminal are text."""
    known = getattr(sampler, "classes_", getattr(sampler.estimator_, "classes_", None))
    if known is None:
        if sampler.estimator_.conditional:  # a context of numbers
            return np.array([float(text) for text in asked])
        raise ValueError(
            f"{type(sampler.estimator_.estimator).__name__} cannot be asked for a class: fit "
            "--model conditional-vae, or use --mixture on labelled data."
        )
    if asked == ["each"]:
        return known
    return np.array([as_class(text, known) for text in asked])


def _around(arguments: argparse.Namespace, estimator: Any, n: int) -> tuple[Array, Figure]:
    data = load_rows(arguments)
    queries = read_queries(arguments.around, data, estimator.feature_shape_)
    seed = arguments.random_state
    if estimator.model_.prior is None or arguments.mixture:
        sampler = _sampler(arguments, estimator)
        examples = sampler.variations(queries.X, n, arguments.spread, seed)
    else:
        told = estimator.conditional and not any(label is None for label in queries.labels)
        examples = variations(
            estimator,
            queries.X,
            n,
            arguments.spread,
            condition=np.array(queries.labels) if told else None,
            random_state=seed,
        )
    heading = f"Input, and {n} variations about its code, spread {arguments.spread:g}"
    return examples, beside_sheet(queries.X, examples, queries.names, heading)
