"""From a configuration and tensors to a fitted estimator, made only where both agree.

`isthmus.io.load` does this for a folder.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from isthmus._messages import did_you_mean, one_line
from isthmus.data.columns import Columns
from isthmus.data.limits import check_bytes
from isthmus.estimators import ESTIMATORS, LatentEstimator
from isthmus.estimators.border import Scaler
from isthmus.estimators.context import Context
from isthmus.estimators.identity import CUSTOM
from isthmus.models.params import check_fields, params_of
from isthmus.persistence.integrity import CONFIG, WEIGHTS
from isthmus.persistence.schema import check_params
from isthmus.registry import build_model, code_size

__all__ = ["restore", "unfitted"]

FLOW = 64  # times n_components squared is what its masks take in the making, in bytes


def unfitted(config: dict[str, Any], backbone: Any) -> LatentEstimator:
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
    estimator: LatentEstimator,
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
    estimator.context_ = _context(fitted["context"])
    if estimator.context_ is not None and estimator.context_.classes is not None:
        estimator.classes_ = estimator.context_.classes
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


def _check_sizes(estimator: LatentEstimator, weights: dict[str, torch.Tensor]) -> None:
    """Raise a ValueError where a model of other sizes than its weights would be made.

    The model is built without memory and compared with what the file holds. Flows, the spectral
    backbone and those of the user's own cannot be built so: something as wide stands for them,
    and what it takes is bounded by the size of the file.
    """
    on_disk = sum(w.nbytes for w in weights.values())
    model, whole = _without_memory(estimator)
    check_bytes(WEIGHTS, _size(model), on_disk)
    wanted = model.state_dict() if whole else {}
    for name, tensor in wanted.items():
        if name in weights and weights[name].shape != tensor.shape:
            raise ValueError(
                f"{CONFIG} makes {one_line(name)} of shape {tuple(tensor.shape)}, but {WEIGHTS} "
                f"has it of shape {tuple(weights[name].shape)}."
            )
    check_bytes(WEIGHTS, sum(t.nbytes for name, t in wanted.items() if name not in weights), 0)


def _without_memory(estimator: LatentEstimator) -> tuple[torch.nn.Module, bool]:
    """Return a model whose tensors have shapes alone, and whether it is what will be made."""
    shape, spec, whole = estimator.feature_shape_, copy.copy(estimator), True
    width = estimator.context_.width if estimator.context_ else 0
    n_components = code_size(spec, shape)
    for name, plain in (("posterior_family", "normal"), ("prior", "standard")):
        if getattr(spec, name) == "flow":  # its masks have n_components on either side
            setattr(spec, name, plain)
            whole = False
            check_bytes(WEIGHTS, FLOW * n_components**2, 0)
    if callable(spec.backbone) or spec.backbone == "spectral":
        spec.backbone, spec.hidden, spec.n_components = "mlp", (1,), n_components
        whole = False
    with torch.device("meta"):
        log_unit = estimator.scaler_.log_unit
        return build_model(spec, shape, estimator.likelihood_, width, log_unit), whole


def _size(model: torch.nn.Module) -> int:
    """Return the bytes of all that a model holds."""
    return sum(t.nbytes for t in [*model.parameters(), *model.buffers()])


def _context(saved: dict[str, Any] | None) -> Context | None:
    if saved is None:
        return None
    classes = None if saved["classes"] is None else np.array(saved["classes"])
    units = (tuple(saved.get(name, ())) for name in ("shift", "scale"))  # older models have none
    return Context(classes, saved["n_numbers"], *units)
