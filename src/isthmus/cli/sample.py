"""``isthmus sample``: generate examples."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus._messages import say
from isthmus.cli._options import (
    EXAMPLES,
    RUN,
    SEED,
    command,
    option,
    other_data,
    switch,
    whole_number,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from isthmus.applications.generation import LatentSampler
    from isthmus.data import Dataset

    Array = NDArray[Any]


MANY, FEW = 64, 10  # default number of examples: in all, and per class or input
MAX_EXAMPLES = 1600  # in one image
TABLES = (".csv", ".parquet")
ACROSS = 10  # examples in a row of a class
MIXTURE_SEED = 0  # of the fit; --random-state seeds the draws from it


COMMAND = command(
    "generate examples: from the prior, of a class, around an input",
    "Generate examples and draw them. Models without a prior draw codes from a mixture of normals "
    "fitted to the codes of the data; the mixture is stored in the run and used again for the same "
    "data, or if --data is not given.",
    RUN,
    option(
        "-n --n-samples N: number of examples (default: 64), or per class or input (default: 10)",
        type=whole_number(1),
    ),
    option(
        "--of CLASS+: classes to generate, or 'each'; for conditional models, or with --source "
        "mixture and labelled data"
    ),
    option(f"--around QUERY+: inputs to vary: {EXAMPLES}"),
    option("--spread X: how far to vary, in standard deviations of q(z|x)", default=1),
    option(
        "--source auto|prior|mixture: where codes come from (default: auto, the prior if there is "
        "one, else a mixture)"
    ),
    switch(
        "--mixture: short for --source mixture",
        action="store_const",
        dest="source",
        const="mixture",
    ),
    option("--modes N: components of the mixture", default=10),
    *other_data(
        "the data, as for `isthmus fit` (default: those of the stored mixture, else the run's own)"
    ),
    SEED,
    option("--out FILE: output image (default: RUN/samples.png), or for tables .csv or .parquet"),
    option("--save FILE: also write the examples: .npy, or for tables .csv, .parquet"),
    examples=(
        "isthmus sample RUN -n 64 --out sheet.png",
        "isthmus sample RUN --of 7",
        "isthmus sample RUN --of each -n 10",
        "isthmus sample RUN --around 17 --spread 2",
        "isthmus sample runs/table-vae -n 1000 --out rows.csv",
    ),
)


def run(arguments: argparse.Namespace) -> int:
    """Generate examples, draw or write them; return the exit code."""
    from isthmus.cli._sheets import IMAGES, check_out, save_array, save_frame, write_figure
    from isthmus.estimators import model_io

    default = Path(arguments.run) / "samples.png"
    out = check_out(arguments.out, default, suffixes=(*IMAGES, *TABLES))
    as_table = out.suffix.lower() in TABLES
    groups = arguments.of or arguments.around
    n = arguments.n_samples or (FEW if groups and not as_table else MANY)
    if not as_table:
        _check_number(n * len(groups or [0]))
    if arguments.of and arguments.around:
        raise ValueError("--of and --around exclude each other.")
    estimator = model_io.load(arguments.run)
    if as_table and estimator.columns_ is None:
        raise ValueError(f"--out {out.name} needs a model of a table; name an image instead.")
    if as_table and arguments.around:
        raise ValueError("--around draws an image: give --out an image, and --save the rows.")
    if as_table:
        save_frame(out, _drawn(arguments, _sampler(arguments, estimator), n)[0])
        return 0
    save = None
    if arguments.save:
        suffixes = (".npy", *TABLES) if estimator.columns_ is not None else (".npy",)
        save = check_out(arguments.save, Path(), "--save", suffixes)
    if arguments.around:
        examples, sheet = _around(arguments, estimator, n)
    else:
        examples, sheet = _sheet(arguments, _sampler(arguments, estimator), n)
    write_figure(sheet, out)
    if save and save.suffix.lower() in TABLES:
        save_frame(save, estimator.as_input_type(examples.reshape(-1, *estimator.feature_shape_)))
    elif save:
        save_array(save, examples)
    return 0


def _check_number(n: int) -> None:
    if n > MAX_EXAMPLES:
        raise ValueError(f"-n must give at most {MAX_EXAMPLES} examples in all, got {n}.")


def _sampler(arguments: argparse.Namespace, estimator: Any) -> LatentSampler:
    """Return a sampler of the prior, of the run's mixture, or of a new mixture, which is stored."""
    from isthmus.applications.generation import MIXTURE, MIXTURES, LatentSampler
    from isthmus.cli._run_data import load_rows
    from isthmus.persistence.atomic import inner_folder

    sampler = LatentSampler(
        estimator,
        source=arguments.source,
        n_modes=arguments.modes,
        random_state=MIXTURE_SEED,
    )
    if not _needs_mixture(arguments, estimator):
        return sampler.fit(None)  # nothing to learn
    by_class = bool(arguments.of) or estimator.conditional
    folder = Path(arguments.run) / (MIXTURES if by_class else MIXTURE)
    record = _record(folder, arguments, estimator)
    data = None if record and arguments.data is None else load_rows(arguments)
    if record and (data is None or _matches(record["data"], _fingerprint(data, by_class))):
        say(f"using the mixture in {folder}, of {record['data'].get('name', 'unnamed data')}")
        return LatentSampler.load(folder, estimator)
    assert data is not None
    sampler.fit(data.X, data.y if by_class else None)
    try:
        folder = inner_folder(Path(arguments.run), folder.name)
        sampler.save(folder, _fingerprint(data, by_class))
        where = f"stored in {folder}"
    except OSError as error:  # a read-only run is still good to draw from
        where = f"not stored: {error}"
    say(f"fitted a mixture to the codes of {len(data.X):,} rows of {data.name}, {where}")
    return sampler


