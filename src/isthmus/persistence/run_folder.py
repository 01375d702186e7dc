"""Names of the files in a run folder, and readers for its configuration and history."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from isthmus._messages import one_line, shell_quote
from isthmus._version import __version__
from isthmus.data.columns import Columns
from isthmus.data.limits import allowed_memory
from isthmus.persistence.atomic import remove
from isthmus.persistence.integrity import (
    CONFIG,
    HISTORY,
    SUMS,
    WEIGHTS,
    check_record,
    parse_lines,
    read_described,
    read_json,
    read_tensors,
)
from isthmus.persistence.schema import MAX_EPOCHS, check_config, check_history

__all__ = [
    "CHECKPOINTS",
    "CONFIG",
    "FORMAT",
    "HISTORY",
    "SPLIT",
    "WEIGHTS",
    "find_checkpoints",
    "read_columns",
    "read_config",
    "read_history",
    "read_test_rows",
    "remove_checkpoints",
    "remove_model",
    "split_bytes",
    "to_json",
]

FORMAT = 1  # version of config.json
SPLIT = "split.safetensors"  # row numbers of the test rows
CHECKPOINTS = ("checkpoint-0.safetensors", "checkpoint-1.safetensors")


def read_config(folder: Path) -> dict[str, Any]:
    """Return the checked configuration of a saved model.

    Raises
    ------
    FileNotFoundError
        If the folder holds no saved model.
    ValueError
        If the configuration is invalid or from a newer version.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        if find_checkpoints(folder):
            raise FileNotFoundError(
                f"{folder} holds an interrupted run, not a saved model: resume it with `isthmus "
                f"fit DATA --out {shell_quote(folder)} --resume`."
            )
        raise FileNotFoundError(
            f"{folder} holds no saved model: it has no {CONFIG}. Expected a folder written by "
            "`isthmus fit` or by a model's save()."
        )
    config = read_json(path)
    if not isinstance(config, dict) or not isinstance(config.get("format"), int):
        raise ValueError(f"{path} is not the configuration of an isthmus model.")
    if config["format"] > FORMAT:
        raise ValueError(
            f"{path} has format {one_line(config['format'])}, which is newer than this isthmus "
            f"({__version__}) reads: update isthmus to {one_line(config.get('isthmus'))} or later."
        )
    check_record(config, path)
    try:
        return check_config(config)
    except ValueError as error:
        raise ValueError(f"{path} is invalid: {error}.") from None


def read_columns(folder: str | os.PathLike[str]) -> Columns | None:
    """Return the table columns of the model in a folder; None if it was fitted on arrays."""
    config = read_config(Path(folder))
    saved = config.get("fitted", {}).get("columns")
    if saved is None:
        return None
    return Columns.from_json(saved).handling(config["params"].get("handle_unknown", "error"))


def read_history(folder: Path, config: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return one record per epoch; an empty list if there is no history file.

    Raises a ValueError if it is damaged or, given the configuration, its checksum differs.
    """
    path = Path(folder) / HISTORY
    try:
        content = read_described(path, config or {}, allowed_memory(0))
    except FileNotFoundError:
        return []
    try:
        return check_history(parse_lines(content, MAX_EPOCHS))
    except ValueError as error:
        raise ValueError(f"{path} is not a valid history: {one_line(error)}") from None


def split_bytes(test_rows: NDArray[Any]) -> bytes:
    """Return the content of split.safetensors for the numbers of the test rows."""
    return save_arrays({"test": np.ascontiguousarray(test_rows, np.int64)})


def read_test_rows(folder: Path, config: dict[str, Any]) -> NDArray[np.int64] | None:
    """Return the row numbers of a run's test rows, sorted; None if the run records none.

    Older runs, and runs on data with a test set of their own, record none. `config` is the
    configuration in the folder. Raises a FileNotFoundError or ValueError if the file is missing or
    corrupt.
    """
    if SPLIT not in (config.get(SUMS) or {}):
        return None
    path = Path(folder) / SPLIT
    content = read_described(path, config)
    rows = read_tensors(content, path, load_arrays).get("test")
    if rows is None or rows.dtype != np.int64 or rows.ndim != 1:
        raise ValueError(f"{path}: expected 'test', a list of row numbers.")
    if (rows[:1] < 0).any() or (rows[1:] <= rows[:-1]).any():  # differences could overflow
        raise ValueError(f"{path}: expected 'test', a list of ascending row numbers.")
    return rows


def to_json(value: Any) -> str:
    """Return indented JSON; NumPy values become plain ones."""
    return json.dumps(value, indent=2, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


def find_checkpoints(folder: Any) -> list[Path]:
    """Return the checkpoint files in a folder."""
    return [path for path in (Path(folder) / name for name in CHECKPOINTS) if path.is_file()]


def remove_model(folder: Path) -> None:
    """Remove the files of a saved model, and its folder if that holds nothing else."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for name in (CONFIG, WEIGHTS, HISTORY, SPLIT):
        remove(folder / name)
    with contextlib.suppress(OSError):
        folder.rmdir()


def remove_checkpoints(folder: Any) -> None:
    """Remove the checkpoints of a finished run."""
    for name in CHECKPOINTS:
        remove(Path(folder) / name)
