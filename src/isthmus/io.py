"""A model on disk: config.json and model.safetensors.

The configuration names the estimator by its registered name and holds plain JSON; the tensors
hold weights and scaling. Nothing that is read can run code, and nothing is made room for before
the tensors in the file have shown that the configuration is true.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from sklearn.utils.validation import check_is_fitted

from isthmus._messages import one_line
from isthmus._version import __version__
from isthmus.data.columns import Columns
from isthmus.data.limits import check_bytes, is_regular
from isthmus.estimators import ESTIMATORS, LatentEstimator
from isthmus.estimators.identity import plain_params
from isthmus.persistence.atomic import write, write_all
from isthmus.persistence.integrity import (
    CONFIG,
    HISTORY,
    WEIGHTS,
    check_content,
    check_record,
    parse_json,
    read_bytes,
    read_json,
    read_tensors,
    sealed,
)
from isthmus.persistence.schema import check_config, check_history
from isthmus.restore import restore, unfitted
from isthmus.training import pick_device
from isthmus.training.checkpoints import find_checkpoints

__all__ = [
    "CONFIG",
    "HISTORY",
    "WEIGHTS",
    "load",
    "read_columns",
    "read_config",
    "read_history",
    "save",
    "to_json",
    "write",
    "write_all",
]

FORMAT = 1


def save(
    estimator: LatentEstimator,
    path: str | os.PathLike[str],
    data: dict[str, Any] | None = None,
    held_out: dict[str, float] | None = None,
) -> None:
    """Write a fitted estimator to a folder.

    Parameters
    ----------
    estimator : LatentEstimator
    path : path-like
        The folder; made where it is not there.
    data : dict, optional
        What to record of the data: name, fingerprint.
    held_out : dict, optional
        Numbers on held-out rows to record.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    OSError
        If the folder cannot be written.
    """
    check_is_fitted(estimator)
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(record) + "\n" for record in estimator.history_)
    files = {WEIGHTS: save_tensors(_tensors(estimator)), HISTORY: lines.encode()}
    config = json.loads(to_json(config_of(estimator, data, held_out)))
    files[CONFIG] = to_json(sealed(config, files)).encode()
    # The configuration last, so that a folder with one is whole.
    write_all({folder / name: content for name, content in files.items()})


def load(path: str | os.PathLike[str], *, backbone: Any = None, device: str = "auto") -> Any:
    """Read a saved model, or the model of a run folder.

    Parameters
    ----------
    path : path-like
        A folder written by `save` or by ``isthmus fit``.
    backbone : callable, optional
        The function that made the networks, for a model with a backbone of your own.
    device : str
        Where the model is to compute.

    Returns
    -------
    LatentEstimator
        Fitted; it answers as the one that was saved.

    Raises
    ------
    FileNotFoundError, ValueError
        Where there is no saved model, or a damaged one.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_digits
    >>> import isthmus
    >>> X = load_digits().images / 16
    >>> model = isthmus.VAE(n_components=2, epochs=2).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(folder)
    ...     again = isthmus.load(folder)
    >>> bool((again.transform(X) == model.transform(X)).all())
    True
    """
    folder, target = Path(path), pick_device(device)
    config = read_config(folder)
    content = read_bytes(folder / WEIGHTS)
    with _whole(folder):
        check_content(config, WEIGHTS, content)
        tensors = read_tensors(content, WEIGHTS, load_tensors)
    estimator = unfitted(config, backbone)
    with _whole(folder):
        restore(estimator, config["fitted"], tensors, target)
    estimator.history_ = read_history(folder, config)
    return estimator


@contextmanager
def _whole(folder: Path) -> Iterator[None]:
    """Say of whatever goes wrong that the model in a folder is damaged."""
    try:
        yield
    except ImportError:  # a part that is not installed, which the error names
        raise
    except Exception as error:  # torch fails in many ways on numbers that make no model
        reason = one_line(error).rstrip(".")
        raise ValueError(f"{folder} does not hold a whole model: {reason}.") from error


def read_config(folder: Path) -> dict[str, Any]:
    """Return the configuration in a folder; a one-line error where there is none."""
    path = Path(folder) / CONFIG
    if not path.is_file():
        if find_checkpoints(folder):
            raise FileNotFoundError(
                f"{folder} holds a run that was broken off: go on with it by `isthmus fit DATA "
                f"--out {folder} --resume`."
            )
        raise FileNotFoundError(
            f"{folder} holds no saved model: there is no {CONFIG} in it. Expected a folder "
            "written by `isthmus fit` or by a model's save()."
        )
    config = read_json(path)
    if not isinstance(config, dict) or not isinstance(config.get("format"), int):
        raise ValueError(f"{path} is not the configuration of an isthmus model.")
    if config["format"] > FORMAT:
        raise ValueError(
            f"{path} has format {one_line(config['format'])}, newer than this isthmus "
            f"({__version__}) reads; it was written by isthmus "
            f"{one_line(config.get('isthmus'))}. Update isthmus."
        )
    check_record(config, path)
    try:
        return check_config(config)
    except ValueError as error:
        raise ValueError(f"{path} does not hold a whole model: {error}.") from None


def read_columns(folder: str | os.PathLike[str]) -> Columns | None:
    """Return how the columns of a table were taken by the model in a folder; None of arrays."""
    saved = read_config(Path(folder)).get("fitted", {}).get("columns")
    return None if saved is None else Columns.from_json(saved)


def read_history(folder: Path, config: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return the records of a folder's history, one an epoch; none where there is no file.

    Parameters
    ----------
    folder : Path
    config : dict, optional
        The configuration beside it, whose checksum it must have.

    Raises
    ------
    ValueError
        Where it is damaged.
    """
    path = Path(folder) / HISTORY
    if not is_regular(path):
        return []
    check_bytes(path, path.stat().st_size, 0)
    content = path.read_bytes()
    check_content(config or {}, HISTORY, content)
    try:
        return check_history([parse_json(line, path) for line in content.splitlines() if line])
    except ValueError as error:
        raise ValueError(f"{path} is no history of training: {one_line(error)}") from None


