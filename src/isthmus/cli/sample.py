"""``isthmus sample``: a run in, a sheet of generated examples out."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.cli._options import add_data_options, add_run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    from matplotlib.figure import Figure

    from isthmus.applications.generation import LatentSampler
    from isthmus.data import Dataset

__all__ = ["add_parser", "run"]

MANY, FEW = 64, 10  # examples of a sheet, and of each row that has a name
MOST = 1600  # examples of one sheet
TABLES = (".csv", ".parquet")  # kinds of file for examples of a table
ACROSS = 10  # cells in a row of a class
SEED = 0  # of a mixture's fit: what is drawn is told by --random-state, kept or not


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    sample = subparsers.add_parser(
        "sample",
        help="generate examples: from the prior, of a class, around an input",
        description="Generate examples and draw them as a sheet. Models without a prior draw "
        "from a mixture of normals fitted to the codes of the data; it is kept in the run, and "
        "used again for the same data, or where no --data is given.",
        epilog="Examples:  isthmus sample RUN -n 64 --out sheet.png   isthmus sample RUN --of 7   "
        "isthmus sample RUN --of each -n 10   isthmus sample RUN --around 17 --spread 2   "
        "isthmus sample runs/table-vae -n 1000 --out rows.csv",
    )
    add_run(sample)
    sample.add_argument(
        "-n",
        "--n-samples",
        type=int,
        metavar="N",
        help="examples, of each class or around each input where such are named (default: 64; 10)",
    )
    sample.add_argument(
        "--of",
        nargs="+",
        metavar="CLASS",
        help="classes to generate, or 'each': of a conditional model, or by --source mixture of "
        "labelled data",
    )
    sample.add_argument(
        "--around",
        nargs="+",
        metavar="QUERY",
        help="vary these: the number of a row, test:NUMBER, a picture, or .npy",
    )
    sample.add_argument(
        "--spread",
        type=float,
        default=1.0,
        metavar="X",
        help="how far to vary, in standard deviations of q(z|x) (default: 1)",
    )
    sample.add_argument(
        "--source",
        choices=("auto", "prior", "mixture"),
        default="auto",
        help="where codes come from; auto is the prior where there is one, else a mixture",
    )
    sample.add_argument(
        "--mixture",
        action="store_const",
        dest="source",
        const="mixture",
        help="short for --source mixture",
    )
    sample.add_argument(
        "--modes", type=int, default=10, metavar="N", help="normals of the mixture (default: 10)"
    )
    sample.add_argument(
        "--data",
        metavar="DATA",
        help="the data, as for `isthmus fit` (default: what the kept mixture was fitted to, "
        "else the run's own)",
    )
    add_data_options(sample)
    sample.add_argument("--random-state", type=int, default=0, metavar="N", help="seed")
    sample.add_argument("--out", metavar="FILE", help="the sheet (default: RUN/samples.png)")
    sample.add_argument(
        "--save",
        metavar="FILE",
        help="write the examples, too: .npy, or of a table .csv or .parquet",
    )


def run(arguments: argparse.Namespace) -> int:
    """Generate, draw; return the exit code."""
    from isthmus.cli._contact_sheet import check_out, save_array, save_frame, write_figure
    from isthmus.estimators import model_io

    if arguments.out and Path(arguments.out).suffix in TABLES:
        return _write_rows(arguments)
    out = check_out(arguments.out, Path(arguments.run) / "samples.png")
    _check_kind(arguments.save, (".npy", *TABLES))
    named = arguments.of or arguments.around
    n = arguments.n_samples if arguments.n_samples is not None else FEW if named else MANY
    _check_number(n * len(named or [0]))
    if arguments.of and arguments.around:
        raise ValueError("--of and --around exclude each other: a variation is of its input.")
    estimator = model_io.load(arguments.run)
    _check_kind(arguments.save, (".npy",) if estimator.columns_ is None else (".npy", *TABLES))
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


def _write_rows(arguments: argparse.Namespace) -> int:
    """Write rows of a table instead of drawing a sheet; return the exit code."""
    import numpy as np

    from isthmus.cli._contact_sheet import check_out, save_frame
    from isthmus.estimators import model_io

    out = check_out(arguments.out, Path(), kinds=TABLES)
    estimator = model_io.load(arguments.run)
    if estimator.columns_ is None:
        raise ValueError(f"{out.name} is for a model of a table; name a picture, or --save *.npy.")
    if arguments.around:
        raise ValueError("--around draws a sheet: give --out a picture, and --save the rows.")
    n = arguments.n_samples if arguments.n_samples is not None else MANY
    if n < 1:
        raise ValueError(f"-n must be at least 1, got {n}.")
    sampler = _sampler(arguments, estimator)
    y = np.repeat(_classes(arguments.of, sampler), n) if arguments.of else None
    save_frame(out, sampler.sample(n if y is None else len(y), arguments.random_state, y=y))
    return 0


def _check_kind(path: str | None, kinds: tuple[str, ...]) -> None:
    if path and Path(path).suffix not in kinds:
        raise ValueError(f"--save must end in {' or '.join(kinds)}, got {path!r}.")


def _check_number(n: int) -> None:
    if not 1 <= n <= MOST:
        raise ValueError(f"-n must give 1 to {MOST} examples in all, got {n}.")


def _sampler(arguments: argparse.Namespace, estimator: Any) -> LatentSampler:
    """Return a sampler: of the prior, of the run's mixture, or of a new one, which is kept."""
    from sklearn.frozen import FrozenEstimator

    from isthmus.applications.generation import MIXTURE, MIXTURES, LatentSampler
    from isthmus.cli._contact_sheet import load_rows

    sampler = LatentSampler(
        FrozenEstimator(estimator),
        source=arguments.source,
        n_modes=arguments.modes,
        random_state=SEED,
    )
    if not _wants_mixture(arguments, estimator):
        return sampler.fit(None)  # nothing is learned
    by_class = bool(arguments.of) or estimator.conditional
    folder = Path(arguments.run) / (MIXTURES if by_class else MIXTURE)
    record = _record(folder, arguments, estimator)
    if record and arguments.data is None:
        return _kept(folder, record, estimator)
    data = load_rows(arguments)
    if record and _same(record["data"], _named(data, by_class)):
        return _kept(folder, record, estimator)
    sampler.fit(data.X, data.y if by_class else None)
    try:
        sampler.save(folder, _named(data, by_class))
        where = f"kept in {folder}"
    except OSError as error:  # a run that can only be read is still good to draw from
        where = f"not kept: {error}"
    print(f"fitted a mixture to the codes of {len(data.X):,} rows of {data.name}, {where}")
    return sampler


