"""A model on disk: config.json and model.safetensors.

The configuration names the estimator by its registered name and holds plain JSON; the tensors hold
weights and scaling. Nothing that is read can run code, and memory is allocated only after the
tensors in the file have confirmed the sizes that the configuration states.
"""

from __future__ import annotations

import copy
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from sklearn.utils.validation import check_is_fitted

from isthmus._messages import did_you_mean, one_line
from isthmus._version import __version__
from isthmus.data.columns import Columns
from isthmus.data.limits import check_memory
from isthmus.estimators.condition import ConditionEncoder
from isthmus.estimators.run_fingerprint import CUSTOM, params_to_json
from isthmus.estimators.scaling import Scaler
from isthmus.models.params import check_fields, params_of
from isthmus.persistence.atomic import write_all_atomic
from isthmus.persistence.integrity import check_content, read_bytes, read_tensors, with_checksums
from isthmus.persistence.run_folder import (
    CONFIG,
    FORMAT,
    HISTORY,
    WEIGHTS,
    read_config,
    read_history,
    to_json,
)
from isthmus.persistence.schema import check_params
from isthmus.registry import build_model, code_size
from isthmus.training import pick_device

__all__ = ["ESTIMATORS", "SaveMixin", "config_of", "load", "save"]

FLOW = 64  # bytes that building the masks of a flow takes, times n_components squared

#: Every estimator by the name that the command line and saved files use.
ESTIMATORS: dict[str, Any] = {}