def to_json(value: Any) -> str:
    """Return readable JSON; NumPy's numbers become plain ones."""
    return json.dumps(value, indent=2, default=_plain) + "\n"


def config_of(
    estimator: LatentEstimator,
    data: dict[str, Any] | None = None,
    held_out: dict[str, float] | None = None,
) -> dict[str, Any]:
    """Return all of a fitted estimator that is not a tensor."""
    names = {cls: name for name, cls in ESTIMATORS.items()}
    if type(estimator) not in names:
        raise ValueError(
            f"{type(estimator).__name__} is a class of your own; only isthmus's own estimators "
            "can be saved, since loading runs no code. Save its model_ with safetensors instead."
        )
    return {
        "format": FORMAT,
        "isthmus": __version__,
        "estimator": names[type(estimator)],
        "params": plain_params(estimator.fitted_params_),
        "fitted": _fitted(estimator),
        "data": data or {},
        "held_out": held_out or {},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }


def _fitted(estimator: LatentEstimator) -> dict[str, Any]:
    context = estimator.context_
    names = getattr(estimator, "feature_names_in_", None)
    return {
        "likelihood": estimator.likelihood_,
        "feature_shape": list(estimator.feature_shape_),
        "n_features_in": estimator.n_features_in_,
        "feature_names_in": None if names is None else names.tolist(),
        "columns": estimator.columns_ and estimator.columns_.to_json(),
        "scaling": estimator.scaling_,
        "context": context and asdict(context),
        "seed": estimator.seed_,
        "n_iter": estimator.n_iter_,
        "best_epoch": estimator.best_epoch_,
        "stopped": estimator.stopped_,
    }


def _tensors(estimator: LatentEstimator) -> dict[str, torch.Tensor]:
    weights = {f"model.{k}": v.contiguous() for k, v in estimator.model_.state_dict().items()}
    scaler = estimator.scaler_
    return weights | {
        "scaler.shift": torch.tensor(scaler.shift),
        "scaler.scale": torch.tensor(scaler.scale),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no place in JSON")
