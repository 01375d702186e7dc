"""Check the model of a run: what is wrong with it, and which setting to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from isthmus.data import Dataset
from isthmus.estimators import model_io
from isthmus.evaluation.checks import Findings, check
from isthmus.persistence.run_folder import read_config
from isthmus.runs.data import CHANGED, DataArguments, as_dataset
from isthmus.runs.split import recorded_split, training_rows

__all__ = ["check_run"]

MOST_ROWS = 20_000  # of each kind

Data = Dataset | DataArguments | str | Path


def check_run(
    run: str | Path,
    data: Data | None = None,
    *,
    new: Data | None = None,
    try_remedies: bool = False,
    random_state: int = 0,
) -> Findings:
    """Check the model of a run; ``isthmus check`` is this function.

    Without its data, or with other data, only some checks can be made; the findings list the
    others with the reason.

    Parameters
    ----------
    run : path-like
        Folder of the run.
    data : Dataset, DataArguments, or str or path-like, optional
        The data that the run was fitted on; by default they are loaded from where the run recorded.
        Other data count as new rows.
    new : Dataset, DataArguments, or str or path-like, optional
        Rows that the model is to be used on.
    try_remedies : bool
        Whether to fit the proposed settings to some of the rows, and say which helped.
    random_state : int

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no run, or the data do not fit its model.

    See Also
    --------
    isthmus.evaluation.check : Check a fitted model on arrays.

    Examples
    --------
    >>> import tempfile
    >>> import isthmus
    >>> from isthmus.runs import RunOptions, check_run, fit_run
    >>> model = isthmus.Autoencoder(n_components=2, hidden=(16,), epochs=2, progress="none")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = fit_run(model, "digits", RunOptions(out=f"{folder}/run", quiet=True))
    ...     findings = check_run(run.folder)
    >>> findings[0].name, findings.rows
    ('unconverged training', ('1,618 training rows', '179 test rows'))
    """
    folder = Path(run)
    estimator, record = model_io.load(folder), read_config(folder)["data"]
    is_named = data is not None and not (isinstance(data, DataArguments) and data.source is None)
    own, why_not = _own_data(
        folder, DataArguments(None) if data is None else data, record, is_named
    )
    rows = {} if own is None else _training_and_test_rows(folder, own)
    others = data if own is None and new is None and is_named else new
    unseen = None if others is None else as_dataset(others, folder)
    if unseen is not None:
        rows |= {"X_new": _some(unseen.X), "y_new": _some(unseen.y)}
    for each in (own, unseen):
        if each is not None and each.columns is not None:
            estimator.set_params(handle_unknown=each.columns.handle_unknown)
    if not estimator.conditional:
        rows = {name: value for name, value in rows.items() if not name.startswith("y_")}
    found = check(estimator, **rows, try_remedies=try_remedies, random_state=random_state)
    return found if own is not None else found.because(why_not)


def _own_data(
    folder: Path, data: Data, record: dict[str, Any], is_named: bool
) -> tuple[Dataset | None, str]:
    """Return the data that a run was fitted on, or None and the reason.

    Named data that cannot be read are an error.
    """
    if not record.get("sha256"):
        return None, "the model has no record of its data"
    try:
        loaded = as_dataset(data, folder)
    except (ValueError, OSError) as error:
        if is_named:
            raise
        return None, str(error).replace("by --data PATH", "as DATA")
    if CHANGED in loaded.notes or loaded.fingerprint["sha256"] != record["sha256"]:
        return None, f"{loaded.name} differs from the data that the run was fitted on"
    return loaded, ""


def _training_and_test_rows(folder: Path, data: Dataset) -> dict[str, Any]:
    """Return the rows and labels of a run's own data, by the names that `check` gives them."""
    split = recorded_split(folder, data)
    X, y = training_rows(split, MOST_ROWS)
    y = None if split.y_test is None else y
    return {"X_train": X, "y_train": y, "X_test": split.X_test, "y_test": split.y_test}


def _some(values: Any) -> Any:
    """Return values in memory: evenly spaced ones of an array on disk."""
    if values is None or len(values) <= MOST_ROWS:
        return values
    return np.asarray(values[np.linspace(0, len(values) - 1, MOST_ROWS).astype(int)])
