"""What makes a run the same run: settings, seed, data, versions."""

from __future__ import annotations

import hashlib
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus._version import __version__
from isthmus.training import Rows
from isthmus.training.disk_rows import DiskRows
from isthmus.training.distributed import ProcessGroup
from isthmus.training.loader_rows import LoaderRows
from isthmus.training.snapshot import Snapshot

__all__ = [
    "CUSTOM",
    "check_same_in_all_processes",
    "check_same_run",
    "describe_run",
    "params_to_json",
    "seed_of",
]

AnyRows = Rows | DiskRows | LoaderRows
CUSTOM = {"custom": True}  # stands for a function of the user's own, which is code and not written
ENOUGH_BYTES = 2**28  # by which data are known; of more, evenly spaced rows
#: Settings that may differ in a run that goes on: they change when it ends, not what it does.
FREE = ("epochs", "patience", "progress", "random_state", "strategy")
#: Settings that may differ among the processes that train one model.
OWN = ("device", "progress", "random_state")  # the seed itself may not


def describe_run(estimator: Any, rows: AnyRows) -> dict[str, Any]:
    """Return what a checkpoint says of the run, plain JSON.

    Parameters
    ----------
    estimator : LatentEstimator
    rows : Rows, DiskRows or LoaderRows
        As training sees them, those held out among them.
    """
    return {
        "estimator": type(estimator).__name__,
        "params": params_to_json(estimator.fitted_params_),
        "seed": estimator.seed_,
        "rows": _print_of(rows),
        "versions": {"isthmus": __version__, "torch": torch.__version__},
    }


def check_same_in_all_processes(about: dict[str, Any], process_group: ProcessGroup) -> None:
    """Raise a ValueError, in all processes, where they are not to train one and the same model.

    Each takes its own part of every batch, so that all must be given all rows; of streams, which
    may be divided beforehand, all know the rows that the first process looked at.
    """
    params = {k: v for k, v in about["params"].items() if k not in OWN}
    settings = (about["estimator"], params, about["seed"])
    for what, value in (("settings", settings), ("X or y", about["rows"])):
        if not process_group.all_equal(value):
            raise ValueError(
                f"the {process_group.size} processes that train one model must be given the same "
                f"{what}; each trains on its part of the rows. To train separate models, set "
                "strategy='none'."
            )


def params_to_json(params: dict[str, Any]) -> dict[str, Any]:
    """Return settings as JSON has them."""
    return {name: _plain(value) for name, value in params.items()}


def seed_of(snapshot: Snapshot) -> int:
    """Return the seed of the run."""
    return int(snapshot.facts["about"]["seed"])


def check_same_run(snapshot: Snapshot, now: dict[str, Any], estimator: Any) -> None:
    """Raise a ValueError where a checkpoint is of another run; warn where versions differ."""
    then = snapshot.facts["about"]
    if then["estimator"] != now["estimator"]:
        raise ValueError(
            f"the checkpoint is of a {then['estimator']}, not of a {now['estimator']}: fit that, "
            "or begin a new run."
        )
    old, new = then["params"], now["params"]
    other = [k for k in new if k not in FREE and old.get(k) != new[k]]
    if estimator.random_state is not None and int(estimator.random_state) != then["seed"]:
        other.append("random_state")
    if other:
        words = "; ".join(f"{k} was {_said(old, then, k)}, is {new[k]!r}" for k in other)
        raise ValueError(
            f"the checkpoint is of a run by other settings ({words}): give the same, or begin a "
            "new run."
        )
    done = snapshot.facts["epoch"] - 1
    if estimator.epochs is not None and estimator.epochs < done:
        raise ValueError(
            f"the run has {done} epochs already: epochs={estimator.epochs} would end it and forget "
            f"how to go on. Give {done} or more, or begin a new run."
        )
    if then["rows"] != now["rows"]:
        raise ValueError(
            "the checkpoint is of a run on other data: X or y differ from those it began with. "
            "Give the same, or begin a new run."
        )
    if then["versions"] != now["versions"]:
        was, is_ = (", ".join(f"{k} {v}" for k, v in d["versions"].items()) for d in (then, now))
        warnings.warn(
            f"the run began with {was} and goes on with {is_}: its numbers may differ in the last "
            "bits from those of a run without a break.",
            RuntimeWarning,
            stacklevel=4,
        )


def _said(params: dict[str, Any], about: dict[str, Any], name: str) -> str:
    return repr(about["seed"] if name == "random_state" else params.get(name))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return CUSTOM if callable(value) else value


def _print_of(rows: AnyRows) -> dict[str, Any]:
    """Return what tells data from others: shape, type and a hash."""
    digest = hashlib.sha256()
    shown = rows if isinstance(rows, Rows) else rows.preview
    for tensor in (shown.x, shown.c):
        if tensor is not None:
            digest.update(_some(tensor).cpu().contiguous().numpy().tobytes())
    return {
        "shape": [rows.n_rows or len(shown), *shown.x.shape[1:]],
        "dtype": str(shown.x.dtype).removeprefix("torch."),
        "sha256": digest.hexdigest(),
    }


def _some(tensor: Tensor) -> Tensor:
    every = -(-tensor.numel() * tensor.element_size() // ENOUGH_BYTES)
    return tensor[:: max(1, every)]