def _needs_mixture(arguments: argparse.Namespace, estimator: Any) -> bool:
    no_prior = estimator.model_.prior is None
    return arguments.source == "mixture" or (arguments.source == "auto" and no_prior)


def _record(folder: Path, arguments: argparse.Namespace, estimator: Any) -> dict[str, Any] | None:
    """Return the record of the stored mixture, if it is of this model and as many components."""
    from isthmus.applications.generation import LatentSampler
    from isthmus.applications.meta_estimator import model_digest

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


def _drawn(arguments: argparse.Namespace, sampler: LatentSampler, n: int) -> tuple[Any, Any]:
    """Return n examples, or n of each class in --of, and these classes."""
    import numpy as np

    if not arguments.of:
        return sampler.sample(n, arguments.random_state), None
    classes = _classes(arguments.of, sampler)
    y = np.repeat(classes, n)
    return sampler.sample(len(y), arguments.random_state, y=y), classes


def _sheet(arguments: argparse.Namespace, sampler: LatentSampler, n: int) -> tuple[Array, Figure]:
    """Return examples and their image, in which each class starts a row with its name."""
    import numpy as np

    from isthmus.cli._sheets import rows_of_cells, short
    from isthmus.estimators.validation import as_array

    estimator = sampler.estimator_
    drawn, classes = _drawn(arguments, sampler, n)
    examples = as_array(estimator, drawn)
    source = "its prior"
    if sampler.source_ == "mixture":
        source = f"a mixture of {arguments.modes} normals fitted to its codes"
    heading = f"Samples of {type(estimator).__name__}, from {source}"
    if classes is None:
        return examples, rows_of_cells(examples, int(np.ceil(np.sqrt(n))), [], heading)
    _check_number(len(examples))
    across = min(n, ACROSS)
    down = -(-n // across)
    shape = examples.shape[1:]
    cells = np.full((len(classes), down * across, *shape), np.nan)
    cells[:, :n] = examples.reshape(len(classes), n, *shape)
    names = [short(c) if i == 0 else "" for c in classes for i in range(down)]
    return examples, rows_of_cells(cells.reshape(-1, *shape), across, names, heading)


def _classes(names: list[str], sampler: LatentSampler) -> Array:
    """Return the classes that words of the command line name."""
    import numpy as np

    from isthmus.cli._run_data import as_class

    known = getattr(sampler, "classes_", getattr(sampler.estimator_, "classes_", None))
    if known is None:
        if sampler.estimator_.conditional:  # the condition is a number
            return np.array([float(name) for name in names])
        raise ValueError(
            f"{type(sampler.estimator_).__name__} cannot generate a given class: fit "
            "--model conditional-vae, or use --source mixture with labelled data."
        )
    return known if names == ["each"] else np.array([as_class(name, known) for name in names])


def _around(arguments: argparse.Namespace, estimator: Any, n: int) -> tuple[Array, Figure]:
    import numpy as np

    from isthmus.applications.generation import variations
    from isthmus.cli._run_data import load_rows, read_queries
    from isthmus.cli._sheets import beside_sheet

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