class SaveMixin:
    """Saving to a folder, and the registry that loading looks a saved name up in.

    A class registers itself by ``class VAE(..., name="vae")``; classes without a name can be
    fitted and used, but not saved, since loading runs no code.
    """

    registered_name: ClassVar[str | None] = None

    def __init_subclass__(cls, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.registered_name = name
        if name is not None:
            ESTIMATORS[name] = cls

    def save(self, path: str | Path) -> None:
        """Write the fitted model to a folder: config.json and model.safetensors.

        `isthmus.load` reads it back. JSON and plain tensors only; loading runs no code.
        """
        save(self, path)


def save(
    estimator: Any,
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
    files[CONFIG] = to_json(with_checksums(config, files)).encode()
    # The configuration last, so that a folder with one is whole.
    write_all_atomic({folder / name: content for name, content in files.items()})


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
    Any
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


def config_of(
    estimator: Any,
    data: dict[str, Any] | None = None,
    held_out: dict[str, float] | None = None,
) -> dict[str, Any]:
    """Return all of a fitted estimator that is not a tensor."""
    if estimator.registered_name is None:
        raise ValueError(
            f"{type(estimator).__name__} is a class of your own; only isthmus's own estimators "
            "can be saved, since loading runs no code. Save its model_ with safetensors instead."
        )
    return {
        "format": FORMAT,
        "isthmus": __version__,
        "estimator": estimator.registered_name,
        "params": params_to_json(estimator.fitted_params_),
        "fitted": _fitted(estimator),
        "data": data or {},
        "held_out": held_out or {},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }


def _fitted(estimator: Any) -> dict[str, Any]:
    context = estimator.condition_encoder_
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


def _tensors(estimator: Any) -> dict[str, torch.Tensor]:
    weights = {f"model.{k}": v.contiguous() for k, v in estimator.model_.state_dict().items()}
    scaler = estimator.scaler_
    return weights | {
        "scaler.shift": torch.tensor(scaler.shift),
        "scaler.scale": torch.tensor(scaler.scale),
    }


def unfitted(config: dict[str, Any], backbone: Any) -> Any:
    """Return the estimator that a configuration names, with its settings.

    Parameters
    ----------
    config : dict
        As `isthmus.persistence.schema.check_config` returns it.
    backbone : callable or None
        The user's own, where the configuration says that there was one.

    Raises
    ------
    ValueError
        For a name or a setting that is none, or a backbone that is needed.
    """
    name, params = config["estimator"], dict(config["params"])
    if name not in ESTIMATORS:
        hint = did_you_mean(name[:100], ESTIMATORS)
        raise ValueError(f"unknown estimator {one_line(name)!r} in {CONFIG}.{hint}")
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
    for key in params:
        if key not in known:
            hint = did_you_mean(key[:100], known)
            raise ValueError(f"unknown setting {one_line(key)!r} in {CONFIG}.{hint}")
    # A function that was given stands for itself; all else was read.
    check_params({k: v for k, v in params.items() if not callable(v)}, ESTIMATORS[name])
    params = {k: tuple(v) if isinstance(v, list) else v for k, v in params.items()}
    estimator = ESTIMATORS[name](**params)
    try:
        check_fields(estimator)
    except ValueError as error:  # it quotes what it got, however long
        raise ValueError(one_line(error)) from None
    estimator.fitted_params_ = estimator.get_params(deep=False)
    return estimator


def _forgotten(x: Any, generator: Any = None) -> Any:
    """Stand for a corruption that was not saved."""
    raise ValueError(
        "this model was trained with a corruption of its maker's own, which is code and so not "
        "saved: set_params(corruption=...) before it is fitted again."
    )


def restore(
    estimator: Any,
    fitted: dict[str, Any],
    tensors: dict[str, torch.Tensor],
    device: torch.device,
) -> None:
    """Make an estimator fitted, from the configuration's entry and all tensors of the file.

    Raises
    ------
    Exception
        Of many kinds where they do not fit; see `isthmus.io.load`.
    """
    estimator.feature_shape_ = tuple(fitted["feature_shape"])
    estimator.n_features_in_ = fitted["n_features_in"]
    if fitted["feature_names_in"] is not None:
        estimator.feature_names_in_ = np.array(fitted["feature_names_in"], dtype=object)
    columns = fitted.get("columns")  # older models have none
    estimator.columns_ = None if columns is None else Columns.from_json(columns)
    estimator.likelihood_, estimator.scaling_ = fitted["likelihood"], fitted["scaling"]
    estimator.scaler_ = _scaler(tensors, estimator.feature_shape_)
    estimator.condition_encoder_ = _context(fitted["context"])
    if (
        estimator.condition_encoder_ is not None
        and estimator.condition_encoder_.classes is not None
    ):
        estimator.classes_ = estimator.condition_encoder_.classes
    estimator.n_iter_, estimator.best_epoch_ = fitted["n_iter"], fitted["best_epoch"]
    estimator.stopped_, estimator.seed_ = fitted["stopped"], fitted["seed"]
    weights = {k.removeprefix("model."): v for k, v in tensors.items()}
    _check_sizes(estimator, weights)
    estimator.make_model(torch.Generator(device))
    estimator.model_.load_state_dict(weights)


def _scaler(tensors: dict[str, torch.Tensor], shape: tuple[int, ...]) -> Scaler:
    parts = [tensors.pop(f"scaler.{name}").double().numpy() for name in ("shift", "scale")]
    for part in parts:
        if part.shape not in ((), shape) or not np.isfinite(part).all():
            raise ValueError("its scaling is not that of its data.")
    return Scaler(*parts)


def _check_sizes(estimator: Any, weights: dict[str, torch.Tensor]) -> None:
    """Raise a ValueError where a model of other sizes than its weights would be made.

    The model is built without memory and compared with what the file holds. Flows, the spectral
    backbone and those of the user's own cannot be built so: something as wide stands for them,
    and what it takes is bounded by the size of the file.
    """
    on_disk = sum(w.nbytes for w in weights.values())
    model, whole = _without_memory(estimator)
    check_memory(WEIGHTS, _size(model), on_disk)
    wanted = model.state_dict() if whole else {}
    for name, tensor in wanted.items():
        if name in weights and weights[name].shape != tensor.shape:
            raise ValueError(
                f"{CONFIG} makes {one_line(name)} of shape {tuple(tensor.shape)}, but {WEIGHTS} "
                f"has it of shape {tuple(weights[name].shape)}."
            )
    check_memory(WEIGHTS, sum(t.nbytes for name, t in wanted.items() if name not in weights), 0)


def _without_memory(estimator: Any) -> tuple[torch.nn.Module, bool]:
    """Return a model whose tensors have shapes alone, and whether it is what will be made."""
    shape, spec, whole = estimator.feature_shape_, copy.copy(estimator), True
    width = estimator.condition_encoder_.width if estimator.condition_encoder_ else 0
    n_components = code_size(spec, shape)
    for name, plain in (("posterior_family", "normal"), ("prior", "standard")):
        if getattr(spec, name) == "flow":  # its masks have n_components on either side
            setattr(spec, name, plain)
            whole = False
            check_memory(WEIGHTS, FLOW * n_components**2, 0)
    if callable(spec.backbone) or spec.backbone == "spectral":
        spec.backbone, spec.hidden, spec.n_components = "mlp", (1,), n_components
        whole = False
    with torch.device("meta"):
        log_unit = estimator.scaler_.log_unit
        return build_model(spec, shape, estimator.likelihood_, width, log_unit), whole


def _size(model: torch.nn.Module) -> int:
    """Return the bytes of all that a model holds."""
    return sum(t.nbytes for t in [*model.parameters(), *model.buffers()])


def _context(saved: dict[str, Any] | None) -> ConditionEncoder | None:
    if saved is None:
        return None
    classes = None if saved["classes"] is None else np.array(saved["classes"])
    units = (tuple(saved.get(name, ())) for name in ("shift", "scale"))  # older models have none
    return ConditionEncoder(classes, saved["n_numbers"], *units)
