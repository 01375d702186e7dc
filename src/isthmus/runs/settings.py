"""The model of a run: its settings completed and checked before any data are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sklearn.base import clone

from isthmus.estimators import ESTIMATORS, LatentEstimator
from isthmus.estimators.defaults import check_likelihood, fresh_seed
from isthmus.estimators.run_fingerprint import CUSTOM
from isthmus.models.params import check_fields
from isthmus.persistence.run_folder import CONFIG, find_checkpoints
from isthmus.registry import check_combination
from isthmus.training import pick_device
from isthmus.training.checkpoints import read_checkpoint
from isthmus.training.distributed import ProcessGroup, join_process_group

__all__ = ["ModelSettings", "checkpoint_facts", "join", "prepare_estimator"]

Facts = dict[str, Any]


@dataclass(frozen=True)
class ModelSettings:
    """A model by name, with only the settings that the user chose.

    The others have their defaults, or in a resumed run the values it was started with.

    Parameters
    ----------
    name : str or None
        A registered name, such as "vae"; None for "vae", or for the model of the run to resume.
    values : mapping
        Settings by name.
    """

    name: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    def build(self, facts: Facts | None, folder: Path | None) -> LatentEstimator:
        """Return the unfitted estimator, as the checkpoint of a run in a folder requires."""
        if facts is None:
            return ESTIMATORS[self.name or "vae"](**self.values)
        about = facts["about"]
        name = next((k for k, cls in ESTIMATORS.items() if cls.__name__ == about["estimator"]), "")
        if not name or CUSTOM in about["params"].values():
            raise ValueError(
                f"the run in {folder} was started from Python with functions of your own, which "
                "are not saved; continue it there, by fit_run or fit(..., resume_from=...)."
            )
        if self.name not in (None, name):
            raise ValueError(f"the run in {folder} is of a {name}, not of a {self.name}.")
        saved = {k: tuple(v) if isinstance(v, list) else v for k, v in about["params"].items()}
        return ESTIMATORS[name](**{**saved, "random_state": about["seed"], **self.values})


Model = LatentEstimator | ModelSettings


def join(model: Model) -> ProcessGroup:
    """Return the processes that train a model together, usually only this one."""
    if isinstance(model, ModelSettings):
        strategy, device = (model.values.get(name, "auto") for name in ("strategy", "device"))
    else:
        strategy, device = model.strategy, model.device
    return join_process_group(strategy, pick_device(device))


def checkpoint_facts(folder: Path, process_group: ProcessGroup) -> Facts:
    """Return what the checkpoint of a run says, in all processes; only the main one reads it."""
    if not process_group.is_main:
        return process_group.broadcast_object(None)
    if (folder / CONFIG).is_file() and not find_checkpoints(folder):
        raise ValueError(
            f"the run in {folder} is complete: there is nothing to resume. For a new run name "
            "another --out, or add --force instead of --resume."
        )
    return process_group.broadcast_object(read_checkpoint(folder).facts)


def prepare_estimator(
    model: Model, facts: Facts | None, folder: Path | None, process_group: ProcessGroup
) -> LatentEstimator:
    """Return an unfitted copy of a model with a seed, after checking its settings."""
    estimator = model.build(facts, folder) if isinstance(model, ModelSettings) else clone(model)
    if estimator.random_state is None:  # recorded, so that the run can be repeated
        seed = process_group.broadcast_object(fresh_seed() % 2**31)
        estimator.set_params(random_state=facts["about"]["seed"] if facts else seed)
    check_fields(estimator)
    check_likelihood(estimator.likelihood)
    check_combination(estimator)
    pick_device(estimator.device)
    if estimator.registered_name is None:
        raise ValueError(
            f"{type(estimator).__name__} is a class of your own: only isthmus's own estimators can "
            "be saved as a run, since loading runs no code. Use its fit method instead."
        )
    return estimator
