"""Fingerprint of a run: settings, seed, data and versions, compared when a run is resumed."""

from __future__ import annotations

import hashlib
import warnings
from typing import Any

import numpy as np
import torch

from isthmus._messages import one_line
from isthmus._version import __version__
from isthmus.models.params import params_of
from isthmus.training import Rows
from isthmus.training.disk_rows import DiskRows
from isthmus.training.distributed import ProcessGroup
from isthmus.training.loader_rows import LoaderRows
from isthmus.training.snapshot import CheckpointError, Snapshot

__all__ = [
    "CUSTOM",
    "check_same_in_all_processes",
    "check_same_rows",
    "check_same_settings",
    "describe_run",
    "fingerprint",
    "params_to_json",
]

AnyRows = Rows | DiskRows | LoaderRows
CUSTOM = {"custom": True}  # replaces custom functions, which are code and not saved
HASHED_BYTES = 2**28  # larger data are hashed at evenly spaced rows
#: Settings that may differ when a run is resumed: they only decide when it ends and what it shows.
MAY_CHANGE = ("epochs", "patience", "progress", "random_state", "strategy", "warm_start")
#: Settings that may differ between the processes that train one model; the seed must not.
PER_PROCESS = ("device", "progress", "random_state")


def describe_run(estimator: Any, rows: AnyRows, valid: AnyRows | None = None) -> dict[str, Any]:
    """Return the fingerprint of a run on rows, and on others for validation, as plain JSON."""
    own = {} if valid is None else {"validation": fingerprint(valid)}
    return {
        "estimator": type(estimator).__name__,
        "params": params_to_json(estimator.fitted_params_),
        "seed": estimator.seed_,
        "rows": fingerprint(rows) | own,
        "versions": {"isthmus": __version__, "torch": torch.__version__},
        "epochs_before": estimator.n_iter_,
    }


def check_same_in_all_processes(about: dict[str, Any], process_group: ProcessGroup) -> None:
    """Raise a ValueError in all processes if their settings, seeds or data differ.

    Each process takes its part of every batch, so all must have all rows; for loaders, which may be
    divided beforehand, the rows are those that the first process previewed.
    """
    params = {k: v for k, v in about["params"].items() if k not in PER_PROCESS}
    settings = (about["estimator"], params, about["seed"])
    for what, value in (("settings", settings), ("X or y", about["rows"])):
        if not process_group.all_equal(value):
            raise ValueError(
                f"the {process_group.size} processes that train one model must be given the same "
                f"{what}; each trains on its part of the rows. To train separate models, set "
                "strategy='none'."
            )


def params_to_json(params: dict[str, Any]) -> dict[str, Any]:
    """Return settings as plain JSON; custom functions become `CUSTOM`."""
    return {name: _plain(value) for name, value in params.items()}


def check_same_settings(snapshot: Snapshot, estimator: Any) -> None:
    """Raise a CheckpointError if a checkpoint belongs to a run with other settings."""
    then, name = snapshot.facts["about"], type(estimator).__name__
    if then["estimator"] != name:
        raise CheckpointError(
            f"the checkpoint belongs to a {one_line(then['estimator'])}, not a {name}: resume it "
            "with that class, or start a new run."
        )
    defaults = {name: p.default for name, p in params_of(type(estimator)).items()}
    old, new = (
        params_to_json(defaults) | then["params"],
        params_to_json(estimator.get_params(False)),
    )
    other = [k for k in new if k not in MAY_CHANGE and old.get(k) != new[k]]
    if estimator.random_state is not None and int(estimator.random_state) != then["seed"]:
        other.append("random_state")
    if other:
        before = old | {"random_state": then["seed"]}
        words = "; ".join(f"{k} was {one_line(repr(before.get(k)))}, is {new[k]!r}" for k in other)
        raise CheckpointError(
            f"the checkpoint belongs to a run with other settings ({words}): use the same ones, or "
            "start a new run."
        )
    done = snapshot.facts["epoch"] - 1
    if estimator.epochs is not None and estimator.epochs < done:
        raise ValueError(
            f"the run already has {done} epochs, more than epochs={estimator.epochs}: set epochs "
            f"to {done} or more, or start a new run."
        )


def check_same_rows(snapshot: Snapshot, now: dict[str, Any]) -> None:
    """Raise a CheckpointError if a checkpoint is of other data; warn if versions differ."""
    then = snapshot.facts["about"]
    if then["rows"] != now["rows"]:
        raise CheckpointError(
            "the checkpoint belongs to a run on other data: pass the same X and y, or start a new "
            "run."
        )
    if then["versions"] != now["versions"]:
        texts = (", ".join(f"{k} {v}" for k, v in d["versions"].items()) for d in (then, now))
        was, is_ = map(one_line, texts)
        warnings.warn(
            f"the run was started with {was} and is resumed with {is_}: its numbers may differ in "
            "the last bits from those of an uninterrupted run.",
            RuntimeWarning,
            stacklevel=3,
        )


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return CUSTOM if callable(value) else value


def fingerprint(rows: AnyRows) -> dict[str, Any]:
    """Return shape, type and hash of the data."""
    digest = hashlib.sha256()
    known = rows if isinstance(rows, Rows) else rows.preview
    for tensor in (known.x, known.c, known.groups, known.weights):
        if tensor is not None:
            step = max(1, -(-tensor.numel() * tensor.element_size() // HASHED_BYTES))
            digest.update(tensor[::step].cpu().contiguous().numpy().tobytes())
    return {
        "shape": [rows.n_rows or len(known), *known.x.shape[1:]],
        "dtype": str(known.x.dtype).removeprefix("torch."),
        "sha256": digest.hexdigest(),
    }