def _kept(folder: Path, record: dict[str, Any], estimator: Any) -> LatentSampler:
    from isthmus.applications.generation import LatentSampler

    print(f"the mixture kept in {folder}, of {record['data'].get('name', 'unnamed data')}")
    return LatentSampler.load(folder, estimator)


def _wants_mixture(arguments: argparse.Namespace, estimator: Any) -> bool:
    no_prior = estimator.model_.prior is None
    return arguments.source == "mixture" or (arguments.source == "auto" and no_prior)


def _record(folder: Path, arguments: argparse.Namespace, estimator: Any) -> dict[str, Any] | None:
    """Return what the kept mixture says of itself, if it is of this model and as many modes."""
    from isthmus.applications.generation import read_mixture
    from isthmus.applications.meta_estimator import model_digest

    try:
        record = read_mixture(folder)
    except FileNotFoundError:
        return None
    wanted = {"model": model_digest(estimator), "n_modes": arguments.modes}
    return record if _same({**record, **record["settings"]}, wanted) else None


def _named(data: Dataset, by_class: bool) -> dict[str, Any]:
    """Return what tells the data from others: their bytes, and the labels where they count."""
    labels = "\n".join(map(str, data.y)) if by_class and data.y is not None else ""
    content = {k: data.fingerprint[k] for k in ("name", "shape", "dtype", "sha256")}
    return {**content, "labels": hashlib.sha256(labels.encode()).hexdigest()}


def _same(record: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(record.get(key) == value for key, value in wanted.items())


def _drawn(arguments: argparse.Namespace, sampler: LatentSampler, n: int) -> tuple[Array, Figure]:
    import numpy as np

    from isthmus.cli._contact_sheet import rows_of_cells
    from isthmus.estimators.validation import as_array

    estimator = sampler.estimator_
    source = "its prior"
    if sampler.source_ == "mixture":
        source = f"a mixture of {arguments.modes} normals fitted to its codes"
    name = type(estimator.estimator).__name__
    if not arguments.of:
        examples = as_array(estimator.estimator, sampler.sample(n, arguments.random_state))
        columns = int(np.ceil(np.sqrt(n)))
        return examples, rows_of_cells(examples, columns, [], f"Samples of {name}, from {source}")
    classes = _classes(arguments.of, sampler)
    _check_number(n * len(classes))
    y = np.repeat(classes, n)
    made = sampler.sample(len(y), arguments.random_state, y=y)
    examples = as_array(estimator.estimator, made)  # of a data frame its numbers
    heading = f"Samples of {name} by class, from {source}"
    return examples, _by_class(examples, classes, n, heading)


def _by_class(examples: Array, classes: Array, n: int, heading: str) -> Figure:
    """Return a sheet in which each class begins a row, with its name at the left."""
    import numpy as np

    from isthmus.cli._contact_sheet import rows_of_cells, short

    across = min(n, ACROSS)
    down = -(-n // across)
    shape = examples.shape[1:]
    cells = np.full((len(classes), down * across, *shape), np.nan)
    cells[:, :n] = examples.reshape(len(classes), n, *shape)
    names = [short(c) if i == 0 else "" for c in classes for i in range(down)]
    return rows_of_cells(cells.reshape(-1, *shape), across, names, heading)


def _classes(asked: list[str], sampler: LatentSampler) -> Array:
    """Return the classes as the model knows them: their names in the terminal are text."""
    import numpy as np

    from isthmus.cli._contact_sheet import as_class

    known = getattr(sampler, "classes_", getattr(sampler.estimator_, "classes_", None))
    if known is None:
        if sampler.estimator_.conditional:  # a context of numbers
            return np.array([float(text) for text in asked])
        raise ValueError(
            f"{type(sampler.estimator_.estimator).__name__} cannot be asked for a class: fit "
            "--model conditional-vae, or use --source mixture on labelled data."
        )
    if asked == ["each"]:
        return known
    return np.array([as_class(text, known) for text in asked])


def _around(arguments: argparse.Namespace, estimator: Any, n: int) -> tuple[Array, Figure]:
    import numpy as np

    from isthmus.applications.generation import variations
    from isthmus.cli._contact_sheet import beside_sheet, load_rows, read_queries

    data = load_rows(arguments)
    queries = read_queries(arguments.around, data, estimator.feature_shape_)
    seed = arguments.random_state
    if _wants_mixture(arguments, estimator):
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
