"""Save a trained model, elsewhere if the folder of its run cannot be written."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from isthmus.data import Dataset
from isthmus.estimators import LatentEstimator, model_io
from isthmus.persistence.atomic import inner_folder

__all__ = ["SaveError", "save_model"]


class SaveError(OSError):
    """A trained model cannot be saved in the folder of its run.

    Parameters
    ----------
    message : str
    estimator : LatentEstimator
        The fitted model; its `save` writes it to another place.
    folder : Path or None
        The folder to which it was saved instead; None if no other place has room.

    See Also
    --------
    isthmus.runs.fit_run, isthmus.runs.tune_run

    Examples
    --------
    >>> from isthmus.runs import SaveError, fit_run
    >>> try:  # doctest: +SKIP
    ...     run = fit_run(model, data)
    ... except SaveError as error:
    ...     error.estimator.save("/other/disk/model")
    """

    def __init__(self, message: str, estimator: LatentEstimator, folder: Path | None) -> None:
        super().__init__(message)
        self.estimator, self.folder = estimator, folder


def save_model(
    estimator: LatentEstimator, data: Dataset, test_rows: Any, folder: Path, *inner: str
) -> dict[str, Any]:
    """Save the model of a run and return its configuration.

    The folder is `folder`, or the one below it of the names `inner`.

    Raises
    ------
    SaveError
        If the folder cannot be written. The model is then in a new folder: in the system's folder
        of temporary files or, if there is no room, in the current one.
    """
    try:
        folder = inner_folder(folder, *inner)
        return model_io.save(estimator, folder, data.fingerprint, test_rows)
    except OSError as error:
        reason = f"cannot write {error.filename or folder}: {error.strerror or error}"
        where = _save_elsewhere(estimator, data, test_rows)
        if where is None:
            hint = "No other folder has room: in Python, `estimator` of this error holds the model."
        else:
            hint = f"The trained model is saved in {where} instead: use it there, or move it."
        raise SaveError(f"{reason}. {hint}", estimator, where) from error


def _save_elsewhere(estimator: LatentEstimator, data: Dataset, test_rows: Any) -> Path | None:
    name = re.sub(r"[^\w.-]+", "-", data.name, flags=re.ASCII)[:50]
    prefix = f"isthmus-{name}-{estimator.registered_name}-"
    for parent in dict.fromkeys((tempfile.gettempdir(), os.getcwd())):
        folder = None
        try:
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            model_io.save(estimator, folder, data.fingerprint, test_rows)
        except OSError:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
        else:
            return folder
    return None
