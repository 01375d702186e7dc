"""A model on disk: config.json and model.safetensors.

The configuration names the estimator by its registered name and holds plain JSON; the tensors
hold weights and scaling. Nothing that is read can run code.
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from sklearn.utils.validation import check_is_fitted

import isthmus
from isthmus.data.columns import Columns
from isthmus.estimators import ESTIMATORS, LatentEstimator
from isthmus.estimators.border import Scaler
from isthmus.estimators.context import Context
from isthmus.fields import check_fields, nearest, params_of
from isthmus.training import pick_device

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
]

CONFIG, WEIGHTS, HISTORY = "config.json", "model.safetensors", "history.jsonl"
FORMAT = 1
CUSTOM = {"custom": True}  # stands for a function of the user's own, which is code and not written


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
    write(folder / WEIGHTS, save_tensors(_tensors(estimator)))
    lines = "".join(json.dumps(record) + "\n" for record in estimator.history_)
    write(folder / HISTORY, lines.encode())
    # Last, so that a folder with a configuration is whole.
    write(folder / CONFIG, to_json(config_of(estimator, data, held_out)).encode())


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
    folder = Path(path)
    config = read_config(folder)
    weights = folder / WEIGHTS
    try:
        estimator = _unfitted(config, backbone)
        tensors = load_tensors(weights.read_bytes())
        _restore(estimator, config["fitted"], tensors, pick_device(device))
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{folder} does not hold a whole model: {reason}.") from error
    estimator.history_ = read_history(folder)
    return estimator


def read_config(folder: Path) -> dict[str, Any]:
    """Return the configuration in a folder; a one-line error where there is none."""
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no saved model: there is no {CONFIG} in it. Expected a folder "
            "written by `isthmus fit` or by a model's save()."
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}.") from None
    if not isinstance(config, dict) or not isinstance(config.get("format"), int):
        raise ValueError(f"{path} is not the configuration of an isthmus model.")
    if config["format"] > FORMAT:
        raise ValueError(
            f"{path} has format {config['format']}, newer than this isthmus ({isthmus.__version__})"
            f" reads; it was written by isthmus {config.get('isthmus')}. Update isthmus."
        )
    return config


def read_columns(folder: str | os.PathLike[str]) -> Columns | None:
    """Return how the columns of a table were taken by the model in a folder; None of arrays."""
    saved = read_config(Path(folder)).get("fitted", {}).get("columns")
    return None if saved is None else Columns.from_json(saved)


def read_history(folder: Path) -> list[dict[str, Any]]:
    """Return the records of a folder's history, one an epoch; none where there is no file."""
    path = Path(folder) / HISTORY
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    draft = path.with_name(path.name + ".part")
    with open(draft, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


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
        "isthmus": isthmus.__version__,
        "estimator": names[type(estimator)],
        "params": {k: CUSTOM if callable(v) else v for k, v in estimator.fitted_params_.items()},
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


def _unfitted(config: dict[str, Any], backbone: Any) -> LatentEstimator:
    name, params = config["estimator"], dict(config["params"])
    if name not in ESTIMATORS:
        raise ValueError(f"unknown estimator {name!r} in {CONFIG}.{nearest(name, ESTIMATORS)}")
    if params.get("backbone") == CUSTOM:
        if backbone is None:
            raise ValueError(
                "this model has a backbone of its maker's own, which is code and so not saved: "
                "pass load(path, backbone=function) with the function that made it."
            )
        params["backbone"] = backbone
    if params.get("corruption") == CUSTOM:
        params["corruption"] = _forgotten  # needed for training alone
    known = params_of(ESTIMATORS[name])
    for key, value in params.items():
        if key not in known:
            raise ValueError(f"unknown setting {key!r} in {CONFIG}.{nearest(key, known)}")
        params[key] = tuple(value) if isinstance(value, list) else value
    estimator = ESTIMATORS[name](**params)
    check_fields(estimator)
    estimator.fitted_params_ = estimator.get_params(deep=False)
    return estimator


def _forgotten(x: Any, generator: Any = None) -> Any:
    """Stand for a corruption that was not saved."""
    raise ValueError(
        "this model was trained with a corruption of its maker's own, which is code and so not "
        "saved: set_params(corruption=...) before it is fitted again."
    )


def _restore(
    estimator: LatentEstimator,
    fitted: dict[str, Any],
    tensors: dict[str, torch.Tensor],
    device: torch.device,
) -> None:
    estimator.feature_shape_ = tuple(fitted["feature_shape"])
    estimator.n_features_in_ = fitted["n_features_in"]
    if fitted["feature_names_in"] is not None:
        estimator.feature_names_in_ = np.array(fitted["feature_names_in"], dtype=object)
    columns = fitted.get("columns")  # older models have none
    estimator.columns_ = None if columns is None else Columns.from_json(columns)
    estimator.likelihood_, estimator.scaling_ = fitted["likelihood"], fitted["scaling"]
    shift, scale = tensors.pop("scaler.shift"), tensors.pop("scaler.scale")
    estimator.scaler_ = Scaler(shift.numpy(), scale.numpy())
    estimator.context_ = _context(fitted["context"])
    if estimator.context_ is not None and estimator.context_.classes is not None:
        estimator.classes_ = estimator.context_.classes
    estimator.n_iter_, estimator.best_epoch_ = fitted["n_iter"], fitted["best_epoch"]
    estimator.stopped_ = fitted["stopped"]
    estimator.make_model(torch.Generator(device))
    weights = {k.removeprefix("model."): v for k, v in tensors.items()}
    estimator.model_.load_state_dict(weights)


def _context(saved: dict[str, Any] | None) -> Context | None:
    if saved is None:
        return None
    classes = None if saved["classes"] is None else np.array(saved["classes"])
    units = (tuple(saved.get(name, ())) for name in ("shift", "scale"))  # older models have none
    return Context(classes, saved["n_numbers"], *units)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no place in JSON")
