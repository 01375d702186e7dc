"""Save arrays beside a model, with a JSON record of the settings and of the model's digest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as parse_arrays
from safetensors.numpy import save as serialize_arrays

from isthmus.applications.meta_estimator import model_digest
from isthmus.persistence.atomic import write_all_atomic
from isthmus.persistence.integrity import (
    check_content,
    check_record,
    read_bytes,
    read_json,
    read_tensors,
    with_checksums,
)
from isthmus.persistence.run_folder import to_json

__all__ = ["read_arrays", "read_record", "save_arrays"]

FORMAT = 1


def save_arrays(
    arrays_path: Path,
    record_path: Path,
    application: Any,
    arrays: dict[str, NDArray[Any]],
    fields: dict[str, Any],
) -> None:
    """Write arrays and a record of the settings, the model and further fields."""
    arrays_path.parent.mkdir(parents=True, exist_ok=True)
    settings = {k: v for k, v in application.get_params(deep=False).items() if k != "estimator"}
    model = model_digest(application.estimator_)
    record = {"format": FORMAT, "settings": settings, "model": model, **fields}
    record_path.unlink(missing_ok=True)  # an old record must not describe new arrays
    content = serialize_arrays({k: np.ascontiguousarray(v) for k, v in arrays.items()})
    sealed = with_checksums(json.loads(to_json(record)), {arrays_path.name: content})
    write_all_atomic({arrays_path: content, record_path: to_json(sealed).encode()})


def read_record(
    path: Path, is_valid: Callable[[dict[str, Any]], bool], hint: str
) -> dict[str, Any]:
    """Return a record; raise a ValueError that ends in the hint if it is corrupt."""
    try:
        record = read_json(path)
        check_record(record, path)
        valid = record["format"] == FORMAT and isinstance(record["model"], str)
        valid = valid and isinstance(record["data"], dict) and is_valid(record)
    except (ValueError, KeyError, TypeError, AttributeError):
        valid = False
    if not valid:
        raise ValueError(f"{path} is corrupt or has another format version; {hint}.")
    return record


def read_arrays(
    path: Path, record: dict[str, Any], estimator: Any, hint: str
) -> dict[str, NDArray[Any]]:
    """Return the arrays of a record, which must belong to the estimator."""
    if record["model"] != model_digest(estimator):
        raise ValueError(f"{path.parent} belongs to another model; {hint}.")
    content = read_bytes(path)
    try:
        check_content(record, path.name, content)
        return read_tensors(content, path.name, parse_arrays)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} is corrupt; {hint}.") from error
