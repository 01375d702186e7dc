"""Save fitted models and load them again: config.json, model.safetensors and history.jsonl.

The configuration refers to the estimator class by its registered name and holds plain JSON; the
tensors hold weights and scaling. Reading either file runs no code.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from sklearn.utils.validation import check_is_fitted

from isthmus._messages import did_you_mean, one_line
from isthmus._version import __version__
from isthmus.estimators.restoring import PLAIN, restore, unfitted
from isthmus.estimators.run_fingerprint import params_to_json
from isthmus.persistence.atomic import finish_staged, write_all_atomic, write_atomic
from isthmus.persistence.integrity import (
    SUMS,
    read_described,
    read_tensors,
    read_together,
    with_checksums,
    with_new_checksum,
)
from isthmus.persistence.origin import with_code
from isthmus.persistence.run_folder import (
    CONFIG,
    FORMAT,
    HISTORY,
    SPLIT,
    WEIGHTS,
    read_config,
    read_history,
    split_bytes,
    to_json,
)
from isthmus.training import pick_device

__all__ = ["ESTIMATORS", "SaveMixin", "load", "save", "save_summary"]

#: Estimator classes by the name that the command line and saved files use.
ESTIMATORS: dict[str, Any] = {}


class SaveMixin:
    """Adds methods to save and publish, and registers subclasses so that `load` finds them.

    A class registers itself with ``class VAE(..., name="vae")``. A class without a name can be
    fitted and used but not saved, because loading must not import code. `isthmus.hub` is a layer
    above the estimators, so the methods that need it import it only when called.
    """

    registered_name: ClassVar[str | None] = None

    def __init_subclass__(cls, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.registered_name = name
        if name is not None:
            ESTIMATORS[name] = cls

    def save(self, path: str | Path) -> None:
        """Write the fitted model to a folder as JSON and tensors; `isthmus.load` reads it."""
        save(self, path)

    def save_pretrained(self, folder: str | Path, **contents: Any) -> Path:
        """Write the model and its card to a folder; see `isthmus.hub.save_pretrained`."""
        return resolve_name("isthmus.hub:save_pretrained")(self, folder, **contents)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Publish the model on the Hugging Face Hub; see `isthmus.hub.push_to_hub`."""
        return resolve_name("isthmus.hub:push_to_hub")(self, repo_id, **options)

    @classmethod
    def from_pretrained(cls, repo_id: str | Path, **options: Any) -> Self:
        """Load a model of this class from the Hugging Face Hub or from a folder.

        Takes the arguments of `isthmus.from_pretrained`, which loads models of any class; raises a
        ValueError if the model has another class.
        """
        model = resolve_name("isthmus.hub:from_pretrained")(repo_id, **options)
        if not isinstance(model, cls):
            other = type(model).__name__
            raise ValueError(
                f"{repo_id} holds a {other}, not a {cls.__name__}: use {other}.from_pretrained, "
                "or isthmus.from_pretrained, which loads any class."
            )
        return model


def save(
    estimator: Any,
    path: str | os.PathLike[str],
    data: dict[str, Any] | None = None,
    test_rows: NDArray[Any] | None = None,
) -> dict[str, Any]:
    """Write a fitted estimator to a folder.

    Parameters
    ----------
    estimator : LatentEstimator
    path : path-like
        The folder; created if needed. A model in it is replaced.
    data : dict, optional
        Description of the training data to record: name, fingerprint.
    test_rows : ndarray of int, optional
        Row numbers of the rows held out for a test, to record in split.safetensors.

    Returns
    -------
    dict
        The configuration written, for `save_summary`.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    ValueError
        If the class of the estimator is not registered.
    OSError
        If the folder cannot be written.
    """
    check_is_fitted(estimator)
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(record) + "\n" for record in estimator.history_)
    tensors = {f"model.{k}": v.contiguous() for k, v in estimator.model_.state_dict().items()}
    for name in ("shift", "scale"):
        tensors[f"scaler.{name}"] = torch.tensor(getattr(estimator.scaler_, name)).contiguous()
    files = {WEIGHTS: save_tensors(tensors), HISTORY: lines.encode()}
    if test_rows is not None:
        files[SPLIT] = split_bytes(test_rows)
    config = with_checksums(json.loads(to_json(_config(estimator, data or {}))), files)
    recorded = with_code(config["data"], config[SUMS][WEIGHTS])
    config = with_new_checksum(config | {"data": recorded})
    files[CONFIG] = to_json(config).encode()
    write_all_atomic({folder / name: data for name, data in files.items()}, folder / CONFIG)
    return config


