"""Rebuild an estimator from the content of config.json and model.safetensors.

Both files are untrusted. Memory is allocated only after the tensors in the file have confirmed the
sizes that the configuration states.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from isthmus._messages import did_you_mean, one_line
from isthmus.data.columns import Columns
from isthmus.data.limits import check_memory
from isthmus.estimators.condition import ConditionEncoder
from isthmus.estimators.run_fingerprint import CUSTOM
from isthmus.estimators.scaling import Scaler
from isthmus.models.params import check_fields, params_of
from isthmus.persistence.run_folder import CONFIG, WEIGHTS
from isthmus.persistence.schema import check_params
from isthmus.registry import backbone_of, build_model, code_size
from isthmus.training.devices import own_torch_defaults

__all__ = ["PLAIN", "check_sizes", "restore", "unfitted"]

#: Fitted attributes, without the underscore, that are saved as they are.
PLAIN = (
    "likelihood",
    "likelihood_reason",
    "n_features_in",
    "scaling",
    "seed",
    "n_iter",
    "best_epoch",
    "stopped",
)

FLOW_BYTES = 64  # memory for the masks of a flow, per n_components squared


def unfitted(cls: Any, params: dict[str, Any], backbone: Any, source: object = CONFIG) -> Any:
    """Return an estimator with saved settings (JSON), all checked, and its custom backbone.

    `source` is the file that holds the settings, for messages.
    """
    params = dict(params)
    if params.get("backbone") == CUSTOM:
        if backbone is None:
            raise ValueError(
                "this model has a custom backbone, which is code and therefore not saved: pass "
                "load(path, backbone=function) with the function that built it."
            )
        params["backbone"] = backbone
    if params.get("corruption") == CUSTOM:
        params["corruption"] = _missing_corruption  # only training needs it
    known = params_of(cls)
    for key in params:
        if key not in known:
            hint = did_you_mean(key[:100], known)
            raise ValueError(f"unknown setting {one_line(key)!r} in {source}.{hint}")
    check_params({k: v for k, v in params.items() if not callable(v)}, cls)
    estimator = cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in params.items()})
    try:
        check_fields(estimator)
    except ValueError as error:  # may quote a very long value
        raise ValueError(one_line(error)) from None
    estimator.fitted_params_ = estimator.get_params(deep=False)
    return estimator


def _missing_corruption(x: Any, generator: Any = None) -> Any:
    raise ValueError(
        "this model was trained with a custom corruption, which is code and therefore not saved: "
        "call set_params(corruption=...) before you fit it again."
    )


@own_torch_defaults()
def restore(
    estimator: Any, fitted: dict[str, Any], tensors: dict[str, torch.Tensor], device: torch.device
) -> None:
    """Set the fitted attributes of an estimator from saved values.

    Raises exceptions of many types if the values are inconsistent; `load` converts them.
    """
    for name in PLAIN:
        setattr(estimator, f"{name}_", fitted[name])
    estimator.feature_shape_ = tuple(fitted["feature_shape"])
    if fitted["feature_names_in"] is not None:
        estimator.feature_names_in_ = np.array(fitted["feature_names_in"], dtype=object)
    estimator.empty_features_ = tuple(fitted.get("empty_features") or ())  # absent before 0.1
    columns = fitted["columns"]
    estimator.columns_ = None if columns is None else Columns.from_json(columns)
    estimator.apply_handle_unknown()
    estimator.scaler_ = _scaler(tensors, estimator.feature_shape_, fitted["channels"])
    estimator.condition_encoder_ = _condition_encoder(fitted["context"])
    if estimator.condition_encoder_ and estimator.condition_encoder_.classes is not None:
        estimator.classes_ = estimator.condition_encoder_.classes
    weights = {k.removeprefix("model."): v for k, v in tensors.items()}
    check_sizes(estimator, weights)
    estimator.make_model(torch.Generator(device))
    estimator.model_.load_state_dict(weights)


def _scaler(tensors: dict[str, torch.Tensor], shape: tuple[int, ...], channels: str) -> Scaler:
    shift, scale = (tensors.pop(f"scaler.{n}").double().numpy() for n in ("shift", "scale"))
    scaler = Scaler(shift, scale, channels, len(shape))
    shape = scaler.model_shape(shape)
    for part in (shift, scale):
        if part.shape not in ((), shape) or not np.isfinite(part).all():
            raise ValueError(f"its scaling is not finite or not of shape {shape}")
    return scaler


def _condition_encoder(saved: dict[str, Any] | None) -> ConditionEncoder | None:
    if saved is None:
        return None
    classes = None if saved["classes"] is None else np.array(saved["classes"])
    shift, scale = (tuple(saved.get(name, ())) for name in ("shift", "scale"))  # absent before 0.1
    frequencies = tuple(saved.get("frequencies", ()))  # absent before 0.1
    return ConditionEncoder(classes, saved["n_numbers"], shift, scale, frequencies)


def check_sizes(
    estimator: Any, weights: Mapping[str, torch.Tensor], settings: str = CONFIG, file: str = WEIGHTS
) -> None:
    """Raise a ValueError if the settings describe a larger model than the file of weights holds.

    The model is built without memory and compared with the tensors in the file. Flows, the spectral
    backbone and custom backbones cannot be built that way: a network of the same width replaces
    them, and the size of the file bounds its memory.
    """
    on_disk = sum(w.nbytes for w in weights.values())
    model, complete = _without_memory(estimator)
    size = sum(t.nbytes for t in [*model.parameters(), *model.buffers()])
    check_memory(file, size, on_disk)
    expected = model.state_dict() if complete else {}
    for name, tensor in expected.items():
        if name in weights and weights[name].shape != tensor.shape:
            raise ValueError(
                f"{settings} describes {one_line(name)} of shape {tuple(tensor.shape)}, but in "
                f"{file} its shape is {tuple(weights[name].shape)}."
            )
    check_memory(file, sum(t.nbytes for name, t in expected.items() if name not in weights), 0)


def _without_memory(estimator: Any) -> tuple[torch.nn.Module, bool]:
    """Return a model of tensors without memory, and whether it has all parts of the real one."""
    shape, spec, complete = estimator.model_shape_, copy.copy(estimator), True
    width = estimator.condition_encoder_.width if estimator.condition_encoder_ else 0
    n_components = code_size(spec, shape, estimator.likelihood_)
    spec.backbone = backbone_of(spec, shape, estimator.likelihood_)
    for name, plain in (("posterior_family", "normal"), ("prior", "standard")):
        if getattr(spec, name) == "flow":
            setattr(spec, name, plain)
            complete = False
            check_memory(WEIGHTS, FLOW_BYTES * n_components**2, 0)
    if callable(spec.backbone) or spec.backbone == "spectral":
        spec.backbone, spec.hidden, spec.n_components = "mlp", (1,), n_components
        complete = False
    with torch.device("meta"):
        log_unit = estimator.scaler_.log_unit
        return build_model(spec, shape, estimator.likelihood_, width, log_unit), complete
