"""Evaluate the model of a run on data: metrics, and whether the model has seen the rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus._version import __version__
from isthmus.data import Dataset
from isthmus.estimators import model_io
from isthmus.evaluation.model_evaluation import evaluate_model
from isthmus.persistence.run_folder import read_config
from isthmus.runs.data import DataArguments, as_dataset
from isthmus.runs.split import recorded_split

__all__ = ["Evaluation", "evaluate_run"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluate_run` returns.

    Parameters
    ----------
    title : str
        Model, rows and data in words.
    numbers : dict of str to float
        Metrics by name.
    record : dict
        The numbers with model, data and options, as JSON can hold them: infinity and NaN are
        None.
    """

    title: str
    numbers: dict[str, float]
    record: dict[str, Any]

    @property
    def trained_on_these_rows(self) -> bool:
        """Whether most of the rows are those the model was trained on."""
        return bool(self.record["trained_on_these_rows"])


def evaluate_run(
    run: str | Path,
    data: Dataset | DataArguments | str | Path,
    *,
    test_rows_only: bool = False,
    n_rows: int | None = None,
    n_samples: int = 500,
    annealed: bool = False,
    quality: str | None = None,
    factors: NDArray[Any] | None = None,
    random_state: int = 0,
) -> Evaluation:
    """Measure the model of a run on data; ``isthmus evaluate`` is this function.

    Parameters
    ----------
    run : path-like
        Folder of the run.
    data : Dataset, DataArguments, or str or path-like
        The data; the rows of their test set are measured if there is one, else all rows.
    test_rows_only : bool
        Whether to measure only the test rows recorded in the run; the data must be its own.
    n_rows : int, optional
        Number of rows to draw at random; by default all are measured.
    n_samples : int
        Importance samples per row.
    annealed : bool
        Whether to run annealed importance sampling on 100 rows.
    quality : {"values", "codes"}, optional
        The space in which samples from the prior are compared with the rows.
    factors : ndarray of int (n_rows_of_data, n_factors), optional
        Generative factors for the disentanglement scores; by default those of the data set.
    random_state : int

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no run, or the data do not fit its model.

    See Also
    --------
    isthmus.evaluation.evaluate_model : Measure a fitted model on arrays.

    Examples
    --------
    >>> import tempfile
    >>> import isthmus
    >>> from isthmus.runs import RunOptions, evaluate_run, fit_run
    >>> model = isthmus.Autoencoder(n_components=2, hidden=(16,), epochs=2, progress="none")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = fit_run(model, "digits", RunOptions(out=f"{folder}/run", quiet=True))
    ...     evaluation = evaluate_run(run.folder, "digits", test_rows_only=True)
    >>> evaluation.title, evaluation.numbers["rows"]
    ('Autoencoder on test rows of digits', 179)
    """
    estimator = model_io.load(run)
    data = as_dataset(data, run)
    if data.columns is not None:
        estimator.set_params(handle_unknown=data.columns.handle_unknown)
    own = read_config(Path(run))["data"].get("sha256") == data.fingerprint["sha256"]
    factors = data.factors if factors is None else factors
    X, y = (data.X, data.y) if data.X_test is None else (data.X_test, data.y_test)
    if factors is not None and len(factors) != len(X):
        raise ValueError(f"factors has {len(factors)} rows, the data have {len(X)}.")
    if test_rows_only and data.X_test is None:
        X, y, factors = _test_rows(run, data, factors, own)
    if n_rows is not None and n_rows < len(X):
        rows = np.sort(np.random.default_rng(random_state).choice(len(X), n_rows, replace=False))
        X, y, factors = X[rows], *(None if a is None else a[rows] for a in (y, factors))
    name = type(estimator).__name__
    if estimator.conditional and y is None:
        raise ValueError(
            f"{run} is conditional, but {data.name} has no labels (for a table, --label names "
            "their column)."
        )
    if estimator.prior is None and (annealed or quality):
        flag = "--annealed" if annealed else "--quality"
        raise ValueError(f"{flag} is for models with a prior; {name} has none.")
    numbers = evaluate_model(
        estimator,
        X,
        y,
        n_samples=n_samples,
        factors=factors,
        features=quality,
        annealed=annealed,
        random_state=random_state,
    )
    unseen = test_rows_only or data.X_test is not None
    record = {
        "isthmus": __version__,
        "model": name,
        "data": data.name,
        "samples": n_samples,
        "random_state": random_state,
        "trained_on_these_rows": own and not unseen,
        "numbers": {k: v if math.isfinite(v) else None for k, v in numbers.items()},
    }
    which = "test rows" if unseen else "rows"
    return Evaluation(f"{name} on {which} of {data.name}", numbers, record)


def _test_rows(run: str | Path, data: Dataset, factors: Any, own: bool) -> tuple[Any, Any, Any]:
    if not own:
        raise ValueError(
            f"the test rows of {run} are rows of the data it was fitted on, but {data.name} "
            "differs from these; evaluate all rows."
        )
    split = recorded_split(Path(run), data)
    if not len(split.X_test):
        raise ValueError(f"{run} held out no test rows; evaluate it on other data.")
    return split.X_test, split.y_test, None if factors is None else factors[split.test_rows]