def save_summary(
    path: str | os.PathLike[str],
    config: dict[str, Any],
    summary: Mapping[str, float],
    findings: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Add numbers on held-out rows, and findings, to a saved model.

    It takes the folder and what `save` returned; findings are as `Finding.to_dict` returns them,
    or None if the model was not checked.

    Only config.json is written again.
    """
    held_out = json.loads(to_json(dict(summary)))
    config = config | {"held_out": held_out, "findings": findings}
    config = with_new_checksum(config)
    write_atomic(Path(path) / CONFIG, to_json(config).encode())
    finish_staged(Path(path), config[SUMS])


def load(path: str | os.PathLike[str], *, backbone: Any = None, device: str = "auto") -> Any:
    """Read a saved model, or the model of a run folder.

    Parameters
    ----------
    path : path-like
        A folder written by `save` or by ``isthmus fit``.
    backbone : callable, optional
        The function that built the networks, for a model with a custom backbone.
    device : str
        Device for the weights, such as "cpu" or "cuda:0".

    Returns
    -------
    LatentEstimator
        The fitted estimator; its results equal those of the saved one.

    Raises
    ------
    FileNotFoundError
        If the folder holds no saved model.
    ValueError
        If the model is damaged, or needs a backbone.

    See Also
    --------
    save : Write a model.

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

    def read(config: dict[str, Any]) -> tuple[bytes, list[dict[str, Any]]]:
        with _one_error(folder):
            content = read_described(folder / WEIGHTS, config)
        return content, read_history(folder, config)

    config, (content, history) = read_together(lambda: read_config(folder), read)
    with _one_error(folder):
        tensors = read_tensors(content, WEIGHTS, load_tensors)
    name = config["estimator"]
    if name not in ESTIMATORS:
        hint = did_you_mean(name[:100], ESTIMATORS)
        raise ValueError(f"unknown estimator {one_line(name)!r} in {CONFIG}.{hint}")
    estimator = unfitted(ESTIMATORS[name], config["params"], backbone)
    with _one_error(folder):
        restore(estimator, config["fitted"], tensors, target)
    estimator.history_ = history
    return estimator


@contextmanager
def _one_error(folder: Path) -> Iterator[None]:
    """Turn every failure but a missing library or file into a ValueError naming the folder."""
    try:
        yield
    except (ImportError, FileNotFoundError):
        raise
    except Exception as error:  # torch raises many types for inconsistent tensors
        reason = one_line(error).rstrip(".")
        raise ValueError(f"{folder} holds no valid model: {reason}.") from error


def _config(estimator: Any, data: dict[str, Any]) -> dict[str, Any]:
    """Return everything about a fitted estimator that is not a tensor."""
    if estimator.registered_name is None:
        raise ValueError(
            f"{type(estimator).__name__} is a custom class and cannot be saved, because loading "
            "runs no code. Save its model_ with safetensors instead."
        )
    encoder = estimator.condition_encoder_
    names = getattr(estimator, "feature_names_in_", None)
    fitted = {name: getattr(estimator, f"{name}_") for name in PLAIN}
    return {
        "format": FORMAT,
        "isthmus": __version__,
        "estimator": estimator.registered_name,
        "params": params_to_json(estimator.fitted_params_),
        "fitted": fitted
        | {
            "feature_shape": list(estimator.feature_shape_),
            "channels": estimator.channels_,
            "feature_names_in": None if names is None else names.tolist(),
            "empty_features": list(estimator.empty_features_),
            "columns": estimator.columns_ and estimator.columns_.to_json(),
            "context": encoder and asdict(encoder),
        },
        "data": data,
        "held_out": {},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }
